//! `recorded_before_acknowledged`, where the disk and the ledger are waited for at the same time:
//! nobody is told before both, and a failure of either is never called a success.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};

use lictor_context::EventType;
use lictor_executor::{
    CommitError, CommitErrorKind, ExecuteError, Executed, ExecutionStatus, Outcome, Receipt,
    Rollback,
};
use lictor_lock::Status;

use crate::support::{MakeDurable, World, world, writes};

async fn executed(world: &World) -> Executed {
    match world.execute(writes(&["a.txt"])).await.expect("done") {
        Outcome::Executed(executed) => executed,
        Outcome::Duplicate(_) => panic!("a duplicate"),
    }
}

async fn commit(world: &World, executed: Executed) -> Result<Receipt, CommitError> {
    executed.commit(world.ledger.as_ref(), world.clock.as_ref(), Vec::new()).await
}

#[track_caller]
fn is_held(world: &World) {
    let status = world.lock.status().expect("a status");
    assert!(matches!(status, Status::Held { .. }), "{status:?}");
}

/// A ledger that records nothing before the disk is at work would wait for ever if they were waited
/// for one after the other; and a disk that is not let on before the ledger has it, as well.
#[tokio::test]
async fn the_disk_is_at_work_while_the_ledger_commits_and_nobody_is_told_before_both() {
    let world = world();
    let (go, waits) = mpsc::channel();
    world.makes_durable(MakeDurable::Waits(Arc::new(Mutex::new(waits))));
    *world.ledger.settles_after.lock().expect("a call") = Some("makes it durable");
    let executed = executed(&world).await;
    let committed = commit(&world, executed);
    let watched = async {
        world.calls.until("recorded").await;
        assert!(!world.calls.has("durable") && !world.calls.has("settle"));
        is_held(&world);
        go.send(()).expect("it waits");
    };
    let (receipt, ()) = tokio::join!(committed, watched);
    assert_eq!(receipt.expect("committed").record.status, ExecutionStatus::Applied);
    let calls = world.calls.all();
    assert_eq!(calls[2..], ["makes it durable", "recorded", "durable", "settle"], "{calls:?}");
    world.lock_is_clean();
}

/// The other order: the disk is ready first.
#[tokio::test]
async fn what_is_durable_and_not_on_record_is_not_settled() {
    let world = world();
    let (go, waits) = mpsc::channel();
    go.send(()).expect("it waits");
    world.makes_durable(MakeDurable::Waits(Arc::new(Mutex::new(waits))));
    *world.ledger.settles_after.lock().expect("a call") = Some("durable");
    let executed = executed(&world).await;
    commit(&world, executed).await.expect("committed");
    let calls = world.calls.all();
    assert_eq!(calls[2..], ["makes it durable", "durable", "recorded", "settle"], "{calls:?}");
    world.lock_is_clean();
}

/// `status_never_overstates`: the ledger had it as done by then, and its last word is that it is not
/// known.
#[tokio::test]
async fn what_is_perhaps_not_durable_is_no_success_and_on_record_as_unknown() {
    for durable in [MakeDurable::Fails, MakeDurable::Panics] {
        let world = world();
        world.makes_durable(durable.clone());
        let executed = executed(&world).await;
        let error = commit(&world, executed).await.expect_err("not known");
        assert!(matches!(error.kind(), CommitErrorKind::NotDurable(_)), "{error}");
        assert!(error.to_string().contains("perhaps not durable"), "{error}");
        assert!(!error.report().is_complete(), "{durable:?}");
        let told = ExecuteError::from(error);
        assert!(matches!(told.rollback(), Rollback::Incomplete(_)), "{durable:?}");
        assert_eq!(world.ledger.records()[0].status, ExecutionStatus::Incomplete);
        let events = world.ledger.events();
        assert_eq!(events.last(), Some(&EventType::ActionUnknown), "{durable:?}: {events:?}");
        assert!(!world.calls.has("settle"), "its journal stays open");
        // Whoever comes next looks at it.
        world.makes_durable(MakeDurable::Works);
        world.act(writes(&["b.txt"])).await.expect("done");
        assert!(world.calls.has("recover"), "{durable:?}: {:?}", world.calls.all());
    }
}

/// Nothing is put back of which it is not known what the disk has: a recovery decides by what it
/// finds, and the ledger hears of it then.
#[tokio::test]
async fn what_is_neither_on_record_nor_known_to_be_durable_is_left_to_a_recovery() {
    let world = world();
    world.makes_durable(MakeDurable::Fails);
    let executed = executed(&world).await;
    world.ledger.settle_fails.store(true, Ordering::SeqCst);
    let error = commit(&world, executed).await.expect_err("not known");
    assert!(matches!(error.kind(), CommitErrorKind::NotDurable(_)), "{error}");
    assert!(world.ledger.records().is_empty());
    assert!(!world.calls.has("settle") && !world.calls.has("recorded"));
    world.ledger.settle_fails.store(false, Ordering::SeqCst);
    world.makes_durable(MakeDurable::Works);
    world.act(writes(&["b.txt"])).await.expect("done");
    assert!(world.calls.has("recover"), "{:?}", world.calls.all());
}

/// What is taken back instead of committed waits for no disk: the journal has it as open.
#[tokio::test]
async fn what_is_taken_back_is_not_made_durable_before() {
    let world = world();
    world.makes_durable(MakeDurable::Panics);
    let executed = executed(&world).await;
    let (ledger, clock) = (world.ledger.as_ref(), world.clock.as_ref());
    let report = executed.roll_back(ledger, clock, Vec::new(), "on a whim").await;
    assert!(report.expect("recorded").is_complete());
    assert_eq!(world.ledger.records()[0].status, ExecutionStatus::RolledBack);
    world.lock_is_clean();
}
