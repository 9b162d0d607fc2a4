//! Telling calls that their run is being stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Whether a run is being stopped. Most calls need not care: they are let come to their end. One
/// that may take as long as a run of its own is asked to end, and to say what it left.
#[derive(Debug, Clone, Default)]
pub struct Stopping(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stopped: AtomicBool,
    told: Notify,
}

impl Stopping {
    /// Whether it is.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }

    /// Comes back when it is.
    pub async fn stopped(&self) {
        loop {
            let told = self.0.told.notified();
            if self.is_stopped() {
                return;
            }
            told.await;
        }
    }

    pub(crate) fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        self.0.told.notify_waiters();
    }
}
