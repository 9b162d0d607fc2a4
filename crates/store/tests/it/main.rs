//! The store, through its public interface: real files, real SQLite, real processes.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, start processes and damage files"
)]

mod child;
mod closing;
mod gathering;
mod migrating;
mod opening;
mod processes;
mod reading;
mod writing;

use std::path::PathBuf;
use std::sync::mpsc;

use lictor_store::rusqlite::{self, Connection};
use lictor_store::{Migration, PendingWrite, Store, StoreOptions};

const TABLES: &[Migration] = &[Migration {
    owner: "test",
    version: 1,
    sql: "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
          CREATE TABLE late (item INTEGER REFERENCES item (id) DEFERRABLE INITIALLY DEFERRED);
          CREATE TABLE strict (item INTEGER REFERENCES item (id));",
}];

/// A directory of its own, and a database in it.
struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("test.db")
    }

    fn open(&self) -> Store {
        Store::open(&self.file(), StoreOptions::default(), TABLES).unwrap()
    }
}

type Write<T = ()> = PendingWrite<T, rusqlite::Error>;

fn put(store: &Store, name: impl Into<String>) -> Write {
    let name = name.into();
    store.write(move |tx| {
        tx.prepare_cached("INSERT INTO item (name) VALUES (?1)")?.execute([name])?;
        Ok(())
    })
}

fn names(store: &Store) -> Vec<String> {
    store.read(all_names).unwrap()
}

fn all_names(db: &Connection) -> rusqlite::Result<Vec<String>> {
    db.prepare_cached("SELECT name FROM item ORDER BY id")?
        .query_map((), |row| row.get(0))?
        .collect()
}

/// Keeps the writer in a job until dropped, so that what is queued meanwhile makes one batch.
struct Held {
    release: mpsc::Sender<()>,
    job: Write,
}

impl Held {
    fn new(store: &Store) -> Self {
        let (release, released) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let job = store.write(move |_| {
            started.send(()).unwrap();
            released.recv().unwrap_or_default();
            Ok(())
        });
        has_started.recv().unwrap();
        Self { release, job }
    }

    fn release(self) {
        drop(self.release);
        self.job.wait().unwrap();
    }
}
