//! `one_writer`, who settles what the last one left, and does nothing twice.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lictor_context::{Digest, ExecutionId};
use lictor_executor::{ExecuteErrorKind, Outcome, Recovered, Recovery, Rollback, Stuck};
use lictor_lock::Claim;
use serde_json::json;
use tower::Service as _;

use crate::support::{World, impatient_world, world, writes};

fn left() -> Vec<Recovered> {
    let execution_id = ExecutionId::parse("exe_9").expect("an id");
    vec![Recovered { execution_id, recovery: Recovery::PutBack, record: None, stuck: Vec::new() }]
}

#[tokio::test]
async fn a_busy_workspace_is_said_to_be_with_its_holder() {
    let world = impatient_world();
    let lease = world.lock.try_acquire(Claim::new("bob", "exe_9")).expect("a lease");
    let error = world.fails(writes(&["a.txt"])).await;
    let ExecuteErrorKind::Busy(says) = error.kind() else { panic!("{error}") };
    assert!(says.contains("bob") && says.contains("exe_9"), "{says}");
    assert_eq!(*error.rollback(), Rollback::NotBegun);
    assert!(!world.calls.has("run"));
    lease.release().expect("released");
    world.act(writes(&["a.txt"])).await.expect("done");
}

#[tokio::test]
async fn a_warrant_that_expires_while_it_waits_opens_nothing() {
    let world = world();
    let lease = world.lock.try_acquire(Claim::new("bob", "exe_9")).expect("a lease");
    let mut running = world.executor.clone().call(world.warrant(writes(&["a.txt"])));
    std::future::poll_fn(|cx| {
        assert!(running.as_mut().poll(cx).is_pending(), "bob has the lock");
        std::task::Poll::Ready(())
    })
    .await;
    world.clock.advance(Duration::from_secs(60));
    lease.release().expect("released");
    let error = running.await.expect_err("refused");
    assert!(matches!(error.kind(), ExecuteErrorKind::ExpiredWarrant), "{error}");
    assert_eq!(world.calls.all(), [""; 0]);
    world.lock_is_clean();
}

#[tokio::test]
async fn reading_needs_no_lock() {
    let world = world();
    let lease = world.lock.try_acquire(Claim::new("bob", "exe_9")).expect("a lease");
    world.act(json!({ "read": ["a.txt"] })).await.expect("done");
    drop(lease);
}

#[tokio::test]
async fn what_a_crashed_predecessor_left_is_settled_first() {
    let world = world();
    world.crash();
    *world.applier.left.lock().expect("left") = left();
    world.act(writes(&["a.txt"])).await.expect("done");
    let calls = world.calls.all();
    let order = ["recover", "recovery recorded", "close 1", "run"];
    assert_eq!(calls[..4], order, "closed only when the ledger has it: {calls:?}");
    assert_eq!(*world.ledger.recovered.lock().expect("recovered"), [Recovery::PutBack]);

    world.act(writes(&["b.txt"])).await.expect("done");
    let recoveries = world.calls.all().iter().filter(|call| *call == "recover").count();
    assert_eq!(recoveries, 1, "the second had a clean predecessor");
}

#[tokio::test]
async fn what_cannot_be_recovered_or_recorded_stops_everybody_after() {
    let world = world();
    world.crash();
    world.applier.recover_fails.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let error = world.fails(writes(&["a.txt"])).await;
        assert!(matches!(error.kind(), ExecuteErrorKind::Recover(_)), "{error}");
        assert!(error.execution_id().is_some(), "it owes its events");
    }
    world.applier.recover_fails.store(false, Ordering::SeqCst);
    world.ledger.settle_fails.store(true, Ordering::SeqCst);
    *world.applier.left.lock().expect("left") = left();
    let error = world.execute(writes(&["a.txt"])).await.expect_err("not recorded");
    assert!(matches!(error.kind(), ExecuteErrorKind::Ledger(_)), "{error}");
    assert!(!world.calls.has("run"));
    assert!(!world.calls.has("close 1"), "the ledger does not have it");
    world.ledger.settle_fails.store(false, Ordering::SeqCst);
    world.act(writes(&["a.txt"])).await.expect("done");
    assert_eq!(world.calls.all().iter().filter(|call| *call == "recover").count(), 4);
}

/// `status_never_overstates`: nothing new is built on a workspace that is half old and half new.
#[tokio::test]
async fn what_cannot_be_settled_stops_new_work_and_says_what_to_do() {
    let world = world();
    world.crash();
    let mut stuck = left();
    stuck[0].recovery = Recovery::Incomplete;
    stuck[0].stuck =
        vec![Stuck { path: "a.txt".to_owned(), reason: "it is not what it was".to_owned() }];
    let folder = format!(".lictor/tx/{}", stuck[0].execution_id);
    *world.applier.left.lock().expect("left") = stuck;
    for _ in 0..2 {
        let error = world.fails(writes(&["b.txt"])).await;
        assert!(matches!(error.kind(), ExecuteErrorKind::Stuck(_)), "{error}");
        let told = error.to_string();
        for part in ["`a.txt`: it is not what it was", &folder, "lictor recover"] {
            assert!(told.contains(part), "{part} in {told}");
        }
        assert!(!world.calls.has("run"), "nothing was begun");
    }
    // Asked for, it is shown; and the next one is stopped all the same.
    assert!(!world.executor.recover().await.expect("read")[0].is_settled());
    let error = world.fails(writes(&["b.txt"])).await;
    assert!(matches!(error.kind(), ExecuteErrorKind::Stuck(_)), "{error}");
    // Somebody puts it right.
    world.applier.left.lock().expect("left")[0].recovery = Recovery::PutBack;
    world.act(writes(&["b.txt"])).await.expect("done");
}

#[tokio::test]
async fn recovery_can_be_asked_for() {
    let world = world();
    *world.applier.left.lock().expect("left") = left();
    let recovered = world.executor.recover().await.expect("recovered");
    assert_eq!(recovered.len(), 1);
    assert_eq!(world.calls.all(), ["recover", "recovery recorded", "close 1"]);
    world.lock_is_clean();
}

async fn under(world: &World, key: &[u8]) -> Outcome {
    let action = world.action(writes(&["a.txt"])).with_idempotency_key(Digest::of(key));
    world.executor.clone().call(world.warrant_for(action)).await.expect("an outcome")
}

async fn commit(world: &World, outcome: Outcome) {
    let Outcome::Executed(executed) = outcome else { panic!("a duplicate") };
    let ledger = world.ledger.as_ref();
    executed.commit(ledger, world.clock.as_ref(), Vec::new()).await.expect("committed");
}

/// `replay_is_idempotent`.
#[tokio::test]
async fn a_duplicate_is_answered_with_the_first_record() {
    let world = world();
    commit(&world, under(&world, b"once").await).await;
    let first = world.ledger.records()[0].clone();
    let Outcome::Duplicate(again) = under(&world, b"once").await else { panic!("done twice") };
    assert_eq!(*again, first);
    let runs = world.calls.all().iter().filter(|call| *call == "run").count();
    assert_eq!(runs, 1);
    world.lock_is_clean();
    commit(&world, under(&world, b"another").await).await;
}

/// `replay_is_idempotent`, within its time limit.
#[tokio::test]
async fn a_duplicate_is_one_for_as_long_as_it_is_remembered() {
    let world = world();
    commit(&world, under(&world, b"once").await).await;
    world.clock.advance(Duration::from_secs(3600));
    assert!(matches!(under(&world, b"once").await, Outcome::Duplicate(_)));
    world.clock.advance(Duration::from_secs(1));
    commit(&world, under(&world, b"once").await).await;
}

/// `replay_is_idempotent`, for callers at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_under_one_key_one_is_done() {
    let world = std::sync::Arc::new(world());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let world = world.clone();
        tasks.spawn(async move {
            loop {
                let action = world.action(writes(&["a.txt"]));
                let action = action.with_idempotency_key(Digest::of(b"once"));
                match world.executor.clone().call(world.warrant_for(action)).await {
                    Ok(Outcome::Duplicate(_)) => return 0,
                    Ok(executed) => {
                        commit(&world, executed).await;
                        return 1;
                    }
                    Err(error) if matches!(error.kind(), ExecuteErrorKind::Busy(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    let done: i32 = tasks.join_all().await.into_iter().sum();
    assert_eq!(done, 1);
    assert_eq!(world.calls.all().iter().filter(|call| *call == "run").count(), 1);
}

#[tokio::test]
async fn a_ledger_that_cannot_be_asked_stops_the_execution_and_frees_the_lock() {
    let world = world();
    world.ledger.find_fails.store(true, Ordering::SeqCst);
    let action = world.action(writes(&["a.txt"])).with_idempotency_key(Digest::of(b"once"));
    let error = world.executor.clone().call(world.warrant_for(action)).await.expect_err("refused");
    assert!(matches!(error.kind(), ExecuteErrorKind::Ledger(_)), "{error}");
    assert_eq!(world.calls.all(), ["find"]);
    world.lock_is_clean();
}
