//! What can go wrong, one type an operation.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;

/// Opening a store failed. The database is as it was.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the store `{}`", path.display())]
pub struct OpenError {
    path: PathBuf,
    #[source]
    kind: OpenErrorKind,
}

/// The ways opening a store can fail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenErrorKind {
    /// The file is something else.
    #[error("the file is not a database")]
    NotADatabase,
    /// The database is damaged.
    #[error("the database is damaged")]
    Corrupt(#[source] rusqlite::Error),
    /// The directory is missing, or file or directory cannot be written.
    #[error("the file or its directory cannot be opened for writing")]
    NotWritable(#[source] io::Error),
    /// Another process kept the database busy until the time was up.
    #[error("another process keeps the database busy")]
    Busy(#[source] rusqlite::Error),
    /// A newer version of the program wrote it.
    #[error(
        "the tables of `{owner}` have version {found}, and this program knows versions up to {known}: \
         use a newer program"
    )]
    Newer {
        /// Whose tables.
        owner: String,
        /// The version in the file.
        found: u32,
        /// The highest version that this program knows.
        known: u32,
    },
    /// The migrations given do not number 1, 2, 3 … for this owner: a mistake in the program.
    #[error("the migrations of `{owner}` have version {found} where {expected} is due")]
    Misnumbered {
        /// Whose migrations.
        owner: String,
        /// The version that was due.
        expected: u32,
        /// The version that was given.
        found: u32,
    },
    /// A migration failed; the old version stands.
    #[error("the migration of `{owner}` to version {version} failed")]
    Migration {
        /// Whose migration.
        owner: String,
        /// The version that it leads to.
        version: u32,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The writer's thread could not be started.
    #[error("cannot start the writer's thread")]
    Thread(#[source] io::Error),
    /// Anything else that SQLite said.
    #[error("the database is not usable")]
    Sqlite(#[source] rusqlite::Error),
}

impl OpenError {
    pub(crate) fn new(path: &Path, kind: OpenErrorKind) -> Self {
        Self { path: path.to_owned(), kind }
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why, for matching.
    #[must_use]
    pub fn kind(&self) -> &OpenErrorKind {
        &self.kind
    }
}

impl From<rusqlite::Error> for OpenErrorKind {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotADatabase,
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt(error),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(error),
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                Self::NotWritable(io::Error::new(io::ErrorKind::PermissionDenied, error))
            }
            _ => Self::Sqlite(error),
        }
    }
}

/// A write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    /// The job itself refused; what it had written is undone.
    #[error("the job failed")]
    Job(#[source] E),
    /// The job was done, or never begun, but the commit that it was to share failed.
    #[error(transparent)]
    NotCommitted(#[from] NotCommitted),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The job panicked; what it had written is undone.
    #[error("the job panicked")]
    Panicked,
}

impl<E> WriteError<E> {
    /// Changes the job's own error.
    pub fn map_job<F>(self, map: impl FnOnce(E) -> F) -> WriteError<F> {
        match self {
            Self::Job(error) => WriteError::Job(map(error)),
            Self::NotCommitted(error) => WriteError::NotCommitted(error),
            Self::Closed => WriteError::Closed,
            Self::Panicked => WriteError::Panicked,
        }
    }
}

/// A commit failed, for every job that shared it.
#[derive(Debug, Clone)]
pub struct NotCommitted {
    source: Arc<rusqlite::Error>,
    in_doubt: bool,
}

impl NotCommitted {
    pub(crate) fn new(source: rusqlite::Error) -> Self {
        Self { source: Arc::new(source), in_doubt: false }
    }

    pub(crate) fn of_commit(source: rusqlite::Error) -> Self {
        let in_doubt = source.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
        Self { source: Arc::new(source), in_doubt }
    }

    /// The disk failed while committing. Nobody sees the writes now, but if power is lost before
    /// the next commit, they may be there afterwards.
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// What SQLite said.
    #[must_use]
    pub fn sqlite(&self) -> &rusqlite::Error {
        &self.source
    }
}

impl fmt::Display for NotCommitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the write was not committed")
    }
}

impl std::error::Error for NotCommitted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

/// A read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E> {
    /// The query itself.
    #[error("the query failed")]
    Query(#[source] E),
    /// No reading connection could be had, or no snapshot begun.
    #[error("the database cannot be read")]
    Unavailable(#[source] rusqlite::Error),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl<E> ReadError<E> {
    /// Changes the query's own error.
    pub fn map_query<F>(self, map: impl FnOnce(E) -> F) -> ReadError<F> {
        match self {
            Self::Query(error) => ReadError::Query(map(error)),
            Self::Unavailable(error) => ReadError::Unavailable(error),
            Self::Closed => ReadError::Closed,
        }
    }
}
