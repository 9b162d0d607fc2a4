//! Workflows as capabilities, through the command: called alone and from other workflows, undone,
//! taken back, paused, killed, and refused when they are not what was let in.

use std::process::Command;

use serde_json::{Value, json};

use crate::place::{Answer, Place, message, text};
use crate::tree::Tree;

pub(crate) const ID: &str = "notes.publish";

/// Two files are written, the second where `input.second` says.
pub(crate) const INNER: &str = "id: publish\nversion: 1.0.0\ntitle: Publish\n\
    input: { type: object, required: [second], properties: { second: { type: string } } }\n\
    output: { wrote: \"{{ steps.two.output.path }}\" }\n\
    steps:\n\
    \x20 - { id: one, use: fs.write, with: { path: out/one.txt, content: one } }\n\
    \x20 - { id: two, needs: [one], use: fs.write, with: { path: \"{{ input.second }}\", content: two } }\n";

/// Where the document of a workflow lies that contracts call.
pub(crate) fn place_of(workflow: &str) -> String {
    format!(".lictor/workflows/{workflow}.workflow.yaml")
}

/// A contract over a workflow.
pub(crate) fn contract(id: &str, workflow: &str, output: &Value) -> String {
    json!({
        "id": id, "version": "1.0.0", "title": "T", "description": "D", "kind": "workflow",
        "source": "local", "input": { "type": "object" }, "output": output, "risk": "low",
        "timeout": "60s", "handler": { "workflow": workflow },
    })
    .to_string()
}

#[track_caller]
pub(crate) fn let_in(place: &Place, id: &str, contract: &str) {
    let file = place.document("c.yaml", contract);
    let bob = |command: &mut Command| _ = command.env("LICTOR_USER", "bob");
    place.run_with(&["capability", "propose", &file], bob).done();
    place.run_as_approver(&["capability", "approve", id]).done();
}

/// A workspace in which [`INNER`] can be called.
pub(crate) fn in_use() -> Place {
    let place = Place::new();
    place.write(&place_of("publish"), INNER);
    let output = json!({
        "type": "object", "required": ["wrote"], "properties": { "wrote": { "type": "string" } },
    });
    let contract = contract(ID, "publish", &output);
    let_in(&place, ID, &contract);
    place
}

pub(crate) fn call(place: &Place, second: &str) -> Answer {
    place.run(&["call", ID, &format!("second={second}")])
}

pub(crate) fn tree(place: &Place) -> Tree {
    place.tree().without(".lictor")
}

/// A workflow that calls [`ID`] between two steps of its own; `last` is what the third one does.
pub(crate) fn outer(place: &Place, second: &str, last: &str) -> String {
    place.document(
        "outer.workflow.yaml",
        format!(
            "id: outer\nversion: 1.0.0\ntitle: Outer\ninput: {{ type: object }}\nsteps:\n  \
             - {{ id: before, use: fs.write, with: {{ path: before.txt, content: b }} }}\n  \
             - {{ id: inner, needs: [before], use: {ID}, with: {{ second: {second} }} }}\n  \
             - {{ id: after, needs: [inner], {last} }}\n"
        ),
    )
}

pub(crate) const WRITES: &str =
    "use: fs.write, with: { path: after.txt, content: \"{{ steps.inner.output.wrote }}\" }";
pub(crate) const FAILS: &str = "use: fs.hash, with: { path: missing.txt }";

#[test]
fn a_call_drives_a_run_down_the_whole_road_and_is_undone_whole() {
    let place = in_use();
    let before = tree(&place);
    let done = call(&place, "out/two.txt").done();
    assert_eq!(done["output"], json!({ "wrote": "out/two.txt" }));
    assert_eq!(
        (place.read("out/one.txt"), place.read("out/two.txt")),
        ("one".into(), "two".into())
    );
    let run = place.run(&["workflow", "show", text(&done, "run_id")]).done();
    assert_eq!(run["status"], "completed");
    assert_eq!(run["parent"]["capability"], ID);
    assert_eq!(run["parent"]["execution_id"], done["execution_id"]);
    // Each step was judged by itself.
    let trail = place.trail();
    let judged = |name: &str| {
        let of =
            |event: &&Value| event["event_type"] == "decision_made" && event["action_name"] == name;
        trail.iter().filter(of).count()
    };
    assert_eq!((judged(ID), judged("fs.write")), (1, 2));
    place.run(&["undo", text(&done, "execution_id")]).done();
    assert_eq!(tree(&place), before);
    place.verify();
}

#[test]
fn a_step_that_is_denied_takes_the_whole_call_back() {
    let place = in_use();
    let before = tree(&place);
    let failed = call(&place, "no/two.txt").ends(1, "failed");
    assert_eq!(tree(&place), before, "{failed}");
    let run = text(&failed["error"]["details"], "run_id").to_owned();
    let runs = place.run(&["workflow", "list"]).done();
    assert_eq!(
        (&runs["runs"][0]["run_id"], &runs["runs"][0]["status"]),
        (&json!(run), &json!("rolled_back"))
    );
    place.verify();
}

#[test]
fn an_output_that_breaks_the_contract_takes_the_call_back() {
    let place = Place::new();
    place.write(&place_of("publish"), INNER);
    let never = json!({ "type": "object", "required": ["never"] });
    let contract = contract(ID, "publish", &never);
    let_in(&place, ID, &contract);
    let before = tree(&place);
    let failed = call(&place, "out/two.txt").ends(1, "failed");
    assert!(message(&failed).contains("breaks the contract"), "{failed}");
    assert_eq!(tree(&place), before);
}

#[test]
fn a_workflow_is_a_step_of_another_and_goes_back_with_it() {
    let place = in_use();
    let done = place.run(&["run", &outer(&place, "out/two.txt", WRITES)]).done();
    assert_eq!(done["status"], "completed");
    assert_eq!(place.read("after.txt"), "out/two.txt");
    place.run(&["undo", text(&done, "run_id")]).done();
    assert!(
        !place.exists("out/one.txt") && !place.exists("after.txt"),
        "the run and what it called"
    );

    let before = tree(&place);
    let failed = place.run(&["run", &outer(&place, "out/two.txt", FAILS)]);
    assert_eq!(failed.code, 1, "{}", failed.json);
    assert_eq!(failed.json["status"], "rolled_back");
    assert_eq!(tree(&place), before, "what had completed inside is taken back as well");
    let runs = place.run(&["workflow", "list"]).done();
    let of = |id: &str| {
        let runs = runs["runs"].as_array().unwrap().iter();
        runs.filter(|run| run["status"] == id).count()
    };
    assert_eq!((of("rolled_back"), of("completed")), (2, 2), "{runs}");
    place.verify();
}

/// Goes through the pause of an outer and an inner run; gives the outer run's id.
fn paused(place: &Place) -> (String, String) {
    let answer = place.run(&["run", &outer(place, "ask/two.txt", WRITES)]);
    let waits = answer.ends(4, "approval_required");
    assert_eq!(waits["status"], "paused");
    assert!(place.exists("out/one.txt") && !place.exists("ask"), "{waits}");
    let approval = text(&waits["error"]["details"], "approval_id").to_owned();
    assert_eq!(place.waiting(), approval, "it is the inner run's");
    (text(&waits, "run_id").to_owned(), approval)
}

#[test]
fn a_question_inside_pauses_the_outside_and_both_go_on() {
    let place = in_use();
    let (run, approval) = paused(&place);
    place.run(&["workflow", "resume", &run]).ends(4, "approval_required");
    place.run_as_approver(&["approvals", "approve", &approval]).done();
    let done = place.run(&["workflow", "resume", &run]).done();
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(place.read("after.txt"), "ask/two.txt");
    let runs = place.run(&["workflow", "list"]).done();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 2, "the same run went on: {runs}");

    // Called alone, the run itself is resumed.
    let waits = call(&place, "ask/three.txt").ends(4, "approval_required");
    let details = &waits["error"]["details"];
    place.run_as_approver(&["approvals", "approve", text(details, "approval_id")]).done();
    let done = place.run(&["workflow", "resume", text(details, "run_id")]).done();
    assert_eq!(done["status"], "completed");
    assert!(place.exists("ask/three.txt"));
    place.verify();
}

#[test]
fn cancelling_the_outside_takes_the_inside_back() {
    let place = in_use();
    let before = tree(&place);
    let (run, _) = paused(&place);
    let cancelled = place.run(&["workflow", "cancel", &run]).done();
    assert_eq!(cancelled["status"], "rolled_back", "{cancelled}");
    assert_eq!(tree(&place), before);
    let runs = place.run(&["workflow", "list"]).done();
    for run in runs["runs"].as_array().unwrap() {
        assert_eq!(run["status"], "rolled_back", "{runs}");
    }
    place.verify();
}

#[test]
fn workflows_that_call_each_other_are_refused_before_anything_runs() {
    let place = Place::new();
    let calls = |id: &str, other: &str| {
        format!(
            "id: {id}\nversion: 1.0.0\ntitle: T\nsteps:\n  - {{ id: a, use: fs.write, with: {{ path: a, content: a }} }}\n  \
                 - {{ id: b, needs: [a], use: {other} }}\n"
        )
    };
    for (id, other) in [("one", "flow.two"), ("two", "flow.one")] {
        place.write(&place_of(id), calls(id, other));
    }
    for id in ["one", "two"] {
        let id_of = format!("flow.{id}");
        let contract = contract(&id_of, id, &json!({}));
        let_in(&place, &id_of, &contract);
    }
    let refused = place.run(&["call", "flow.one"]).ends(2, "invalid_input");
    assert!(message(&refused).contains("flow.one -> flow.two -> flow.one"), "{refused}");
    let file = place.document("o.workflow.yaml", calls("o", "flow.two"));
    let refused = place.run(&["run", &file]).ends(2, "invalid_input");
    assert!(message(&refused).contains("flow.two -> flow.one -> flow.two"), "{refused}");
    assert!(!place.exists("a"));
    let drawn = place.run(&["capability", "graph", "--mermaid"]).done();
    assert!(text(&drawn, "drawing").contains("composed of"), "{drawn}");
}

#[test]
fn a_chain_that_is_too_deep_is_refused() {
    let place = Place::new();
    let write = |n: u32, step: &str| {
        let text = format!("id: w{n}\nversion: 1.0.0\ntitle: T\nsteps:\n  - {{ id: a, {step} }}\n");
        place.write(&place_of(&format!("w{n}")), text);
    };
    for n in 0..10 {
        match n {
            0 => write(0, "use: time.now"),
            n => write(n, &format!("use: deep.w{}", n - 1)),
        }
        let id = format!("deep.w{n}");
        let contract = contract(&id, &format!("w{n}"), &json!({}));
        let_in(&place, &id, &contract);
    }
    place.run(&["call", "deep.w7"]).done();
    let refused = place.run(&["call", "deep.w9"]).ends(2, "invalid_input");
    assert!(message(&refused).contains("8 deep at most"), "{refused}");
}

/// What is left of a run that was killed is taken up by the next process, once.
#[track_caller]
fn recovered(place: &Place, when: &str) {
    place.run(&["recover"]).done();
    let runs = place.run(&["workflow", "list"]).done();
    for run in runs["runs"].as_array().unwrap() {
        assert_eq!(run["status"], "completed", "{when}: {runs}");
    }
    // Every outer run that began its inner one has exactly one.
    let trail = place.trail();
    let begun = trail
        .iter()
        .filter(|event| event["event_type"] == "action_completed" && event["action_name"] == ID);
    let mut begun: Vec<String> = begun.map(|event| event["workflow_run_id"].to_string()).collect();
    let n = begun.len();
    begun.sort_unstable();
    begun.dedup();
    assert_eq!(begun.len(), n, "{when}: an inner run was begun twice");
    // And no step of any run was done by two executions.
    let mut steps: Vec<(String, String)> = trail
        .iter()
        .filter(|event| {
            event["event_type"] == "action_completed" && event["action_name"] == "fs.write"
        })
        .map(|event| (event["workflow_run_id"].to_string(), event["step_id"].to_string()))
        .collect();
    let n = steps.len();
    steps.sort_unstable();
    steps.dedup();
    assert_eq!(steps.len(), n, "{when}: a step was done twice");
}

#[test]
fn killed_inside_of_the_inner_run_both_are_taken_up() {
    let place = in_use();
    let file = outer(&place, "out/two.txt", WRITES);
    let mut lictor = place.command(&["run", &file, "--json"]).spawn().unwrap();
    while !place.exists("out/one.txt") {
        assert!(lictor.try_wait().unwrap().is_none(), "it ended before its inner run did anything");
        std::thread::yield_now();
    }
    lictor.kill().unwrap();
    lictor.wait().unwrap();
    recovered(&place, "inside");
    assert_eq!(place.read("after.txt"), "out/two.txt");
    let runs = place.run(&["workflow", "list"]).done();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 2, "{runs}");
    place.verify();
}

#[test]
fn killed_at_any_moment_it_is_taken_up_and_nothing_is_done_twice() {
    let place = in_use();
    let file = outer(&place, "out/two.txt", WRITES);
    for n in 0..24_u64 {
        let mut lictor = place.command(&["run", &file, "--json"]).spawn().unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_millis(60 * n);
        while std::time::Instant::now() < until && lictor.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let by_itself = lictor.try_wait().unwrap().is_some();
        drop(lictor.kill());
        lictor.wait().unwrap();
        recovered(&place, &format!("after {} ms", 60 * n));
        if by_itself {
            break;
        }
    }
    place.verify();
}
