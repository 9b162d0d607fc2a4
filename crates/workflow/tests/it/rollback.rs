//! `compensation_once_reverse`: going back.

use lictor_workflow::{FailureKind, Resume, RollbackStatus, RunRecord, RunStatus, StepStatus};
use serde_json::json;

use crate::rig::{CHAIN, Rig, failure, statuses};

const DIAMOND: &str = r#"
id: diamond
version: 1.0.0
steps:
  - { id: last, use: fs.write, needs: [left, right], with: { path: a, content: "4" } }
  - { id: right, use: fs.write, needs: [top], with: { path: c, content: "3" } }
  - { id: left, use: fs.write, needs: [top], with: { path: b, content: "2" } }
  - { id: top, use: fs.write, with: { path: a, content: "1" } }
"#;

/// Fails every step in turn, and then, for each of those, every way back in turn; and holds
/// what is said against what is so.
async fn shake(text: &str) {
    let steps = crate::rig::workflow(text).plan().order.clone();
    for failing in &steps {
        let rig = Rig::new();
        rig.road.world().files.insert("a".into(), "0".into());
        rig.fault(failing, [failure(FailureKind::Failed, false)]);
        let run = rig.run(text, json!({})).await;
        assert_eq!(run.status(), RunStatus::RolledBack, "{failing}: {:?}", run.rollback);
        assert_eq!(run.rollback.status, RollbackStatus::Complete);
        assert_eq!(run.error.as_ref().unwrap().step.as_ref(), Some(failing));
        assert_untouched(&rig);
        assert_reverse(&rig, &run);
        for stuck in &steps {
            stick(text, failing, stuck).await;
        }
    }
}

async fn stick(text: &str, failing: &str, stuck: &str) {
    let rig = Rig::new();
    {
        let mut world = rig.road.world();
        world.files.insert("a".into(), "0".into());
        world.undo_fails.insert(stuck.into());
        world.compensation_fails.insert(stuck.into());
    }
    rig.fault(failing, [failure(FailureKind::Failed, false)]);
    let run = rig.run(text, json!({})).await;
    let hit = run.steps.iter().any(|step| step.status == StepStatus::Stuck);
    let what = format!("{failing} fails, {stuck} sticks: {:?}", run.rollback);
    if !hit {
        // Nothing of that step had to be taken back.
        assert_eq!(run.status(), RunStatus::RolledBack, "{what}");
        assert_untouched(&rig);
        return;
    }
    assert_eq!(run.status(), RunStatus::Failed, "{what}");
    assert_eq!(run.rollback.status, RollbackStatus::Partial, "{what}");
    assert_eq!(run.rollback.stuck.len(), 1, "{what}");
    assert_eq!(run.rollback.stuck[0].step, stuck, "{what}");
    // The others went back all the same.
    assert_reverse(&rig, &run);
    {
        let mut world = rig.road.world();
        world.undo_fails.clear();
        world.compensation_fails.clear();
    }
    let run = rig.engine.resume(&run.run_id, Resume::RollBack).await.unwrap();
    rig.assert_no_violations();
    assert_eq!(run.status(), RunStatus::RolledBack, "{what}");
    assert_eq!(run.rollback.status, RollbackStatus::Complete, "{what}");
    assert!(run.rollback.stuck.is_empty(), "{what}");
    assert_untouched(&rig);
}

#[track_caller]
fn assert_untouched(rig: &Rig) {
    let world = rig.road.world();
    let files: Vec<_> = world.files.iter().map(|(path, text)| (&**path, &**text)).collect();
    assert_eq!(files, [("a", "0")]);
    assert!(world.notes.is_empty(), "{:?}", world.notes);
}

/// What was taken back, was so in reverse start order, once.
#[track_caller]
fn assert_reverse(rig: &Rig, run: &RunRecord) {
    let order = |id: &str| run.step(id).unwrap().start_order.unwrap();
    let back: Vec<u32> =
        rig.log().iter().filter_map(|line| line.strip_prefix("undo ").map(order)).collect();
    assert!(back.is_sorted_by(|a, b| a > b), "{:?}", rig.log());
    let undone: Vec<u32> = run.rollback.undone.iter().map(|id| order(id)).collect();
    assert!(undone.is_sorted_by(|a, b| a > b), "{:?}", run.rollback);
}

#[tokio::test(start_paused = true)]
async fn whichever_step_fails_everything_goes_back_in_reverse_start_order() {
    shake(DIAMOND).await;
    shake(CHAIN).await;
}

#[tokio::test(start_paused = true)]
async fn a_compensation_runs_with_and_without_an_output() {
    let rig = Rig::new();
    rig.fault("three", [failure(FailureKind::Failed, false)]);
    let run = rig.run(CHAIN, json!({})).await;
    assert_eq!(statuses(&run), ["one undone", "two compensated", "three failed", "four pending"]);
    assert_eq!(run.rollback.undone, ["two", "one"]);
    assert_eq!(rig.road.world().inputs["two"], json!({ "id": "about a" }));

    // The step that failed may have half happened: its compensation runs too, without an output.
    let rig = Rig::new();
    rig.fault("two", [failure(FailureKind::Failed, false)]);
    let run = rig.run(CHAIN, json!({})).await;
    assert_eq!(run.status(), RunStatus::RolledBack);
    assert_eq!(rig.log(), ["act one 1", "act two 1", "compensate two 1", "undo one"]);

    // One that was refused has done nothing.
    let rig = Rig::new();
    rig.fault("two", [failure(FailureKind::Denied, false)]);
    rig.run(CHAIN, json!({})).await;
    assert_eq!(rig.log(), ["act one 1", "act two 1", "undo one"]);
}

#[tokio::test(start_paused = true)]
async fn a_compensation_is_done_once_however_often_the_rollback_is_taken_up() {
    let rig = Rig::new();
    rig.road.world().undo_fails.insert("four".into());
    let text = format!("{CHAIN}output: \"{{{{ steps.one.output.nothing }}}}\"\n");
    let run = rig.run(&text, json!({})).await;
    assert_eq!(run.rollback.stuck[0].reason, "the undo failed: told to fail");
    rig.engine.resume(&run.run_id, Resume::RollBack).await.unwrap();
    rig.road.world().undo_fails.clear();
    let run = rig.engine.resume(&run.run_id, Resume::RollBack).await.unwrap();
    assert_eq!(run.status(), RunStatus::RolledBack);
    assert_eq!(run.step("four").unwrap().status, StepStatus::Compensated);
    let compensated = |line: &&String| line.starts_with("compensate four");
    assert_eq!(rig.log().iter().filter(compensated).count(), 1, "{:?}", rig.log());
    rig.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_taken_back_is_said() {
    let rig = Rig::new();
    let text = r#"
id: sent
version: 1.0.0
steps:
  - { id: send, use: notify.send, with: { text: hello } }
  - { id: write, use: fs.write, needs: [send], with: { path: a, content: "1" } }
  - { id: last, use: time.now, needs: [write] }
"#;
    rig.fault("last", [failure(FailureKind::Denied, false)]);
    let run = rig.run(text, json!({})).await;
    assert_eq!(run.status(), RunStatus::Failed);
    let report = run.to_report();
    assert_eq!(report["error"]["code"], "denied");
    assert_eq!(report["error"]["step"], "last");
    assert_eq!(
        report["rollback"],
        json!({ "status": "partial", "undone": ["write"], "stuck": [{
            "step": "send",
            "reason": "what it did outside of the workspace cannot be undone, and it has no `compensate`",
        }] })
    );
    // However often it is tried.
    let run = rig.engine.resume(&run.run_id, Resume::RollBack).await.unwrap();
    assert_eq!((run.status(), run.rollback.stuck.len()), (RunStatus::Failed, 1));
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_failure_is_stuck_until_it_is_not() {
    let rig = Rig::new();
    let stuck = vec!["a is locked".to_owned()];
    rig.fault("one", [failure(FailureKind::Incomplete { stuck }, false)]);
    let run = rig.run(CHAIN, json!({})).await;
    assert_eq!(run.status(), RunStatus::Failed);
    assert_eq!(run.rollback.stuck[0].reason, "there is no execution to undo; left is: a is locked");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_answers_is_looked_up_and_taken_back() {
    for happened in [true, false] {
        let rig = Rig::new();
        rig.road.world().hangs.insert("one".into(), happened);
        let text = CHAIN.replace("content: \"1\" } }", "content: \"1\" }, timeout: 3s }");
        let run = rig.run(&text, json!({})).await;
        assert_eq!(run.error.as_ref().unwrap().kind, FailureKind::TimedOut);
        assert_eq!(run.status(), RunStatus::RolledBack, "{:?}", run.rollback);
        assert_eq!(run.rollback.undone.len(), usize::from(happened));
        assert!(rig.road.world().files.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn without_auto_rollback_a_failure_stands_until_it_is_taken_back() {
    let rig = Rig::new();
    let text = CHAIN.replace("version: 1.0.0", "version: 1.0.0\nauto_rollback: false");
    rig.fault("three", [failure(FailureKind::Failed, false)]);
    let run = rig.run(&text, json!({})).await;
    assert_eq!((run.status(), run.rollback.status), (RunStatus::Failed, RollbackStatus::None));
    assert!(run.to_report().get("rollback").is_none());
    assert_eq!(rig.road.world().notes, ["about a"]);
    let run = rig.engine.resume(&run.run_id, Resume::RollBack).await.unwrap();
    assert_eq!(run.status(), RunStatus::RolledBack);
    assert!(rig.road.world().notes.is_empty() && rig.road.world().files.is_empty());
    let events = rig.events();
    let end = &events[events.len() - 5..];
    assert_eq!(
        end,
        [
            "workflow_failed",
            "workflow_resumed",
            "rollback_started",
            "rollback_completed",
            "workflow_rolled_back",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_output_that_cannot_be_made_fails_the_run() {
    let rig = Rig::new();
    let text = format!("{CHAIN}output: {{ x: \"{{{{ steps.one.output.nothing }}}}\" }}\n");
    let run = rig.run(&text, json!({})).await;
    assert_eq!(run.status(), RunStatus::RolledBack);
    assert!(rig.road.world().files.is_empty());
}

/// A step that writes, with an undo of its own terms, and one that fails.
const UNDONE: &str = r#"
id: undone
version: 1.0.0
steps:
  - id: one
    use: fs.write
    with: { path: a, content: "1" }
    undo: { timeout: 10s, retry: { attempts: 4, backoff: constant, initial: 1s } }
  - { id: two, needs: [one], use: notify.send, with: { text: x } }
"#;

async fn undone(faults: &[bool], hangs: bool) -> (Rig, RunRecord) {
    let rig = Rig::new();
    rig.fault("two", [failure(FailureKind::Failed, false)]);
    rig.road.world().undo_faults.insert("one".to_owned(), faults.iter().copied().collect());
    if hangs {
        rig.road.world().undo_hangs.insert("one".to_owned());
    }
    let run = rig.run(UNDONE, json!({})).await;
    (rig, run)
}

fn undos(rig: &Rig) -> usize {
    rig.log().iter().filter(|line| *line == "undo one").count()
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_another_attempt_may_help_is_tried_again() {
    let (rig, run) = undone(&[true, true, true], false).await;
    assert_eq!(run.status(), RunStatus::RolledBack, "{:?}", run.rollback);
    assert_eq!(undos(&rig), 4);
    assert!(rig.road.world().files.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_undo_is_given_up_after_its_attempts_and_taken_up_again_when_asked() {
    let (rig, run) = undone(&[true; 5], false).await;
    assert_eq!(run.status(), RunStatus::Failed);
    assert!(run.rollback.stuck[0].reason.contains("failed 4 times"), "{:?}", run.rollback);
    assert_eq!(undos(&rig), 4);
    let run = rig.engine.resume(&run.run_id, Resume::RollBack).await.unwrap();
    assert_eq!(run.status(), RunStatus::RolledBack);
    assert_eq!(undos(&rig), 6);
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_nothing_helps_is_tried_once() {
    let (rig, run) = undone(&[false], false).await;
    assert_eq!((run.status(), undos(&rig)), (RunStatus::Failed, 1));
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_never_answers_is_given_up_when_its_time_is_over() {
    let (rig, run) = undone(&[], true).await;
    assert_eq!((run.status(), undos(&rig)), (RunStatus::Failed, 4));
    assert!(run.rollback.stuck[0].reason.contains("no answer in time"), "{:?}", run.rollback);
}
