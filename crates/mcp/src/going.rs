//! A call's way down the road: gone by whoever serves it, and by itself while its client is away.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;

use lictor::{ActError, Agent};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::call::{Outcome, Wish, go};

/// What came of a call; nothing when it ended early.
pub(crate) type Ended = Option<Result<Outcome, ActError>>;
type Way = Pin<Box<dyn Future<Output = Result<Outcome, ActError>> + Send>>;

/// Dropping it calls it off.
pub(crate) enum Going {
    /// Whoever waits for it takes it on: most calls end while their client waits, and then a task of
    /// their own would only mean two more changes of threads.
    Here(Way),
    /// It goes on although nobody waits for it.
    ByItself(JoinSet<Result<Outcome, ActError>>),
    /// It has ended while something else was done.
    Ended(Box<Ended>),
    /// What came of it was told.
    Over,
}

impl Going {
    /// Begins, when it is waited for.
    pub(crate) fn down(agent: Agent, wish: Wish) -> Self {
        Self::Here(Box::pin(async move { go(&agent, &wish).await }.in_current_span()))
    }

    /// From now on it goes on whether or not somebody waits for it.
    pub(crate) fn by_itself(&mut self) {
        *self = match std::mem::replace(self, Self::Over) {
            Self::Here(way) => {
                let mut task = JoinSet::new();
                task.spawn(way);
                Self::ByItself(task)
            }
            other => other,
        }
    }

    /// Does something else to its end, and lets the call go on meanwhile. What came of a call that
    /// ended before is kept for whoever waits for it next.
    pub(crate) async fn meanwhile<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        tokio::select! {
            biased;
            done = &mut other => return done,
            ended = self.ended() => *self = Self::Ended(Box::new(ended)),
        }
        other.await
    }

    /// Waits until it ends; where that is given up, it is not over.
    pub(crate) async fn ended(&mut self) -> Ended {
        let ended = match self {
            Self::ByItself(task) => task.join_next().await.and_then(Result::ok),
            Self::Here(way) => {
                // A panic ends this call, and not what serves it.
                poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| way.as_mut().poll(cx))) {
                    Ok(polled) => polled.map(Some),
                    Err(_) => Poll::Ready(None),
                })
                .await
            }
            Self::Ended(_) | Self::Over => None,
        };
        match std::mem::replace(self, Self::Over) {
            Self::Ended(before) => *before,
            _ => ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(way: impl Future<Output = Result<Outcome, ActError>> + Send + 'static) -> Going {
        Going::Here(Box::pin(way))
    }

    fn refusal() -> ActError {
        lictor::ActErrorKind::NotFound("nothing".to_owned()).into()
    }

    #[tokio::test]
    async fn a_call_that_was_left_goes_on_and_is_waited_for_again() {
        let (go, may_go) = tokio::sync::oneshot::channel::<()>();
        let (said, heard) = tokio::sync::oneshot::channel();
        let mut going = of(async move {
            may_go.await.unwrap();
            said.send(()).unwrap();
            Err(refusal())
        });
        tokio::select! {
            biased;
            _ = going.ended() => unreachable!("it may not go yet"),
            () = std::future::ready(()) => {}
        }
        going.by_itself();
        go.send(()).unwrap();
        // Nobody waits for the call here.
        heard.await.unwrap();
        assert!(matches!(going.ended().await, Some(Err(_))));
    }

    #[tokio::test]
    async fn what_is_told_meanwhile_is_told_whole_and_the_end_is_kept() {
        let (go, may_go) = tokio::sync::oneshot::channel::<()>();
        let mut going = of(async move {
            go.send(()).unwrap();
            Err(refusal())
        });
        // It waits for nothing but that the call ends.
        let told = going.meanwhile(async { may_go.await.map(|()| 7) }).await;
        assert_eq!(told, Ok(7));
        assert!(matches!(going.ended().await, Some(Err(_))), "kept");
        let mut going = of(std::future::pending());
        assert_eq!(going.meanwhile(std::future::ready(7)).await, 7);
    }

    #[tokio::test]
    async fn a_call_that_panics_ends_early_and_alone() {
        let mut going = of(async { panic!("as it happens") });
        assert!(going.ended().await.is_none());
        assert!(going.ended().await.is_none());
        let mut going = of(async { panic!("as it happens") });
        going.by_itself();
        assert!(going.ended().await.is_none());
    }
}
