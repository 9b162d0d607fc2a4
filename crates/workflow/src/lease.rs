//! Who may drive a run, and until when.

use std::time::Duration;

use lictor_context::Timestamp;
use serde::{Deserialize, Serialize};

/// Who drives runs: one engine of one process. A name says nothing to the engine; a store may see
/// from it that its process is gone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner(pub String);

/// The right to drive a run. It ends by the clock, or when its owner is known to be gone; its
/// token is higher than every one before it, and a store saves nothing under an older one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Whose it is.
    pub owner: Owner,
    /// Its number.
    pub token: u64,
    /// Until when.
    pub until: Timestamp,
}

/// How long a lease lasts without being renewed.
pub const LEASE: Duration = Duration::from_secs(30);

/// What somebody outside wants of a run that is being driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Somebody may have answered what it waits for.
    Look,
    /// It should stop after the steps that are under way, and wait.
    Pause,
    /// It should stop after the steps that are under way, and end.
    Cancel {
        /// Whether it is taken back.
        rollback: bool,
    },
}

impl Wish {
    /// The stronger one of two: a cancellation is never replaced by a pause, nor one that takes
    /// everything back by one that does not.
    #[must_use]
    pub fn stronger(self, earlier: Option<Self>) -> Self {
        earlier.map_or(self, |earlier| earlier.max(self))
    }
}

/// What came of asking for a lease.
#[derive(Debug)]
pub enum Claimed<R> {
    /// There is no such run.
    Missing,
    /// Somebody alive has it.
    Held {
        /// Who.
        by: Owner,
    },
    /// It is had, with the run as last saved.
    Had(Box<R>, Lease),
}
