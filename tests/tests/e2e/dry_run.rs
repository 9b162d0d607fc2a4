//! `--dry-run` and `check` say what would happen, and change nothing.

use serde_json::{Value, json};

use crate::place::{Place, has};
use crate::tree::digest;

/// Runs it and wants the whole workspace and the trail as they were.
#[track_caller]
fn changes_nothing(place: &Place, arguments: &[&str], code: i32) -> Value {
    let (tree, events) = (place.tree(), place.n_events());
    let log = place.run(&["log", "--limit", "1000"]).done();
    let answer = place.run_as_approver(arguments).ends_with_one_of(&[code]);
    assert_eq!(place.tree(), tree, "{arguments:?} changed the workspace");
    assert_eq!(place.n_events(), events, "{arguments:?} recorded something");
    assert_eq!(place.run(&["log", "--limit", "1000"]).done(), log);
    answer
}

#[test]
fn init_only_says_what_it_would_make() {
    let place = Place::bare();
    let answer = place.run(&["init", "--dry-run"]).done();
    has(&answer, &["workspace", "created", "approver_token"]);
    assert!(!answer["created"].as_array().unwrap().is_empty());
    assert_eq!(answer["approver_token"], Value::Null);
    assert!(!place.exists(".lictor"));
    assert!(std::fs::read_dir(place.home()).unwrap().next().is_none());
}

#[test]
fn apply_and_call_only_judge() {
    let place = Place::new();
    place.write("a.txt", "a");
    let fine = place.seal("fine.json", &json!([{ "op": "create", "path": "b", "content": "b" }]));
    let asks =
        place.seal("asks.json", &json!([{ "op": "create", "path": "ask/b", "content": "b" }]));
    let no = place.seal("no.json", &json!([{ "op": "create", "path": "no/b", "content": "b" }]));
    let stale = place.seal(
        "stale.json",
        &json!([
            { "op": "delete", "path": "a.txt", "before": digest(b"b") },
        ]),
    );
    for (document, code) in [(&fine, 0), (&asks, 4), (&no, 3), (&stale, 5)] {
        let answer = changes_nothing(&place, &["apply", document, "--dry-run"], code);
        has(&answer["decision"], &["verdict", "risk_effective", "reasons", "action_digest"]);
        let checked = changes_nothing(&place, &["check", "apply", document], code);
        assert_eq!(answer["decision"]["action_digest"], checked["decision"]["action_digest"]);
        changes_nothing(&place, &["apply", document, "--dry-run", "--approve"], code);
    }
    for (path, code) in [("b", 0), ("ask/b", 4), ("no/b", 3)] {
        let pair = format!("path={path}");
        let call = ["call", "fs.write", &pair, "content=x", "--dry-run"];
        has(&changes_nothing(&place, &call, code), &["decision"]);
        changes_nothing(&place, &["check", "call", "fs.write", &pair, "content=x"], code);
    }
    let approvals = place.run(&["approvals", "list", "--all"]).done();
    assert_eq!(approvals["approvals"], json!([]), "asking in vain makes no request");
}

#[test]
fn checking_what_was_applied_already_records_nothing() {
    let place = Place::new();
    let diff = place.document("d.diff", "--- /dev/null\n+++ b/d.txt\n@@ -0,0 +1 @@\n+d\n");
    place.run(&["apply", &diff]).done();
    let answer = changes_nothing(&place, &["check", "apply", &diff], 0);
    assert_eq!(answer["status"], "duplicate");
}

#[test]
fn undo_and_redo_only_judge() {
    let place = Place::new();
    for content in ["1", "2"] {
        place.run(&["call", "fs.write", "path=a", &format!("content={content}")]).done();
    }
    has(&changes_nothing(&place, &["undo", "--dry-run"], 0), &["decision", "files"]);
    // The second is undone first, so the first finds what it left.
    changes_nothing(&place, &["undo", "--last", "2", "--dry-run"], 0);
    place.run(&["undo"]).done();
    has(&changes_nothing(&place, &["redo", "--dry-run"], 0), &["decision"]);
    place.write("a", "a person's");
    changes_nothing(&place, &["undo", "--last", "1", "--dry-run"], 5);
}

#[test]
fn a_workflow_is_only_judged() {
    let place = Place::new();
    let workflow = |path: &str| {
        format!(
            "id: w\nversion: 1.0.0\ntitle: W\nsteps:\n  - id: write\n    use: fs.write\n    \
             with: {{ path: {path}, content: x }}\n"
        )
    };
    for (path, code) in [("b", 0), ("ask/b", 4), ("no/b", 3)] {
        let file = place.document("w.workflow.yaml", workflow(path));
        has(&changes_nothing(&place, &["run", &file, "--dry-run"], code), &["decision", "steps"]);
        changes_nothing(&place, &["check", "run", &file], code);
    }
    assert_eq!(place.run(&["workflow", "list"]).done()["runs"], json!([]));
}

#[test]
fn people_and_their_answers_are_left_alone() {
    let place = Place::new();
    place.run(&["call", "fs.write", "path=ask/b", "content=x"]).ends(4, "approval_required");
    let id = place.waiting();
    let before = place.run(&["approvals", "show", &id]).done();
    for verb in ["approve", "deny"] {
        changes_nothing(&place, &["approvals", verb, &id, "--dry-run"], 0);
    }
    assert_eq!(place.run(&["approvals", "show", &id]).done(), before);
    let people = place.run(&["approvers", "list"]).done();
    let me = people["approvers"][0]["name"].as_str().unwrap();
    changes_nothing(&place, &["approvers", "add", "bob", "--dry-run"], 0);
    changes_nothing(&place, &["approvers", "revoke", me, "--dry-run"], 0);
    assert_eq!(place.run(&["approvers", "list"]).done(), people);
}

#[test]
fn recovery_and_the_lock_are_left_alone() {
    let place = Place::new();
    place.run(&["call", "fs.write", "path=a", "content=x"]).done();
    changes_nothing(&place, &["recover", "--dry-run"], 0);
    changes_nothing(&place, &["lock", "break", "--dry-run"], 0);
    changes_nothing(&place, &["lock", "break", "--force", "--dry-run"], 0);
}

#[test]
fn a_run_that_waits_is_left_alone() {
    let place = Place::new();
    let workflow = "id: w\nversion: 1.0.0\ntitle: W\nsteps:\n  - id: write\n    use: fs.write\n    \
                    with: { path: ask/b, content: x }\n";
    let file = place.document("w.workflow.yaml", workflow);
    let paused = place.run(&["run", &file]).ends(4, "approval_required");
    let run = paused["run_id"].as_str().unwrap();
    for verb in ["pause", "resume", "cancel"] {
        let shown = changes_nothing(&place, &["workflow", verb, run, "--dry-run"], 0);
        assert_eq!((&shown["run_id"], &shown["status"]), (&json!(run), &json!("paused")), "{verb}");
    }
    // It ends as the real one would.
    let rollback = ["workflow", "resume", run, "--rollback"];
    let dry = changes_nothing(&place, &[&rollback[..], &["--dry-run"]].concat(), 2);
    assert_eq!(place.run(&rollback).ends(2, "invalid_input")["error"], dry["error"]);
    place.run(&["workflow", "cancel", run]).done();
    for verb in ["pause", "resume", "cancel"] {
        let dry = changes_nothing(&place, &["workflow", verb, run, "--dry-run"], 2);
        let real = place.run(&["workflow", verb, run]).ends(2, "invalid_input");
        assert_eq!(real["error"], dry["error"], "{verb}");
    }
    let missing = "wfr_00000000000000000000000000000000";
    place.run(&["workflow", "pause", missing, "--dry-run"]).ends(2, "not_found");
}
