//! Waiting for people.

use std::time::Duration;

use lictor_workflow::{
    ApprovalState, EngineError, FailureKind, Resume, RunRecord, RunStatus, RunStore,
};
use serde_json::json;

use crate::rig::{CHAIN, Rig, statuses};

const REVIEW: &str = r#"
id: review
version: 1.0.0
timeout: 60s
steps:
  - { id: one, use: fs.write, with: { path: a, content: "{{ input.text }}" } }
  - { id: ask, needs: [one], approval: { message: "Keep {{ steps.one.output.path }}?" } }
  - { id: two, needs: [ask], use: fs.write, with: { path: b, content: "1" } }
"#;

fn pending() -> Option<ApprovalState> {
    Some(ApprovalState::Pending { approval_id: "apr_1".into() })
}

#[tokio::test(start_paused = true)]
async fn an_approval_pauses_the_run_and_agreement_resumes_it() {
    let rig = Rig::new();
    rig.road.world().answer = pending();
    let run = rig.run(REVIEW, json!({ "text": "x" })).await;
    assert_eq!(run.status(), RunStatus::Paused);
    assert_eq!(statuses(&run), ["one completed", "ask waiting", "two pending"]);
    assert_eq!(run.to_report()["steps"][1]["approval_id"], "apr_1");

    // Nobody has decided: nothing happens, and nothing is recorded.
    let still = rig.engine.resume(&run.run_id, Resume::Continue).await.unwrap();
    assert_eq!((still.status(), still.revision), (RunStatus::Paused, run.revision));

    // Waiting does not use up the run's time.
    tokio::time::advance(Duration::from_secs(7200)).await;
    rig.road.world().answer = Some(ApprovalState::Granted);
    let run = rig.engine.resume(&run.run_id, Resume::Continue).await.unwrap();
    assert_eq!(run.status(), RunStatus::Completed, "{:?}", run.error);
    assert_eq!(run.step("ask").unwrap().output, json!({ "approved": true }));
    rig.assert_no_violations();

    // Every time the same question was asked.
    let questions = &rig.road.world().questions;
    assert_eq!(questions[0].0, "Keep a?");
    assert!(questions.iter().all(|question| *question == questions[0]));
    let events = rig.events();
    assert!(events.contains(&"workflow_paused ask".to_owned()), "{events:?}");
    assert!(events.contains(&"workflow_resumed".to_owned()), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn an_approval_is_bound_to_all_that_was_seen() {
    let rig = Rig::new();
    rig.road.world().answer = pending();
    let run = rig.run(REVIEW, json!({ "text": "x" })).await;
    let ask = async |change: &dyn Fn(&mut RunRecord)| {
        let mut changed = rig.store.load(&run.run_id).await.unwrap().unwrap();
        change(&mut changed);
        rig.overwrite(changed).await;
        rig.engine.resume(&run.run_id, Resume::Continue).await.unwrap();
        rig.road.world().questions.last().unwrap().1
    };
    let first = ask(&|_| {}).await;
    let other_input = ask(&|run| run.input = json!({ "text": "y" })).await;
    let other_output = ask(&|run| run.steps[0].output["id"] = json!("z")).await;
    assert!(first != other_input && other_input != other_output);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_fails_the_run_and_takes_it_back() {
    for answer in [Some(ApprovalState::Denied { reason: "no".into() }), None] {
        let rig = Rig::new();
        rig.road.world().answer = answer;
        let run = rig.run(REVIEW, json!({ "text": "x" })).await;
        assert_eq!(run.status(), RunStatus::RolledBack);
        assert_eq!(run.error.unwrap().kind, FailureKind::Denied);
        assert!(rig.road.world().files.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_gate_wants_approved_waits_and_is_the_same_attempt() {
    let rig = Rig::new();
    let gate = |state| rig.road.world().gated.insert("three".into(), state);
    gate(ApprovalState::Pending { approval_id: "apr_2".into() });
    let run = rig.run(CHAIN, json!({})).await;
    assert_eq!(run.status(), RunStatus::Paused);
    assert_eq!(run.step("three").unwrap().waiting_for.as_deref(), Some("apr_2"));
    let run = rig.engine.resume(&run.run_id, Resume::Continue).await.unwrap();
    assert_eq!(run.status(), RunStatus::Paused);
    gate(ApprovalState::Granted);
    let run = rig.engine.resume(&run.run_id, Resume::Continue).await.unwrap();
    assert_eq!(run.status(), RunStatus::Completed);
    assert_eq!(run.step("three").unwrap().attempts.len(), 1);
    rig.assert_no_violations();

    let rig = Rig::new();
    let denied = ApprovalState::Denied { reason: "no".into() };
    rig.road.world().gated.insert("three".into(), denied);
    let run = rig.run(CHAIN, json!({})).await;
    assert_eq!(run.status(), RunStatus::RolledBack);
    assert!(rig.road.world().notes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_paused_run_can_be_cancelled() {
    for (rollback, status) in [(true, RunStatus::RolledBack), (false, RunStatus::Failed)] {
        let rig = Rig::new();
        rig.road.world().answer = pending();
        let run = rig.run(REVIEW, json!({ "text": "x" })).await;
        let run = rig.engine.cancel(&run.run_id, rollback).await.unwrap();
        assert_eq!(run.status(), status);
        assert_eq!(run.error.as_ref().unwrap().kind, FailureKind::Cancelled);
        assert_eq!(rig.road.world().files.is_empty(), rollback);
        let again = rig.engine.resume(&run.run_id, Resume::Continue).await;
        assert!(matches!(again, Err(EngineError::NotResumable { .. })), "{again:?}");
        rig.assert_no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_never_began_is_cancelled_without_a_trace() {
    let rig = Rig::new();
    let run = rig.submit(REVIEW, json!({ "text": "x" })).await;
    let run = rig.engine.cancel(&run.run_id, true).await.unwrap();
    assert_eq!(run.status(), RunStatus::Failed);
    assert!(rig.log().is_empty());
}
