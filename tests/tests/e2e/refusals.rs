//! What is refused: with which exit code, for which reason, and with nothing changed.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::place::{Place, message};
use crate::tree::{Tree, digest};

/// A place with a link that leads outside, and something there to be reached.
fn tempting() -> Place {
    let place = Place::initialised();
    let outside = place.beside("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("x"), "outside\n").unwrap();
    symlink(&outside, place.root.join("out")).unwrap();
    symlink(outside.join("x"), place.root.join("link")).unwrap();
    place.git(&["init", "--quiet"]);
    place.write(".env", "SECRET=1\n");
    place
}

/// Paths that nobody may write, and what the reason has to name beside the path.
const FORBIDDEN: &[(&str, &str)] = &[
    (".env", "paths.forbidden"),
    ("deep/.env", "paths.forbidden"),
    ("deep/.ENV", "paths.forbidden"),
    ("../x", ".."),
    ("a/../../x", ".."),
    ("/etc/x", "/"),
    ("out/x", "out"),
    ("link", "link"),
    (".git/hooks/x", ".git"),
    (".lictor/policy.yaml", ".lictor"),
    (".lictor/capabilities/mine.yaml", ".lictor"),
    (".lictor/lictor.db", ".lictor"),
    // Whoever stands below goes by the policy that lies there.
    ("deep/.lictor/policy.yaml", ".lictor"),
];

/// Refused with 2 or 3, the path and the rule named, nothing changed, and recorded.
#[track_caller]
fn assert_refused(place: &Place, arguments: &[&str], path: &str, rule: &str) {
    let (workspace, outside) = (place.tree(), Tree::touched(&place.beside("outside")));
    let refused = place.run(arguments).ends_with_one_of(&[2, 3]);
    assert_eq!(place.tree(), workspace, "{arguments:?} changed something");
    assert_eq!(Tree::touched(&place.beside("outside")), outside, "{arguments:?} reached outside");
    assert!(message(&refused).contains(path), "{arguments:?}: the path is not named: {refused}");
    let said = format!("{} {}", message(&refused), refused["decision"]);
    assert!(said.contains(rule), "{arguments:?}: the rule `{rule}` is not named: {refused}");
    let last = place.last_event();
    assert_eq!(last["event_type"], "action_rejected", "{arguments:?}: {last}");
    assert!(last["error_message"].as_str().unwrap().contains(path), "{arguments:?}: {last}");
}

#[test]
fn a_call_never_writes_a_forbidden_path() {
    let place = tempting();
    for (path, rule) in FORBIDDEN {
        let path_pair = format!("path={path}");
        assert_refused(&place, &["call", "fs.write", &path_pair, "content=x"], path, rule);
    }
    place.verify();
}

#[test]
fn a_sealed_change_set_never_writes_a_forbidden_path() {
    let place = tempting();
    for (path, rule) in FORBIDDEN {
        let changes = json!([{ "op": "create", "path": path, "content": "x" }]);
        let document = place.document("sealed.json", sealed_by_hand(&changes).to_string());
        assert_refused(&place, &["apply", &document], path, rule);
    }
}

/// As an attacker seals, who does not ask our tool.
fn sealed_by_hand(changes: &Value) -> Value {
    let plan = "pln_01a1f87195887d508e144ffac6a323e7";
    json!({
        "plan": { "id": plan, "intent": "x", "risk": "low" },
        "change_set": {
            "id": "chg_01a1f87195887d508e144ffac6a323e7", "plan_id": plan, "changes": changes,
            // The keys of these objects come out sorted, which is all that RFC 8785 asks here.
            "checksum": digest(changes.to_string().as_bytes()),
        },
    })
}

#[test]
fn a_bare_change_set_never_touches_a_forbidden_path() {
    let place = tempting();
    for (path, rule) in FORBIDDEN {
        for change in [
            json!({ "op": "create", "path": path, "content": "x" }),
            json!({ "op": "delete", "path": path, "before": digest(b"outside\n") }),
            json!({ "op": "rename", "path": path, "to": "mine", "before": digest(b"outside\n") }),
            json!({ "op": "chmod", "path": path, "before_mode": "0644", "mode": "0755" }),
            json!({ "op": "mkdir", "path": path }),
        ] {
            // Of a link itself much may be said; through it nothing goes.
            if *path == "link" && change["op"] != "create" {
                continue;
            }
            let document = place.document("bare.json", json!({ "changes": [change] }).to_string());
            assert_refused(&place, &["apply", &document], path, rule);
        }
    }
}

#[test]
fn a_diff_never_touches_a_forbidden_path() {
    let place = tempting();
    for (path, rule) in FORBIDDEN {
        let new = format!(
            "diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n\
             @@ -0,0 +1 @@\n+x\n"
        );
        let document = place.document("new.diff", new);
        assert_refused(&place, &["apply", &document], path, rule);
        if matches!(*path, "out/x" | ".env") {
            let old = if *path == ".env" { "SECRET=1" } else { "outside" };
            let edit = format!("--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-{old}\n+x\n");
            let document = place.document("edit.diff", edit);
            assert_refused(&place, &["apply", &document], path, rule);
        }
    }
}

#[test]
fn one_forbidden_path_refuses_the_whole_change() {
    let place = tempting();
    let changes = json!([
        { "op": "create", "path": "fine.txt", "content": "fine" },
        { "op": "create", "path": "sub/.env", "content": "x" },
    ]);
    let document = place.seal("mixed.json", &changes);
    assert_refused(&place, &["apply", &document], "sub/.env", "paths.forbidden");
    assert!(!place.exists("fine.txt"));
}

#[test]
fn a_forbidden_file_is_not_read_either() {
    let place = tempting();
    for capability in ["fs.read", "fs.hash"] {
        assert_refused(&place, &["call", capability, "path=.env"], ".env", "paths.forbidden");
    }
    assert_refused(&place, &["call", "fs.copy", "from=.env", "to=mine"], ".env", "paths.forbidden");
    // A wrong guess about its content is answered like a right one.
    let guess =
        place.document("guess.diff", "--- a/.env\n+++ b/.env\n@@ -1 +1 @@\n-SECRET=2\n+x\n");
    assert_refused(&place, &["apply", &guess], ".env", "paths.forbidden");
}

#[test]
fn a_tampered_checksum_is_an_integrity_failure() {
    let place = Place::new();
    let sealed = place.seal("a.json", &json!([{ "op": "create", "path": "a", "content": "good" }]));
    let text = std::fs::read_to_string(&sealed).unwrap();
    let document = place.document("evil.json", text.replace("good", "evil"));
    let before = place.tree();
    let refused = place.run(&["apply", &document]).ends(6, "integrity");
    assert!(message(&refused).contains("sha256:"), "{refused}");
    assert_eq!(place.tree(), before);
    let last = place.last_event();
    assert_eq!(last["event_type"], "action_rejected");
}

#[test]
fn a_stale_before_is_a_conflict() {
    let place = Place::new();
    place.write("a.txt", "now\n");
    place.write("gone.txt", "now\n");
    let stale = digest(b"then\n");
    let before = place.tree();
    for change in [
        json!({ "op": "modify", "path": "a.txt", "before": stale, "content": "new" }),
        json!({ "op": "delete", "path": "a.txt", "before": stale }),
        json!({ "op": "rename", "path": "a.txt", "to": "b.txt", "before": stale }),
        json!({ "op": "create", "path": "a.txt", "content": "new" }),
        json!({ "op": "modify", "path": "missing.txt", "before": stale, "content": "new" }),
        json!({ "op": "chmod", "path": "a.txt", "before_mode": "0700", "mode": "0755" }),
    ] {
        let changes = json!([{ "op": "create", "path": "first.txt", "content": "x" }, change]);
        let document = place.seal("stale.json", &changes);
        let refused = place.run(&["apply", &document]).ends(5, "conflict");
        assert!(message(&refused).contains(".txt"), "{refused}");
        assert_eq!(place.tree(), before);
        let last = place.last_event();
        assert_eq!(last["event_type"], "action_rejected");
    }
    let diff = place.document("stale.diff", "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-then\n+new\n");
    place.run(&["apply", &diff]).ends(5, "conflict");
    assert_eq!(place.tree(), before);
    place.verify();
}

#[test]
fn an_undo_never_overwrites_somebody_elses_work() {
    let place = Place::new();
    let sealed = place.seal(
        "a.json",
        &json!([
            { "op": "create", "path": "a.txt", "content": "a" },
            { "op": "create", "path": "b.txt", "content": "b" },
        ]),
    );
    place.run(&["apply", &sealed]).done();
    place.write("b.txt", "a person's");
    let before = place.tree();
    place.run(&["undo"]).ends(5, "conflict");
    assert_eq!(place.tree(), before);
    let types: Vec<_> = place.trail().iter().map(|event| event["event_type"].clone()).collect();
    assert!(types.contains(&json!("undo_conflict")), "{types:?}");
}

/// An undo is judged by the policy of its day, as the writing that it is; and it is recorded and
/// can itself be undone.
#[test]
fn undo_is_governed() {
    let place = Place::new();
    place.run(&["call", "fs.write", "path=notes/a.txt", "content=x"]).done();
    let policy = place.read(".lictor/policy.yaml");
    let strict = "version: 1\ndefault: deny\npaths:\n  forbidden: [\"notes/**\"]\n";
    place.write(".lictor/policy.yaml", strict);
    let before = place.tree();
    place.run(&["undo"]).ends(3, "denied");
    assert_eq!(place.tree(), before);

    place.write(".lictor/policy.yaml", &policy);
    let undone = place.run(&["undo"]).done();
    assert_eq!(undone["status"], "undone");
    let types: Vec<_> = place.trail().iter().map(|event| event["event_type"].clone()).collect();
    assert!(types.contains(&json!("action_rejected")) && types.contains(&json!("undo_completed")));
    place.run(&["redo"]).done();
    assert_eq!(place.read("notes/a.txt"), "x");
}

#[test]
fn every_refusal_and_every_success_stands_in_the_exported_trail() {
    let place = tempting();
    place.run(&["call", "fs.write", "path=.env", "content=x"]).ends(3, "denied");
    place.run(&["call", "fs.write", "path=../x", "content=x"]).ends_with_one_of(&[2, 3]);
    place.run(&["call", "no.such", "path=x"]).ends(2, "not_found");
    let broken = place.document("broken.json", "{");
    place.run(&["apply", &broken]).ends(2, "invalid_input");
    let applied = place.run(&["call", "fs.write", "path=a", "content=x"]).done();
    place.run(&["undo"]).done();
    let trail = place.trail();
    let count = |kind: &str| trail.iter().filter(|event| event["event_type"] == kind).count();
    assert_eq!(count("action_rejected"), 4);
    assert_eq!(count("action_completed"), 2);
    assert_eq!(count("undo_completed"), 1);
    let done = trail.iter().find(|event| event["event_type"] == "action_completed").unwrap();
    assert_eq!(done["execution_id"], applied["execution_id"]);
    assert_eq!(done["decision_id"], applied["decision"]["id"]);
    place.verify();
}
