//! How a store is opened.

use std::sync::Arc;
use std::time::Duration;

/// What a commit has survived when it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Power loss: each commit is flushed to disk.
    #[default]
    Full,
    /// The end of the process, by `kill -9` too. Power loss may take the last commits, but never
    /// breaks the database.
    Normal,
}

/// What a store is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// A snapshot is read.
    Read,
    /// A job writes, into a transaction that may be that of others as well.
    Write,
    /// What was written is committed.
    Commit,
}

/// Asked before each access. What it refuses fails as if the database had: it can take away, and
/// never gives. For whoever shows how a program behaves when any one access fails.
pub trait AccessGuard: Send + Sync + std::fmt::Debug {
    /// Whether the access may go on.
    ///
    /// # Errors
    /// What the database is to have answered.
    fn before(&self, access: Access) -> rusqlite::Result<()>;
}

/// How long other processes that write are waited for. They take turns by trying again and again, in
/// no order: of two hundred with a commit of 5 ms each, one that waits has a mean of a second before
/// it, and a part `e^-n` of them still waits after `n` seconds. Five were not enough for all of them;
/// of those who wait thirty there is none.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a store is opened; the default is right for most.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    pub(crate) durability: Durability,
    pub(crate) busy_timeout: Duration,
    pub(crate) n_idle_readers: usize,
    pub(crate) max_batch: usize,
    guard: Option<Arc<dyn AccessGuard>>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Full,
            busy_timeout: PATIENCE,
            n_idle_readers: 8,
            max_batch: 1024,
            guard: None,
        }
    }
}

impl StoreOptions {
    /// What an acknowledged commit survives; [`Durability::Full`] by default.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How long to wait for other processes that write; 30 s by default.
    #[must_use]
    pub fn busy_timeout(mut self, busy_timeout: Duration) -> Self {
        self.busy_timeout = busy_timeout;
        self
    }

    /// How many reading connections are kept open while unused; 8 by default.
    #[must_use]
    pub fn n_idle_readers(mut self, n_idle_readers: usize) -> Self {
        self.n_idle_readers = n_idle_readers;
        self
    }

    /// How many jobs share a commit at most; 1024 by default, at least 1.
    #[must_use]
    pub fn max_batch(mut self, max_batch: usize) -> Self {
        self.max_batch = max_batch.max(1);
        self
    }

    /// Who is asked before each access; nobody by default.
    #[must_use]
    pub fn guard(mut self, guard: Arc<dyn AccessGuard>) -> Self {
        self.guard = Some(guard);
        self
    }

    pub(crate) fn before(&self, access: Access) -> rusqlite::Result<()> {
        self.guard.as_ref().map_or(Ok(()), |guard| guard.before(access))
    }
}
