//! Agreement to a run as a whole, through the command: because its pack wants it, or because its
//! workflow asks for its whole plan at once.

use std::process::Command;

use serde_json::{Value, json};

use crate::place::{Answer, Place, message, text};

const PACK: &str = "id: docs\nversion: 1.0.0\ntitle: Docs\ncapabilities: [fs.write]\n\
                    workflows: [notes]\nrequires_approval: true\n";

/// Two files are written, one after the other.
fn workflow(head: &str, first: &str, second: &str) -> String {
    format!(
        "id: notes\nversion: 1.0.0\ntitle: Notes\n{head}input: {{ type: object }}\nsteps:\n  \
         - {{ id: one, use: fs.write, with: {{ path: {first}, content: one }} }}\n  \
         - {{ id: two, needs: [one], use: fs.write, with: {{ path: {second}, content: two }} }}\n"
    )
}

#[track_caller]
fn let_in(place: &Place, kind: &str, id: &str, document: &str) {
    let file = place.document("proposed.yaml", document);
    let bob = |command: &mut Command| _ = command.env("LICTOR_USER", "bob");
    place.run_with(&[kind, "propose", &file], bob).done();
    place.run_as_approver(&[kind, "approve", id]).done();
}

/// The run stopped for people before it did anything.
#[track_caller]
fn stopped(answer: Answer) -> (String, String) {
    let json = answer.ends(4, "approval_required");
    assert_eq!(json["status"], "paused", "{json}");
    (text(&json, "run_id").to_owned(), text(&json["error"]["details"], "approval_id").to_owned())
}

fn approve(place: &Place, approval: &str) {
    place.run_as_approver(&["approvals", "approve", approval]).done();
}

fn resume(place: &Place, run: &str) -> Answer {
    place.run(&["workflow", "resume", run])
}

fn status_of(run: &Value, step: &str) -> String {
    let steps = run["steps"].as_array().unwrap();
    let found = steps.iter().find(|one| one["id"] == step).unwrap();
    text(found, "status").to_owned()
}

#[test]
fn a_pack_that_wants_approval_is_asked_for_before_anything_is_done() {
    let place = Place::new();
    let_in(&place, "pack", "docs", PACK);
    let file = place.document("n.workflow.yaml", workflow("pack: docs\n", "a.txt", "b.txt"));
    let (run, approval) = stopped(place.run(&["run", &file]));
    assert!(!place.exists("a.txt"));
    let shown = place.run(&["approvals", "show", &approval]).done().to_string();
    let pack = place.run(&["pack", "show", "docs"]).done();
    for part in ["workflow.plan", text(&pack, "digest"), "fs.write", &run] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // Nobody has answered: it only waits on.
    assert_eq!(stopped(resume(&place, &run)), (run.clone(), approval.clone()));
    assert!(!place.exists("a.txt"));
    approve(&place, &approval);
    let done = resume(&place, &run).done();
    assert_eq!(done["status"], "completed");
    assert_eq!((place.read("a.txt"), place.read("b.txt")), ("one".to_owned(), "two".to_owned()));
    // One answer is for one run.
    let (again, another) = stopped(place.run(&["run", &file]));
    assert_ne!((&again, &another), (&run, &approval));
    let refused = place.run_as_approver(&["approvals", "deny", &another, "--reason", "not now"]);
    refused.done();
    let denied = resume(&place, &again).ends(3, "denied");
    assert!(message(&denied).contains("not now"), "{denied}");
    place.verify();
}

#[test]
fn with_its_approver_at_hand_the_run_goes_on_at_once() {
    let place = Place::new();
    let_in(&place, "pack", "docs", PACK);
    let file = place.document("n.workflow.yaml", workflow("pack: docs\n", "a.txt", "b.txt"));
    let done = place.run_as_approver(&["run", &file, "--approve"]).done();
    assert_eq!(done["status"], "completed");
    let trail = place.trail();
    let plan = trail.iter().find(|event| event["action_name"] == "workflow.plan").unwrap();
    assert_eq!(plan["workflow_run_id"], done["run_id"]);
}

#[test]
fn a_pack_that_was_changed_between_approval_and_run_is_asked_about_again() {
    let place = Place::new();
    let_in(&place, "pack", "docs", PACK);
    let file = place.document("n.workflow.yaml", workflow("pack: docs\n", "a.txt", "b.txt"));
    let (run, approval) = stopped(place.run(&["run", &file]));
    approve(&place, &approval);
    let path = place.root.join(".lictor/packs/docs.yaml");
    let changed = PACK.replace("title: Docs", "title: Other docs");
    std::fs::write(&path, &changed).unwrap();
    let_in(&place, "pack", "docs", &changed);
    let (same, another) = stopped(resume(&place, &run));
    assert_eq!(same, run);
    assert_ne!(another, approval);
    assert!(!place.exists("a.txt"));
    approve(&place, &another);
    resume(&place, &run).done();
    assert!(place.exists("b.txt"));

    let (run, approval) = stopped(place.run(&["run", &file]));
    approve(&place, &approval);
    place.run_as_approver(&["pack", "freeze", "docs"]).done();
    let refused = resume(&place, &run).ends(3, "denied");
    assert!(message(&refused).contains("frozen"), "{refused}");
}

#[test]
fn one_agreement_to_a_plan_answers_for_all_its_steps() {
    let place = Place::new();
    let plan = workflow("approvals: plan\n", "ask/a.txt", "ask/b.txt");
    let file = place.document("n.workflow.yaml", &plan);
    let (run, approval) = stopped(place.run(&["run", &file]));
    assert!(!place.exists("ask"));
    approve(&place, &approval);
    let done = resume(&place, &run).done();
    assert_eq!(
        (status_of(&done, "one"), status_of(&done, "two")),
        ("completed".into(), "completed".into())
    );
    assert!(place.exists("ask/a.txt") && place.exists("ask/b.txt"));
    let trail = place.trail();
    let asked = |kind: &str| trail.iter().filter(|event| event["event_type"] == kind).count();
    assert_eq!((asked("approval_requested"), asked("approval_granted")), (1, 3), "one question");
    let by_plan = trail
        .iter()
        .filter(|event| event["metadata"]["approval"]["by"] == json!({ "plan": approval }));
    assert_eq!(by_plan.count(), 2);
    // Without that word each of them is asked about.
    let steps = place.document("s.workflow.yaml", workflow("", "ask/c.txt", "ask/d.txt"));
    let (run, first) = stopped(place.run(&["run", &steps]));
    approve(&place, &first);
    let (_, second) = stopped(resume(&place, &run));
    assert_ne!(first, second);
    place.verify();
}

#[test]
fn a_step_beyond_what_was_agreed_to_is_asked_about_by_itself() {
    let place = Place::new();
    let plan = workflow("approvals: plan\n", "ask/a.txt", "ask/b.txt")
        .replace("content: two }", "content: two }, effects: { fs: { write: [\"ask/x.txt\"] } }");
    let file = place.document("n.workflow.yaml", &plan);
    let (run, approval) = stopped(place.run(&["run", &file]));
    approve(&place, &approval);
    let (_, another) = stopped(resume(&place, &run));
    assert_ne!(another, approval);
    assert!(place.exists("ask/a.txt") && !place.exists("ask/b.txt"));
    approve(&place, &another);
    resume(&place, &run).done();
    assert!(place.exists("ask/b.txt"));
}

#[test]
fn what_is_denied_stays_denied_whoever_agreed_to_the_plan() {
    let place = Place::new();
    let plan = workflow("approvals: plan\n", "ask/a.txt", "no/b.txt");
    let file = place.document("n.workflow.yaml", &plan);
    let (run, approval) = stopped(place.run(&["run", &file]));
    approve(&place, &approval);
    let failed = resume(&place, &run);
    assert_eq!(failed.code, 1, "{}", failed.json);
    assert_eq!(failed.json["status"], "rolled_back");
    assert!(!place.exists("ask/a.txt") && !place.exists("no"));
}

#[test]
fn another_policy_or_another_contract_is_another_plan() {
    let place = Place::new();
    let contract = |title: &str| {
        format!(
            "id: notes.put\nversion: 1.0.0\ntitle: {title}\ndescription: Writes.\nkind: skill\nsource: local\n\
             input: {{ type: object }}\noutput: {{ type: object }}\nrisk: low\n\
             effects: {{ fs: {{ write: [\"**\"] }} }}\nhandler: {{ builtin: fs.write }}\n"
        )
    };
    let_in(&place, "capability", "notes.put", &contract("Put"));
    let plan = workflow("approvals: plan\n", "ask/a.txt", "ask/b.txt");
    let file = place.document("n.workflow.yaml", plan.replace("fs.write", "notes.put"));
    let (run, approval) = stopped(place.run(&["run", &file]));
    approve(&place, &approval);

    let path = place.root.join(".lictor/capabilities/notes.put.yaml");
    std::fs::write(path, contract("Put it")).unwrap();
    let_in(&place, "capability", "notes.put", &contract("Put it"));
    let (_, second) = stopped(resume(&place, &run));
    assert_ne!(second, approval);
    approve(&place, &second);

    let policy = std::fs::read_to_string(place.root.join(".lictor/policy.yaml")).unwrap();
    place.policy(&format!("{policy}limits: {{ max_files: 7 }}\n"));
    let (_, third) = stopped(resume(&place, &run));
    assert_ne!(third, second);
    assert!(!place.exists("ask"));
    approve(&place, &third);
    resume(&place, &run).done();
    assert!(place.exists("ask/b.txt"));
    place.verify();
}
