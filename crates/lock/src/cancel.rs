//! Calling a waiter off, and the pauses between its tries.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Calls off a wait that runs on another thread. Clones share one flag; once set it stays set.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    cancelled: Mutex<bool>,
    changed: Condvar,
}

impl CancelFlag {
    /// A flag that nobody has set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls the wait off, and wakes the waiter at once.
    pub fn cancel(&self) {
        *self.inner.cancelled.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.inner.changed.notify_all();
    }

    /// Whether somebody called the wait off.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        *self.inner.cancelled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps for `pause`, or less when cancelled; says whether it was.
    fn pause(&self, pause: Duration) -> bool {
        let guard = self.inner.cancelled.lock().unwrap_or_else(PoisonError::into_inner);
        let (guard, _timed_out) = self
            .inner
            .changed
            .wait_timeout_while(guard, pause, |cancelled| !*cancelled)
            .unwrap_or_else(PoisonError::into_inner);
        *guard
    }
}

/// How a wait goes on after a try that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Again,
    TimedOut,
    Cancelled,
}

/// The pauses of one wait: they double from 0.2 ms to 5 ms, because `flock` knows no timeout.
#[derive(Debug)]
pub(crate) struct Backoff<'a> {
    cancel: &'a CancelFlag,
    deadline: Option<Instant>,
    pause: Duration,
}

impl<'a> Backoff<'a> {
    const FIRST: Duration = Duration::from_micros(200);
    const LONGEST: Duration = Duration::from_millis(5);

    pub(crate) fn new(timeout: Duration, cancel: &'a CancelFlag) -> Self {
        Self {
            cancel,
            // A timeout beyond the clock's range is no timeout.
            deadline: now().checked_add(timeout),
            pause: Self::FIRST,
        }
    }

    pub(crate) fn turn(&mut self) -> Turn {
        let mut pause = self.pause;
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return Turn::TimedOut;
            }
            pause = pause.min(left);
        }
        self.pause = (self.pause * 2).min(Self::LONGEST);
        if self.cancel.pause(pause) { Turn::Cancelled } else { Turn::Again }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a wait on the kernel is bounded by the monotonic clock; nothing recorded depends on it"
)]
fn now() -> Instant {
    Instant::now()
}
