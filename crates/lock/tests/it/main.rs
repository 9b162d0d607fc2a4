//! The lock, through its public interface: real files, real processes.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, start processes and damage files"
)]

mod breaking;
mod child;
mod damage;
mod lease;
mod processes;
mod waiting;

use std::path::PathBuf;

use lictor_lock::{Claim, WorkspaceLock};

/// A directory of its own, and the lock in it.
struct Scene {
    dir: tempfile::TempDir,
    lock: WorkspaceLock,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lock = WorkspaceLock::new(dir.path().join("lock"));
        Self { dir, lock }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("lock")
    }
}

fn claim(execution: &str) -> Claim {
    Claim::new("tester", execution).acquired_at("2026-01-01T00:00:00Z")
}
