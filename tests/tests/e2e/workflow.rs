//! Workflows: to their end, to a pause, and back again when a step fails.

use serde_json::{Value, json};

use crate::place::{Place, has, message, text};

/// The example of `formats.md`, without the pack and the compensation by a capability that is
/// none of ours.
const EXAMPLE: &str = r#"id: release_notes
version: 1.0.0
title: Write the release notes
input:
  type: object
  properties: { run_id: { type: string }, publish: { type: boolean } }
  required: [run_id, publish]
auto_rollback: true
timeout: 60s
steps:
  - id: now
    use: time.now
  - id: render
    use: text.render
    needs: [now]
    with:
      template: "run {{ run_id }} at {{ when }}\n"
      variables: { run_id: "{{ input.run_id }}", when: "{{ steps.now.output.time }}" }
  - id: review
    approval: { message: "Publish the notes?", risk: high, approvals: 1, timeout: 1h }
    needs: [render]
  - id: write
    use: fs.write
    needs: [review]
    with: { path: out.txt, content: "{{ steps.render.output.text }}" }
    when: "{{ input.publish }}"
    timeout: 10s
    retry: { attempts: 3, backoff: exponential, initial: 200ms }
    on_error: fail
"#;
const INPUT: &str = r#"{"run_id":"r1","publish":true}"#;

/// Two files are written, one is changed and one deleted; then a step fails.
const FAILING: &str = r#"id: failing
version: 1.0.0
title: Fails at the end
steps:
  - { id: a, use: fs.write, with: { path: new/a.txt, content: a } }
  - { id: b, use: fs.write, with: { path: old.txt, content: changed }, needs: [a] }
  - { id: c, use: fs.delete, with: { path: gone.txt }, needs: [b] }
  - { id: last, use: fs.hash, with: { path: missing.txt }, needs: [c] }
"#;

fn statuses(run: &Value) -> Vec<(&str, &str)> {
    let steps = run["steps"].as_array().unwrap();
    steps.iter().map(|step| (text(step, "id"), text(step, "status"))).collect()
}

#[test]
fn a_run_with_its_approver_at_hand_goes_to_its_end() {
    let place = Place::new();
    let file = place.document("w.workflow.yaml", EXAMPLE);
    let run = place.run_as_approver(&["run", &file, "--input", INPUT, "--approve"]).done();
    has(&run, &["run_id", "status", "steps", "output"]);
    assert_eq!(run["status"], "completed");
    for step in run["steps"].as_array().unwrap() {
        has(step, &["id", "status", "output"]);
    }
    assert_eq!(
        statuses(&run),
        [
            ("now", "completed"),
            ("render", "completed"),
            ("review", "completed"),
            ("write", "completed")
        ]
    );
    assert!(place.read("out.txt").starts_with("run r1 at 20"));
    let id = text(&run, "run_id");
    let shown = place.run(&["workflow", "show", id]).done();
    assert_eq!(shown["run_id"], id);
    assert_eq!(place.run(&["show", id]).done()["run_id"], id);
    let list = place.run(&["workflow", "list"]).done();
    assert_eq!(list["runs"][0]["run_id"], id);
    // A whole run is taken back as one.
    let undone = place.run(&["undo", id]).done();
    assert_eq!(undone["undo_of"].as_array().unwrap().len(), 1);
    assert!(!place.exists("out.txt"));
    place.verify();
}

#[test]
fn a_step_whose_condition_is_false_is_skipped() {
    let place = Place::new();
    let file = place.document("w.workflow.yaml", EXAMPLE);
    let input = r#"{"run_id":"r1","publish":false}"#;
    let run = place.run_as_approver(&["run", &file, "--input", input, "--approve"]).done();
    assert_eq!(statuses(&run)[3], ("write", "skipped"));
    assert!(!place.exists("out.txt"));
}

#[test]
fn a_run_waits_for_its_approval_and_goes_on() {
    let place = Place::new();
    let file = place.document("w.workflow.yaml", EXAMPLE);
    let paused = place.run(&["run", &file, "--input", INPUT]).ends(4, "approval_required");
    assert_eq!(paused["status"], "paused");
    let run = text(&paused, "run_id");
    let approval = text(&paused["error"]["details"], "approval_id");
    assert_eq!(place.waiting(), approval);
    assert!(!place.exists("out.txt"));
    // Going on without an answer only waits again.
    place.run(&["workflow", "resume", run]).ends(4, "approval_required");
    place.run_as_approver(&["approvals", "approve", approval]).done();
    let done = place.run(&["workflow", "resume", run]).done();
    assert_eq!(done["status"], "completed");
    assert_eq!(done["run_id"], run);
    assert!(place.exists("out.txt"));
    place.run(&["workflow", "resume", run]).ends_with_one_of(&[0, 2]);
    let trail = place.trail();
    for kind in [
        "workflow_submitted",
        "workflow_started",
        "workflow_paused",
        "workflow_resumed",
        "workflow_completed",
        "step_started",
        "step_completed",
        "approval_granted",
    ] {
        assert!(trail.iter().any(|event| event["event_type"] == kind), "no {kind}");
    }
    place.verify();
}

#[test]
fn a_run_that_waits_ends_under_the_version_that_it_began_with() {
    let place = Place::new();
    let document = |version: &str, content: &str, more: &str| {
        let text = format!(
            "id: w\nversion: {version}\ntitle: W\nsteps:\n  \
             - {{ id: ask, use: fs.write, with: {{ path: ask/a.txt, content: a }} }}\n  \
             - {{ id: write, needs: [ask], use: fs.write, with: {{ path: b.txt, content: {content} }} }}\n{more}"
        );
        place.document("w.workflow.yaml", text)
    };
    let waits = place.run(&["run", &document("1.0.0", "old", "")]).ends(4, "approval_required");
    let run = text(&waits, "run_id").to_owned();
    let third = "  - { id: third, use: fs.write, with: { path: c.txt, content: c } }\n";
    let newer = document("2.0.0", "new", third);
    place.run_as_approver(&["approvals", "approve", &place.waiting()]).done();
    let done = place.run(&["workflow", "resume", &run]).done();
    assert_eq!(done["steps"].as_array().unwrap().len(), 2, "{done}");
    assert_eq!((place.read("b.txt"), place.exists("c.txt")), ("old".to_owned(), false));
    let shown = place.run(&["workflow", "show", &run]).done();
    assert_eq!(shown["workflow"]["version"], "1.0.0");
    // A new run is one of the newer version.
    place.run_as_approver(&["run", &newer, "--approve"]).done();
    assert_eq!((place.read("b.txt"), place.exists("c.txt")), ("new".to_owned(), true));
    place.verify();
}

#[test]
fn a_denied_approval_ends_the_run() {
    let place = Place::new();
    let file = place.document("w.workflow.yaml", EXAMPLE);
    let paused = place.run(&["run", &file, "--input", INPUT]).ends(4, "approval_required");
    place.run_as_approver(&["approvals", "deny", &place.waiting(), "--reason", "no"]).done();
    let ended = place.run(&["workflow", "resume", text(&paused, "run_id")]);
    let ended = ended.ends_with_one_of(&[1, 3]);
    assert!(["failed", "rolled_back"].contains(&text(&ended, "status")), "{ended}");
    assert!(!place.exists("out.txt"));
}

#[test]
fn a_failing_last_step_takes_everything_back() {
    let place = Place::new();
    place.write("old.txt", "old");
    place.write("gone.txt", "gone");
    place.set_mode("gone.txt", 0o640);
    let before = place.tree();
    let file = place.document("w.workflow.yaml", FAILING);
    let run = place.run(&["run", &file]).ends(1, "failed");
    assert_eq!(place.tree(), before);
    has(&run, &["run_id", "steps", "rollback"]);
    assert_eq!(run["status"], "rolled_back");
    assert_eq!(run["rollback"]["status"], "complete");
    assert_eq!(run["rollback"]["undone"], json!(["c", "b", "a"]));
    assert_eq!(run["rollback"]["stuck"], json!([]));
    assert_eq!(statuses(&run).last(), Some(&("last", "failed")));
    for execution in place.run(&["log"]).done()["executions"].as_array().unwrap() {
        let is_undo = execution["undo_of"] != json!([]);
        assert!(is_undo || execution["status"] == "undone", "{execution}");
    }
    let trail = place.trail();
    for kind in ["step_failed", "rollback_started", "rollback_completed", "workflow_rolled_back"] {
        assert!(trail.iter().any(|event| event["event_type"] == kind), "no {kind}");
    }
    place.verify();
}

#[test]
fn without_rollback_what_was_done_stays_and_is_named() {
    let place = Place::new();
    place.write("old.txt", "old");
    place.write("gone.txt", "gone");
    let text = FAILING.replace("steps:", "auto_rollback: false\nsteps:");
    let file = place.document("w.workflow.yaml", text);
    let run = place.run(&["run", &file]).ends(8, "incomplete");
    assert_eq!(run["status"], "failed");
    assert_eq!(place.read("old.txt"), "changed");
    place.run(&["undo", run["run_id"].as_str().unwrap()]).done();
    assert_eq!(place.read("old.txt"), "old");
    assert!(place.exists("gone.txt") && !place.exists("new"));
}

#[test]
fn a_denied_step_is_not_done_and_takes_back_those_before_it() {
    let place = Place::new();
    let before = place.tree();
    let first = "id: w\nversion: 1.0.0\ntitle: W\nsteps:\n  - { id: bad, use: fs.write, with: { path: no/x, content: x } }\n";
    let file = place.document("first.workflow.yaml", first);
    let run = place.run(&["run", &file]).ends(3, "denied");
    assert!(message(&run).contains("no/x"), "{run}");
    let second = first
        .replace(
            "steps:\n",
            "steps:\n  - { id: good, use: fs.write, with: { path: a, content: x } }\n",
        )
        .replace("id: bad,", "id: bad, needs: [good],");
    let file = place.document("second.workflow.yaml", second);
    let run = place.run(&["run", &file]).ends(1, "failed");
    assert_eq!(run["status"], "rolled_back");
    assert_eq!(place.tree(), before);
}

#[test]
fn a_workflow_that_makes_no_sense_is_refused_with_its_place() {
    let place = Place::new();
    let head = "id: w\nversion: 1.0.0\ntitle: W\nsteps:\n";
    let step = |rest: &str| format!("{head}  - id: a\n    use: text.render\n{rest}");
    let cases = [
        (
            "a cycle",
            format!(
                "{head}  - {{ id: a, use: time.now, needs: [b] }}\n  - {{ id: b, use: time.now, needs: [a] }}\n"
            ),
        ),
        ("an unknown capability", format!("{head}  - id: a\n    use: no.such\n")),
        ("an unknown step", step("    needs: [zz]\n    with: { template: x }\n")),
        (
            "a step twice",
            format!("{head}  - {{ id: a, use: time.now }}\n  - {{ id: a, use: time.now }}\n"),
        ),
        (
            "a step that is not needed",
            format!(
                "{head}  - {{ id: a, use: time.now }}\n  - {{ id: b, use: text.render, with: {{ template: \"{{{{ steps.a.output.time }}}}\" }} }}\n"
            ),
        ),
        ("a broken template", step("    with: { template: \"{{ steps.\" }\n")),
        ("an unknown key", step("    wiht: { template: x }\n")),
        ("an input that the contract refuses", step("    with: { template: x, colour: red }\n")),
        ("an input that lacks what must be there", step("    with: {}\n")),
        ("no steps", "id: w\nversion: 1.0.0\ntitle: W\nsteps: []\n".to_owned()),
        ("no id", "version: 1.0.0\ntitle: W\nsteps:\n  - { id: a, use: time.now }\n".to_owned()),
    ];
    for (what, document) in cases {
        let file = place.document("bad.workflow.yaml", document);
        for arguments in
            [&["run", file.as_str()][..], &["check", "run", &file], &["run", &file, "--dry-run"]]
        {
            let refused = place.run(arguments).ends(2, "invalid_input");
            assert!(has_place(message(&refused), "bad.workflow.yaml"), "{what}: {refused}");
        }
    }
    assert_eq!(place.run(&["workflow", "list"]).done()["runs"], json!([]));
}

/// Whether a message names `file:line:column`.
pub(crate) fn has_place(message: &str, file: &str) -> bool {
    message.match_indices(&format!("{file}:")).any(|(at, found)| {
        let mut numbers = message[at + found.len()..].splitn(3, ':');
        let number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u32>().is_ok());
        number(numbers.next()) && number(numbers.next())
    })
}

#[test]
fn an_input_that_the_workflow_refuses_runs_nothing() {
    let place = Place::new();
    let file = place.document("w.workflow.yaml", EXAMPLE);
    for input in [
        "{}",
        r#"{"run_id":1,"publish":true}"#,
        "[]",
        "{",
        r#"{"run_id":"a","run_id":"b","publish":true}"#,
    ] {
        place.run(&["run", &file, "--input", input]).ends_with_one_of(&[2]);
    }
    place.run(&["run", &file]).ends_with_one_of(&[2]);
    assert_eq!(place.run(&["workflow", "list"]).done()["runs"], json!([]));
}

#[test]
fn a_dry_run_names_every_step_with_its_decision() {
    let place = Place::new();
    let file = place.document("w.workflow.yaml", FAILING);
    place.write("old.txt", "old");
    place.write("gone.txt", "gone");
    let checked = place.run(&["check", "run", &file]).done();
    has(&checked, &["decision", "steps"]);
    assert_eq!(checked["steps"].as_array().unwrap().len(), 4);
    let known = |step: &Value| (step["risk"].is_string(), step["undo"].clone());
    let known: Vec<_> = checked["steps"].as_array().unwrap().iter().map(known).collect();
    assert!(known.iter().all(|(risk, undo)| *risk && undo.is_string()), "{known:?}");
}

#[test]
fn a_run_that_waits_can_be_cancelled() {
    let place = Place::new();
    let before = place.tree();
    let document = EXAMPLE.replace(
        "  - id: review\n",
        "  - id: early\n    use: fs.write\n    with: { path: early.txt, content: x }\n  - id: review\n",
    ).replace("needs: [render]", "needs: [render, early]");
    let file = place.document("w.workflow.yaml", document);
    let paused = place.run(&["run", &file, "--input", INPUT]).ends(4, "approval_required");
    assert!(place.exists("early.txt"));
    let asked = place.waiting();
    place.run(&["workflow", "cancel", text(&paused, "run_id")]).done();
    assert_eq!(place.tree(), before);
    // Nobody can agree any more to what nobody wants any more.
    assert_eq!(place.run(&["approvals", "show", &asked]).done()["state"], "cancelled");
    place.run_as_approver(&["approvals", "approve", &asked]).ends(3, "denied");
    place.verify();
}

const EACH: &str = r#"
id: each
version: 1.0.0
input: { type: object, required: [names, check], properties: { names: { type: array }, check: { type: string } } }
steps:
  - id: write
    use: fs.write
    foreach: "{{ input.names }}"
    parallel: 2
    with: { path: "{{ item }}.txt", content: "nr {{ index }}" }
  - { id: rest, wait: 10ms, needs: [write] }
  - { id: hash, use: fs.hash, needs: [rest], with: { path: "{{ input.check }}" } }
"#;

#[test]
fn a_step_is_done_for_every_item_and_taken_back_for_every_item() {
    let place = Place::new();
    let before = place.tree();
    let file = place.document("each.workflow.yaml", EACH);
    let input = r#"{"names":["a","b","c"],"check":"missing.txt"}"#;
    let failed = place.run(&["run", &file, "--input", input]).ends(1, "failed");
    assert_eq!(failed["rollback"]["undone"], json!(["write[2]", "write[1]", "write[0]"]));
    assert_eq!(place.tree(), before);

    let input = input.replace("missing", "b");
    let done = place.run(&["run", &file, "--input", &input]).done();
    let outputs = done["steps"][0]["output"].as_array().unwrap();
    let paths: Vec<&Value> = outputs.iter().map(|output| &output["path"]).collect();
    assert_eq!(paths, ["a.txt", "b.txt", "c.txt"]);
    assert_eq!(place.read("c.txt"), "nr 2");
    place.verify();
}

#[test]
fn a_run_that_has_ended_cannot_be_paused_and_one_that_waits_stays_paused() {
    let place = Place::new();
    let file = place.document("w.workflow.yaml", EXAMPLE);
    let paused = place.run(&["run", &file, "--input", INPUT]).ends(4, "approval_required");
    let id = text(&paused, "run_id");
    assert_eq!(place.run(&["workflow", "pause", id]).done()["status"], "paused");
    place.run(&["workflow", "cancel", id]).done();
    place.run(&["workflow", "pause", id]).ends(2, "invalid_input");
}

#[test]
fn a_run_whose_document_is_exchanged_in_the_database_is_an_integrity_failure() {
    let place = Place::new();
    let workflow = "id: w\nversion: 1.0.0\ntitle: W\nsteps:\n  - id: write\n    use: fs.write\n    \
                    with: { path: ask/b, content: x }\n";
    let file = place.document("w.workflow.yaml", workflow);
    let paused = place.run(&["run", &file]).ends(4, "approval_required");
    let run = text(&paused, "run_id");
    let db = rusqlite::Connection::open(place.root.join(".lictor/lictor.db")).unwrap();
    let sql = "UPDATE run SET record = replace(record, 'path: ask/b', 'path: any/b')";
    assert_eq!(db.execute(sql, []).unwrap(), 1);
    drop(db);
    for verb in ["resume", "cancel", "pause"] {
        let refused = place.run(&["workflow", verb, run]).ends(6, "integrity");
        assert!(message(&refused).contains("its digest is another one"), "{verb}: {refused}");
    }
    assert!(!place.exists("ask/b") && !place.exists("any/b"));
}
