//! Barriers, shared: one `syncfs` for everybody in this process who waits on the same file system.
//!
//! Whoever comes while one is running joins the next one, because what they wrote may have come
//! too late for the running one. So any number of callers pay for at most two.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use lictor_workspace::DirHandle;
use rustix::fs;
use rustix::io::Errno;

/// The barriers of one file system.
#[derive(Debug)]
pub(crate) struct Barriers {
    /// Held open for as long as anybody uses it, and from before they write: the kernel reports a
    /// lost write to a handle that was open when it was lost, and only once.
    handle: DirHandle,
    rounds: Mutex<Rounds>,
    over: Condvar,
}

#[derive(Debug, Default)]
struct Rounds {
    running: bool,
    /// How many have failed.
    failed: u64,
    /// The round that whoever comes now joins.
    next: Option<Arc<Round>>,
}

/// How many barriers this process has passed, on all file systems.
static N_PASSED: AtomicU64 = AtomicU64::new(0);

/// How many times this process has waited for a file system so far. Transactions that go at the
/// same time share them.
#[must_use]
pub fn n_barriers() -> u64 {
    N_PASSED.load(Ordering::Relaxed)
}

/// One `syncfs`, for all who joined before it began.
#[derive(Debug, Default)]
struct Round {
    result: OnceLock<Result<(), Errno>>,
}

type Registry = Mutex<HashMap<u64, Weak<Barriers>>>;

impl Barriers {
    /// The barriers of the file system that a directory is on.
    pub(crate) fn of(dir: &DirHandle) -> io::Result<Arc<Self>> {
        static REGISTRY: OnceLock<Registry> = OnceLock::new();
        let device = fs::fstat(dir)?.st_dev;
        let registry = REGISTRY.get_or_init(Registry::default);
        let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = registry.get(&device).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let handle = DirHandle::from(rustix::io::dup(dir)?);
        let made = Arc::new(Self { handle, rounds: Mutex::default(), over: Condvar::new() });
        registry.retain(|_, barriers| barriers.strong_count() > 0);
        registry.insert(device, Arc::downgrade(&made));
        Ok(made)
    }

    /// How many barriers have failed so far; to be asked before the first write.
    pub(crate) fn failed(&self) -> u64 {
        self.rounds().failed
    }

    /// Everything that was written to this file system before the call, by anybody, is durable
    /// when this answers `Ok`. A barrier that failed is not tried again: the kernel has dropped
    /// the pages, and a second one would lie. So does one that passes for somebody who had begun
    /// to write when another failed (`failed_before` is what they saw then): their pages may have
    /// been the ones, and the kernel has told it to the other.
    pub(crate) fn pass(&self, failed_before: u64) -> io::Result<()> {
        self.pass_by(failed_before, || {
            N_PASSED.fetch_add(1, Ordering::Relaxed);
            fs::syncfs(&self.handle)
        })
    }

    fn pass_by(
        &self,
        failed_before: u64,
        sync: impl FnOnce() -> Result<(), Errno>,
    ) -> io::Result<()> {
        self.join(sync)?;
        if self.failed() == failed_before { Ok(()) } else { Err(Errno::IO.into()) }
    }

    fn join(&self, sync: impl FnOnce() -> Result<(), Errno>) -> io::Result<()> {
        let mut rounds = self.rounds();
        let mine = Arc::clone(rounds.next.get_or_insert_with(Arc::default));
        loop {
            if let Some(result) = mine.result.get() {
                return result.map_err(io::Error::from);
            }
            if !rounds.running {
                break;
            }
            rounds = self.over.wait(rounds).unwrap_or_else(PoisonError::into_inner);
        }
        // Nobody leads, and our round has no result: it is the one that gathers, and ours to lead.
        rounds.running = true;
        rounds.next = None;
        drop(rounds);
        let result = sync();
        let mut rounds = self.rounds();
        rounds.running = false;
        rounds.failed += u64::from(result.is_err());
        let result = *mine.result.get_or_init(|| result);
        drop(rounds);
        self.over.notify_all();
        result.map_err(io::Error::from)
    }

    fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    use super::*;

    fn opened(dir: &tempfile::TempDir) -> DirHandle {
        DirHandle::from(fs::open(dir.path(), fs::OFlags::DIRECTORY, fs::Mode::empty()).unwrap())
    }

    /// Not those of the file system: other tests use these at the same time.
    fn barriers() -> (tempfile::TempDir, Barriers) {
        let dir = tempfile::tempdir().unwrap();
        let handle = opened(&dir);
        (dir, Barriers { handle, rounds: Mutex::default(), over: Condvar::new() })
    }

    #[test]
    fn one_file_system_has_one_set_of_barriers() {
        let dir = tempfile::tempdir().unwrap();
        let barriers = Barriers::of(&opened(&dir)).unwrap();
        let again = Barriers::of(&opened(&dir)).unwrap();
        assert!(Arc::ptr_eq(&barriers, &again));
        barriers.pass(barriers.failed()).unwrap();
    }

    /// All who come while one is running share the next, and none of them is answered by the one
    /// that had begun before.
    #[test]
    fn many_callers_pay_for_two() {
        let (_dir, barriers) = barriers();
        let synced = AtomicUsize::new(0);
        let (began, wait_began) = mpsc::channel();
        let (go, wait_go) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let (first, synced) = (&barriers, &synced);
            scope.spawn(move || {
                let sync = || {
                    began.send(()).unwrap();
                    wait_go.recv().unwrap();
                    synced.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                };
                first.pass_by(0, sync).unwrap();
            });
            wait_began.recv().unwrap();
            for _ in 0..16 {
                let barriers = &barriers;
                scope.spawn(move || {
                    let sync = || {
                        synced.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    };
                    barriers.pass_by(0, sync).unwrap();
                    assert!(synced.load(Ordering::SeqCst) >= 2, "not answered by the first");
                });
            }
            // All sixteen have joined the gathering round before the first one ends.
            let joined = || barriers.rounds().next.as_ref().map_or(0, Arc::strong_count);
            while joined() < 17 {
                std::thread::yield_now();
            }
            go.send(()).unwrap();
        });
        assert_eq!(synced.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_failed_barrier_fails_everybody_who_had_begun_and_nobody_who_begins_after_it() {
        let (_dir, barriers) = barriers();
        let (one, other) = (barriers.failed(), barriers.failed());
        let failed = barriers.pass_by(one, || Err(Errno::NOSPC)).unwrap_err();
        assert_eq!(failed.raw_os_error(), Some(Errno::NOSPC.raw_os_error()));
        let failed = barriers.pass_by(other, || Ok(())).unwrap_err();
        assert_eq!(failed.raw_os_error(), Some(Errno::IO.raw_os_error()));
        barriers.pass_by(barriers.failed(), || Ok(())).unwrap();
    }
}
