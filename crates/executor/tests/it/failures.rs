//! What fails changes nothing, or is put back, or is said to be in doubt: never better than it is.

use std::sync::atomic::Ordering;

use lictor_context::EventType;
use lictor_executor::{ApplyError, ExecuteErrorKind, ExecutionStatus, Outcome, Rollback};
use serde_json::json;

use crate::support::{Apply, PutBack, Run, world, writes};

#[tokio::test]
async fn output_that_breaks_the_contract_changes_nothing() {
    for output in [json!({}), json!({ "ok": "yes" }), json!(null)] {
        let world = world();
        world.runs(Run::Answers(output));
        let error = world.fails(writes(&["a.txt"])).await;
        assert!(matches!(error.kind(), ExecuteErrorKind::Output(_)), "{error}");
        assert_eq!(*error.rollback(), Rollback::NotBegun);
        assert_eq!(world.calls.all(), ["run", "recorded"], "nothing was applied");
        world.lock_is_clean();
    }
}

#[tokio::test]
async fn output_that_breaks_the_contract_fails_a_read_as_well() {
    let world = world();
    world.runs(Run::Answers(json!({})));
    let error = world.fails(json!({ "read": ["a.txt"] })).await;
    assert!(matches!(error.kind(), ExecuteErrorKind::Output(_)), "{error}");
}

#[tokio::test]
async fn a_handler_that_fails_or_panics_changes_nothing() {
    for run in [Run::Fails, Run::Panics] {
        for input in [writes(&["a.txt"]), json!({})] {
            let world = world();
            world.runs(run.clone());
            let error = world.fails(input).await;
            assert!(matches!(error.kind(), ExecuteErrorKind::Handler(_)), "{error}");
            assert_eq!(*error.rollback(), Rollback::NotBegun);
            assert_eq!(world.calls.all(), ["run", "recorded"]);
            world.lock_is_clean();
        }
    }
}

#[tokio::test]
async fn what_is_done_elsewhere_is_on_record_before_it_is_done() {
    let elsewhere = || json!({ "hosts": ["example.com"] });
    let failed = world();
    failed.runs(Run::Fails);
    let error = failed.fails(elsewhere()).await;
    assert!(matches!(error.kind(), ExecuteErrorKind::Handler(_)), "{error}");
    assert_eq!(failed.calls.all(), ["begun", "run", "recorded"]);
    let world = world();
    world.runs(Run::Panics);
    let error = world.fails(elsewhere()).await;
    assert!(matches!(error.kind(), ExecuteErrorKind::Unknown(_)), "{error}");
    assert!(matches!(error.rollback(), Rollback::Incomplete(_)), "nobody knows what it did");
    assert_eq!(world.calls.all(), ["begun", "run", "recorded"]);
    assert_eq!(world.ledger.events(), [EventType::ActionStarted, EventType::ActionUnknown]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_has_the_time_that_its_contract_gives() {
    let world = world();
    world.runs(Run::Hangs);
    let before = tokio::time::Instant::now();
    let error = world.fails(writes(&["a.txt"])).await;
    assert_eq!(error.to_string(), "`test.act` was not done within 5000 ms");
    assert_eq!(before.elapsed().as_secs(), 5);
    assert_eq!(world.calls.all(), ["run", "recorded"]);
    world.lock_is_clean();
}

#[tokio::test]
async fn what_the_applier_says_is_left_is_what_is_said() {
    for (apply, begun, status) in [
        (Apply::Conflicts, false, ExecutionStatus::RolledBack),
        (Apply::RollsBack, true, ExecutionStatus::RolledBack),
        (Apply::InDoubt, true, ExecutionStatus::Incomplete),
        (Apply::NotDurable, true, ExecutionStatus::Incomplete),
        (Apply::Panics, true, ExecutionStatus::Incomplete),
    ] {
        let world = world();
        world.applies(apply);
        let error = world.fails(writes(&["a.txt"])).await;
        let rollback = error.rollback();
        assert_eq!(*rollback != Rollback::NotBegun, begun, "{apply:?}: {rollback:?}");
        let doubted = matches!(rollback, Rollback::Incomplete(_));
        assert_eq!(doubted, status == ExecutionStatus::Incomplete, "{apply:?}: {rollback:?}");
        assert_eq!(world.ledger.records()[0].status, status, "{apply:?}");
        assert_eq!(error.conflicts().len(), usize::from(apply == Apply::Conflicts));
    }
}

/// `status_never_overstates`: it is in place, and whether it stays there only a recovery can tell. So
/// it is not called put back either.
#[tokio::test]
async fn what_is_perhaps_not_durable_is_no_success_and_on_record_as_unknown() {
    let world = world();
    world.applies(Apply::NotDurable);
    let error = world.fails(writes(&["a.txt"])).await;
    assert!(error.to_string().contains("perhaps not durable"), "{error}");
    assert_eq!(world.ledger.records()[0].status, ExecutionStatus::Incomplete);
    assert_eq!(
        world.ledger.events(),
        [EventType::LockAcquired, EventType::ActionStarted, EventType::ActionUnknown]
    );
    world.applies(Apply::Works);
    world.act(writes(&["b.txt"])).await.expect("done");
    assert!(world.calls.has("recover"), "{:?}", world.calls.all());
}

/// `recorded_before_acknowledged`.
#[tokio::test]
async fn what_cannot_be_recorded_is_put_back() {
    let world = world();
    let outcome = world.execute(writes(&["a.txt"])).await.expect("done");
    let Outcome::Executed(executed) = outcome else { panic!("a duplicate") };
    world.ledger.settle_fails.store(true, Ordering::SeqCst);
    let (ledger, clock) = (world.ledger.as_ref(), world.clock.as_ref());
    let error = executed.commit(ledger, clock, Vec::new()).await.expect_err("not recorded");
    assert!(error.report().is_complete());
    assert_eq!(error.report().restored, ["a.txt"]);
    assert!(world.calls.has("roll back: it could not be recorded"));
    assert!(!world.calls.has("settle"), "{:?}", world.calls.all());
    // It is owed: whoever comes next recovers, and records it.
    world.ledger.settle_fails.store(false, Ordering::SeqCst);
    world.act(writes(&["b.txt"])).await.expect("done");
    assert!(world.calls.has("recover"), "{:?}", world.calls.all());
    world.lock_is_clean();
}

#[tokio::test]
async fn a_rollback_that_sticks_or_panics_is_not_called_complete() {
    for put_back in [PutBack::Sticks, PutBack::Panics] {
        let world = world();
        world.puts_back(put_back);
        let (ledger, clock) = (world.ledger.as_ref(), world.clock.as_ref());

        let outcome = world.execute(writes(&["a.txt"])).await.expect("done");
        let Outcome::Executed(executed) = outcome else { panic!("a duplicate") };
        world.ledger.settle_fails.store(true, Ordering::SeqCst);
        let error = executed.commit(ledger, clock, Vec::new()).await.expect_err("not recorded");
        assert!(!error.report().is_complete(), "{put_back:?}");
        world.ledger.settle_fails.store(false, Ordering::SeqCst);

        let outcome = world.execute(writes(&["a.txt"])).await.expect("done");
        let Outcome::Executed(executed) = outcome else { panic!("a duplicate") };
        let report = executed.roll_back(ledger, clock, Vec::new(), "on a whim").await;
        assert!(!report.expect("recorded").is_complete(), "{put_back:?}");
        assert_eq!(world.ledger.records()[0].status, ExecutionStatus::Incomplete);
    }
}

/// `recorded_before_acknowledged`.
#[tokio::test]
async fn what_is_recorded_is_recorded_before_the_lock_goes() {
    let world = world();
    world.act(writes(&["a.txt"])).await.expect("done");
    assert_eq!(world.calls.all(), ["run", "apply back_on_crash=false", "recorded", "settle"]);
    world.lock_is_clean();
}

#[tokio::test]
async fn a_conflict_that_the_applier_finds_reaches_the_caller() {
    let world = world();
    world.applies(Apply::Conflicts);
    let error = world.fails(writes(&["a.txt"])).await;
    assert!(matches!(error.kind(), ExecuteErrorKind::Apply(ApplyError::Conflict(_))), "{error}");
    assert_eq!(error.conflicts()[0].path, "a.txt");
}
