//! Telling calls that their run is being stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

const PAUSING: u8 = 1;
const STOPPED: u8 = 2;

/// Whether a run is being stopped, or is to wait. Most calls need not care: they are let come to
/// their end. One that may take as long as a run of its own is asked to end, and to say what it left;
/// or to rest where it can be taken up again.
#[derive(Debug, Clone, Default)]
pub struct Stopping(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    level: AtomicU8,
    told: Notify,
}

impl Stopping {
    /// Whether it is being stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.has_come_to(STOPPED)
    }

    /// Comes back when it is.
    pub async fn stopped(&self) {
        self.comes_to(STOPPED).await;
    }

    /// Comes back when it is to wait, or is being stopped.
    pub async fn pausing(&self) {
        self.comes_to(PAUSING).await;
    }

    pub(crate) fn pause(&self) {
        self.come_to(PAUSING);
    }

    pub(crate) fn stop(&self) {
        self.come_to(STOPPED);
    }

    fn has_come_to(&self, level: u8) -> bool {
        self.0.level.load(Ordering::Acquire) >= level
    }

    async fn comes_to(&self, level: u8) {
        loop {
            let told = self.0.told.notified();
            if self.has_come_to(level) {
                return;
            }
            told.await;
        }
    }

    fn come_to(&self, level: u8) {
        // It only ever goes up: who is stopped is not told to wait.
        if self.0.level.fetch_max(level, Ordering::AcqRel) < level {
            self.0.told.notify_waiters();
        }
    }
}
