//! Work that comes to its end, whoever waits for it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tracing::Instrument as _;

/// Takes `work` to its end, within the current span. It is done by whoever waits for it, and by a task
/// of its own once they stop waiting: so what nobody stops waiting for, which is nearly everything,
/// changes no threads.
///
/// Who waits for something else meanwhile keeps it waiting. Work that `holds` what others wait for is
/// therefore given to a task at once; there is then nothing to wait for here, but for its answer.
///
/// # Panics
/// Outside of a runtime of tasks, as spawning a task does.
#[must_use = "what holds nothing is done by whoever waits for it"]
pub fn to_its_end(work: impl Future<Output = ()> + Send + 'static, holds: bool) -> ToItsEnd {
    let runtime = Handle::current();
    let work = work.in_current_span();
    if holds {
        drop(runtime.spawn(work));
        return ToItsEnd { work: None, runtime };
    }
    ToItsEnd { work: Some(Box::pin(work)), runtime }
}

/// What [`to_its_end`] leaves to whoever waits.
pub struct ToItsEnd {
    /// Nothing once it has ended, or where a task does it.
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    runtime: Handle,
}

impl std::fmt::Debug for ToItsEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ToItsEnd").field("ended", &self.work.is_none()).finish_non_exhaustive()
    }
}

impl Future for ToItsEnd {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(work) = &mut self.work else { return Poll::Ready(()) };
        // A panic ends this work and not whoever waits for it, as in a task of its own: it is not
        // polled again, so nobody sees what it left half done.
        let ended = match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(polled) => polled.is_ready(),
            Err(_) => true,
        };
        if !ended {
            return Poll::Pending;
        }
        self.work = None;
        Poll::Ready(())
    }
}

impl Drop for ToItsEnd {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            drop(self.runtime.spawn(work));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn whoever_waits_does_it() {
        let (said, heard) = oneshot::channel();
        let tasks = || Handle::current().metrics().num_alive_tasks();
        to_its_end(async move { said.send(tasks()).unwrap() }, false).await;
        assert_eq!(heard.await, Ok(0), "no task was made for it");
    }

    #[tokio::test]
    async fn what_holds_something_does_not_wait_for_whoever_waits() {
        let (said, heard) = oneshot::channel();
        let tasks = || Handle::current().metrics().num_alive_tasks();
        let mut work = to_its_end(async move { said.send(tasks()).unwrap() }, true);
        assert_eq!(heard.await, Ok(1), "a task did it, and nobody waited for the work itself");
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut work).poll(&mut cx).is_ready());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_comes_to_its_end() {
        let (go, may_go) = oneshot::channel::<()>();
        let (said, heard) = oneshot::channel();
        let work = async move {
            may_go.await.unwrap();
            said.send(()).unwrap();
        };
        let mut work = to_its_end(work, false);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut work).poll(&mut cx).is_pending());
        drop(work);
        go.send(()).unwrap();
        assert_eq!(heard.await, Ok(()));
    }

    #[tokio::test]
    async fn what_nobody_ever_waited_for_is_done_as_well() {
        let (said, heard) = oneshot::channel();
        drop(to_its_end(async move { said.send(()).unwrap() }, false));
        assert_eq!(heard.await, Ok(()));
    }

    #[test]
    fn it_may_be_dropped_outside_of_the_runtime() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (said, heard) = oneshot::channel();
        let inside = runtime.enter();
        let work = to_its_end(async move { said.send(()).unwrap() }, false);
        drop(inside);
        drop(work);
        assert_eq!(runtime.block_on(heard), Ok(()));
    }

    #[tokio::test]
    async fn a_panic_ends_the_work_and_not_whoever_waits() {
        let (said, heard) = oneshot::channel::<()>();
        let work = async move {
            let _said = said;
            panic!("as it happens");
        };
        to_its_end(work, false).await;
        assert!(heard.await.is_err());
    }
}
