//! A change document is what its author sealed, or it is refused.

use lictor_capability::{
    Change, ChangeDocument, ChangeDocumentError, ChangeSetError, FileMode, Plan, Risk,
};
use lictor_context::{Digest, PlanId};
use lictor_document::{Limits, Source};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{
    body, chmod, create, delete, digest, mkdir, modify, path, rename, rmdir, symlink,
};

fn read(text: &str) -> Result<ChangeDocument, ChangeDocumentError> {
    ChangeDocument::from_json(&Source::new("c.json", text.as_bytes()), &Limits::default())
}

#[track_caller]
fn refused(text: &str, message: &str) {
    let error = read(text).expect_err("a refusal").to_string();
    assert!(error.starts_with("c.json"), "{error}");
    assert!(error.contains(message), "{error}");
}

fn every_operation() -> Vec<Change> {
    vec![
        create("notes/a.txt", "hello\n"),
        Change::Create {
            path: path("b"),
            content: body(b"\xff"),
            mode: Some(FileMode::from_bits(0o600)),
        },
        modify("src/ü.rs", "old", "new \u{1}\"\\ \u{1f600}\n"),
        delete("old.txt", "x"),
        rename("b.txt", "c.txt", "y"),
        chmod("run.sh", 0o644, 0o755),
        mkdir("new/dir"),
        rmdir("empty/dir"),
        symlink("latest", "v2"),
    ]
}

/// RFC 8785 for what change sets are made of: objects, lists and strings. Keys are ASCII here.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort();
            let entry =
                |key: &String| format!("{}:{}", canonical(&json!(key)), canonical(&map[key]));
            format!("{{{}}}", keys.into_iter().map(entry).collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        Value::String(text) => {
            let mut out = String::from("\"");
            for c in text.chars() {
                match c {
                    '"' => out.push_str("\\\""),
                    '\\' => out.push_str("\\\\"),
                    '\u{8}' => out.push_str("\\b"),
                    '\t' => out.push_str("\\t"),
                    '\n' => out.push_str("\\n"),
                    '\u{c}' => out.push_str("\\f"),
                    '\r' => out.push_str("\\r"),
                    c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
                    c => out.push(c),
                }
            }
            out + "\""
        }
        other => panic!("{other} is in no change set"),
    }
}

#[test]
fn a_sealed_document_verifies() {
    let sealed = ChangeDocument::seal(None, every_operation()).unwrap();
    let again = read(&sealed.to_json().to_string()).unwrap();
    assert_eq!(again.change_set, sealed.change_set);
    assert_eq!(again.change_set.changes(), every_operation());
    assert!(sealed.derived_plan_id && !again.derived_plan_id);
}

#[test]
fn the_example_of_the_formats_is_read() {
    let changes = json!([
        { "op": "create",  "path": "notes/a.txt", "content": "hello\n", "mode": "0644" },
        { "op": "modify",  "path": "src/date.rs", "before": digest("a"), "content": "…" },
        { "op": "delete",  "path": "old.txt",     "before": digest("b") },
        { "op": "rename",  "path": "b.txt", "to": "c.txt", "before": digest("c") },
        { "op": "chmod",   "path": "run.sh", "before_mode": "0644", "mode": "0755" },
        { "op": "mkdir",   "path": "new/dir" },
        { "op": "rmdir",   "path": "empty/dir" },
        { "op": "symlink", "path": "latest", "target": "v2" }
    ]);
    let checksum = Digest::of(canonical(&changes).as_bytes());
    let text = json!({
        "plan": {
            "id": "pln_1", "intent": "fix the date parser", "objective": "accept RFC 3339 offsets",
            "rationale": "…", "affected_paths": ["src/date.rs"], "risk": "medium",
            "verification": ["unit-tests"], "rollback_plan": "undo this execution",
            "health_checks": ["api"], "created_by": "agent:planner",
            "created_at": "2026-11-20T10:00:00.000000Z", "confidence": 0.8, "dependencies": []
        },
        "change_set": { "id": "chg_1", "plan_id": "pln_1", "changes": changes, "checksum": checksum }
    });
    let document = read(&text.to_string()).unwrap();
    assert_eq!(document.plan.risk, Risk::Medium);
    assert_eq!(document.change_set.id().as_str(), "chg_1");
    assert_eq!(document.change_set.changes().len(), 8);
    assert_eq!(document.change_set.checksum(), checksum);
    assert_eq!(document.to_json()["change_set"]["checksum"], json!(checksum));
}

#[test]
fn the_checksum_is_over_the_changes_as_they_are_written() {
    // Text that was written in base64 stays so, and keys may come in any order.
    let text = r#"{"changes": [
        {"path": "a", "mode": "0600", "content_base64": "aGk=", "op": "create"},
        {"op": "create", "path": "b", "content": "\u0068i\u00e9\/\u007f\b"}]}"#;
    let raw: Value = serde_json::from_str(text).unwrap();
    let document = read(text).unwrap();
    let expected = Digest::of(canonical(&raw["changes"]).as_bytes());
    assert_eq!(document.change_set.checksum(), expected);
    assert_eq!(document.to_json()["change_set"]["changes"], raw["changes"]);
    for change in every_operation() {
        let out = ChangeDocument::seal(None, vec![change]).unwrap().to_json();
        let expected = Digest::of(canonical(&out["change_set"]["changes"]).as_bytes());
        assert_eq!(out["change_set"]["checksum"], json!(expected));
    }
}

#[test]
fn ids_that_are_missing_come_from_the_content() {
    let text = r#"{"changes": [{"op": "mkdir", "path": "a"}]}"#;
    let (one, two) = (read(text).unwrap(), read(text).unwrap());
    assert_eq!(one, two);
    assert!(one.derived_plan_id);
    assert_eq!(one.plan.id, *one.change_set.plan_id());
    let other = read(r#"{"changes": [{"op": "mkdir", "path": "b"}]}"#).unwrap();
    assert_ne!(one.change_set.id(), other.change_set.id());
    let named =
        read(r#"{"id": "chg_7", "plan_id": "pln_7", "changes": [{"op": "mkdir", "path": "a"}]}"#);
    let named = named.unwrap();
    assert_eq!((named.change_set.id().as_str(), named.plan.id.as_str()), ("chg_7", "pln_7"));
    assert!(!named.derived_plan_id);
}

#[test]
fn a_change_set_belongs_to_its_plan() {
    let text = r#"{"plan": {"id": "pln_1"}, "change_set": {"plan_id": "pln_2", "changes": [{"op": "mkdir", "path": "a"}]}}"#;
    let error = read(text).expect_err("another plan");
    let ChangeDocumentError::Invalid { error, .. } = error else { panic!("{error}") };
    assert!(matches!(error, ChangeSetError::OtherPlan { .. }), "{error}");
    let plan = Plan::bare(PlanId::parse("pln_1").unwrap());
    let sealed = ChangeDocument::seal(Some(plan), vec![mkdir("a")]).unwrap();
    assert_eq!(sealed.change_set.plan_id().as_str(), "pln_1");
}

#[test]
fn shapes_that_are_no_document_are_refused() {
    refused("{}", "no changes; accepted");
    refused(r#"{"changes": []}"#, "at least one");
    refused(r#"{"changes": [], "change_set": {"changes": []}}"#, "give one");
    refused(r#"{"id": "chg_1", "change_set": {"changes": []}}"#, "give one");
    refused(
        r#"{"changes": [{"op": "mkdir", "path": "a"}], "extra": 1}"#,
        "c.json:1:45: unknown key `extra`",
    );
    refused(
        r#"{"changes": [{"op": "mkdir", "path": "a", "pth": 1}]}"#,
        "c.json:1:43: unknown key `pth`",
    );
    refused(
        r#"{"changes": [{"op": "mkdir", "path": "a", "path": "b"}]}"#,
        "c.json:1:43: duplicate key `path`",
    );
    refused(r#"{"changes": [{"path": "a"}]}"#, "missing key `op`");
    refused(
        r#"{"plan": {}, "change_set": {"changes": [{"op": "mkdir", "path": "a"}]}}"#,
        "missing key `id`",
    );
    refused(
        r#"{"changes": [{"op": "mkdir", "path": "a"}], "checksum": "sha256:0"}"#,
        "is not a digest",
    );
}

#[test]
fn operations_take_their_own_fields_and_no_others() {
    let one =
        |fields: &str| format!(r#"{{"changes": [{{"op": "mkdir", "path": "z"}}, {{{fields}}}]}}"#);
    let hash = digest("").to_string();
    refused(
        &one(r#""op": "crate", "path": "a""#),
        "changes[1]: unknown op `crate`; accepted: create, modify",
    );
    refused(
        &one(r#""op": "create", "path": "a""#),
        "changes[1]: field `content` is missing; `create` takes op, path, content, mode",
    );
    refused(&one(r#""op": "mkdir""#), "changes[1]: field `path` is missing");
    refused(&one(r#""op": "mkdir", "path": null"#), "`path`");
    refused(
        &one(r#""op": "mkdir", "path": "a", "content": """#),
        "changes[1]: field `content` is not accepted here",
    );
    refused(
        &one(r#""op": "mkdir", "path": "a", "mode": null"#),
        "c.json:1:81: found nothing (null)",
    );
    refused(&one(r#""op": "create", "path": "a", "content": null"#), "found nothing (null)");
    refused(
        &one(r#""op": "create", "path": "a", "content": "", "content_base64": """#),
        "give either",
    );
    refused(
        &one(r#""op": "create", "path": "a", "content_base64": "aGk""#),
        "not padded standard base64",
    );
    refused(&one(r#""op": "create", "path": "a", "content_base64": "aGl=""#), "base64");
    refused(&one(r#""op": "create", "path": "../a", "content": """#), "`..` is not accepted");
    refused(
        &one(r#""op": "create", "path": "a", "content": "", "mode": "644""#),
        "four octal digits",
    );
    refused(&one(r#""op": "create", "path": "a", "content": "", "mode": "4755""#), "set-id");
    refused(&one(r#""op": "create", "path": "a", "content": "", "mode": 420"#), "the number `420`");
    refused(
        &one(&format!(r#""op": "rename", "path": "a", "before": "{hash}""#)),
        "field `to` is missing",
    );
    refused(
        &one(r#""op": "chmod", "path": "a", "mode": "0644""#),
        "field `before_mode` is missing",
    );
    refused(&one(r#""op": "symlink", "path": "a""#), "field `target` is missing");
    refused(&one(r#""op": "delete", "path": "a""#), "field `before` is missing");
    refused(
        &one(&format!(
            r#""op": "modify", "path": "a", "before": "{}", "content": """#,
            hash.to_uppercase()
        )),
        "is not a digest",
    );
}

/// Every string below `value`, as a path of keys and indices.
fn strings(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| strings(value, &format!("{at}/{key}"), out))
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, value)| strings(value, &format!("{at}/{index}"), out)),
        Value::String(_) => out.push(at.to_owned()),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_byte_of_a_sealed_change_can_change(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), with in any::<char>()) {
        let sealed = ChangeDocument::seal(None, every_operation()).unwrap().to_json();
        let mut places = Vec::new();
        strings(&sealed["change_set"]["changes"], "/change_set/changes", &mut places);
        let place = &places[which.index(places.len())];
        let mut forged = sealed.clone();
        let field = forged.pointer_mut(place).unwrap();
        let mut text: Vec<char> = field.as_str().unwrap().chars().collect();
        let at = at.index(text.len());
        prop_assume!(text[at] != with);
        text[at] = with;
        *field = json!(text.into_iter().collect::<String>());
        prop_assert!(read(&forged.to_string()).is_err(), "{place} became {}", forged.pointer(place).unwrap());
    }

    #[test]
    fn the_order_of_sealed_changes_counts(order in Just((0..9).collect::<Vec<usize>>()).prop_shuffle()) {
        prop_assume!(order.windows(2).any(|pair| pair[0] > pair[1]));
        let mut sealed = ChangeDocument::seal(None, every_operation()).unwrap().to_json();
        let changes = sealed["change_set"]["changes"].clone();
        sealed["change_set"]["changes"] = order.iter().map(|index| changes[*index].clone()).collect();
        let error = read(&sealed.to_string()).expect_err("another order");
        prop_assert!(error.to_string().contains("the checksum does not fit"), "{}", error);
    }
}
