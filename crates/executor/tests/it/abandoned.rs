//! A future that is dropped stops nothing half-way: what it began comes to its end, and is taken
//! back because nobody will settle it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use lictor_context::EventType;
use lictor_executor::{ExecuteError, ExecutionStatus, Outcome};
use lictor_lock::Claim;
use serde_json::json;
use tokio::sync::Notify;
use tower::Service as _;

use crate::support::{Apply, Run, World, world, writes};

type Running = Pin<Box<dyn Future<Output = Result<Outcome, ExecuteError>> + Send>>;

fn start(world: &World, input: serde_json::Value) -> Running {
    world.executor.clone().call(world.warrant(input))
}

async fn poll_once(running: &mut Running) {
    poll_fn(|cx| {
        assert!(running.as_mut().poll(cx).is_pending(), "not so fast");
        Poll::Ready(())
    })
    .await;
}

const BACK: &str = "roll back: whoever asked for it stopped waiting";

#[tokio::test]
async fn an_abandoned_change_comes_to_its_end_and_is_taken_back() {
    let world = world();
    let go = Arc::new(Notify::new());
    world.runs(Run::Waits(go.clone()));
    let mut running = start(&world, writes(&["a.txt"]));
    poll_once(&mut running).await;
    world.calls.until("run").await;
    drop(running);
    go.notify_one();
    world.calls.until("recorded").await;
    world.calls.until("settle").await;
    let calls = world.calls.all();
    assert_eq!(calls, ["run", "apply back_on_crash=false", BACK, "recorded", "settle"]);
    assert_eq!(world.ledger.records()[0].status, ExecutionStatus::RolledBack);
    assert_eq!(
        world.ledger.events(),
        [
            EventType::LockAcquired,
            EventType::ActionStarted,
            EventType::RollbackStarted,
            EventType::RollbackCompleted,
            EventType::ActionFailed
        ]
    );
    world.lock_is_clean();
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_taken_back() {
    let world = world();
    let mut running = start(&world, writes(&["a.txt"]));
    poll_once(&mut running).await;
    world.calls.until("apply back_on_crash=false").await;
    // The applier has answered or is about to; either way nobody takes the outcome.
    drop(running);
    world.calls.until("recorded").await;
    assert!(world.calls.has(BACK), "{:?}", world.calls.all());
    world.calls.until("settle").await;
    world.lock_is_clean();
}

#[tokio::test]
async fn wherever_it_is_dropped_it_is_whole_or_not_at_all() {
    for n_yields in 0..40 {
        let world = world();
        let mut running = start(&world, writes(&["a.txt"]));
        poll_once(&mut running).await;
        for _ in 0..n_yields {
            tokio::task::yield_now().await;
        }
        drop(running);
        world.calls.until("settle").await;
        let calls = world.calls.all();
        let whole = ["run", "apply back_on_crash=false", BACK, "recorded", "settle"];
        assert_eq!(calls, whole, "{n_yields}");
        world.lock_is_clean();
    }
}

#[tokio::test]
async fn whoever_stops_waiting_for_the_lock_never_begins() {
    let world = world();
    let lease = world.lock.try_acquire(Claim::new("bob", "exe_9")).expect("a lease");
    let mut running = start(&world, writes(&["a.txt"]));
    poll_once(&mut running).await;
    drop(running);
    lease.release().expect("released");
    world.act(json!({ "write": ["b.txt"] })).await.expect("the lock is free again");
    assert_eq!(world.calls.all().iter().filter(|call| *call == "run").count(), 1);
    assert_eq!(world.ledger.records().len(), 1);
}

#[tokio::test]
async fn a_failure_that_nobody_hears_of_is_recorded() {
    for (apply, status) in [
        (Apply::RollsBack, ExecutionStatus::RolledBack),
        (Apply::InDoubt, ExecutionStatus::Incomplete),
    ] {
        let world = world();
        world.applies(apply);
        let mut running = start(&world, writes(&["a.txt"]));
        poll_once(&mut running).await;
        drop(running);
        world.calls.until("recorded").await;
        assert_eq!(world.ledger.records()[0].status, status);
        assert_eq!(world.ledger.events().last(), Some(&EventType::ActionFailed));
    }
}

#[tokio::test]
async fn what_was_done_elsewhere_is_recorded_as_done() {
    let world = world();
    let go = Arc::new(Notify::new());
    world.runs(Run::Waits(go.clone()));
    let mut running = start(&world, json!({ "hosts": ["example.com"] }));
    poll_once(&mut running).await;
    world.calls.until("run").await;
    drop(running);
    go.notify_one();
    world.calls.until("recorded").await;
    assert_eq!(world.ledger.events(), [EventType::ActionStarted, EventType::ActionCompleted]);
}

#[tokio::test]
async fn an_unsettled_outcome_leaves_its_work_to_whoever_comes_next() {
    let world = world();
    let outcome = world.execute(writes(&["a.txt"])).await.expect("done");
    drop(outcome);
    world.act(writes(&["b.txt"])).await.expect("done");
    assert!(world.calls.has("recover"), "{:?}", world.calls.all());
}
