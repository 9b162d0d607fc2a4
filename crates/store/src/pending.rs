//! A write that is under way.

use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::WriteError;

/// A write that is under way: [`wait`](PendingWrite::wait) for it, or `.await` it under any
/// executor.
///
/// The write happens whether or not anybody waits; dropping this does not call it off.
#[derive(Debug)]
#[must_use = "a write is not done before it was waited for"]
pub struct PendingWrite<T, E> {
    slot: Arc<Slot<Answer<T, E>>>,
}

pub(crate) type Answer<T, E> = Result<T, WriteError<E>>;

/// The other end: answers once.
#[derive(Debug)]
pub(crate) struct Caller<T, E> {
    slot: Arc<Slot<Answer<T, E>>>,
}

// Not tokio's `oneshot`: blocking on that one panics in a runtime, and polling it by hand inside
// a task whose budget is used up is never woken.
#[derive(Debug)]
struct Slot<A> {
    state: Mutex<State<A>>,
    answered: Condvar,
}

#[derive(Debug)]
struct State<A> {
    answer: Option<A>,
    /// Nothing more will come.
    over: bool,
    waker: Option<Waker>,
}

impl<A> Slot<A> {
    fn lock(&self) -> MutexGuard<'_, State<A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn pending<T, E>() -> (Caller<T, E>, PendingWrite<T, E>) {
    let slot = Arc::new(Slot {
        state: Mutex::new(State { answer: None, over: false, waker: None }),
        answered: Condvar::new(),
    });
    let caller = Caller { slot: Arc::clone(&slot) };
    (caller, PendingWrite { slot })
}

impl<T, E> PendingWrite<T, E> {
    /// Blocks the thread until the write is committed, or has failed. Not to be called from
    /// within a job: the writer would wait for itself.
    ///
    /// # Errors
    ///
    /// Nothing was written; the error says why.
    pub fn wait(self) -> Result<T, WriteError<E>> {
        let mut state = self
            .slot
            .answered
            .wait_while(self.slot.lock(), |state| !state.over)
            .unwrap_or_else(PoisonError::into_inner);
        state.answer.take().unwrap_or(Err(WriteError::Closed))
    }
}

impl<T, E> Future for PendingWrite<T, E> {
    type Output = Result<T, WriteError<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.lock();
        if state.over {
            return Poll::Ready(state.answer.take().unwrap_or(Err(WriteError::Closed)));
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl<T, E> Caller<T, E> {
    pub(crate) fn answer(self, answer: Answer<T, E>) {
        self.slot.lock().answer = Some(answer);
        // The rest is done on dropping, which must do it anyway if a job is lost.
    }
}

impl<T, E> Drop for Caller<T, E> {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.slot.lock();
            state.over = true;
            state.waker.take()
        };
        self.slot.answered.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
