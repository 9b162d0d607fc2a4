//! A handler that can end its run when nobody waits for it any more is asked to, and what it says then
//! is recorded. The clock is the test's own: it runs where everything waits.

use std::sync::Arc;

use async_trait::async_trait;
use lictor_capability::Effects;
use lictor_context::EventType;
use lictor_executor::{Executor, Granted, Handler, HandlerError, Request};
use serde_json::{Value, json};
use tower::Service as _;

use crate::support::{Calls, World, world};

/// What it does when nobody waits.
#[derive(Clone, Copy)]
enum Then {
    Fails,
    Doubts,
    Finishes,
    GoesOn,
}

struct Stops {
    then: Then,
    contained: bool,
    calls: Calls,
}

#[async_trait]
impl Handler for Stops {
    fn describe(&self, _: Request<'_>) -> Result<Effects, HandlerError> {
        let hosts = vec!["example.com".to_owned()];
        Ok(Effects { hosts, contained: self.contained, ..Effects::default() })
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        self.calls.note("run");
        granted.unwanted().await;
        match self.then {
            Then::Fails => Err(HandlerError::failed("killed")),
            Then::Doubts => Err(HandlerError::unknown("hung up")),
            Then::Finishes => Ok(json!({ "ok": true })),
            Then::GoesOn => std::future::pending().await,
        }
    }

    fn stops(&self) -> bool {
        true
    }
}

fn executor(world: &World, then: Then, contained: bool) -> Executor {
    let handler = Stops { then, contained, calls: world.calls.clone() };
    world.executor_with(Arc::new(handler))
}

/// Begins a run, stops waiting for it, and gives the events when all is recorded.
async fn given_up(then: Then, contained: bool) -> Vec<EventType> {
    let world = world();
    let executor = executor(&world, then, contained);
    let admitted = world.graph.admit(world.action(json!({}))).expect("admitted");
    let described = executor.describe(admitted).expect("described");
    let decision = world.gate.decide(&described);
    let warrant = world.gate.authorize(described, &decision, None).expect("a warrant");
    let mut running = Box::pin(executor.clone().call(warrant));
    tokio::select! {
        biased;
        outcome = &mut running => panic!("not so fast: {outcome:?}"),
        () = world.calls.until("run") => {}
    }
    drop(running);
    executor.under_way().ended().await;
    world.ledger.events()
}

#[tokio::test(start_paused = true)]
async fn what_the_handler_says_is_recorded() {
    for contained in [true, false] {
        let failed = [EventType::ActionStarted, EventType::ActionFailed];
        assert_eq!(given_up(Then::Fails, contained).await, failed);
        let done = [EventType::ActionStarted, EventType::ActionCompleted];
        assert_eq!(given_up(Then::Finishes, contained).await, done);
    }
    let doubted = [EventType::ActionStarted, EventType::ActionUnknown];
    assert_eq!(given_up(Then::Doubts, false).await, doubted);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_end_is_left_and_that_is_a_doubt_where_it_reaches_out() {
    let contained = [EventType::ActionStarted, EventType::ActionFailed];
    assert_eq!(given_up(Then::GoesOn, true).await, contained);
    let doubted = [EventType::ActionStarted, EventType::ActionUnknown];
    assert_eq!(given_up(Then::GoesOn, false).await, doubted);
}
