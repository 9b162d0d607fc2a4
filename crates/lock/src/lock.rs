//! The lock on one path.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs4::TryLockError;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::cancel::{Backoff, CancelFlag, Turn};
use crate::error::{AcquireError, AcquireErrorKind, BreakError, BreakErrorKind, StatusError};
use crate::holder::{Claim, Holder, Predecessor, Status};
use crate::identity::identity;
use crate::lease::Lease;
use crate::record::{self, Position};

/// Names the lock; holds nothing.
#[derive(Debug, Clone)]
pub struct WorkspaceLock {
    path: PathBuf,
}

/// What [`WorkspaceLock::break_lock`] found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// The lock was free and clean.
    Nothing,
    /// The lock was free; what a dead holder had left was marked as settled.
    Stale(Holder),
    /// The lock was taken from a holder that was, or may be, alive.
    Forced(Option<Holder>),
}

/// One try.
enum Attempt {
    Got(Box<Lease>),
    Busy(Option<Holder>),
    /// Another file came to stand at the path meanwhile.
    Moved,
}

impl WorkspaceLock {
    /// The lock whose file is `path`. Its directory must exist; the file is made when first
    /// taken, is private to its owner, and must never be deleted while anybody may hold it.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    ///
    /// Somebody holds it, or the file is not usable.
    pub fn try_acquire(&self, claim: Claim) -> Result<Lease, AcquireError> {
        // A look by `status` locks for a moment, and a broken lock moves: neither is a refusal.
        let mut holder = None;
        for _ in 0..4 {
            match self.attempt(&claim) {
                Ok(Attempt::Got(lease)) => return Ok(*lease),
                Ok(Attempt::Busy(found)) => holder = found,
                Ok(Attempt::Moved) => {}
                Err(error) => return Err(self.acquire_error(error.into())),
            }
            std::thread::yield_now();
        }
        Err(self.busy(holder))
    }

    /// Takes the lock, waiting for it up to `timeout`.
    ///
    /// Blocks the thread. `on_wait` is told who is in the way, once a holder. A waiter that is
    /// cancelled, or whose time is up, leaves nothing behind.
    ///
    /// # Errors
    ///
    /// The time is up (the error names the holder), the wait was cancelled, or the file is not
    /// usable.
    pub fn acquire(
        &self,
        claim: Claim,
        timeout: Duration,
        cancel: &CancelFlag,
        on_wait: &mut dyn FnMut(&Holder),
    ) -> Result<Lease, AcquireError> {
        let mut backoff = Backoff::new(timeout, cancel);
        let mut told = None;
        loop {
            if cancel.is_cancelled() {
                return Err(self.acquire_error(AcquireErrorKind::Cancelled));
            }
            let holder = match self.attempt(&claim) {
                Ok(Attempt::Got(lease)) => return Ok(*lease),
                Ok(Attempt::Busy(holder)) => holder,
                Ok(Attempt::Moved) => None,
                Err(error) => return Err(self.acquire_error(error.into())),
            };
            if let Some(holder) = holder.as_ref().filter(|holder| !holder.released)
                && told != Some(holder.fencing_token)
            {
                told = Some(holder.fencing_token);
                on_wait(holder);
            }
            match backoff.turn() {
                Turn::Again => {}
                Turn::TimedOut => return Err(self.busy(holder)),
                Turn::Cancelled => {
                    return Err(self.acquire_error(AcquireErrorKind::Cancelled));
                }
            }
        }
    }

    /// Who holds the lock, or held it last. Never waits, and makes no file.
    ///
    /// # Errors
    ///
    /// The file cannot be opened or read.
    pub fn status(&self) -> Result<Status, StatusError> {
        self.status_inner().map_err(|error| StatusError::new(&self.path, error))
    }

    /// Breaks the lock held for `expected_execution` (`None`: the lock file is unreadable).
    ///
    /// If it is free there is nothing to break: a dead holder's metadata is marked as settled.
    /// If it is held, somebody is alive: that is refused unless `force`. With force the file is
    /// replaced, so that the lock can be taken anew; the old holder's [`Lease::check`] fails from
    /// then on, and one token is skipped. In each case the next holder sees
    /// [`Predecessor::Broken`].
    ///
    /// # Errors
    ///
    /// Held and no force, held for something else, or the file cannot be replaced.
    pub fn break_lock(
        &self,
        expected_execution: Option<&str>,
        force: bool,
    ) -> Result<Broken, BreakError> {
        self.break_inner(expected_execution, force)
            .map_err(|kind| BreakError::new(&self.path, kind))
    }

    fn acquire_error(&self, kind: AcquireErrorKind) -> AcquireError {
        AcquireError::new(&self.path, kind)
    }

    fn busy(&self, holder: Option<Holder>) -> AcquireError {
        self.acquire_error(AcquireErrorKind::Busy { holder: holder.map(Box::new) })
    }

    fn attempt(&self, claim: &Claim) -> io::Result<Attempt> {
        let (file, created) = self.open_or_create()?;
        match fs4::FileExt::try_lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Ok(Attempt::Busy(record::read(&file)?.newest));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        match self.enter(&file, created, claim) {
            Ok(Some(entry)) => {
                let lease =
                    Lease::begin(&self.path, file, entry.at, entry.holder, entry.predecessor)?;
                Ok(Attempt::Got(Box::new(lease)))
            }
            otherwise => {
                drop(Unlock(&file));
                otherwise.map(|_| Attempt::Moved)
            }
        }
    }

    /// `file` is locked. Makes up the record to write, or `None` when the file is not (any more)
    /// the one at the path: between opening and locking it may have been replaced or removed.
    fn enter(&self, file: &File, created: bool, claim: &Claim) -> io::Result<Option<Entry>> {
        if !self.is_at_path(file)? {
            return Ok(None);
        }
        let content = record::read(file)?;
        let me = identity();
        let holder = Holder {
            holder: claim.holder.clone(),
            execution: claim.execution.clone(),
            plan: claim.plan.clone(),
            pid: me.pid,
            process_start: me.process_start,
            boot_id: me.boot_id.clone(),
            hostname: me.hostname.clone(),
            acquired_at: claim.acquired_at.clone(),
            fencing_token: content.token.max(claim.token_floor).saturating_add(1),
            released: false,
            broken: false,
        };
        // Somebody may have come and gone in a file that we made.
        let first = created && content.newest.is_none();
        Ok(Some(Entry {
            at: content.next,
            holder,
            predecessor: (!first).then(|| Predecessor::of(content.newest, me.boot_id.as_deref())),
        }))
    }

    fn status_inner(&self) -> io::Result<Status> {
        let file = match self.open() {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Status::Free { last: None });
            }
            Err(error) => return Err(error),
        };
        // Shared, so that many may look at once.
        let held = match fs4::FileExt::try_lock_shared(&file) {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(error)) => return Err(error),
        };
        let _unlock = Unlock(&file);
        let newest = record::read(&file)?.newest;
        Ok(if held { Status::Held { holder: newest } } else { Status::Free { last: newest } })
    }

    fn break_inner(&self, expected: Option<&str>, force: bool) -> Result<Broken, BreakErrorKind> {
        // Two who break at once must not break each other's successor: one at a time, by a lock
        // on the directory.
        let directory = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let directory = match File::open(directory) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Broken::Nothing),
            Err(error) => return Err(error.into()),
        };
        lock_directory(&directory)?;
        let _directory = Unlock(&directory);

        let file = match self.open() {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Broken::Nothing),
            Err(error) => return Err(error.into()),
        };
        let held = match fs4::FileExt::try_lock(&file) {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(error)) => return Err(error.into()),
        };
        let content = record::read(&file)?;
        let matches = content.newest.as_ref().map(|h| h.execution.as_str()) == expected;
        let boxed = |holder: Option<Holder>| holder.map(Box::new);
        if !held {
            let _unlock = Unlock(&file);
            let Some(mut last) = content.newest else {
                return Ok(Broken::Nothing);
            };
            if last.released {
                return Ok(Broken::Nothing);
            }
            if !matches {
                return Err(BreakErrorKind::OtherExecution { holder: boxed(Some(last)) });
            }
            let found = last.clone();
            last.released = true;
            last.broken = true;
            record::write(&file, content.next, &last)?;
            return Ok(Broken::Stale(found));
        }
        if !force {
            return Err(BreakErrorKind::Held { holder: boxed(content.newest) });
        }
        if !matches {
            return Err(BreakErrorKind::OtherExecution { holder: boxed(content.newest) });
        }
        Ok(Broken::Forced(self.replace(&file, &content)?))
    }

    /// Puts a new file, carrying the token on, in the place of `old`, which is held; says by whom.
    #[expect(
        clippy::disallowed_methods,
        reason = "the lock file is this crate's own, and is replaced in one step"
    )]
    fn replace(&self, old: &File, content: &record::Content) -> io::Result<Option<Holder>> {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{}.new", std::process::id()));
        let fresh = PathBuf::from(name);
        // Left by a breaker that died; nobody else makes such a file while we hold the directory.
        match std::fs::remove_file(&fresh) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(&fresh, flags, Mode::RUSR | Mode::WUSR)?);
        // Nobody comes in before the last write below. If we die before it, this first one stands.
        fs4::FileExt::try_lock(&file)?;
        let _unlock = Unlock(&file);
        let next = record::write(&file, Position::default(), &broken_record(content))?;
        std::fs::rename(&fresh, &self.path)?;
        // The old holder may have given way to another in the meantime.
        let last = record::read(old)?;
        record::write(&file, next, &broken_record(&last))?;
        Ok(last.newest)
    }

    fn open(&self) -> io::Result<File> {
        self.open_with(OFlags::empty())
    }

    /// The file, and whether this call made it.
    fn open_or_create(&self) -> io::Result<(File, bool)> {
        // The file may come or go between the two calls; not endlessly.
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for _ in 0..16 {
            match self.open() {
                Ok(file) => return Ok((file, false)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            match self.open_with(OFlags::CREATE | OFlags::EXCL) {
                Ok(file) => return Ok((file, true)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn open_with(&self, extra: OFlags) -> io::Result<File> {
        // NONBLOCK: a pipe at the path must not hang us. NOFOLLOW: nor a link lead elsewhere.
        let flags = OFlags::RDWR
            | OFlags::CLOEXEC
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::NOCTTY
            | extra;
        let file = loop {
            match rustix::fs::open(&self.path, flags, Mode::RUSR | Mode::WUSR) {
                Ok(fd) => break File::from(fd),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
        }
    }

    fn is_at_path(&self, file: &File) -> io::Result<bool> {
        let ours = file.metadata()?;
        match std::fs::symlink_metadata(&self.path) {
            Ok(theirs) => {
                Ok(ours.nlink() > 0 && (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The record of a holder that has just come in.
struct Entry {
    at: Position,
    holder: Holder,
    predecessor: Option<Predecessor>,
}

/// What the file that replaces a broken lock starts with.
fn broken_record(old: &record::Content) -> Holder {
    let mut last = old.newest.clone().unwrap_or_else(|| Holder {
        holder: String::new(),
        execution: String::new(),
        plan: None,
        pid: 0,
        process_start: None,
        boot_id: None,
        hostname: None,
        acquired_at: String::new(),
        fencing_token: 0,
        released: false,
        broken: false,
    });
    last.broken = true;
    // INVARIANT: no token is handed out twice. Somebody who saw the old file at the path just
    // before it was replaced may still be about to write the next token into it: skip that one.
    last.fencing_token = old.token.saturating_add(1);
    last
}

fn lock_directory(directory: &File) -> Result<(), BreakErrorKind> {
    let never = CancelFlag::new();
    let mut backoff = Backoff::new(Duration::from_secs(2), &never);
    loop {
        match fs4::FileExt::try_lock(directory) {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        if backoff.turn() != Turn::Again {
            return Err(BreakErrorKind::Contended);
        }
    }
}

/// Unlocks at once on every way out; see [`Lease`]'s `Drop` for why closing is not enough.
struct Unlock<'a>(&'a File);

impl Drop for Unlock<'_> {
    fn drop(&mut self) {
        fs4::FileExt::unlock(self.0).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::{Broken, Claim, Status, WorkspaceLock, record};
    use crate::holder::Predecessor;

    /// What a dead holder left, whose number a living process has now: this one.
    #[test]
    fn a_reused_pid_is_no_holder() {
        let dir = tempfile::tempdir().unwrap();
        let lock = WorkspaceLock::new(dir.path().join("lock"));
        for start in [None, Some(1), Some(u64::MAX)] {
            let mut dead = lock.try_acquire(Claim::new("tester", "one")).unwrap().holder().clone();
            assert_eq!(dead.pid, std::process::id());
            dead.process_start = start;
            let (file, _) = lock.open_or_create().unwrap();
            let next = record::read(&file).unwrap().next;
            record::write(&file, next, &dead).unwrap();
            drop(file);

            assert_eq!(lock.status().unwrap(), Status::Free { last: Some(dead.clone()) });
            let lease = lock.try_acquire(Claim::new("tester", "two")).unwrap();
            assert_eq!(lease.predecessor(), Some(&Predecessor::Crashed(dead.clone())));
            assert_eq!(lease.token(), dead.fencing_token + 1);
            drop(lease);
            // The same for whoever breaks it: no force is needed.
            let broken = lock.break_lock(Some("two"), false).unwrap();
            assert!(matches!(broken, Broken::Stale(_)), "{broken:?}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test takes the file away")]
    fn a_file_that_left_the_path_is_not_entered() {
        let dir = tempfile::tempdir().unwrap();
        let lock = WorkspaceLock::new(dir.path().join("lock"));
        let claim = Claim::new("tester", "one");
        let (file, created) = lock.open_or_create().unwrap();
        assert!(lock.enter(&file, created, &claim).unwrap().is_some());
        std::fs::remove_file(lock.path()).unwrap();
        assert!(lock.enter(&file, created, &claim).unwrap().is_none());
        let (_other, _) = lock.open_or_create().unwrap();
        assert!(lock.enter(&file, created, &claim).unwrap().is_none());
    }
}
