//! The time that a run has. It stands still while somebody is asked who takes their time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The time that one run has. Clones are the same one.
#[derive(Debug, Clone)]
pub struct RunTime {
    limit: Duration,
    state: Arc<watch::Sender<State>>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    began: Instant,
    /// For how long it stood still, until it last went on.
    stood: Duration,
    /// How many are asked just now, and since when somebody is.
    asked: usize,
    since: Instant,
}

/// A run's time stands still for as long as this is there, up to [`RunTime::MOST_HELD`] in all.
#[derive(Debug)]
#[must_use = "the time goes on when this is dropped"]
pub struct Held(RunTime);

impl RunTime {
    /// So long it stands still in all: whoever asks again and again does not go on for ever by that.
    pub const MOST_HELD: Duration = Duration::from_secs(3600);

    /// It begins now.
    pub(crate) fn new(limit: Duration) -> Self {
        let now = Instant::now();
        let state = State { began: now, stood: Duration::ZERO, asked: 0, since: now };
        Self { limit, state: Arc::new(watch::Sender::new(state)) }
    }

    /// Makes it stand still: a person is asked, say, whose time is not the run's.
    pub fn hold(&self) -> Held {
        self.state.send_modify(|state| {
            if state.asked == 0 {
                state.since = Instant::now();
            }
            state.asked += 1;
        });
        Held(self.clone())
    }

    /// Comes back when it is over.
    pub async fn over(&self) {
        self.over_and(Duration::ZERO).await;
    }

    /// The same, so much later.
    pub(crate) async fn over_and(&self, more: Duration) {
        let mut changes = self.state.subscribe();
        loop {
            let until = changes.borrow_and_update().until(self.limit.saturating_add(more));
            let passed = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    // Nobody lives to see it.
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = passed => return,
                // The sender is ours, so the channel does not close while we wait.
                _ = changes.changed() => {}
            }
        }
    }
}

impl State {
    /// When so much will have passed, if nothing changes. While it stands still that is when it may do
    /// so no longer, and so much later.
    fn until(&self, limit: Duration) -> Option<Instant> {
        let stood = if self.asked == 0 { self.stood } else { RunTime::MOST_HELD };
        self.began.checked_add(limit.saturating_add(stood))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| {
            state.asked = state.asked.saturating_sub(1);
            if state.asked == 0 {
                state.stood =
                    state.stood.saturating_add(state.since.elapsed()).min(RunTime::MOST_HELD);
            }
        });
    }
}
