//! What a run has under way.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::port::{ApprovalState, StepDone, StepFailure};

/// How something that was under way ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// A call; without an answer, nobody knows how.
    Call(Option<Result<StepDone, StepFailure>>),
    /// A question to people.
    Asked(Result<ApprovalState, String>),
    /// A wait, or the pause before another attempt.
    Woken,
}

pub(super) type Work<'e> = Pin<Box<dyn Future<Output = Ended> + Send + 'e>>;

/// Something to be begun with a step, and whether the run has to be saved before.
pub(super) struct Launch<'e> {
    pub(super) idx: usize,
    pub(super) sleeps: bool,
    pub(super) intent: bool,
    pub(super) work: Work<'e>,
}

/// What is under way, at most one thing a step. It is polled in place: dropping the driver of a
/// run drops all of it.
#[derive(Default)]
pub(super) struct Going<'e> {
    launched: Vec<Launch<'e>>,
}

impl<'e> Going<'e> {
    pub(super) fn add(&mut self, launches: Vec<Launch<'e>>) {
        self.launched.extend(launches);
    }

    pub(super) fn has(&self, idx: usize) -> bool {
        self.launched.iter().any(|one| one.idx == idx)
    }

    /// Without those that only sleep.
    pub(super) fn n_awake(&self) -> usize {
        self.launched.iter().filter(|one| !one.sleeps).count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.launched.is_empty()
    }

    /// What sleeps is not waited for any more.
    pub(super) fn wake_nobody(&mut self) {
        self.launched.retain(|one| !one.sleeps);
    }

    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<(usize, Ended)> {
        for n in 0..self.launched.len() {
            let Some(one) = self.launched.get_mut(n) else { break };
            if let Poll::Ready(ended) = one.work.as_mut().poll(context) {
                let idx = one.idx;
                drop(self.launched.remove(n));
                return Poll::Ready((idx, ended));
            }
        }
        Poll::Pending
    }
}
