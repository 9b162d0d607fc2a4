//! Going forward.

use std::sync::Arc;
use std::time::Duration;

use lictor_workflow::{
    Control, EngineError, FailureKind, MemoryRunStore, Phase, Resume, RunRecord, RunStatus,
    RunStore, StepStatus, StoreError,
};
use serde_json::json;
use tokio::sync::Notify;

use crate::rig::{CHAIN, Rig, failure, statuses, workflow};

/// The example of the formats page, as it stands there.
const EXAMPLE: &str = r#"
id: release_notes
version: 1.0.0
title: Write the release notes
pack: docs-pack                    # optional: then the pack must be active
input:
  type: object
  required: [run_id, publish]
  properties: { run_id: { type: string }, publish: { type: boolean } }
  additionalProperties: false
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
    compensate: { use: notify.retract, with: { id: "{{ output.id }}" } }   # beside the automatic undo of files
    on_error: fail                 # fail | continue
output: { file: "{{ steps.write.output.path }}" }
"#;

#[tokio::test(start_paused = true)]
async fn the_example_of_the_formats_page_runs() {
    let rig = Rig::new();
    rig.road.world().answer = Some(lictor_workflow::ApprovalState::Granted);
    let run = rig.run(EXAMPLE, json!({ "run_id": "r1", "publish": true })).await;
    assert_eq!(run.status(), RunStatus::Completed, "{:?}", run.error);
    assert_eq!(rig.road.world().files["out.txt"], "run r1 at 12:00\n");
    let report = run.to_report();
    assert_eq!(report["status"], "completed");
    assert_eq!(report["output"], json!({ "file": "out.txt" }));
    assert_eq!(report["steps"][3]["id"], "write");
    assert_eq!(report["steps"][3]["output"]["path"], "out.txt");
    assert!(report.get("rollback").is_none() && report.get("error").is_none());
    assert_eq!(
        rig.events(),
        [
            "workflow_submitted",
            "workflow_started",
            "step_started now",
            "step_completed now",
            "step_started render",
            "step_completed render",
            "step_started review",
            "step_completed review",
            "step_started write",
            "step_completed write",
            "workflow_completed",
        ]
    );
    let stored: RunRecord = serde_json::from_value(serde_json::to_value(&run).unwrap()).unwrap();
    assert_eq!(stored, run);
}

#[tokio::test(start_paused = true)]
async fn an_input_that_does_not_fit_is_refused_before_anything() {
    let rig = Rig::new();
    let workflow = workflow(EXAMPLE);
    let refused = rig.engine.submit(&rig.session, &workflow, json!({ "publish": 1 })).await;
    let Err(EngineError::Input { findings, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(findings.len(), 2);
    assert!(rig.events().is_empty());
}

#[tokio::test(start_paused = true)]
async fn templates_keep_types_and_leave_secrets_alone() {
    let rig = Rig::new();
    let text = r#"
id: types
version: 1.0.0
steps:
  - id: one
    use: a.b
    with:
      number: "{{ input.number }}"
      list: ["{{ input.list }}", "{{ input.list[0] }}"]
      text: "n={{ input.number }}"
      "{{ key }}": 1.0
      secret: { token: { secret: "{{ NAME }}" } }
      about: "{{ workflow.id }} {{ workflow.version }} {{ run_id }}"
"#;
    let run = rig.run(text, json!({ "number": 7, "list": [true, null] })).await;
    let about = format!("types 1.0.0 {}", run.run_id);
    assert_eq!(
        rig.road.world().inputs["one"],
        json!({
            "number": 7, "list": [[true, null], true], "text": "n=7", "{{ key }}": 1.0,
            "secret": { "token": { "secret": "{{ NAME }}" } }, "about": about,
        })
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_value_fails_its_step_by_name() {
    let rig = Rig::new();
    let text = r#"
id: missing
version: 1.0.0
steps:
  - { id: one, use: time.now }
  - { id: two, use: fs.write, needs: [one], with: { deep: { path: "{{ steps.one.output.no }}" } } }
"#;
    let run = rig.run(text, json!({})).await;
    assert_eq!(run.status(), RunStatus::RolledBack);
    assert_eq!(
        run.error.unwrap().message,
        "step `two`: `with`: key `deep.path`: `{{ steps.one.output.no }}`: \
         `steps.one.output.no` is missing"
    );
    assert_eq!(rig.log(), ["act one 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_when_is_false_is_skipped_and_the_next_one_runs() {
    let rig = Rig::new();
    let text = r#"
id: skip
version: 1.0.0
steps:
  - { id: one, use: time.now, when: "{{ input.go }}" }
  - { id: two, use: a.b, needs: [one], with: { seen: "{{ steps.one.output }}", was: "{{ steps.one.status }}" } }
  - { id: three, use: a.b, needs: [two], when: false }
  - { id: four, use: a.b, needs: [one], when: "{{ steps.one.status == 'completed' }}" }
"#;
    let run = rig.run(text, json!({ "go": false })).await;
    assert_eq!(run.status(), RunStatus::Completed);
    assert_eq!(statuses(&run), ["one skipped", "two completed", "three skipped", "four skipped"]);
    assert_eq!(rig.road.world().inputs["two"], json!({ "seen": null, "was": "skipped" }));

    let run = rig.run(text, json!({ "go": "yes" })).await;
    assert_eq!(run.error.unwrap().kind, FailureKind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn a_failure_may_be_survived() {
    let rig = Rig::new();
    let text = r#"
id: survive
version: 1.0.0
steps:
  - { id: one, use: time.now, on_error: continue }
  - { id: two, use: a.b, needs: [one], with: { seen: "{{ steps.one.output }}" } }
"#;
    rig.fault("one", [failure(FailureKind::Failed, false)]);
    let run = rig.run(text, json!({})).await;
    assert_eq!(run.status(), RunStatus::Completed);
    assert_eq!(statuses(&run), ["one failed", "two completed"]);
    assert_eq!(run.to_report()["steps"][0]["error"]["code"], "failed");
}

const RETRY: &str = r#"
id: retry
version: 1.0.0
steps:
  - id: one
    use: fs.write
    with: { path: a, content: "1" }
    retry: { attempts: 3, backoff: exponential, initial: 200ms, max: 300ms }
"#;

#[tokio::test(start_paused = true)]
async fn what_may_help_is_tried_again_with_growing_pauses() {
    let rig = Rig::new();
    rig.fault("one", [failure(FailureKind::Busy, true), failure(FailureKind::Failed, true)]);
    let run = rig.run(RETRY, json!({})).await;
    assert_eq!(run.status(), RunStatus::Completed);
    assert_eq!(run.steps[0].attempts.len(), 3);
    // Half of the pause at least, and no more than all of it.
    for (between, most) in run.steps[0].attempts.windows(2).zip([200, 300]) {
        let pause = between[1].started_at.since(between[0].ended_at.unwrap());
        let most = Duration::from_millis(most);
        assert!(pause > most / 2 && pause <= most + Duration::from_millis(1), "{pause:?}");
    }

    let rig = Rig::new();
    rig.fault("one", vec![failure(FailureKind::Busy, true); 3]);
    let run = rig.run(RETRY, json!({})).await;
    assert_eq!((run.status(), run.steps[0].attempts.len()), (RunStatus::RolledBack, 3));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_help_is_not_tried_again() {
    for fault in [
        failure(FailureKind::Denied, true),
        failure(FailureKind::Incomplete { stuck: vec!["a".into()] }, true),
        failure(FailureKind::Failed, false),
    ] {
        let rig = Rig::new();
        rig.fault("one", [fault]);
        let run = rig.run(RETRY, json!({})).await;
        assert_eq!(run.steps[0].attempts.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_does_not_work_longer_than_its_timeout() {
    let rig = Rig::new();
    let text = r#"
id: slow
version: 1.0.0
timeout: 1s
steps:
  - { id: one, use: fs.write, with: { path: a, content: "1" } }
  - { id: two, use: time.now, needs: [one], retry: { attempts: 9, initial: 400ms, backoff: constant } }
"#;
    rig.fault("two", vec![failure(FailureKind::Busy, true); 9]);
    let run = rig.run(text, json!({})).await;
    // Two pauses fit, a third one does not.
    assert_eq!(run.step("two").unwrap().attempts.len(), 3);
    assert_eq!(run.status(), RunStatus::RolledBack);
    assert!(rig.road.world().files.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_run_under_way_stops_before_its_next_step() {
    let held = Arc::new(Notify::new());
    let rig = Rig::new();
    rig.road.world().held.insert("two".into(), Arc::clone(&held));
    let run = rig.submit(CHAIN, json!({})).await;
    let id = run.run_id.clone();
    let early = rig.engine.pause(&id).await;
    assert!(matches!(early, Err(EngineError::NotResumable { .. })), "{early:?}");
    let (paused, ()) = tokio::join!(rig.engine.drive(&id), async {
        assert_eq!(rig.engine.pause(&id).await.unwrap().status(), RunStatus::Running);
        let again = rig.engine.drive(&id).await;
        assert!(matches!(again, Err(EngineError::Busy(_))), "{again:?}");
        held.notify_one();
    });
    let paused = paused.unwrap();
    assert_eq!(paused.status(), RunStatus::Paused);
    let expect = ["one completed", "two completed", "three pending", "four pending"];
    assert_eq!(statuses(&paused), expect);

    // Again, and this time it is cancelled while the third step is under way.
    rig.road.world().held.insert("three".into(), Arc::clone(&held));
    let (cancelled, ()) = tokio::join!(rig.engine.resume(&id, Resume::Continue), async {
        while rig.store.load(&id).await.unwrap().unwrap().step("three").unwrap().status
            != StepStatus::Running
        {
            tokio::task::yield_now().await;
        }
        let now = rig.engine.cancel(&id, true).await.unwrap();
        assert_eq!(now.status(), RunStatus::Running);
        // A pause does not take the place of a cancellation.
        rig.engine.pause(&id).await.unwrap();
        held.notify_one();
    });
    let cancelled = cancelled.unwrap();
    assert_eq!(cancelled.status(), RunStatus::RolledBack);
    assert_eq!(cancelled.error.unwrap().kind, FailureKind::Cancelled);
    let world = rig.road.world();
    assert!(world.files.is_empty() && world.notes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_is_not_taken_up_again() {
    let rig = Rig::new();
    let done = rig.run(CHAIN, json!({})).await;
    assert_eq!(done.status(), RunStatus::Completed);
    for how in [Resume::Continue, Resume::RollBack] {
        let again = rig.engine.resume(&done.run_id, how).await;
        assert!(matches!(again, Err(EngineError::NotResumable { .. })), "{again:?}");
    }
    let cancelled = rig.engine.cancel(&done.run_id, true).await;
    assert!(matches!(cancelled, Err(EngineError::NotResumable { .. })), "{cancelled:?}");
    let unknown = lictor_context::RunId::parse("wfr_0").unwrap();
    let missing = rig.engine.cancel(&unknown, true).await;
    assert!(matches!(missing, Err(EngineError::NotFound(_))), "{missing:?}");
}

#[test]
fn only_these_changes_of_status_are_possible() {
    // A change is a method of the witness of where the run stands: others do not compile.
    let mut possible = Vec::new();
    for from in RunStatus::ALL {
        let again = || from.phase();
        let changes = match again() {
            Phase::Pending(at) => {
                let Phase::Pending(other) = again() else { panic!() };
                vec![at.start(), other.fail()]
            }
            Phase::Running(at) => {
                let at_again = || {
                    let Phase::Running(at) = again() else { panic!() };
                    at
                };
                vec![at.pause(), at_again().complete(), at_again().fail(), at_again().roll_back()]
            }
            Phase::Paused(at) => {
                let at_again = || {
                    let Phase::Paused(at) = again() else { panic!() };
                    at
                };
                vec![at.resume(), at_again().fail(), at_again().roll_back()]
            }
            Phase::Failed(at) => vec![at.roll_back()],
            Phase::RollingBack(at) => {
                let Phase::RollingBack(other) = again() else { panic!() };
                vec![at.fail(), other.rolled_back()]
            }
            Phase::Completed(at) => vec![at.take_back()],
            Phase::RolledBack(_) => Vec::new(),
        };
        for change in changes {
            assert!(!change.told_by().is_empty());
            possible.push(format!("{from} {}", change.to()));
        }
    }
    assert_eq!(
        possible,
        [
            "pending running",
            "pending failed",
            "running paused",
            "running completed",
            "running failed",
            "running rolling_back",
            "paused running",
            "paused failed",
            "paused rolling_back",
            "completed rolling_back",
            "failed rolling_back",
            "rolling_back failed",
            "rolling_back rolled_back",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn who_lost_the_lease_saves_nothing() {
    let rig = Rig::new();
    let run = rig.submit(CHAIN, json!({})).await;
    let other = rig.another_engine("other");
    let held = Arc::new(Notify::new());
    rig.road.world().held.insert("two".into(), Arc::clone(&held));
    let id = run.run_id.clone();
    let (lost, ()) = tokio::join!(rig.engine.drive(&id), async {
        while rig.store.load(&id).await.unwrap().unwrap().step("two").unwrap().status
            != StepStatus::Running
        {
            tokio::task::yield_now().await;
        }
        let busy = other.drive(&id).await;
        assert!(matches!(busy, Err(EngineError::Busy(_))), "{busy:?}");
        // The first driver does not come to renew its lease in time.
        rig.expire(&id).await;
        let run = other.drive(&id).await.unwrap();
        assert_eq!(run.status(), RunStatus::Completed);
        held.notify_one();
    });
    assert!(matches!(lost, Err(EngineError::Store(StoreError::Fenced { .. }))), "{lost:?}");
    let world = rig.road.world();
    assert_eq!(world.notes, ["about a"], "nothing happened twice");
}

#[tokio::test(start_paused = true)]
async fn a_changed_document_is_not_run() {
    let rig = Rig::new();
    let mut run = rig.submit(CHAIN, json!({})).await;
    run.workflow.source = run.workflow.source.replace("content: \"1\"", "content: \"9\"");
    rig.overwrite(run.clone()).await;
    let refused = rig.engine.drive(&run.run_id).await;
    assert!(matches!(refused, Err(EngineError::Document { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_decides_what_is_known_and_does_nothing() {
    let rig = Rig::new();
    let found = rig.engine.dry_run(&rig.session, &workflow(CHAIN), &json!({})).await.unwrap();
    let open: Vec<bool> = found.iter().map(|step| step.open).collect();
    assert_eq!(open, [false, true, false, false]);
    assert_eq!(found[0].decision.as_ref().unwrap()["verdict"], "allow");
    assert_eq!(rig.log(), ["check one", "check three", "check four"]);
    assert!(rig.road.world().files.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_steps_are_fast_enough() {
    let rig = Rig::new();
    let mut text = "id: long\nversion: 1.0.0\nsteps:\n  - { id: s0, use: time.now }\n".to_owned();
    for n in 1..1000 {
        text.push_str(&format!(
            "  - {{ id: s{n}, use: a.b, needs: [s{}], with: {{ x: \"{{{{ steps.s0.output.time }}}}\" }} }}\n",
            n - 1
        ));
    }
    let run = rig.run(&text, json!({})).await;
    assert_eq!(run.status(), RunStatus::Completed);
    assert!(run.steps.iter().all(|step| step.status == StepStatus::Completed));
}

#[tokio::test(start_paused = true)]
async fn the_newest_runs_are_listed() {
    let rig = Rig::new();
    let first = rig.submit(CHAIN, json!({})).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    let second = rig.submit(CHAIN, json!({})).await;
    let listed = MemoryRunStore::list(&rig.store, 9).await.unwrap();
    let ids: Vec<_> = listed.iter().map(|run| &run.run_id).collect();
    assert_eq!(ids, [&second.run_id, &first.run_id]);
}

#[tokio::test(start_paused = true)]
async fn what_a_run_would_refuse_is_what_it_refuses() {
    let refused = |outcome: &Result<RunRecord, EngineError>| match outcome {
        Err(EngineError::NotResumable { status, reason, .. }) => Some((*status, *reason)),
        _ => None,
    };
    let mut n_refused = 0;
    for status in
        ["pending", "running", "paused", "completed", "failed", "rolling_back", "rolled_back"]
    {
        for control in Control::ALL {
            let rig = Rig::new();
            // As it stands when nobody drives it any more.
            let mut record = json!(rig.submit(CHAIN, json!({})).await);
            record["status"] = json!(status);
            let run: RunRecord = serde_json::from_value(record).unwrap();
            let id = run.run_id.clone();
            rig.overwrite(run).await;
            let would = rig.engine.would(&id, control).await;
            let before = rig.store.load(&id).await.unwrap().unwrap();
            assert_eq!(before.status().as_str(), status, "asking changes nothing");
            let did = match control {
                Control::Pause => rig.engine.pause(&id).await,
                Control::Resume(how) => rig.engine.resume(&id, how).await,
                Control::Cancel => rig.engine.cancel(&id, true).await,
            };
            assert_eq!(refused(&would), refused(&did), "{control:?} of {status}");
            assert_eq!(would.is_ok(), did.is_ok(), "{control:?} of {status}: {did:?}");
            n_refused += usize::from(would.is_err());
        }
    }
    assert_eq!(n_refused, 15);
    let rig = Rig::new();
    let unknown = lictor_context::RunId::parse("wfr_0").unwrap();
    let missing = rig.engine.would(&unknown, Control::Cancel).await;
    assert!(matches!(missing, Err(EngineError::NotFound(_))), "{missing:?}");
}
