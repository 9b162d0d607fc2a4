//! Where somebody who drives a run can be reached.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lictor_context::RunId;
use tokio::sync::Notify;

use super::Engine;
use crate::lease::Wish;

/// What is wished of a run that this engine drives.
#[derive(Debug, Default)]
pub(super) struct Seat {
    wish: Mutex<Option<Wish>>,
    pub(super) called: Notify,
}

impl Seat {
    pub(super) fn ask(&self, wish: Wish) {
        let mut slot = self.lock();
        *slot = Some(wish.stronger(*slot));
        drop(slot);
        self.called.notify_one();
    }

    pub(super) fn take(&self) -> Option<Wish> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Wish>> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds a run against being driven twice by this engine.
pub(super) struct Driving<'e> {
    engine: &'e Engine,
    run_id: RunId,
    pub(super) seat: Arc<Seat>,
}

impl<'e> Driving<'e> {
    pub(super) fn new(engine: &'e Engine, run_id: RunId, seat: Arc<Seat>) -> Self {
        Self { engine, run_id, seat }
    }
}

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        self.engine.seats().remove(&self.run_id);
    }
}
