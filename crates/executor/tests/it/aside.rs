//! What may block does not block the thread that everybody is on: these tests have only that one.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use async_trait::async_trait;
use lictor_capability::Effects;
use lictor_executor::{
    Executor, Granted, Handler, HandlerError, Handlers, LockSettings, Outcome, Request,
};
use serde_json::{Value, json};
use tower::Service as _;

use crate::support::{Files, World, world};

/// Blocks its thread, in one of the two, until somebody else on the runtime got a turn.
struct Blocks {
    describing: bool,
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
        self.wait(self.describing).map(|()| Effects::default())
    }

    async fn run(&self, _: Granted<'_>) -> Result<Value, HandlerError> {
        self.wait(!self.describing).map(|()| json!({ "ok": true }))
    }

    fn blocks(&self) -> bool {
        !self.describing
    }
}

fn blocking(world: &World, describing: bool) -> (Executor, Sender<()>) {
    let (give, turn) = channel();
    let handler = Blocks { describing, turn: Mutex::new(turn) };
    let builder = Executor::builder(
        world.gate.identity(),
        world.clock.clone(),
        Handlers::default().with("script", Arc::new(handler)),
        Arc::new(Files),
        world.applier.clone(),
        world.ledger.clone(),
        LockSettings {
            lock: world.lock.clone(),
            timeout: Duration::from_millis(100),
            holder: "test".to_owned(),
        },
    );
    (builder.build(), give)
}

#[tokio::test(flavor = "current_thread")]
async fn describing_what_may_read_files_leaves_the_thread_to_others() {
    let world = world();
    let (executor, give) = blocking(&world, true);
    let admitted = world.graph.admit(world.action(json!({}))).expect("admitted");
    let others = async { give.send(()).expect("it waits") };
    let (described, ()) = tokio::join!(executor.describe_aside(admitted), others);
    assert!(described.expect("described").effects().is_read_only());
    assert_eq!(executor.n_moved(), 1);
}

#[tokio::test(flavor = "current_thread")]
async fn running_what_blocks_leaves_the_thread_to_others() {
    let world = world();
    let (mut executor, give) = blocking(&world, false);
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
