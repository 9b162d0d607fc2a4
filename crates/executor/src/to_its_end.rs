//! Work that comes to its end, whoever waits for it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// Work that is done by whoever waits for it, and by a task of its own once they stop waiting. So what
/// nobody stops waiting for, which is nearly everything, changes no threads.
///
/// Who waits for something else meanwhile keeps it waiting: work that holds what others wait for is
/// better given to a task at once.
pub struct ToItsEnd {
    /// Nothing once it has ended.
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    runtime: Handle,
}

impl ToItsEnd {
    /// Nothing is done before it is waited for.
    ///
    /// # Panics
    /// Outside of a runtime of tasks, as spawning a task does.
    #[must_use = "it is done by whoever waits for it"]
    pub fn new(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { work: Some(Box::pin(work)), runtime: Handle::current() }
    }
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
        ToItsEnd::new(async move { said.send(tasks()).unwrap() }).await;
        assert_eq!(heard.await, Ok(0), "no task was made for it");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_comes_to_its_end() {
        let (go, may_go) = oneshot::channel::<()>();
        let (said, heard) = oneshot::channel();
        let mut work = ToItsEnd::new(async move {
            may_go.await.unwrap();
            said.send(()).unwrap();
        });
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut work).poll(&mut cx).is_pending());
        drop(work);
        go.send(()).unwrap();
        assert_eq!(heard.await, Ok(()));
    }

    #[tokio::test]
    async fn what_nobody_ever_waited_for_is_done_as_well() {
        let (said, heard) = oneshot::channel();
        drop(ToItsEnd::new(async move { said.send(()).unwrap() }));
        assert_eq!(heard.await, Ok(()));
    }

    #[test]
    fn it_may_be_dropped_outside_of_the_runtime() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (said, heard) = oneshot::channel();
        let inside = runtime.enter();
        let work = ToItsEnd::new(async move { said.send(()).unwrap() });
        drop(inside);
        drop(work);
        assert_eq!(runtime.block_on(heard), Ok(()));
    }

    #[tokio::test]
    async fn a_panic_ends_the_work_and_not_whoever_waits() {
        let (said, heard) = oneshot::channel::<()>();
        ToItsEnd::new(async move {
            let _said = said;
            panic!("as it happens");
        })
        .await;
        assert!(heard.await.is_err());
    }
}
