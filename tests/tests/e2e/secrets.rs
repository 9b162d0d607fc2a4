//! `secrets_stay_out`: where what was given ends up: only where it has to.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::place::Place;

/// Every file below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// The files of Lictor, in the workspace and in the home, that hold a text.
pub(crate) fn holders(place: &Place, text: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    files(&place.root.join(".lictor"), &mut all);
    files(&place.home(), &mut all);
    place.trail();
    files(&place.beside(""), &mut all);
    let given = |path: &Path| path.starts_with(place.beside("given"));
    all.retain(|path| {
        let bytes = fs::read(path).unwrap();
        let holds = bytes.windows(text.len()).any(|window| window == text.as_bytes());
        holds && !given(path)
    });
    all
}

#[track_caller]
pub(crate) fn assert_nowhere(place: &Place, text: &str) {
    let found = holders(place, text);
    assert!(found.is_empty(), "{found:?}");
}

const CANARY: &str = "canary-6f1d0c2e-hunter2";

#[test]
fn what_is_written_is_kept_nowhere_else() {
    let place = Place::new();
    let pair = format!("content={CANARY}");
    place.run(&["call", "fs.write", "path=a", &pair]).done();
    assert_nowhere(&place, CANARY);
    // Once it is overwritten, the undo record has to hold it, and nothing else does.
    place.run(&["call", "fs.write", "path=a", "content=other"]).done();
    let found = holders(&place, CANARY);
    let slots = place.root.join(".lictor/tx");
    assert!(!found.is_empty() && found.iter().all(|path| path.starts_with(&slots)), "{found:?}");
    assert!(found.iter().all(|path| path.parent().unwrap().ends_with("s")), "{found:?}");
}

#[test]
fn what_is_refused_is_kept_nowhere() {
    let place = Place::new();
    let pair = format!("content={CANARY}");
    place.run(&["call", "fs.write", "path=no/a", &pair]).ends(3, "denied");
    place.run(&["call", "fs.write", "path=../a", &pair]).ends_with_one_of(&[2, 3]);
    place.run(&["call", "fs.write", "path=a", &pair, "colour=red"]).ends(2, "invalid_input");
    let input = json!({ "path": "a", "content": CANARY, "content_base64": "eA==" }).to_string();
    place.run(&["call", "fs.write", "--input", &input]).ends(2, "invalid_input");
    assert_nowhere(&place, CANARY);
}

#[test]
fn a_change_set_and_a_diff_are_kept_nowhere() {
    let place = Place::new();
    fs::create_dir(place.beside("given")).unwrap();
    let changes = json!({ "changes": [{ "op": "create", "path": "a", "content": CANARY }] });
    let document = place.document("given/a.json", changes.to_string());
    place.run(&["apply", &document]).done();
    let diff = format!("--- /dev/null\n+++ b/b\n@@ -0,0 +1 @@\n+{CANARY}\n");
    let diff = place.document("given/b.diff", diff);
    place.run(&["apply", &diff]).done();
    let broken = place.document("given/c.json", format!("{{ \"changes\": [\"{CANARY}\"] }}"));
    place.run(&["apply", &broken]).ends(2, "invalid_input");
    assert_nowhere(&place, CANARY);
}

#[test]
fn secret_looking_inputs_are_sealed() {
    let place = Place::new();
    for key in ["password", "api_key", "token", "Authorization", "cookie"] {
        let input = json!({ "template": "x", "variables": { key: CANARY } }).to_string();
        place.run(&["call", "text.render", "--input", &input]).done();
    }
    assert_nowhere(&place, CANARY);
}

#[test]
fn what_the_policy_redacts_is_in_no_event() {
    let policy = "version: 1\ndefault: deny\npaths: { allowed: ['**'] }\n\
                  audit: { redact: ['(?i)x-internal', 'cus_[0-9]+'] }\n";
    let place = Place::with_policy(policy);
    let variables = json!({ "X-Internal-Id": CANARY, "customer": format!("cus_42 {CANARY}") });
    let input = json!({ "template": "x", "variables": variables }).to_string();
    place.run(&["call", "text.render", "--input", &input]).done();
    assert_nowhere(&place, CANARY);
}

/// What people are asked about has to be kept, or they could not be shown it: in the database, for
/// as long as they are asked. Of secrets not even then anything but their digest.
#[test]
fn what_was_judged_is_kept_while_people_are_asked_and_nowhere_afterwards() {
    let place = Place::new();
    let pair = format!("content={CANARY}");
    let call = ["call", "fs.write", "path=ask/a", pair.as_str()];
    for settle in ["approve", "deny", "cancel"] {
        place.run(&call).ends(4, "approval_required");
        let id = place.waiting();
        let shown = place.run(&["approvals", "show", &id]).done();
        assert!(shown["action"].to_string().contains("sealed"), "{shown}");
        assert!(shown["view"].as_str().unwrap().contains(CANARY), "{shown}");
        let database = place.root.join(".lictor/lictor.db");
        let found = holders(&place, CANARY);
        let ours = |path: &PathBuf| path.to_str().unwrap().starts_with(database.to_str().unwrap());
        assert!(!found.is_empty() && found.iter().all(ours), "{found:?}");
        place.run_as_approver(&["approvals", settle, &id, "--reason", "x"]).done();
        if settle == "approve" {
            place.run(&call).done();
            std::fs::remove_file(place.root.join("ask/a")).unwrap();
        }
        assert_nowhere(&place, CANARY);
        let settled = place.run(&["approvals", "show", &id]).done();
        assert!(settled.get("view").is_none(), "{settled}");
    }
}

#[test]
fn a_secret_is_kept_in_clear_not_even_while_people_are_asked() {
    let policy = "version: 1\nrules: [{ name: all, when: { capability: '*' }, verdict: need_approval }]\n\
                  audit: { redact: ['cus_[0-9]+'] }\n";
    let place = Place::with_policy(policy);
    let variables = json!({ "password": CANARY, "customer": format!("cus_42 {CANARY}") });
    let input = json!({ "template": "x", "variables": variables }).to_string();
    place.run(&["call", "text.render", "--input", &input]).ends(4, "approval_required");
    let id = place.waiting();
    let shown = place.run(&["approvals", "show", &id]).done();
    assert!(
        shown["view"].as_str().unwrap().contains("\"password\": (not shown, sha256:"),
        "{shown}"
    );
    assert!(!shown.to_string().contains(CANARY), "{shown}");
    assert_nowhere(&place, CANARY);
    place.run_as_approver(&["approvals", "approve", &id]).done();
    place.run(&["call", "text.render", "--input", &input]).done();
}

/// Every place in a schema where a text may stand, each with an input that has `text` there and as
/// little as possible elsewhere.
fn inputs_with(schema: &Value, text: &str) -> Vec<Value> {
    let plain = |schema: &Value| match schema["type"].as_str() {
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => schema["enum"].get(0).cloned().unwrap_or_else(|| json!("a")),
    };
    let Some(properties) = schema["properties"].as_object() else {
        return vec![json!({ "any": text, text: "as a key" })];
    };
    let needed: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let base: serde_json::Map<String, Value> = properties
        .iter()
        .filter(|(name, _)| needed.contains(&name.as_str()))
        .map(|(name, schema)| (name.clone(), plain(schema)))
        .collect();
    let mut all = Vec::new();
    for (name, schema) in properties {
        let values = match schema["type"].as_str() {
            Some("array") => {
                let mut items: Vec<Value> = match schema["items"]["type"].as_str() {
                    Some("object") => inputs_with(&schema["items"], text),
                    _ => vec![json!(text)],
                };
                items.push(json!([[[text]]]));
                items.into_iter().map(|item| json!([item])).collect()
            }
            Some("object") => inputs_with(schema, text),
            _ => vec![json!(text), json!({ "deep": [text] })],
        };
        for value in values {
            let mut input = base.clone();
            input.insert(name.clone(), value);
            all.push(Value::Object(input));
        }
    }
    all
}

/// A secret that was declared, in every field of every builtin's input, in the forms in which it
/// travels: it stands in no file of ours, in no export or report, and on no terminal.
#[test]
fn a_declared_secret_in_any_field_of_any_builtin_is_found_nowhere() {
    const SECRET: &str = "canary/8d2f+hunter2?x=\"7\"";
    let place = Place::new();
    place.write("a", "text\n");
    // In base64 behind one byte, so that the digits are others than the secret's own.
    let encoded = "eGNhbmFyeS84ZDJmK2h1bnRlcjI/eD0iNyI=";
    let both = format!("{SECRET} {encoded}");
    let list = place.run(&["capability", "list"]).done();
    let ids: Vec<String> = list["capabilities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(ids.len() > 10, "{list}");
    let mut shown = String::new();
    let mut said = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env("LICTOR_SECRET_CANARY", SECRET);
        let output = command.output().unwrap();
        shown.push_str(&String::from_utf8_lossy(&output.stdout));
        shown.push_str(&String::from_utf8_lossy(&output.stderr));
    };
    let mut calls = 0;
    for id in &ids {
        let contract = place.run(&["capability", "show", id]).done();
        let schema = contract.pointer("/contract/input").unwrap_or(&contract["input"]).clone();
        for input in inputs_with(&schema, &both) {
            said(&["call", id, "--input", &input.to_string(), "--json"]);
            calls += 1;
        }
        // As the value of a header, and within an error text of a parser.
        let headers = json!({ "headers": { "Authorization": format!("Bearer {SECRET}") } });
        said(&["call", id, "--input", &headers.to_string()]);
        said(&["call", id, "--input", &format!("{{\"a\": {SECRET}")]);
    }
    assert!(calls > 2 * ids.len(), "{calls}");
    said(&["audit", "query"]);
    said(&["audit", "tail"]);
    said(&["log"]);
    let page = place.beside("report.html");
    said(&["audit", "report", "--html", page.to_str().unwrap()]);
    for format in ["cloudevents", "ocsf", "otlp"] {
        let out = place.beside(format);
        said(&["audit", "export", out.to_str().unwrap(), "--format", format]);
        assert!(out.exists(), "{format}");
    }
    place.verify();
    for needle in ["canary/8d2f", "8d2f+hunter2", "Y2FuYXJ5Lzhk", "NhbmFyeS84ZDJ", "63616e6172792f"]
    {
        // A file that held it and was written over: the undo record has to hold that content, and
        // is the one thing that does.
        let tx = place.root.join(".lictor/tx");
        let undo = |path: &Path| {
            let slot = path.parent().is_some_and(|parent| parent.ends_with("s"));
            path.starts_with(&tx) && (slot || path.ends_with("base"))
        };
        let found = holders(&place, needle);
        assert!(found.iter().all(|path| undo(path)), "{needle}: {found:?}");
        let at = shown.find(needle);
        assert_eq!(at.map(|at| &shown[at.saturating_sub(200)..at]), None, "{needle} was shown");
    }
}
