//! What is said of a run reaches the runs that its steps begin: that somebody agrees to all of it at
//! once, and that people agreed to its plan.

use std::fs;

use serde_json::{Value, json};

use crate::place::{Place, text};
use crate::subrun::{ID, INNER, WRITES, contract, in_use, let_in, outer, place_of, tree};
use crate::terminal::Terminal;

fn runs(place: &Place) -> Vec<String> {
    let runs = place.run(&["workflow", "list"]).done();
    let runs = runs["runs"].as_array().unwrap();
    runs.iter().map(|run| text(run, "status").to_owned()).collect()
}

fn asked(place: &Place) -> usize {
    let trail = place.trail();
    trail.iter().filter(|event| event["event_type"] == "approval_requested").count()
}

#[test]
fn whoever_agrees_to_a_run_at_once_agrees_to_what_it_begins() {
    let place = in_use();
    let done = place.run_as_approver(&["run", &outer(&place, "ask/two.txt", WRITES), "--approve"]);
    assert_eq!(done.done()["status"], "completed");
    assert_eq!(place.read("after.txt"), "ask/two.txt");
    let granted: Vec<Value> = place
        .trail()
        .into_iter()
        .filter(|event| event["event_type"] == "approval_granted")
        .collect();
    assert_eq!(granted.len(), 1, "the one step that people are asked about: {granted:?}");
    assert_eq!(granted[0]["step_id"], "two");
    // Called alone it is the same.
    let arguments = ["call", ID, "second=ask/three.txt", "--approve"];
    place.run_as_approver(&arguments).done();
    assert!(place.exists("ask/three.txt"));
    // And one that waits goes on with somebody who agrees.
    let waits = place.run(&["run", &outer(&place, "ask/four.txt", WRITES)]);
    let waits = waits.ends(4, "approval_required");
    let run = text(&waits, "run_id").to_owned();
    place.run(&["workflow", "resume", &run]).ends(4, "approval_required");
    let done = place.run_as_approver(&["workflow", "resume", &run, "--approve"]).done();
    assert_eq!(done["status"], "completed");
    assert!(place.exists("ask/four.txt"));
    place.verify();
}

#[test]
fn a_person_is_shown_the_runs_inside_before_they_agree() {
    let place = in_use();
    let file = outer(&place, "ask/two.txt", WRITES);
    let mut terminal = Terminal::start(&place, &["run", &file, "--approve"]);
    assert!(terminal.shows("to agree"), "{}", terminal.seen());
    let seen = terminal.seen().to_owned();
    let publish =
        text(&place.run(&["capability", "show", ID]).done()["workflow"], "digest").to_owned();
    for part in [
        format!("  inner: {ID}, low risk, by the contract sha256:"),
        format!("    a run of publish ({publish})"),
        "      two: fs.write, medium risk, by the contract sha256:".to_owned(),
    ] {
        assert!(seen.contains(&part), "{part} is not in {seen}");
    }
    terminal.types("no\n");
    terminal.ends();
    assert!(!place.exists("before.txt"), "nothing was agreed to");
}

/// The outer run asks for its plan.
fn planned(place: &Place, second: &str) -> String {
    let file = outer(place, second, WRITES);
    let document = fs::read_to_string(&file).unwrap();
    place.document(
        "outer.workflow.yaml",
        document.replace("title: Outer", "title: Outer\napprovals: plan"),
    )
}

#[test]
fn a_plan_that_people_agreed_to_answers_for_what_its_steps_begin() {
    let place = in_use();
    let waits = place.run(&["run", &planned(&place, "ask/two.txt")]).ends(4, "approval_required");
    assert!(!place.exists("before.txt"), "{waits}");
    let approval = text(&waits["error"]["details"], "approval_id").to_owned();
    let shown = place.run(&["approvals", "show", &approval]).done().to_string();
    let publish = place.run(&["capability", "show", ID]).done();
    for part in [text(&publish["workflow"], "digest"), text(&publish, "digest"), "publish"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    place.run_as_approver(&["approvals", "approve", &approval]).done();
    let done = place.run(&["workflow", "resume", text(&waits, "run_id")]).done();
    assert_eq!(done["status"], "completed", "{done}");
    assert!(place.exists("ask/two.txt"));
    assert_eq!(asked(&place), 1, "one question for both runs");
    let by_plan = json!({ "plan": approval });
    let trail = place.trail();
    let by_plan = trail.iter().filter(|event| event["metadata"]["approval"]["by"] == by_plan);
    assert_eq!(by_plan.count(), 1, "the step inside");
    place.verify();
}

#[test]
fn another_document_inside_is_another_plan() {
    let place = in_use();
    let before = tree(&place);
    let waits = place.run(&["run", &planned(&place, "ask/two.txt")]).ends(4, "approval_required");
    let (run, approval) = (
        text(&waits, "run_id").to_owned(),
        text(&waits["error"]["details"], "approval_id").to_owned(),
    );
    place.run_as_approver(&["approvals", "approve", &approval]).done();
    fs::write(place.root.join(place_of("publish")), INNER.replace("content: two", "content: new"))
        .unwrap();
    // Nobody let that in: there is no such capability for the run.
    place.run(&["workflow", "resume", &run]).ends(3, "denied");
    assert_eq!(tree(&place), before);

    let waits = {
        let output = json!({ "type": "object" });
        fs::write(place.root.join(place_of("publish")), INNER).unwrap();
        let waits =
            place.run(&["run", &planned(&place, "ask/two.txt")]).ends(4, "approval_required");
        let approval = text(&waits["error"]["details"], "approval_id").to_owned();
        place.run_as_approver(&["approvals", "approve", &approval]).done();
        let changed = INNER.replace("content: two", "content: new");
        fs::write(place.root.join(place_of("publish")), changed).unwrap();
        let file = place.root.join(format!(".lictor/capabilities/{ID}.yaml"));
        let contract = contract(ID, "publish", &output);
        fs::write(&file, &contract).unwrap();
        let_in(&place, ID, &contract);
        waits
    };
    // Let in again, it is asked about again, before anything is done.
    let again = place.run(&["workflow", "resume", text(&waits, "run_id")]);
    let again = again.ends(4, "approval_required");
    assert_ne!(again["error"]["details"]["approval_id"], waits["error"]["details"]["approval_id"]);
    assert_eq!(tree(&place), before);
    assert_eq!(runs(&place).iter().filter(|status| *status == "paused").count(), 1);
    place.verify();
}

#[test]
fn a_run_that_is_to_wait_takes_those_that_it_began_along() {
    let place = Place::new();
    // A run that waits for a day, in a step of another one.
    let waits = "id: publish\nversion: 1.0.0\ntitle: P\ninput: { type: object }\nsteps:\n\
        \x20 - { id: one, use: fs.write, with: { path: out/one.txt, content: one } }\n\
        \x20 - { id: day, needs: [one], wait: 24h }\n";
    place.write(&place_of("publish"), waits);
    let_in(&place, ID, &contract(ID, "publish", &json!({})));
    let before = tree(&place);
    let file = outer(&place, "x", WRITES.replace("{{ steps.inner.output.wrote }}", "x").as_str());
    let mut lictor = place.command(&["run", &file, "--json"]).spawn().unwrap();
    while !place.exists("out/one.txt") {
        assert!(lictor.try_wait().unwrap().is_none(), "it ended before its inner run did anything");
        std::thread::yield_now();
    }
    // Its process is gone: whoever lets it wait does it for both.
    lictor.kill().unwrap();
    lictor.wait().unwrap();
    let listed = place.run(&["workflow", "list"]).done();
    let outer =
        listed["runs"].as_array().unwrap().iter().find(|run| run["steps"][0]["id"] == "before");
    let outer = text(outer.unwrap(), "run_id").to_owned();
    let paused = place.run(&["workflow", "pause", &outer]).done();
    assert_eq!(paused["status"], "paused", "{paused}");
    assert_eq!(runs(&place), ["paused", "paused"]);
    // Nobody takes up what waits.
    place.run(&["recover"]).done();
    assert_eq!(runs(&place), ["paused", "paused"]);
    place.run(&["workflow", "cancel", &outer]).done();
    assert_eq!(tree(&place), before);
    assert_eq!(runs(&place), ["rolled_back", "rolled_back"]);
    place.verify();
}
