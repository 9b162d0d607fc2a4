//! What can go wrong, one type an operation.

use std::io;

use lictor_context::{EventType, Name};
use lictor_store::{WriteError, rusqlite};

use crate::guard::GuardError;
use crate::redact::RedactorError;
use crate::rotate::KeyRotatedError;
use crate::sealed::SubjectError;
use crate::stores::StoreError;

/// The trail could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the audit trail")]
pub struct OpenError {
    #[source]
    kind: OpenErrorKind,
}

/// Why the trail could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenErrorKind {
    /// The store could not be read or written.
    #[error("the store is not usable")]
    Store(#[from] StoreError),
    /// Content cannot be sealed in this store.
    #[error(
        "this store keeps nothing that is sealed: open it without a folder for keys of persons"
    )]
    NotSealing,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
    /// The rollback guard could not be opened.
    #[error(transparent)]
    Guard(GuardError),
    /// The keys of persons are not to be had.
    #[error(transparent)]
    Subjects(#[from] SubjectError),
    /// The key was rotated, and the next one is not where it should be.
    #[error(transparent)]
    Key(KeyRotatedError),
    /// A redaction pattern does not compile.
    #[error(transparent)]
    Redactor(RedactorError),
    /// What was begun before a crash could not be finished.
    #[error("what was begun before a crash could not be finished")]
    Unfinished(#[source] StoreError),
}

impl OpenError {
    /// Why.
    #[must_use]
    pub fn kind(&self) -> &OpenErrorKind {
        &self.kind
    }
}

impl From<OpenErrorKind> for OpenError {
    fn from(kind: OpenErrorKind) -> Self {
        Self { kind }
    }
}

/// Events were not appended; the transaction holds nothing of them.
#[derive(Debug, thiserror::Error)]
#[error("cannot append to the audit trail of `{org}`")]
pub struct AppendError {
    org: String,
    #[source]
    kind: AppendErrorKind,
}

/// Why events were not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendErrorKind {
    /// The store refused.
    #[error("the store refused")]
    Store(#[from] StoreError),
    /// The log is behind or beside what was signed before.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The end of the log is not what the last checkpoint says: going on would sign over it.
    #[error("the end of the log is not what was signed; `audit verify` says more")]
    Tampered,
    /// What was read again before it was signed is not what was written.
    #[error("event {seq} is not stored as it was written; nothing was signed")]
    NotAsWritten {
        /// The first that is not.
        seq: u64,
    },
    /// Another process rotated the key, and the next one is not where it should be.
    #[error(transparent)]
    Key(#[from] KeyRotatedError),
    /// The trail writes events of this type by itself, and believes what they say.
    #[error("events `{0}` are written by the trail itself")]
    Reserved(EventType),
    /// Somebody else archived, or forbade it, in the meantime.
    #[error("somebody else archived the same events, or placed a hold, in the meantime")]
    Overtaken,
    /// A person's key is not to be had.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
    /// A file could not be written.
    #[error("a file could not be read or written")]
    Io(#[from] io::Error),
}

impl AppendError {
    pub(crate) fn new(org: &dyn std::fmt::Display, kind: AppendErrorKind) -> Self {
        Self { org: org.to_string(), kind }
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> &AppendErrorKind {
        &self.kind
    }
}

/// Nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum NotAppended {
    /// The trail refused.
    #[error(transparent)]
    Refused(AppendError),
    /// The store did not take it.
    #[error("the store did not take it")]
    Store(#[from] StoreError),
}

impl From<WriteError<AppendError>> for NotAppended {
    fn from(error: WriteError<AppendError>) -> Self {
        match error {
            WriteError::Job(error) => Self::Refused(error),
            WriteError::NotCommitted(error) => Self::Store(error.into()),
            WriteError::Closed | WriteError::Panicked => Self::Store(StoreError::Closed),
        }
    }
}

/// Events could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the audit trail of `{org}`")]
pub struct QueryError {
    org: String,
    #[source]
    kind: QueryErrorKind,
}

/// Why events could not be read.
#[derive(Debug, thiserror::Error)]
pub enum QueryErrorKind {
    /// The store could not be read.
    #[error("the store could not be read")]
    Store(#[from] StoreError),
}

impl QueryError {
    pub(crate) fn new(org: &Name, kind: QueryErrorKind) -> Self {
        Self { org: org.as_str().to_owned(), kind }
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> &QueryErrorKind {
        &self.kind
    }
}

/// An export is not complete; what was written so far is of no use.
#[derive(Debug, thiserror::Error)]
#[error("cannot export the audit trail of `{org}`")]
pub struct ExportError {
    org: String,
    #[source]
    kind: ExportErrorKind,
}

/// Why an export is not complete.
#[derive(Debug, thiserror::Error)]
pub enum ExportErrorKind {
    /// The events could not be read.
    #[error(transparent)]
    Query(#[from] QueryErrorKind),
    /// They could not be written.
    #[error("the output could not be written")]
    Io(#[from] io::Error),
}

impl ExportError {
    pub(crate) fn new(org: &Name, kind: ExportErrorKind) -> Self {
        Self { org: org.as_str().to_owned(), kind }
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> &ExportErrorKind {
        &self.kind
    }
}

/// Whether the trail holds could not be found out.
#[derive(Debug, thiserror::Error)]
#[error("cannot verify the audit trail")]
pub struct VerifyError {
    #[source]
    kind: VerifyErrorKind,
}

/// Why it could not be found out whether the trail holds.
#[derive(Debug, thiserror::Error)]
pub enum VerifyErrorKind {
    /// The store could not be read.
    #[error(transparent)]
    Query(QueryErrorKind),
    /// The rollback guard could not be read.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// A file could not be read.
    #[error("the file could not be read")]
    Io(#[from] io::Error),
}

impl VerifyError {
    /// Why.
    #[must_use]
    pub fn kind(&self) -> &VerifyErrorKind {
        &self.kind
    }
}

impl<E: Into<VerifyErrorKind>> From<E> for VerifyError {
    fn from(kind: E) -> Self {
        Self { kind: kind.into() }
    }
}

impl From<QueryErrorKind> for VerifyErrorKind {
    fn from(kind: QueryErrorKind) -> Self {
        Self::Query(kind)
    }
}

impl From<StoreError> for VerifyErrorKind {
    fn from(error: StoreError) -> Self {
        Self::Query(error.into())
    }
}

impl From<StoreError> for ExportErrorKind {
    fn from(error: StoreError) -> Self {
        Self::Query(error.into())
    }
}

impl From<rusqlite::Error> for AppendErrorKind {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}
