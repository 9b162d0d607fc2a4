//! The schemas that are shipped for editors, held against the readers of the formats: what a reader
//! accepts fits the schema, and nearly all that a reader refuses does not.

use std::path::PathBuf;

use jsonschema::{Draft, Validator};
use lictor::capability::{ChangeDocument, Contract, Facade, Pack};
use lictor::document::{Limits, Source, StrictValue, from_yaml};
use lictor::governance::{DecisionRecord, Policy, PolicyLayer};
use lictor::workflow::Workflow;
use serde_json::{Value, json};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn schema(name: &str) -> Validator {
    let file = repository().join(format!("schemas/{name}.schema.json"));
    let schema: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    jsonschema::options().with_draft(Draft::Draft202012).offline().build(&schema).unwrap()
}

/// YAML files of folders of the repository, as values.
fn files(places: &[&str]) -> Vec<Value> {
    let mut all = Vec::new();
    for place in places {
        let place = repository().join(place);
        let files: Vec<PathBuf> = if place.is_dir() {
            std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect()
        } else {
            vec![place]
        };
        all.extend(files.iter().map(|file| value(&std::fs::read_to_string(file).unwrap())));
    }
    all
}

fn value(text: &str) -> Value {
    from_yaml::<StrictValue>(&Source::new("f.yaml", text.as_bytes()), &Limits::default())
        .unwrap()
        .into_inner()
}

/// Every place of a value, as a pointer.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                let key = key.replace('~', "~0").replace('/', "~1");
                places(inner, &format!("{at}/{key}"), all);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                places(inner, &format!("{at}/{index}"), all);
            }
        }
        _ => {}
    }
}

/// The document with one thing wrong: each key gone, each place of another kind, a key too many.
fn mutants(document: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    places(document, "", &mut all);
    let mut mutants = Vec::new();
    for at in &all {
        let mut change = |change: &dyn Fn(&mut Value)| {
            let mut copy = document.clone();
            change(copy.pointer_mut(at).unwrap());
            if copy != *document {
                mutants.push(copy);
            }
        };
        for other in [json!(7), json!("?"), json!([]), json!({}), json!(true)] {
            change(&|place| *place = other.clone());
        }
        change(&|place| {
            if let Some(fields) = place.as_object_mut() {
                fields.insert("nobody_reads_this".to_owned(), json!(1));
            }
        });
        let keys: Vec<String> = document
            .pointer(at)
            .and_then(Value::as_object)
            .map(|fields| fields.keys().cloned().collect())
            .unwrap_or_default();
        for key in keys {
            change(&|place| drop(place.as_object_mut().and_then(|fields| fields.remove(&key))));
        }
    }
    mutants
}

/// Holds a corpus and its mutants against schema and reader.
#[track_caller]
fn check(name: &str, corpus: &[Value], reads: impl Fn(&str) -> bool) {
    let schema = schema(name);
    let (mut refused, mut both) = (0_u32, 0_u32);
    for document in corpus {
        assert!(reads(&document.to_string()), "{name}: {document}");
        let problem = schema.validate(document).err().map(|error| error.to_string());
        assert_eq!(problem, None, "{name}: {document}");
        for mutant in mutants(document) {
            let fits = schema.is_valid(&mutant);
            if reads(&mutant.to_string()) {
                assert!(fits, "{name}: read, and refused by the schema: {mutant}");
            } else {
                refused += 1;
                both += u32::from(!fits);
            }
        }
    }
    println!("{name}: {both} of {refused} that are refused do not fit the schema");
    assert!(both * 10 >= refused * 8, "{name}: only {both} of {refused}");
}

fn source(text: &str) -> Source<'_> {
    Source::new("f.yaml", text.as_bytes())
}

#[test]
fn contracts_and_their_schema_agree() {
    let mut corpus =
        files(&["crates/skills/contracts", "crates/handlers/contracts", "crates/lictor/contracts"]);
    corpus.push(json!({
        "id": "a.b", "version": "1.2.3-rc.1", "title": "T", "description": "D", "kind": "tool", "source": "http",
        "input": { "type": "object", "required": ["q"], "properties": { "q": {}, "h": {}, "b": {} } }, "output": true,
        "risk": "high", "effects": { "net": ["h"], "process": [] }, "confirm": "always", "timeout": "5s",
        "undo": { "strategy": "compensate", "compensate": { "use": "c.d", "with": { "id": 1 } } },
        "retry": { "attempts": 3, "backoff": "constant", "initial": "1ms", "max": "1s" }, "idempotent": true,
        "handler": { "http": { "method": "POST", "url": "https://h/{q}", "query": ["q"], "body": "b", "max_bytes": "1MiB",
            "headers": { "x": "y", "authorization": { "secret": "S", "prefix": "Bearer " } }, "header_inputs": { "h": "h" } } },
    }));
    corpus.push(json!({
        "id": "a.b", "version": "1.0.0", "title": "T", "description": "D", "kind": "tool", "source": "local",
        "input": { "type": "object", "properties": { "x": {} } }, "output": true, "risk": "high",
        "effects": { "process": ["p"], "fs": { "read": ["src/**"] } },
        "handler": { "command": { "argv": ["p", "{x}"], "inputs": ["src"], "env": { "A": "b", "C": { "secret": "D" } },
            "output": "text", "sandbox": "best_effort", "memory": "1MiB", "max_output": "1MiB", "max_file": "1MiB",
            "globs": ["src/*.rs"], "cwd": "src", "stdin": "{x}", "max_processes": 3, "system": ["/opt"] } },
    }));
    corpus.push(json!({
        "id": "a.b", "version": "1.0.0", "title": "T", "description": "D", "kind": "workflow", "source": "local",
        "input": true, "output": true, "risk": "low",
        "handler": { "workflow": "release_notes" },
    }));
    corpus.push(json!({
        "id": "a.b", "version": "1.0.0", "title": "T", "description": "D", "kind": "tool", "source": "http",
        "input": { "type": "object", "required": ["u"], "properties": { "u": { "type": "string" }, "n": {},
            "m": { "type": "object" } } }, "output": true, "risk": "high", "effects": { "net": ["h"] },
        "handler": { "http": { "method": "POST", "url": "{u}", "query": { "a": "b", "c": { "secret": "S", "prefix": "p" },
            "d": { "input": "n" } }, "query_map": "m", "header_map": "m",
            "body": { "k": { "secret": "S" }, "l": [{ "input": "n" }, 1] } } },
    }));
    check("contract", &corpus, |text| Contract::from_yaml(&source(text)).is_ok());
}

#[test]
fn policies_and_their_schema_agree() {
    let mut corpus = files(&[
        "crates/governance/presets",
        "crates/governance/tests/data/full.yaml",
        "crates/cli/src/verbs/policy.template.yaml",
    ]);
    // What the others do not say.
    corpus.push(value(
        "{ version: 1, durability: { changes: lazy }, retention: { undo: { age: 30d, count: 9, bytes: 1GiB } },
           catalogue: { proposers: [ann], approve_roles: [ops], freeze_roles: [ops], proposer_may_approve: true },
           verification: { t: { command: [t], verify: staged, leave_out: [target], retry: { attempts: 2 } } },
           windows: [{ when: { input: { a: { gt: 1 } } }, days: [sat], reason: r }],
           network: { private: ['127.0.0.1:8080', '[fd00::1]:80', '::1', wiki.corp] },
           budgets: { agent: { tokens: 1 }, user: {}, org: { cost_usd: 1.5 } } }",
    ));
    check("policy", &corpus, |text| {
        Policy::from_yaml(PolicyLayer::Workspace, &source(text)).is_ok()
    });
}

#[test]
fn workflows_and_their_schema_agree() {
    let corpus = [value(
        "{ id: w, version: 1.0.0, title: W, pack: p, approvals: plan, input: { type: object }, auto_rollback: true, timeout: 60s,
           output: '{{ steps.b.output }}', steps: [
           { id: a, use: time.now },
           { id: r, approval: { message: Go?, risk: high, approvals: 2, timeout: 1h }, needs: [a] },
           { id: z, wait: 5s, needs: [r] },
           { id: b, use: fs.write, needs: [z], with: { path: x, content: '{{ steps.a.output.time }}' }, when: '{{ input.go }}',
             timeout: 10s, retry: { attempts: 3, backoff: exponential, initial: 200ms, max: 1s }, on_error: continue,
             compensate: { use: fs.delete, with: { path: x }, timeout: 1s },
             effects: { fs: { write: [x] } }, undo: { timeout: 5s, retry: { attempts: 2 } } },
           { id: c, use: fs.read, foreach: '{{ input.all }}', parallel: 2, with: { path: '{{ item }}' } } ] }",
    )];
    check("workflow", &corpus, |text| Workflow::from_yaml(&source(text)).is_ok());
}

#[test]
fn changes_and_their_schema_agree() {
    let before = format!("sha256:{}", "0".repeat(64));
    let changes = json!([
        { "op": "create", "path": "a", "content": "x", "mode": "0644" },
        { "op": "create", "path": "b", "content_base64": "AA==" },
        { "op": "modify", "path": "c", "before": before, "content": "y" },
        { "op": "delete", "path": "d", "before": before },
        { "op": "rename", "path": "e", "to": "f", "before": before },
        { "op": "chmod", "path": "g", "before_mode": "0644", "mode": "0755" },
        { "op": "mkdir", "path": "h" }, { "op": "rmdir", "path": "i" },
        { "op": "symlink", "path": "j", "target": "a" },
    ]);
    let plan = json!({
        "id": "pln_1", "intent": "i", "objective": "o", "rationale": "r", "affected_paths": ["a"], "risk": "low",
        "verification": ["t"], "rollback_plan": "u", "health_checks": ["h"], "created_by": "agent:a",
        "created_at": "2026-11-20T10:00:00.000000Z", "confidence": 0.5, "dependencies": [],
    });
    let corpus = [
        json!({ "changes": changes }),
        json!({ "plan": plan, "change_set": { "id": "chg_1", "plan_id": "pln_1", "changes": changes } }),
    ];
    check("change", &corpus, |text| {
        ChangeDocument::from_json(&source(text), &Limits::default()).is_ok()
    });
}

#[test]
fn packs_and_their_schema_agree() {
    let corpus = [
        json!({
            "id": "docs-pack", "version": "1.0.0", "title": "Docs", "capabilities": ["fs.read", "fs.write"],
            "workflows": ["release_notes"], "risk_ceiling": "medium", "requires_approval": true,
            "owner": "platform-team", "compliance_tags": ["soc2"],
        }),
        json!({ "id": "p", "version": "0.1.0", "title": "P", "capabilities": [], "workflows": [] }),
    ];
    check("pack", &corpus, |text| Pack::from_yaml(&source(text)).is_ok());
}

#[test]
fn facades_and_their_schema_agree() {
    let corpus = [json!({
        "id": "notes", "version": "1.0.0", "title": "Notes", "triggers": ["release notes"],
        "examples": ["write the release notes"],
        "routes": { "primary": { "workflow": "release_notes" }, "fallback": { "pack": "docs-pack" } },
    })];
    check("facade", &corpus, |text| Facade::from_yaml(&source(text)).is_ok());
}

#[test]
fn decisions_and_their_schema_agree() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let corpus = [json!({
        "id": "dec_01a1f87195887d508e144ffac6a323e7", "verdict": "need_approval", "risk_proposed": "low",
        "risk_effective": "high", "required_actions": ["add health_checks to the plan"], "approvals_needed": 1,
        "reasons": [{ "layer": "workspace", "rule": "escalate[0]", "verdict": "need_approval",
            "path": "db/migrations/7.sql", "message": "database schema", "where": "policy.yaml:31:5" }],
        "action_digest": digest, "policy_digest": digest, "expires_at": "2026-11-20T10:00:00.000000Z",
        "undo": "partial", "undo_because": ["a program runs"],
    })];
    check("decision", &corpus, |text| serde_json::from_str::<DecisionRecord>(text).is_ok());
}

/// Nobody but us writes events, so what is written is what counts: every type, full and bare.
#[test]
fn events_and_their_schema_agree() {
    let schema = schema("event");
    for line in crate::formats::lines() {
        let event: Value = serde_json::from_slice(&line).unwrap();
        let problem = schema.validate(&event).err().map(|error| error.to_string());
        assert_eq!(problem, None, "{event}");
        for key in event.as_object().unwrap().keys() {
            let mut without = event.clone();
            without.as_object_mut().unwrap().remove(key);
            assert!(!schema.is_valid(&without), "`{key}` is always there: {without}");
        }
    }
}
