//! Whoever asked for a run may stop waiting for it: then it is told to end.

use lictor_governance::UsageMeter;
use tokio::sync::watch;

/// Whether nobody waits for a run any more. Clones share it; once told it stays told.
#[derive(Debug, Clone)]
pub(crate) struct Unwanted(watch::Sender<bool>);

impl Default for Unwanted {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Unwanted {
    /// Nobody waits for it any more.
    pub(crate) fn tell(&self) {
        self.0.send_replace(true);
    }

    /// Comes back when it is told.
    pub(crate) async fn told(&self) {
        // The sender is ours, so the channel does not close while we wait.
        drop(self.0.subscribe().wait_for(|told| *told).await);
    }
}

/// Whoever a run is for: where it reports what it costs, and whether it is still wanted.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) meter: UsageMeter,
    pub(crate) unwanted: Unwanted,
}
