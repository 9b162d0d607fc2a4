//! `compensation_once_reverse` and `status_never_overstates` when the process dies at every save.

use lictor_workflow::{EngineError, FailureKind, Resume, RunRecord, RunStatus, RunStore};
use serde_json::json;

use crate::rig::{CHAIN, Rig, failure};

/// Runs with the `k`-th save failing, for every `k`, takes the run up again, and hands the end
/// to `check`.
async fn at_every_save(prepare: impl Fn(&Rig), check: impl Fn(&Rig, &RunRecord)) {
    for saves_first in [false, true] {
        let mut k = 2; // the first one is the submission
        loop {
            let rig = Rig::failing_at(k, saves_first);
            prepare(&rig);
            let run = rig.submit(CHAIN, json!({})).await;
            let id = run.run_id.clone();
            let first = rig.engine.drive(&run.run_id).await;
            rig.assert_no_violations();
            if rig.failing.n_saves() < k {
                assert!(k > 5, "{k}");
                break;
            }
            assert!(matches!(first, Err(EngineError::Store(_))), "{k}: {first:?}");
            let stored = rig.store.load(&id).await.unwrap().unwrap();
            let run = if stored.status().is_final() {
                stored
            } else {
                rig.engine.resume(&id, Resume::Continue).await.unwrap()
            };
            rig.assert_no_violations();
            check(&rig, &run);
            k += 1;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_dies_anywhere_completes_with_every_effect_once() {
    at_every_save(
        |_| {},
        |rig, run| {
            assert_eq!(run.status(), RunStatus::Completed);
            let world = rig.road.world();
            assert_eq!(world.notes, ["about a"]);
            assert_eq!((world.files["a"].as_str(), world.files["b"].as_str()), ("3", "2"));
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_dies_anywhere_is_finished() {
    at_every_save(
        |rig| rig.fault("four", vec![failure(FailureKind::Failed, false); 2]),
        |rig, run| {
            assert_eq!(run.status(), RunStatus::RolledBack, "{:?}", run.rollback);
            let world = rig.road.world();
            assert!(world.files.is_empty() && world.notes.is_empty());
            assert_eq!(run.rollback.undone, ["four", "three", "two", "one"]);
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_does_not_turn_a_stuck_step_into_a_good_one() {
    at_every_save(
        |rig| {
            rig.fault("four", vec![failure(FailureKind::Failed, false); 2]);
            rig.road.world().undo_fails.insert("one".into());
        },
        |rig, run| {
            assert_eq!(run.status(), RunStatus::Failed);
            assert_eq!(run.rollback.stuck[0].step, "one");
            assert_eq!(rig.road.world().files["a"], "1");
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn cancelling_a_run_that_died_takes_back_what_it_began() {
    for k in 2..7 {
        let rig = Rig::failing_at(k, true);
        let run = rig.submit(CHAIN, json!({})).await;
        let id = run.run_id.clone();
        let died = rig.engine.drive(&run.run_id).await;
        assert!(died.is_err());
        if rig.store.load(&id).await.unwrap().unwrap().status().is_final() {
            continue;
        }
        let run = rig.engine.cancel(&id, true).await.unwrap();
        assert_eq!(run.status(), RunStatus::RolledBack, "{k}: {:?}", run.rollback);
        let world = rig.road.world();
        assert!(world.files.is_empty() && world.notes.is_empty(), "{k}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_session_keeps_what_narrows_it() {
    let rig = Rig::new();
    let profile = lictor_context::AgentProfile {
        capabilities: lictor_context::Selection::Only(vec!["fs.*".into()]),
        mcp_servers: vec!["s".into()],
    };
    let session = rig.session.clone().with_profile(profile.clone()).with_trace_id("t1");
    let workflow = crate::rig::workflow(CHAIN);
    let run = rig.engine.submit(&session, &workflow, json!({})).await.unwrap();
    let stored = rig.store.load(&run.run_id).await.unwrap().unwrap();
    assert_eq!(stored.session().profile(), &profile);
    assert_eq!(stored.session().trace_id(), Some("t1"));
    assert_eq!(stored.session().id(), session.id());
}
