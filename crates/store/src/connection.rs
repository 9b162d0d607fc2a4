//! Opening connections, and how they are set.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction};

use crate::error::OpenErrorKind;
use crate::options::{Durability, StoreOptions};

/// A write-ahead log above this size is folded into the database when a store closes. A smaller
/// one stays: folding costs two flushes, reading it again at the next opening next to nothing.
const FOLD_ABOVE: u64 = 256 * 1024;

/// Where a database is.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    File(PathBuf),
    /// Lives as long as one connection to that name is open, within this process.
    Memory(String),
}

impl Place {
    pub(crate) fn memory() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // The leading slash makes several connections share it.
        Self::Memory(format!("/lictor-store-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Memory(_) => Path::new(":memory:"),
        }
    }

    fn connect(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        // One thread at a time uses a connection, so SQLite need not lock it.
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        match self {
            Self::File(path) => Connection::open_with_flags(path, flags),
            Self::Memory(name) => Connection::open_with_flags_and_vfs(name, flags, c"memdb"),
        }
    }
}

/// Lets commits through on one connection; without it, each becomes a rollback. SQL that is not
/// ours (a job's, a migration's) so cannot end a transaction that it shares with others.
#[derive(Debug)]
pub(crate) struct CommitPermit(Arc<AtomicBool>);

impl CommitPermit {
    pub(crate) fn require(connection: &mut Connection) -> rusqlite::Result<Self> {
        let given = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&given);
        connection.commit_hook(Some(move || !seen.load(Ordering::Relaxed)))?;
        Ok(Self(given))
    }

    pub(crate) fn commit(&self, transaction: Transaction<'_>) -> rusqlite::Result<()> {
        self.0.store(true, Ordering::Relaxed);
        let committed = transaction.commit();
        self.0.store(false, Ordering::Relaxed);
        committed
    }
}

/// The connection that writes.
pub(crate) fn open_writer(
    place: &Place,
    options: &StoreOptions,
) -> Result<Connection, OpenErrorKind> {
    if let Place::File(path) = place {
        create_private(path).map_err(OpenErrorKind::NotWritable)?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut connection = place.connect(flags)?;
    prepare(&mut connection, options.busy_timeout)?;
    // SQLite would rather open for reading only than fail.
    if connection.is_readonly("main")? {
        return Err(OpenErrorKind::NotWritable(io::ErrorKind::ReadOnlyFilesystem.into()));
    }
    match place {
        Place::File(_) => use_wal(&connection, options.busy_timeout)?,
        Place::Memory(_) => connection.execute_batch("PRAGMA journal_mode = MEMORY")?,
    }
    connection.execute_batch(match options.durability {
        Durability::Full => "PRAGMA synchronous = FULL",
        Durability::Normal => "PRAGMA synchronous = NORMAL",
    })?;
    // Pages that change again and again are folded into the database once.
    connection.execute_batch("PRAGMA wal_autocheckpoint = 4000")?;
    connection.execute_batch("PRAGMA cache_size = -16384")?;
    // Gives room on disk back after a burst.
    connection.execute_batch("PRAGMA journal_size_limit = 16777216")?;
    // What is deleted is overwritten: some of it was private, and kept only for as long as needed.
    connection.execute_batch("PRAGMA secure_delete = ON")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// A connection that can only read.
pub(crate) fn open_reader(place: &Place, options: &StoreOptions) -> rusqlite::Result<Connection> {
    let mut connection = place.connect(match place {
        Place::File(_) => OpenFlags::SQLITE_OPEN_READ_ONLY,
        // This kind of database cannot be opened so; `query_only` does it.
        Place::Memory(_) => OpenFlags::SQLITE_OPEN_READ_WRITE,
    })?;
    prepare(&mut connection, options.busy_timeout)?;
    connection.execute_batch("PRAGMA query_only = ON")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// Closes the writing connection, folding the log into the database first when it is large or when
/// something was deleted that is not to stay in it.
pub(crate) fn close_writer(place: &Place, mut connection: Connection, fold: bool) {
    if let Place::File(path) = place {
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        let large = std::fs::metadata(log).is_ok_and(|log| log.len() > FOLD_ABOVE);
        // Only if nobody is in the way. The log is as good as the database: failing is no harm.
        if (large || fold) && connection.busy_handler(None::<fn(i32) -> bool>).is_ok() {
            connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
                .unwrap_or_default();
        }
    }
    drop(connection);
}

fn prepare(connection: &mut Connection, busy_timeout: Duration) -> rusqlite::Result<()> {
    wait_when_busy(connection, busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(128);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    // Without it, statements with a bound limit or range are planned anew at each use.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch("PRAGMA temp_store = MEMORY")
}

/// Makes the file, readable by its owner only, if there is none. SQLite gives its side files the
/// same mode.
fn create_private(path: &Path) -> io::Result<()> {
    // Closing a file drops all locks that this process has on it, SQLite's too. So nobody here
    // may come to use it between this making and closing.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if path.try_exists()? {
        return Ok(());
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// The write-ahead log is switched on once in a database's life. While another connection does
/// that, SQLite may answer "busy" without waiting.
fn use_wal(connection: &Connection, timeout: Duration) -> rusqlite::Result<()> {
    let start = now();
    for attempt in 0.. {
        let mode =
            connection.query_row("PRAGMA journal_mode = WAL", (), |row| row.get::<_, String>(0));
        match mode {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && now().duration_since(start) < timeout =>
            {
                pause(attempt);
            }
            other => return other.map(|_| ()),
        }
    }
    Ok(())
}

/// Waits for another process with short pauses: SQLite's own grow to 100 ms, in which a busy
/// neighbour commits hundreds of times.
fn wait_when_busy(connection: &mut Connection, timeout: Duration) -> rusqlite::Result<()> {
    let mut start = now();
    connection.busy_handler(Some(move |attempt| {
        if attempt == 0 {
            start = now();
        }
        let goes_on = now().duration_since(start) < timeout;
        if goes_on {
            pause(attempt);
        }
        goes_on
    }))
}

#[expect(
    clippy::disallowed_methods,
    reason = "waiting for another process is bounded by the monotonic clock; nothing recorded depends on it"
)]
fn now() -> Instant {
    Instant::now()
}

/// 0.1 ms, doubling to 3.2 ms.
#[expect(
    clippy::disallowed_methods,
    reason = "there is nothing to wait on: the lock is another process's"
)]
fn pause(attempt: i32) {
    let doublings = u32::try_from(attempt).unwrap_or_default().min(5);
    std::thread::sleep(Duration::from_micros(100 << doublings));
}
