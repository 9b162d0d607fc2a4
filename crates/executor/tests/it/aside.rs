//! What may block does not block the thread that everybody is on: these tests have only that one.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use async_trait::async_trait;
use lictor_capability::Effects;
use lictor_executor::{Executor, Granted, Handler, HandlerError, Outcome, Prepared, Request};
use serde_json::{Value, json};
use tower::Service as _;

use crate::support::{World, world};

/// Where a handler blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Where {
    Describing,
    Preparing,
    Running,
}

/// Blocks its thread, in one of them, until somebody else on the runtime got a turn.
struct Blocks {
    at: Where,
    turn: Mutex<Receiver<()>>,
}

impl Blocks {
    fn wait(&self, here: bool) -> Result<(), HandlerError> {
        if !here {
            return Ok(());
        }
        let turn = self.turn.lock().expect("one at a time");
        turn.recv_timeout(Duration::from_secs(20)).map_err(|_| {
            HandlerError::failed("nobody else got a turn: the only thread was blocked")
        })
    }
}

#[async_trait]
impl Handler for Blocks {
    fn describe(&self, _: Request<'_>) -> Result<Effects, HandlerError> {
        self.wait(self.at == Where::Describing).map(|()| Effects::default())
    }

    fn prepare(&self, _: &Granted<'_>) -> Result<Option<Prepared>, HandlerError> {
        self.wait(self.at == Where::Preparing).map(|()| Some(Prepared::new("ready")))
    }

    fn prepares(&self) -> bool {
        self.at == Where::Preparing
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        let ready = (granted.prepared::<&str>(), granted.prepared::<&str>());
        let wanted = (self.at == Where::Preparing).then_some("ready");
        assert_eq!(ready, (wanted, None), "what was made ready is there once");
        self.wait(self.at == Where::Running).map(|()| json!({ "ok": true }))
    }

    fn blocks(&self) -> bool {
        self.at == Where::Running
    }
}

fn blocking(world: &World, at: Where) -> (Executor, Sender<()>) {
    let (give, turn) = channel();
    let handler = Blocks { at, turn: Mutex::new(turn) };
    (world.executor_with(Arc::new(handler)), give)
}

#[tokio::test(flavor = "current_thread")]
async fn describing_what_may_read_files_leaves_the_thread_to_others() {
    let world = world();
    let (executor, give) = blocking(&world, Where::Describing);
    let admitted = world.graph.admit(world.action(json!({}))).expect("admitted");
    let others = async { give.send(()).expect("it waits") };
    let (described, ()) = tokio::join!(executor.describe_aside(admitted), others);
    assert!(described.expect("described").effects().is_read_only());
    assert_eq!(executor.n_moved(), 1);
}

/// Goes down the road while somebody else wants a turn.
async fn goes_through(at: Where) {
    let world = world();
    let (mut executor, give) = blocking(&world, at);
    let admitted = world.graph.admit(world.action(json!({}))).expect("admitted");
    let described = executor.describe_aside(admitted).await.expect("described");
    let decision = world.gate.decide(&described);
    let warrant = world.gate.authorize(described, &decision, None).expect("a warrant");
    let others = async { give.send(()).expect("it waits") };
    let (outcome, ()) = tokio::join!(executor.call(warrant), others);
    let Ok(Outcome::Executed(executed)) = outcome else { panic!("it was not executed") };
    assert_eq!(executed.output(), &json!({ "ok": true }));
    assert_eq!(executor.n_moved(), 2);
}

#[tokio::test(flavor = "current_thread")]
async fn running_what_blocks_leaves_the_thread_to_others() {
    goes_through(Where::Running).await;
}

#[tokio::test(flavor = "current_thread")]
async fn making_ready_for_a_run_leaves_the_thread_to_others() {
    goes_through(Where::Preparing).await;
}
