//! What can go wrong with the embedded state.

use lictor_store::{ReadError, WriteError, rusqlite};

/// The embedded state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The database.
    #[error("the database failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A stored record is not readable: it was damaged, or written by a newer program.
    #[error("a stored record is not readable: {0}")]
    Record(#[from] serde_json::Error),
    /// Somebody else saved the same thing since it was read.
    #[error("somebody else was faster: revision {found} is stored")]
    Stale {
        /// What is stored.
        found: u64,
    },
    /// Somebody else has the lease by now.
    #[error("somebody else has the lease by now")]
    Fenced,
    /// The database is not available.
    #[error("the database is not available: {0}")]
    Unavailable(String),
}

impl From<ReadError<Self>> for StateError {
    fn from(error: ReadError<Self>) -> Self {
        match error {
            ReadError::Query(error) => error,
            other => Self::Unavailable(whole(&other)),
        }
    }
}

impl From<WriteError<Self>> for StateError {
    fn from(error: WriteError<Self>) -> Self {
        match error {
            WriteError::Job(error) => error,
            other => Self::Unavailable(whole(&other)),
        }
    }
}

/// An error with everything that led to it: whoever reads that nothing was done wants to know whether
/// the disk is full.
fn whole(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |inner| inner.source());
    let mut text = error.to_string();
    for inner in sources {
        let said = inner.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
    }
    text
}
