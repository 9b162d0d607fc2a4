//! What can go wrong, one type an operation.

use std::io;
use std::path::{Path, PathBuf};

use crate::holder::Holder;

/// Taking a lock failed. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[error("cannot take the lock `{}`", path.display())]
pub struct AcquireError {
    path: PathBuf,
    #[source]
    kind: AcquireErrorKind,
}

/// The ways taking a lock can fail.
#[derive(Debug, thiserror::Error)]
pub enum AcquireErrorKind {
    /// Somebody else holds it, and did so until the time was up.
    #[error("held by {}", describe(holder.as_deref()))]
    Busy {
        /// Who, where the lock file can be read.
        holder: Option<Box<Holder>>,
    },
    /// The wait was called off.
    #[error("the wait was cancelled")]
    Cancelled,
    /// The file system keeps no locks, so it cannot be made safe here.
    #[error("the file system does not support locks")]
    Unsupported(#[source] io::Error),
    /// The lock file could not be opened, read or written.
    #[error("the lock file is not usable")]
    Io(#[source] io::Error),
}

impl AcquireError {
    pub(crate) fn new(path: &Path, kind: AcquireErrorKind) -> Self {
        Self { path: path.to_owned(), kind }
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why, for matching.
    #[must_use]
    pub fn kind(&self) -> &AcquireErrorKind {
        &self.kind
    }

    /// Who holds the lock, when that is the reason and is known.
    #[must_use]
    pub fn holder(&self) -> Option<&Holder> {
        match &self.kind {
            AcquireErrorKind::Busy { holder } => holder.as_deref(),
            AcquireErrorKind::Cancelled
            | AcquireErrorKind::Unsupported(_)
            | AcquireErrorKind::Io(_) => None,
        }
    }
}

impl From<io::Error> for AcquireErrorKind {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::Unsupported
            || error.raw_os_error() == Some(rustix::io::Errno::NOLCK.raw_os_error())
        {
            Self::Unsupported(error)
        } else {
            Self::Io(error)
        }
    }
}

/// A lease is no longer ours: whoever holds it must not publish anything.
#[derive(Debug, thiserror::Error)]
#[error("the lease {token} on `{}` is lost", path.display())]
pub struct LostLease {
    path: PathBuf,
    token: u64,
    #[source]
    kind: LostLeaseKind,
}

/// The ways a lease can be lost.
#[derive(Debug, thiserror::Error)]
pub enum LostLeaseKind {
    /// Another file stands at the path: the lock was broken by force.
    #[error("the lock file was replaced")]
    Replaced,
    /// No file stands at the path.
    #[error("the lock file was removed")]
    Removed,
    /// The file names another holding.
    #[error("the lock file carries another token")]
    OtherToken {
        /// The token in the file, if there is one.
        found: Option<u64>,
    },
    /// It could not be established; that counts as lost.
    #[error("the lock file could not be checked")]
    Io(#[source] io::Error),
}

impl LostLease {
    pub(crate) fn new(path: &Path, token: u64, kind: LostLeaseKind) -> Self {
        Self { path: path.to_owned(), token, kind }
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The token of the lost lease.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Why, for matching.
    #[must_use]
    pub fn kind(&self) -> &LostLeaseKind {
        &self.kind
    }
}

/// Looking at a lock failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot look at the lock `{}`", path.display())]
pub struct StatusError {
    path: PathBuf,
    source: io::Error,
}

impl StatusError {
    pub(crate) fn new(path: &Path, source: io::Error) -> Self {
        Self { path: path.to_owned(), source }
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Breaking a lock was refused or failed. The lock is as it was.
#[derive(Debug, thiserror::Error)]
#[error("cannot break the lock `{}`", path.display())]
pub struct BreakError {
    path: PathBuf,
    #[source]
    kind: BreakErrorKind,
}

/// The ways breaking a lock can fail.
#[derive(Debug, thiserror::Error)]
pub enum BreakErrorKind {
    /// Somebody alive holds it, and force was not asked for.
    #[error("its holder is alive: {}", describe(holder.as_deref()))]
    Held {
        /// Who, where the lock file can be read.
        holder: Option<Box<Holder>>,
    },
    /// The lock is not the one that the caller meant.
    #[error("it is held for another execution: {}", describe(holder.as_deref()))]
    OtherExecution {
        /// Who, where the lock file can be read.
        holder: Option<Box<Holder>>,
    },
    /// Somebody else is breaking locks in this directory.
    #[error("another attempt to break it is under way")]
    Contended,
    /// The lock file could not be opened, read, written or replaced.
    #[error("the lock file is not usable")]
    Io(#[source] io::Error),
}

impl BreakError {
    pub(crate) fn new(path: &Path, kind: BreakErrorKind) -> Self {
        Self { path: path.to_owned(), kind }
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why, for matching.
    #[must_use]
    pub fn kind(&self) -> &BreakErrorKind {
        &self.kind
    }
}

impl From<io::Error> for BreakErrorKind {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn describe(holder: Option<&Holder>) -> String {
    holder.map_or_else(|| "somebody unknown".to_owned(), ToString::to_string)
}
