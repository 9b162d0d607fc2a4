//! The store itself.

use std::fmt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, Transaction};

use crate::connection::{CommitPermit, Place, open_writer};
use crate::error::{OpenError, OpenErrorKind, ReadError};
use crate::gathered::{Gathered, Gathering};
use crate::migration::{Migration, migrate};
use crate::options::StoreOptions;
use crate::pending::{PendingWrite, pending};
use crate::readers::Readers;
use crate::writer::{Counters, Queue, Task, Writer};

/// A database with one writer. Clones share it; the last one to go closes it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// What the writer has done since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// Commits, each at the price of one flush (with [`Durability::Full`](crate::Durability)).
    pub commits: u64,
    /// Jobs that were committed.
    pub jobs: u64,
    /// Most jobs in one commit.
    pub largest_batch: u64,
}

struct Inner {
    place: Place,
    queue: Arc<Queue>,
    readers: Readers,
    counters: Arc<Counters>,
    gathering: Arc<Gathering>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens the database at `path`, making it (readable by its owner only) if there is none, and
    /// brings it to the newest version.
    ///
    /// # Errors
    ///
    /// The file is no database, is damaged, not writable or newer than this program, or a
    /// migration failed. It is then as it was.
    pub fn open(
        path: &Path,
        options: StoreOptions,
        migrations: &[Migration],
    ) -> Result<Self, OpenError> {
        Self::open_place(Place::File(path.to_owned()), options, migrations)
    }

    /// A database of its own in memory, gone with the store.
    ///
    /// # Errors
    ///
    /// A migration failed.
    pub fn in_memory(options: StoreOptions, migrations: &[Migration]) -> Result<Self, OpenError> {
        Self::open_place(Place::memory(), options, migrations)
    }

    /// Queues a write. It shares a transaction and a commit with whatever else is queued, inside
    /// a savepoint of its own; whoever waits is woken once all of it is committed.
    ///
    /// The job runs on the writer's thread and keeps everybody else waiting: it should do
    /// nothing but talk to the database. It may not end the transaction.
    pub fn write<T, E, F>(&self, job: F) -> PendingWrite<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.queue(job, false)
    }

    /// As [`write`](Self::write), in a transaction and a commit of its own: for what others must
    /// not build on before it is durable.
    pub fn write_alone<T, E, F>(&self, job: F) -> PendingWrite<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.queue(job, true)
    }

    /// For a job, in its transaction: what the jobs that share it leave to be done once, before
    /// their commit. `make` begins it, `change` adds to it, and must not call this again. `None`
    /// when the job shares its transaction with nobody, or it is none of this store's: then what
    /// would be left to the end is done at once.
    pub fn gather<T: Gathered, R>(
        &self,
        transaction: &Connection,
        make: impl FnOnce() -> T,
        change: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        self.inner.gathering.with(transaction, make, change)
    }

    /// Reads one snapshot of what is committed. Blocks the thread, but neither waits for the
    /// writer nor keeps it waiting.
    ///
    /// # Errors
    ///
    /// The query failed, tried to write, or the store is closed.
    pub fn read<T, E>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, ReadError<E>> {
        self.inner.readers.read(query)
    }

    /// Folds the log into the database when the store is closed, however small it is: for whoever
    /// deleted something private, of which the log still holds older pages. A process that is
    /// killed, or others that read just then, keep it until the next time.
    pub fn fold_on_close(&self) {
        self.inner.counters.fold.store(true, Ordering::Relaxed);
    }

    /// What the writer has done.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let counters = &self.inner.counters;
        StoreStats {
            commits: counters.commits.load(Ordering::Relaxed),
            jobs: counters.jobs.load(Ordering::Relaxed),
            largest_batch: counters.largest_batch.load(Ordering::Relaxed),
        }
    }

    /// The database file; `:memory:` if there is none.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.inner.place.path()
    }

    /// Does what is queued, then closes, for all clones. Later reads and writes are refused.
    pub fn close(&self) {
        self.inner.close();
    }

    fn queue<T, E, F>(&self, job: F, alone: bool) -> PendingWrite<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let (caller, write) = pending();
        self.inner.queue.push(Box::new(Task::new(job, caller, alone)));
        write
    }

    fn open_place(
        place: Place,
        options: StoreOptions,
        migrations: &[Migration],
    ) -> Result<Self, OpenError> {
        let opened = Inner::open(place.clone(), options, migrations);
        let inner = opened.map_err(|kind| OpenError::new(place.path(), kind))?;
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn open(
        place: Place,
        options: StoreOptions,
        migrations: &[Migration],
    ) -> Result<Self, OpenErrorKind> {
        let mut connection = open_writer(&place, &options)?;
        let commits = CommitPermit::require(&mut connection)?;
        migrate(&mut connection, &commits, migrations)?;
        let queue = Arc::<Queue>::default();
        let counters = Arc::<Counters>::default();
        let gathering = Arc::<Gathering>::default();
        let writer = Writer {
            connection,
            place: place.clone(),
            queue: Arc::clone(&queue),
            counters: Arc::clone(&counters),
            options: options.clone(),
            commits,
            gathering: Arc::clone(&gathering),
        };
        let thread = std::thread::Builder::new()
            .name("lictor-store".to_owned())
            .spawn(move || writer.run())
            .map_err(OpenErrorKind::Thread)?;
        Ok(Self {
            readers: Readers::new(place.clone(), options),
            place,
            queue,
            counters,
            gathering,
            thread: Mutex::new(Some(thread)),
        })
    }

    fn close(&self) {
        self.queue.close();
        self.readers.close();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        // A job may own the last clone: the writer must not wait for itself.
        if let Some(thread) = thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            thread.join().unwrap_or_default();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
