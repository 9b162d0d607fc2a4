//! Agreement to a run as a whole: nothing is done before it, and it is looked for again each time.

use std::sync::Arc;

use lictor_context::Digest;
use lictor_document::Source;
use lictor_workflow::{FailureKind, PlanState, Resume, RunRecord, RunStatus, Workflow};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::rig::{Rig, statuses};

const PLANNED: &str = r#"
id: planned
version: 1.0.0
approvals: plan
steps:
  - { id: one, use: fs.write, with: { path: a, content: "1" }, effects: { fs: { write: [a] } } }
  - { id: two, needs: [one], use: fs.write, with: { path: b, content: "2" } }
"#;

fn pending(id: &str) -> Option<PlanState> {
    Some(PlanState::Pending { approval_id: id.to_owned() })
}

fn granted(plan: &str) -> Option<PlanState> {
    let approval_id = Some("apr_1".to_owned());
    Some(PlanState::Granted { digest: Digest::of(plan.as_bytes()), approval_id })
}

/// A run whose plan becomes something else while its first step is under way.
async fn changed_under_it(rig: &Rig, to: Option<PlanState>) -> RunRecord {
    rig.road.world().plan = granted("p");
    let held = Arc::new(Notify::new());
    rig.road.world().held.insert("one".to_owned(), Arc::clone(&held));
    let change = async {
        while rig.road.world().held.contains_key("one") {
            tokio::task::yield_now().await;
        }
        rig.road.world().plan = to;
        held.notify_one();
    };
    tokio::join!(rig.run(PLANNED, Value::Null), change).0
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_before_people_agreed_to_the_run() {
    let rig = Rig::new();
    rig.road.world().plan = pending("apr_1");
    let run = rig.run(PLANNED, Value::Null).await;
    assert_eq!(run.status(), RunStatus::Paused);
    assert_eq!(statuses(&run), ["one pending", "two pending"]);
    assert_eq!(run.to_report()["approval_id"], "apr_1");
    assert!(rig.road.world().files.is_empty());

    let still = rig.engine.resume(&run.run_id, Resume::Continue).await.unwrap();
    assert_eq!((still.status(), still.revision), (RunStatus::Paused, run.revision));

    rig.road.world().plan = granted("p");
    let run = rig.engine.resume(&run.run_id, Resume::Continue).await.unwrap();
    assert_eq!(run.status(), RunStatus::Completed, "{:?}", run.error);
    assert_eq!(run.to_report().get("approval_id"), None);
    rig.assert_no_violations();
    let world = rig.road.world();
    let acts = world.log.iter().filter(|line| line.starts_with("act")).count();
    let asked_first = world.log.iter().position(|line| line == "act one 1").unwrap();
    assert_eq!(acts, 2);
    assert!(world.log[..asked_first].iter().all(|line| line == "plan"), "{:?}", world.log);
    assert_eq!(world.plans.last(), Some(&Some(Digest::of(b"p"))), "and again before each step");
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_became_another_one_is_asked_about_again() {
    let rig = Rig::new();
    let run = changed_under_it(&rig, pending("apr_2")).await;
    assert_eq!(run.status(), RunStatus::Paused);
    assert_eq!(statuses(&run), ["one completed", "two pending"]);
    assert_eq!(run.plan_waits_for(), Some("apr_2"));
    rig.road.world().plan = granted("q");
    let run = rig.engine.resume(&run.run_id, Resume::Continue).await.unwrap();
    assert_eq!(run.status(), RunStatus::Completed, "{:?}", run.error);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_takes_back_what_was_done_under_an_earlier_plan() {
    let rig = Rig::new();
    let denied = Some(PlanState::Denied { reason: "no".to_owned() });
    let run = changed_under_it(&rig, denied).await;
    assert_eq!(run.status(), RunStatus::RolledBack);
    assert_eq!(run.error.as_ref().unwrap().kind, FailureKind::Denied);
    assert!(rig.road.world().files.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_asked_lets_nothing_through() {
    let rig = Rig::new();
    rig.road.world().plan_fails = true;
    let run = rig.run(PLANNED, Value::Null).await;
    assert_eq!(run.error.as_ref().unwrap().kind, FailureKind::Denied);
    assert!(rig.road.world().files.is_empty());
    let packed = PLANNED
        .replace("approvals: plan\n", "pack: p\n")
        .replace(", effects: { fs: { write: [a] } }", "");
    let run = rig.run(&packed, Value::Null).await;
    assert_eq!(run.error.as_ref().unwrap().kind, FailureKind::Denied, "a pack may want it");
    let bare = packed.replace("pack: p\n", "");
    assert_eq!(rig.run(&bare, json!({})).await.status(), RunStatus::Completed);
    assert_eq!(rig.road.world().plans.len(), 2, "what cannot need it costs no question");
}

#[test]
fn ceilings_belong_to_plans() {
    let read = |text: &str| Workflow::from_yaml(&Source::new("w.yaml", text.as_bytes()));
    read(PLANNED).unwrap();
    let error = read(&PLANNED.replace("approvals: plan", "approvals: steps")).unwrap_err();
    assert!(error.to_string().contains("w.yaml:6:"), "{error}");
    assert!(error.to_string().contains("`approvals: plan` only"), "{error}");
    let error = read(&PLANNED.replace("write: [a]", "write: ['a[']")).unwrap_err();
    assert!(error.to_string().contains("is not a glob"), "{error}");
    let error = read(&PLANNED.replace("approvals: plan", "approvals: all")).unwrap_err();
    assert!(error.to_string().contains("w.yaml:4:"), "{error}");
}
