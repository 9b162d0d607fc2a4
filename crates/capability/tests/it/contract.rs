//! A contract is complete and means one thing, or it is refused with its place.

use std::collections::BTreeSet;
use std::time::Duration;

use lictor_capability::{Contract, HandlerSpec, Retry, Risk, UndoStrategy};
use lictor_document::Source;
use serde_json::json;

pub(crate) const EXAMPLE: &str = r#"id: fs.write
version: 1.0.0
title: Write a text file
description: Create or replace one UTF-8 file in the workspace.
kind: skill
source: builtin
owner: platform-team
tags: [files]
input:
  type: object
  required: [path, content]
  additionalProperties: false
  properties:
    path: { type: string, maxLength: 100 }
    content: { type: string, pattern: "^[a-z]*$" }
    mode: { type: string }
output: { type: object, properties: { bytes: { type: integer } } }
risk: medium
effects:
  fs: { read: ["**"], write: ["**"], delete: [] }
  net: []
  process: []
undo:
  strategy: automatic
confirm: policy
timeout: 30s
retry: { attempts: 1, backoff: exponential, initial: 200ms, max: 10s }
idempotent: true
handler: { builtin: fs.write }
"#;

pub(crate) fn contract(text: &str) -> Contract {
    Contract::from_yaml(&Source::new("c.yaml", text.as_bytes()))
        .unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn refused(from: &str, to: &str, message: &str) {
    assert!(EXAMPLE.contains(from), "{from}");
    let text = EXAMPLE.replacen(from, to, 1);
    let error = Contract::from_yaml(&Source::new("c.yaml", text.as_bytes()));
    let error = error.expect_err("a refusal").to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn the_example_of_the_formats_is_read() {
    let contract = contract(EXAMPLE);
    assert_eq!(contract.id.as_str(), "fs.write");
    assert_eq!(contract.risk, Risk::Medium);
    assert_eq!(contract.timeout.as_millis(), 30_000);
    assert_eq!(contract.handler, HandlerSpec::Builtin("fs.write".to_owned()));
    assert_eq!(contract.facts().kind, "skill");
    let compensated = EXAMPLE.replace(
        "strategy: automatic",
        "strategy: compensate\n  compensate:\n    use: tickets.close\n    with: { id: \"{{ output.id }}\" }",
    );
    let undo = self::contract(&compensated).undo;
    assert_eq!(undo.strategy, UndoStrategy::Compensate);
    assert_eq!(undo.compensate.unwrap().capability.as_str(), "tickets.close");
}

#[test]
fn only_what_is_needed_must_be_said() {
    let contract = contract(
        "id: a.b\nversion: 0.1.0\ntitle: t\ndescription: d\nkind: tool\nsource: mcp:files\ninput: {}\noutput: true\nrisk: low\nhandler: { mcp: { server: files, tool: read } }\n",
    );
    assert_eq!(contract.timeout.as_millis(), 30_000);
    assert_eq!(contract.retry, Retry::default());
    assert_eq!(contract.facts().mcp_server.as_deref(), Some("files"));
    assert!(contract.check_input(&json!([1])).is_ok());
}

#[test]
fn every_wrong_field_is_refused_with_its_line() {
    refused("id: fs.write", "id: fs", "c.yaml:1:5: `fs` is not a capability id");
    refused("id: fs.write", "id: Fs.write", "c.yaml:1:5");
    refused("id: fs.write", "id: fs..write", "c.yaml:1:5");
    refused("version: 1.0.0", "version: 1.0", "c.yaml:2:10");
    refused("title: Write a text file\n", "", "missing key `title`");
    refused("kind: skill", "kind: skil", "c.yaml:5:7: unknown value `skil`");
    refused("tags: [files]", "tags: files", "c.yaml:8:7");
    refused("owner:", "onwer:", "c.yaml:7:1: unknown key `onwer`");
    refused("owner: platform-team", "title: again", "c.yaml:7:1: duplicate key `title`");
    refused("risk: medium", "risk: mild", "c.yaml:18:7: unknown value `mild`");
    refused("net: []", "nets: []", "c.yaml:21:3: unknown key `nets`");
    refused("delete: []", "delete: [\"a[\"]", "c.yaml:20:3: `a[` is not a glob");
    refused("strategy: automatic", "strategy: magic", "c.yaml:24:13");
    refused(
        "strategy: automatic",
        "strategy: compensate",
        "c.yaml:24:3: strategy `compensate` needs",
    );
    refused(
        "strategy: automatic",
        "compensate: { use: a.b }",
        "c.yaml:24:3: `compensate` is accepted with strategy `compensate` only",
    );
    refused("confirm: policy", "confirm: maybe", "c.yaml:25:10");
    refused("timeout: 30s", "timeout: 30", "c.yaml:26:10");
    refused("attempts: 1", "attempts: 0", "c.yaml:27:8: `attempts` is out of range");
    refused("attempts: 1", "attempts: 101", "c.yaml:27:8");
    refused("idempotent: true", "idempotent: yes", "c.yaml:28:13");
    refused("builtin: fs.write", "magic: fs.write", "c.yaml:29:12: unknown value `magic`");
    refused("builtin: fs.write", "builtin: a, workflow: b", "c.yaml:29");
}

#[test]
fn confirm_never_is_for_little_risk_only() {
    for (risk, accepted) in [("low", true), ("medium", true), ("high", false), ("critical", false)]
    {
        let text = EXAMPLE.replace("risk: medium", &format!("risk: {risk}"));
        let text = text.replace("confirm: policy", "confirm: never");
        let read = Contract::from_yaml(&Source::new("c.yaml", text.as_bytes()));
        assert_eq!(read.is_ok(), accepted, "{risk}");
        if let Err(error) = read {
            assert!(error.to_string().starts_with("c.yaml:25:10: confirm `never`"), "{error}");
        }
    }
}

#[test]
fn a_schema_that_is_none_is_refused_at_its_place() {
    refused("type: string, maxLength: 100", "type: strnig", "c.yaml:10:3: the input schema is not");
    refused("type: integer", "type: 7", "c.yaml:17:9: the output schema is not");
    refused("\"^[a-z]*$\"", "\"(\"", "c.yaml:10:3: the input schema is not");
    let text = EXAMPLE.replace("type: string, maxLength: 100", "type: strnig");
    assert!(Contract::from_yaml_lazily(&Source::new("c.yaml", text.as_bytes())).is_ok());
}

#[test]
fn schemas_reach_for_nothing_outside() {
    for outside in
        ["http://example.org/s.json", "https://example.org/s", "file:///etc/passwd", "other.json"]
    {
        let schema = format!("$ref: \"{outside}\"");
        refused("type: string, maxLength: 100", &schema, "c.yaml:10:3: the input schema is not");
    }
    let text = EXAMPLE.replace("type: string, maxLength: 100", "$ref: \"#/properties/mode\"");
    assert!(contract(&text).check_input(&json!({"path": 7, "content": ""})).is_err());
}

#[test]
fn findings_name_the_place_and_no_value() {
    let contract = contract(EXAMPLE);
    assert_eq!(contract.check_input(&json!({"path": "a", "content": "abc"})), Ok(()));
    let secret = json!({"path": 4711, "content": "S3CRET!", "mode": null, "S3CRETKEY": "S3CRET!"});
    let findings = contract.check_input(&secret).expect_err("findings");
    let places: BTreeSet<_> = findings.iter().map(|finding| finding.at.as_str()).collect();
    assert_eq!(places, BTreeSet::from(["", "/content", "/mode", "/path"]));
    for finding in &findings {
        assert!(!finding.to_string().contains("S3CRET!"), "{finding}");
        assert!(!finding.to_string().contains("4711"), "{finding}");
    }
    let findings = contract.check_output(&json!({"bytes": "S3CRET!"})).expect_err("findings");
    assert_eq!(findings[0].at, "/bytes");
    assert!(!findings[0].to_string().contains("S3CRET!"), "{}", findings[0]);
}

#[test]
fn findings_are_few() {
    let text =
        EXAMPLE.replace("additionalProperties: false", "additionalProperties: { type: integer }");
    let input: serde_json::Map<_, _> = (0..100).map(|n| (format!("k{n}"), json!("x"))).collect();
    let findings = contract(&text).check_input(&input.into()).expect_err("findings");
    assert!((1..=8).contains(&findings.len()), "{}", findings.len());
}

#[test]
fn the_digest_is_of_the_meaning() {
    let digest = contract(EXAMPLE).digest();
    let mut blocks: Vec<String> = Vec::new();
    for line in EXAMPLE.lines() {
        match blocks.last_mut() {
            Some(block) if line.starts_with(' ') => *block = format!("{block}\n{line}"),
            _ => blocks.push(line.to_owned()),
        }
    }
    blocks.reverse();
    assert_eq!(contract(&blocks.join("\n")).digest(), digest, "the order of keys");
    let defaults =
        EXAMPLE.replace("confirm: policy\n", "").replace("undo:\n  strategy: automatic\n", "");
    assert_eq!(contract(&defaults).digest(), digest, "what is the default anyway");
    let mut seen = BTreeSet::from([digest]);
    for (from, to) in [
        ("id: fs.write", "id: fs.writes"),
        ("version: 1.0.0", "version: 1.0.1"),
        ("Write a text", "Write the text"),
        ("Create or replace", "Replace"),
        ("kind: skill", "kind: tool"),
        ("source: builtin", "source: local"),
        ("platform-team", "somebody"),
        ("tags: [files]", "tags: []"),
        ("maxLength: 100", "maxLength: 101"),
        ("type: integer", "type: number"),
        ("risk: medium", "risk: high"),
        ("read: [\"**\"]", "read: []"),
        ("write: [\"**\"]", "write: [\"src/**\"]"),
        ("delete: []", "delete: [\"**\"]"),
        ("net: []", "net: [example.org]"),
        ("process: []", "process: [git]"),
        ("strategy: automatic", "strategy: none"),
        ("confirm: policy", "confirm: always"),
        ("timeout: 30s", "timeout: 31s"),
        ("attempts: 1", "attempts: 2"),
        ("exponential", "constant"),
        ("initial: 200ms", "initial: 201ms"),
        ("max: 10s", "max: 11s"),
        ("idempotent: true", "idempotent: false"),
        ("builtin: fs.write", "builtin: fs.other"),
    ] {
        assert!(seen.insert(contract(&EXAMPLE.replacen(from, to, 1)).digest()), "{from} -> {to}");
    }
}

#[test]
fn pauses_grow_up_to_their_limit() {
    let retry = contract(EXAMPLE).retry;
    let pauses: Vec<_> = [1, 2, 3, 7, 60].into_iter().map(|n| retry.pause(n)).collect();
    assert_eq!(pauses, [200, 400, 800, 10_000, 10_000].map(Duration::from_millis));
}

/// A contract whose input is this schema.
fn of_input(schema: serde_json::Value) -> Result<Contract, String> {
    let text = serde_json::json!({
        "id": "a.b", "version": "1.0.0", "title": "T", "description": "D", "kind": "tool", "source": "local",
        "input": schema, "output": true, "risk": "low", "handler": { "builtin": "a.b" },
    });
    let text = text.to_string();
    Contract::from_yaml(&Source::new("c.yaml", text.as_bytes())).map_err(|error| error.to_string())
}

#[test]
fn formats_are_held_to_and_not_only_said() {
    for (format, good, bad) in [
        ("date-time", "2026-11-20T10:00:00Z", "yesterday"),
        ("date", "2026-11-20", "2026-13-40"),
        ("email", "ann@example.com", "ann at example"),
        ("uri", "https://example.com/", "not a uri"),
        ("uuid", "0190163d-8694-739b-aea5-966c26f8ad90", "0190163d"),
        ("ipv4", "127.0.0.1", "127.0.0.256"),
    ] {
        let contract = of_input(serde_json::json!({ "type": "string", "format": format })).unwrap();
        assert!(contract.check_input(&good.into()).is_ok(), "{format}");
        assert!(contract.check_input(&bad.into()).is_err(), "{format}");
    }
}

#[test]
fn a_pattern_takes_linear_time_and_bounded_memory() {
    let contract = of_input(serde_json::json!({ "type": "string", "pattern": "^(a+)+$" })).unwrap();
    // By backtracking this would not end.
    let text = format!("{}!", "a".repeat(100_000));
    assert!(contract.check_input(&text.into()).is_err());
    // Neither is what only backtracking can do accepted, nor what would be huge.
    for pattern in ["^(a)\\1$", "(?<=a)b", "((a{1000}){1000}){1000}"] {
        let refused = of_input(serde_json::json!({ "type": "string", "pattern": pattern }));
        let said = refused.expect_err(pattern);
        assert!(said.starts_with("c.yaml:1:"), "{said}");
    }
}
