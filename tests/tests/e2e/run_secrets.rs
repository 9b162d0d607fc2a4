//! `secrets_stay_out`, of runs: they go on in other processes with what they were given, and none
//! of it lies in clear anywhere, whether they wait, were killed, or are over.

use std::process::Command;

use serde_json::{Value, json};

use crate::place::{Answer, POLICY, Place, message, text};
use crate::secrets::{assert_nowhere, holders};

/// Named by its key.
const NAMED: &str = "canary-named-31415";
/// Looks like a token.
const LOOKS: &str = "ghp_canaryCANARY0123456789abcd";
/// Fits a pattern of the policy.
const FITS: &str = "cus_4242424242";
/// Declared in the environment; its base64 is another text.
const DECLARED: &str = "canary/8d2f+hunter2?x=\"7\"";

const NEEDLES: [&str; 6] =
    [NAMED, LOOKS, FITS, "canary/8d2f", "8d2f+hunter2", "Y2FuYXJ5LzhkMmYraHVudGVyMj94"];

/// Every secret goes, under names that say nothing of it, through a template into an output, through a list into items, and into
/// files.
const WORKFLOW: &str = r#"id: w
version: 1.0.0
title: W
input: { type: object }
output: { all: "{{ steps.render.output.text }}" }
auto_rollback: true
steps:
  - id: render
    use: text.render
    with:
      template: "{{ a }}|{{ b }}|{{ c }}|{{ d }}"
      variables:
        a: "{{ input.password }}"
        b: "{{ input.deep[0][0].note }}"
        c: "{{ input.customer }}"
        d: "{{ input.declared }}"
  - id: each
    use: fs.write
    needs: [render]
    foreach: "{{ input.items }}"
    with: { path: "out{{ index }}", content: "{{ item.text }}" }
  - id: review
    approval: { message: "Go on?", risk: high, approvals: 1, timeout: 1h }
    needs: [each]
  - id: write
    use: fs.write
    needs: [review]
    with: { path: all, content: "{{ steps.render.output.text }}" }
  - id: last
    use: fs.hash
    needs: [write]
    with: { path: "{{ input.check }}" }
"#;

fn input(check: &str) -> Value {
    json!({
        "password": NAMED, "deep": [[{ "note": format!("see {LOOKS}, please") }]],
        "customer": format!("of {FITS}"), "declared": DECLARED, "check": check,
        "items": [{ "text": LOOKS }, { "text": DECLARED }],
    })
}

fn place() -> Place {
    Place::with_policy(&format!("{POLICY}audit: {{ redact: ['cus_[0-9]+'] }}\n"))
}

fn declared(command: &mut Command) {
    command.env("LICTOR_SECRET_CANARY", DECLARED);
}

#[track_caller]
fn run(place: &Place, arguments: &[&str]) -> Answer {
    place.run_with(arguments, declared)
}

#[track_caller]
fn in_clear_nowhere(place: &Place) {
    for needle in NEEDLES {
        assert_nowhere(place, needle);
    }
}

/// What can be asked about a run later says none of it either.
#[track_caller]
fn said_nowhere(place: &Place, run_id: &str) {
    let page = place.beside("report.html");
    let page = page.to_str().unwrap();
    for arguments in [
        vec!["workflow", "show", run_id],
        vec!["workflow", "list"],
        vec!["show", run_id],
        vec!["log", "--all"],
        vec!["approvals", "list", "--all"],
        vec!["audit", "query"],
        vec!["audit", "report", "--html", page],
    ] {
        for json in [true, false] {
            let mut command = place.command(&arguments);
            if json {
                command.arg("--json");
            }
            declared(&mut command);
            let output = command.output().unwrap();
            let said =
                String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            for needle in NEEDLES {
                assert!(!said.contains(needle), "{arguments:?} says {needle}: {said}");
            }
        }
    }
    std::fs::remove_file(page).unwrap();
}

fn paused(place: &Place, check: &str) -> String {
    let file = place.document("w.workflow.yaml", WORKFLOW);
    let input = input(check).to_string();
    let paused = run(place, &["run", &file, "--input", &input]).ends(4, "approval_required");
    place.run_as_approver(&["approvals", "approve", &place.waiting()]).done();
    text(&paused, "run_id").to_owned()
}

fn all() -> String {
    format!("{NAMED}|see {LOOKS}, please|of {FITS}|{DECLARED}")
}

#[test]
fn a_run_waits_goes_on_elsewhere_and_is_undone_and_its_secrets_lie_nowhere() {
    let place = place();
    let run_id = paused(&place, "all");
    assert_eq!(place.read("out0"), LOOKS);
    in_clear_nowhere(&place);
    said_nowhere(&place, &run_id);

    // Another process goes on with what the run was given, and not with what is shown of it.
    let done = run(&place, &["workflow", "resume", &run_id]).done();
    assert_eq!(done["status"], "completed");
    assert_eq!(place.read("all"), all());
    in_clear_nowhere(&place);
    said_nowhere(&place, &run_id);

    run(&place, &["undo", &run_id]).done();
    assert!(!place.exists("all") && !place.exists("out0"));
    said_nowhere(&place, &run_id);
    place.verify();
}

#[test]
fn a_run_that_fails_is_taken_back_and_its_secrets_lie_nowhere() {
    let place = place();
    let run_id = paused(&place, "missing.txt");
    run(&place, &["workflow", "resume", &run_id]).ends(1, "failed");
    assert!(!place.exists("all") && !place.exists("out0"));
    let tx = place.root.join(".lictor/tx");
    // What was taken back lies in its undo record, until that is purged.
    for needle in NEEDLES {
        let found = holders(&place, needle);
        let undo = |path: &std::path::PathBuf| {
            path.starts_with(&tx) && path.parent().is_some_and(|parent| parent.ends_with("s"))
        };
        assert!(found.iter().all(undo), "{needle}: {found:?}");
    }
    said_nowhere(&place, &run_id);
    place.verify();
}

#[test]
fn a_killed_run_is_taken_up_with_its_secrets() {
    let place = place();
    let workflow = "id: w\nversion: 1.0.0\ntitle: W\ninput: { type: object }\nsteps:\n  \
        - { id: one, use: fs.write, with: { path: one, content: x } }\n  \
        - { id: nap, wait: 2s, needs: [one] }\n  \
        - { id: two, needs: [nap], use: fs.write, with: { path: two, content: \"{{ input.password }}\" } }\n";
    let file = place.document("w.workflow.yaml", workflow);
    let input = json!({ "password": NAMED }).to_string();
    let mut command = place.command(&["run", &file, "--input", &input, "--json"]);
    let mut lictor = command.spawn().unwrap();
    while !place.exists("one") {
        assert!(lictor.try_wait().unwrap().is_none(), "it ended before it did anything");
        std::thread::yield_now();
    }
    lictor.kill().unwrap();
    lictor.wait().unwrap();
    in_clear_nowhere(&place);
    place.run(&["recover"]).done();
    assert_eq!(place.read("two"), NAMED);
    in_clear_nowhere(&place);
    place.verify();
}

#[test]
fn whoever_is_erased_is_erased_in_their_runs_and_these_end() {
    let place = place();
    let run_id = paused(&place, "all");
    let user = text(&place.trail()[0], "user_id").to_owned();
    place.run_as_approver(&["audit", "erase", "--subject", &user]).done();
    let refused = run(&place, &["workflow", "resume", &run_id]).ends(8, "incomplete");
    assert!(message(&refused).contains("erased"), "{refused}");
    assert!(!place.exists("all"));
    // It does not stay half-way for ever, and nothing claims that it was taken back.
    let shown = place.run(&["workflow", "list"]).done();
    assert_eq!(shown["runs"][0]["status"], "failed", "{shown}");
    assert!(shown["runs"][0].get("rollback").is_none(), "{shown}");
    let failed = place.trail();
    let failed = failed.iter().filter(|event| event["event_type"] == "workflow_failed");
    assert_eq!(failed.count(), 1);
    // Nor can anything be gone on with afterwards that is not whole.
    let again = run(&place, &["workflow", "resume", &run_id, "--rollback"]);
    assert!(message(&again.ends(8, "incomplete")).contains("erased"));
    place.run(&["recover"]).done();
    place.verify();
}

/// Whoever looks at a run before they agree to it is not always whoever gave it its input.
#[test]
fn a_question_is_shown_before_the_run_without_the_secrets_of_its_input() {
    let place = Place::new();
    let flow = "id: w\nversion: 1.0.0\ninput: { type: object }\nsteps:\n  \
                - { id: review, approval: { message: \"As {{ input.who }}, {{ input.password }} and {{ input.note }}?\" } }\n";
    let file = place.document("w.workflow.yaml", flow);
    let input = json!({ "who": "ann", "password": NAMED, "note": LOOKS }).to_string();
    let checked = place.run(&["check", "run", &file, "--input", &input]).json.to_string();
    assert!(checked.contains("As ann, "), "{checked}");
    assert!(!checked.contains(NAMED) && !checked.contains(LOOKS), "{checked}");
    let run = ["run", &file, "--input", &input, "--approve"];
    let mut terminal = crate::terminal::Terminal::start(&place, &run);
    assert!(terminal.shows("to agree"), "{}", terminal.seen());
    assert!(terminal.seen().contains("asks: As ann, "), "{}", terminal.seen());
    assert!(!terminal.seen().contains(NAMED) && !terminal.seen().contains(LOOKS));
    terminal.types("no");
    assert_eq!(terminal.ends(), 3);
}
