//! A lock that is held.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::{LostLease, LostLeaseKind};
use crate::holder::{Holder, Predecessor};
use crate::record::{self, Position};

/// A lock that is held, until released or dropped.
///
/// Dropping it without [`release`](Lease::release) unlocks but leaves the metadata as it is, so
/// the next holder sees a crashed predecessor: that is meant for panics and early returns that
/// leave work half done.
#[derive(Debug)]
#[must_use = "a lease that is dropped is given up"]
pub struct Lease {
    path: PathBuf,
    file: File,
    identity: (u64, u64),
    next: Position,
    holder: Holder,
    predecessor: Option<Predecessor>,
}

impl Lease {
    /// `file` is locked; writes `holder` into it.
    pub(crate) fn begin(
        path: &Path,
        file: File,
        at: Position,
        holder: Holder,
        predecessor: Option<Predecessor>,
    ) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let mut lease = Self {
            path: path.to_owned(),
            file,
            identity: (metadata.dev(), metadata.ino()),
            next: at,
            holder,
            predecessor,
        };
        lease.next = record::write(&lease.file, lease.next, &lease.holder)?;
        Ok(lease)
    }

    /// The fencing token: higher than that of every holder before.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.holder.fencing_token
    }

    /// What the lock file says about this lease.
    #[must_use]
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the last holder left; `None` when this is the first one ever.
    #[must_use]
    pub fn predecessor(&self) -> Option<&Predecessor> {
        self.predecessor.as_ref()
    }

    /// Says that the lock is now held for another execution. The token stays.
    ///
    /// # Errors
    ///
    /// The lease is lost, or the file cannot be written.
    pub fn set_execution(
        &mut self,
        execution: impl Into<String>,
        plan: Option<String>,
    ) -> Result<(), LostLease> {
        self.check()?;
        self.holder.execution = execution.into();
        self.holder.plan = plan;
        self.write()
    }

    /// Whether the lease still holds: the file at the path is the one that is locked, and it
    /// carries this lease's token. To be asked right before anything is published.
    ///
    /// # Errors
    ///
    /// The lease is lost, or that could not be established.
    pub fn check(&self) -> Result<(), LostLease> {
        self.check_inner().map_err(|kind| LostLease::new(&self.path, self.token(), kind))
    }

    /// Gives the lock back in good order: the next holder sees a clean predecessor.
    ///
    /// # Errors
    ///
    /// The lease was lost; then nothing is written. It is given up in either case.
    pub fn release(mut self) -> Result<(), LostLease> {
        self.check()?;
        self.holder.released = true;
        self.write()
    }

    fn write(&mut self) -> Result<(), LostLease> {
        self.next = record::write(&self.file, self.next, &self.holder)
            .map_err(|error| LostLease::new(&self.path, self.token(), LostLeaseKind::Io(error)))?;
        Ok(())
    }

    fn check_inner(&self) -> Result<(), LostLeaseKind> {
        let metadata = match std::fs::symlink_metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LostLeaseKind::Removed);
            }
            Err(error) => return Err(LostLeaseKind::Io(error)),
        };
        if (metadata.dev(), metadata.ino()) != self.identity {
            return Err(LostLeaseKind::Replaced);
        }
        let found = record::read(&self.file)
            .map_err(LostLeaseKind::Io)?
            .newest
            .map(|newest| newest.fencing_token);
        if found == Some(self.token()) { Ok(()) } else { Err(LostLeaseKind::OtherToken { found }) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Closing would do, but not at once when another thread is just starting a child: until
        // that child's `exec`, it has a copy of the descriptor. Unlocking works on all copies.
        fs4::FileExt::unlock(&self.file).unwrap_or_default();
    }
}
