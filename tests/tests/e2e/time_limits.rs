//! `limits.max_step_time`: a step that takes longer is ended, and what the run had done by then is
//! taken back. (`max_execution_time` is about checks, and tested with them.)

use serde_json::{Value, json};

use crate::command::{ID, POLICY, in_use, marker, nothing_is_left};
use crate::place::{Place, message, text};

/// A command that changes its copy of the workspace, and then sleeps for as long as it is told.
fn slow(limit: &str) -> Option<Place> {
    let script = "cd src; echo half > a.txt; echo half > new.txt; exec sleep \"$1\"";
    let place = in_use(script, json!({ "command": { "output": "text" }, "timeout": "10m" }))?;
    place.policy(&format!("{POLICY}limits: {{ max_step_time: {limit} }}\n"));
    Some(place)
}

fn types(place: &Place) -> Vec<String> {
    place.trail().iter().map(|event| text(event, "event_type").to_owned()).collect()
}

#[test]
fn a_step_beyond_its_limit_ends_in_a_clean_rollback_of_the_run() {
    let Some(place) = slow("3s") else { return };
    let marker = marker("limit");
    let steps = format!(
        "id: slow\nversion: 1.0.0\ntitle: Slow\nsteps:\n\
         - {{ id: write, use: fs.write, with: {{ path: src/new/b, content: b }} }}\n\
         - {{ id: change, use: fs.write, with: {{ path: src/a.txt, content: changed }}, needs: [write] }}\n\
         - {{ id: slow, use: {ID}, with: {{ x: \"{marker}\" }}, needs: [change] }}\n\
         - {{ id: never, use: fs.delete, with: {{ path: src/a.txt }}, needs: [slow] }}\n"
    );
    let file = place.document("slow.workflow.yaml", steps);
    let before = place.tree().without(".lictor");
    let run = place.run(&["run", &file]).ends(1, "failed");
    assert_eq!(run["status"], "rolled_back", "{run}");
    let steps = run["steps"].as_array().unwrap();
    let steps: Vec<&str> = steps.iter().map(|step| text(step, "status")).collect();
    assert_eq!(steps[..2], ["undone", "undone"], "{run}");
    assert!(!["completed", "undone"].contains(&steps[3]), "{run}");
    assert!(run.to_string().contains("took longer than it may"), "{run}");
    assert_eq!(place.tree().without(".lictor"), before, "verified by bytes, modes and kinds");
    assert_eq!(place.run(&["lock", "status"]).done()["held"], false);
    let types = types(&place);
    assert_eq!(types.iter().filter(|kind| *kind == "undo_completed").count(), 2, "{types:?}");
    assert!(types.contains(&"workflow_rolled_back".to_owned()), "{types:?}");
    assert_eq!(place.run(&["recover"]).done()["recovered"], json!([]));
    nothing_is_left(&place, &marker);
}

#[test]
fn a_call_beyond_the_limit_of_a_step_fails_and_leaves_nothing() {
    let Some(place) = slow("3s") else { return };
    let marker = marker("call");
    let before = place.tree().without(".lictor");
    let failed = place.run(&["call", ID, &format!("x={marker}")]).ends(1, "failed");
    assert!(message(&failed).contains("took longer than it may"), "{failed}");
    assert_eq!(place.tree().without(".lictor"), before);
    let ends: Vec<Value> = place.trail().into_iter().filter(|e| e["success"] == false).collect();
    assert_eq!(ends.len(), 1, "{ends:?}");
    assert_eq!(ends[0]["event_type"], "action_failed");
    nothing_is_left(&place, &marker);
    // One that keeps within it is none the worse for it; within what, is up to how slow a machine may be.
    place.policy(&format!("{POLICY}limits: {{ max_step_time: 60s }}\n"));
    place.run(&["call", ID, "x=0"]).done();
    assert_eq!(place.read("src/a.txt"), "half\n");
    place.run(&["undo"]).done();
    assert_eq!(place.tree().without(".lictor"), before);
}
