//! Middleware is tower's, around the executor.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use lictor_executor::{ExecuteError, ExecuteErrorKind, Outcome, Rollback};
use serde_json::json;
use tokio::sync::Notify;
use tower::{BoxError, Layer as _, Service, ServiceExt as _, timeout::TimeoutLayer};

use crate::support::{Run, world, world_that_answers_within, writes};

#[tokio::test]
async fn no_more_run_at_once_than_the_limit_says() {
    let world = world();
    let go = Arc::new(Notify::new());
    world.runs(Run::Waits(go.clone()));
    let service = world.executor.service(1);
    let (mut first, mut second) = (service.clone(), service);
    first.ready().await.expect("ready");
    let running = tokio::spawn(first.call(world.warrant(json!({}))));
    world.calls.until("run").await;
    let ready = poll_fn(|cx| Poll::Ready(second.poll_ready(cx))).await;
    assert!(ready.is_pending(), "the first has the only place");
    go.notify_one();
    drop(running.await.expect("joined").expect("done"));
    second.ready().await.expect("there is a place again");
    go.notify_one();
    drop(second.call(world.warrant(json!({}))).await.expect("done"));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_around_it_takes_back_what_it_cuts_off() {
    let world = world();
    let go = Arc::new(Notify::new());
    world.runs(Run::Waits(go.clone()));
    let mut service = TimeoutLayer::new(Duration::from_secs(2)).layer(world.executor.service(4));
    let warrant = world.warrant(writes(&["a.txt"]));
    let error = service.ready().await.expect("ready").call(warrant).await.expect_err("too late");
    assert!(error.is::<tower::timeout::error::Elapsed>(), "{error}");
    go.notify_one();
    world.calls.until("recorded").await;
    assert!(world.calls.has("roll back: whoever asked for it stopped waiting"));
    world.lock_is_clean();
}

#[tokio::test(start_paused = true)]
async fn without_any_answer_the_outcome_is_said_to_be_unknown() {
    let world = world_that_answers_within(Duration::from_secs(2));
    let go = Arc::new(Notify::new());
    world.runs(Run::Waits(go.clone()));
    let mut service = world.executor.service(4);
    let warrant = world.warrant(writes(&["a.txt"]));
    let error = service.ready().await.expect("ready").call(warrant).await.expect_err("too late");
    assert!(matches!(error.kind(), ExecuteErrorKind::NoAnswer { .. }), "{error}");
    assert!(matches!(error.rollback(), Rollback::Incomplete(_)), "never `rolled back`");
    go.notify_one();
    world.calls.until("recorded").await;
    assert!(world.calls.has("roll back: whoever asked for it stopped waiting"));
    world.lock_is_clean();
}

#[tokio::test]
async fn errors_come_out_of_the_box_again() {
    let world = world();
    world.runs(Run::Fails);
    let mut service = TimeoutLayer::new(Duration::from_secs(2)).layer(world.executor.service(4));
    let warrant = world.warrant(writes(&["a.txt"]));
    let error = service.ready().await.expect("ready").call(warrant).await.expect_err("it fails");
    let error = ExecuteError::try_from(error).expect("one of ours");
    assert!(matches!(error.kind(), ExecuteErrorKind::Handler(_)), "{error}");
    let other: BoxError = "another".into();
    ExecuteError::try_from(other).expect_err("not ours");
}

#[tokio::test]
async fn a_layer_of_somebody_else_fits() {
    let world = world();
    let calls = world.calls.clone();
    let layer = tower::util::MapResponseLayer::new(move |outcome: Outcome| {
        calls.note("seen");
        outcome
    });
    let mut service = layer.layer(world.executor.service(4));
    let warrant = world.warrant(json!({}));
    drop(service.ready().await.expect("ready").call(warrant).await.expect("done"));
    assert_eq!(world.calls.all(), ["run", "seen"]);
}
