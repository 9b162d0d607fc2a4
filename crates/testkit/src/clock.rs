//! The clock of a paused tokio.

use std::time::Duration;

use lictor_context::{Clock, Timestamp};

/// Tells the time of tokio's clock. Where that is paused, time stands still while anything can go
/// on, and then moves to the next moment that somebody waits for.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    start: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that begins now, in 2027.
    #[must_use]
    pub fn start() -> Self {
        Self { start: tokio::time::Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000).plus(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}
