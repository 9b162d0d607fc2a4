//! The trail in a store: appending, and asking.

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use lictor_context::{Event, EventSink, Name, RecordError};
use lictor_store::rusqlite::{self, Connection, OptionalExtension as _};
use lictor_store::{PendingWrite, Store};

use crate::error::{
    AppendError, ExportError, ExportErrorKind, OpenError, OpenErrorKind, QueryError,
    QueryErrorKind, VerifyError, VerifyErrorKind, flat,
};
use crate::export::{Exported, export_from};
use crate::filter::{Filter, StoredEvent};
use crate::guard::{Guard, GuardError};
use crate::key::SigningKey;
use crate::log::{Checkpoint, Hash, PublicKey, Tree, hex};
use crate::maker::Maker;
use crate::metrics::{self, Measured};
use crate::redact::Redactor;
use crate::rotate::read_key;
use crate::sealed::Subjects;
use crate::verify::{StoreEvidence, Verification, verify_rows};

/// How a trail is opened.
#[derive(Debug, Clone, Default)]
pub struct AuditOptions {
    guard_dir: Option<PathBuf>,
    subjects_dir: Option<PathBuf>,
    redactor: Option<Redactor>,
}

impl AuditOptions {
    /// A folder, outside of what agents can write and of what a restored backup would cover, that
    /// remembers how far each log was signed. Without one, an older copy of the store verifies.
    #[must_use]
    pub fn guard_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.guard_dir = Some(folder.into());
        self
    }

    /// A folder, outside of the store and of its backups, for a key each person. With one, content
    /// that is left out of events is kept beside them, encrypted, until the person is erased;
    /// without one it is not kept, and its digest can be guessed.
    #[must_use]
    pub fn subjects_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.subjects_dir = Some(folder.into());
        self
    }

    /// What is left out of events. Without one, what looks like a secret is.
    #[must_use]
    pub fn redactor(mut self, redactor: Redactor) -> Self {
        self.redactor = Some(redactor);
        self
    }
}

/// The trail: one log an organisation, in tables of a [`Store`] that it may share with others.
/// Clones are the same trail.
#[derive(Clone)]
pub struct AuditLog {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) maker: Maker,
    pub(crate) guard: Option<Guard>,
    /// The last note of each organisation that is known to be ours, so that it need not be
    /// verified before each append.
    pub(crate) known: Mutex<HashMap<String, (String, Checkpoint)>>,
}

/// Where events went. Nothing holds before the transaction is committed; hand it to
/// [`AuditLog::confirm`] then.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "after the commit, confirm it: the rollback guard learns of it there"]
pub struct Appended {
    pub(crate) logs: Vec<AppendedTo>,
    pub(crate) measured: Vec<Measured>,
}

/// What was appended to the log of one organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendedTo {
    /// Whose log.
    pub org: Name,
    /// The `seq` of the first of the events.
    pub first_seq: u64,
    /// How many there were.
    pub events: u64,
    /// What was signed.
    pub checkpoint: Checkpoint,
}

impl Appended {
    /// One entry an organisation.
    #[must_use]
    pub fn logs(&self) -> &[AppendedTo] {
        &self.logs
    }
}

impl AuditLog {
    /// Opens the trail in a store that was opened with our [`migrations`](crate::migrations). At
    /// its first use the log gets its id.
    ///
    /// # Errors
    /// When the store or the guard's folder is not usable.
    pub fn open(store: Store, key: SigningKey, options: AuditOptions) -> Result<Self, OpenError> {
        let guard = options.guard_dir.map(|folder| Guard::open(&folder)).transpose();
        let guard = guard.map_err(OpenErrorKind::Guard)?;
        let subjects = options.subjects_dir.map(|folder| Subjects::open(&folder)).transpose();
        let subjects = subjects.map_err(OpenErrorKind::Subjects)?;
        let redactor = match options.redactor {
            Some(redactor) => redactor,
            None => Redactor::new([""; 0], [""; 0]).map_err(OpenErrorKind::Redactor)?,
        };
        let log_id = match store.read(read_log_id).map_err(OpenErrorKind::Read)? {
            Some(log_id) => log_id,
            None => make_log_id(&store)?,
        };
        let maker = Maker::new(log_id, key, subjects, redactor);
        let inner = Arc::new(Inner { store, maker, guard, known: Mutex::default() });
        let log = Self { inner };
        let current = log.inner.store.read(read_key).map_err(OpenErrorKind::Read)?;
        log.follow_key(current.as_deref()).map_err(OpenErrorKind::Key)?;
        log.finish_erasures()?;
        Ok(log)
    }

    /// The log's id: 32 hex digits, made at first use.
    #[must_use]
    pub fn log_id(&self) -> &str {
        self.inner.maker.log_id()
    }

    /// What an organisation's checkpoints say they are of: `lictor/<log id>/<org>`.
    #[must_use]
    pub fn origin(&self, org: &Name) -> String {
        self.inner.maker.origin(org)
    }

    /// The key that verifies.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.inner.maker.key().public().clone()
    }

    /// Leaves other things out of events from now on.
    pub fn set_redactor(&self, redactor: Redactor) {
        self.inner.maker.set_redactor(redactor);
    }

    /// What is left out of events: for records that are kept beside the trail.
    #[must_use]
    pub fn redactor(&self) -> Arc<Redactor> {
        self.inner.maker.redactor()
    }

    pub(crate) fn open_note(&self, org: &Name, note: String) -> Option<Checkpoint> {
        let mut known = self.known();
        if let Some((text, checkpoint)) = known.get(org.as_str())
            && *text == note
        {
            return Some(checkpoint.clone());
        }
        let checkpoint = Checkpoint::open(&note, &self.public_key()).ok()?;
        known.insert(org.as_str().to_owned(), (note, checkpoint.clone()));
        Some(checkpoint)
    }

    pub(crate) fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, (String, Checkpoint)>> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the rollback guard of what was committed; without a guard, does nothing. It must not
    /// be called before the commit: the guard would hold against us what never came to be.
    ///
    /// When it is left out, the guard knows less until the next time.
    ///
    /// # Errors
    /// When the guard cannot be written, or knows of another history.
    pub fn confirm(&self, appended: &Appended) -> Result<(), GuardError> {
        metrics::recorded(&appended.measured);
        let Some(guard) = &self.inner.guard else {
            return Ok(());
        };
        appended.logs.iter().try_for_each(|log| guard.raise(&log.checkpoint))
    }

    /// Appends events in a transaction of their own, waits for it, and confirms it.
    ///
    /// # Errors
    /// When they are not recorded.
    pub fn append(&self, events: Vec<Event>) -> Result<Vec<AppendedTo>, RecordError> {
        let submitted = self.submit(events).map_err(|error| record_error(&error))?;
        let appended = submitted.wait().map_err(|error| record_error(&error))?;
        self.confirm(&appended).map_err(|error| record_error(&error))?;
        Ok(appended.logs)
    }

    fn submit(
        &self,
        events: Vec<Event>,
    ) -> Result<PendingWrite<Appended, AppendError>, AppendError> {
        let log = self.clone();
        let events = self.prepare(events)?;
        Ok(self.inner.store.write(move |tx| log.append_in(tx, events)))
    }

    /// The events of an organisation that match.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn query(&self, org: &Name, filter: &Filter) -> Result<Vec<StoredEvent>, QueryError> {
        let found = self.inner.store.read(|connection| {
            let mut events = Vec::new();
            filter.each(connection, org, |seq, bytes| {
                events.push(StoredEvent { seq, bytes: bytes.to_vec() });
                Ok::<_, QueryErrorKind>(())
            })?;
            Ok(events)
        });
        found.map_err(|error| QueryError::new(org, flat(error)))
    }

    /// Hands over the lines of an organisation's events that match, in order, one by one: for
    /// more of them than memory holds.
    ///
    /// # Errors
    /// When the store cannot be read, or `found` fails.
    pub fn each(
        &self,
        org: &Name,
        filter: &Filter,
        mut found: impl FnMut(&[u8]) -> Result<(), QueryErrorKind>,
    ) -> Result<(), QueryError> {
        let read =
            self.inner.store.read(|connection| filter.each(connection, org, |_, line| found(line)));
        read.map_err(|error| QueryError::new(org, flat(error)))
    }

    /// How many events of an organisation match; where a page begins and ends (`after`, `offset`,
    /// `limit`) does not count.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn count(&self, org: &Name, filter: &Filter) -> Result<u64, QueryError> {
        let count = self.inner.store.read(|connection| filter.count(connection, org));
        count.map_err(|error| QueryError::new(org, flat(error)))
    }

    /// Writes the events that match, one a line, and what proves them: the signed checkpoint and
    /// the list of all leaves. Both come from one snapshot. When the log is empty, nothing is
    /// written.
    ///
    /// # Errors
    /// When the store cannot be read or the output not written.
    pub fn export(
        &self,
        org: &Name,
        filter: &Filter,
        events: &mut dyn Write,
        checkpoint: &mut dyn Write,
    ) -> Result<Exported, ExportError> {
        let exported = self
            .inner
            .store
            .read(|connection| export_from(connection, org, filter, events, checkpoint));
        exported.map_err(|error| ExportError::new(org, flat::<ExportErrorKind>(error)))
    }

    /// The signed checkpoint of an organisation's log as it is now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn checkpoint(&self, org: &Name) -> Result<Option<String>, QueryError> {
        let head = self
            .inner
            .store
            .read(|connection| Head::read(connection, org).map_err(QueryErrorKind::Sqlite));
        let head = head.map_err(|error| QueryError::new(org, flat(error)))?;
        Ok(head.map(|head| head.note))
    }

    /// Reads an organisation's log from its first event on, computes everything anew and compares
    /// it with what is stored, with what was signed, and with the rollback guard.
    ///
    /// # Errors
    /// When the store or the guard cannot be read. What was tampered with is no error but a
    /// verdict.
    pub fn verify_store(&self, org: &Name) -> Result<Verification, VerifyError> {
        let origin = self.origin(org);
        let current = self.inner.store.read(|connection| {
            read_key(connection)
                .map_err(|error| VerifyErrorKind::from(QueryErrorKind::Sqlite(error)))
        });
        let current = current.map_err(|error| VerifyError::from(flat::<VerifyErrorKind>(error)))?;
        // Another key that is not to be had is found out below: it did not sign.
        self.follow_key(current.as_deref()).unwrap_or_default();
        let key = self.public_key();
        // Before the snapshot: what is signed from now on may not be in it.
        let guarded = match &self.inner.guard {
            Some(guard) => Some(guard.read(&origin).map_err(VerifyErrorKind::Guard)?),
            None => None,
        };
        let evidence =
            StoreEvidence { org, log_id: self.log_id(), origin: &origin, key: &key, guarded };
        let verified = self.inner.store.read(|connection| verify_rows(connection, &evidence));
        verified.map_err(|error| VerifyError::from(flat::<VerifyErrorKind>(error)))
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog")
            .field("store", &self.inner.store)
            .field("maker", &self.inner.maker)
            .field("guard", &self.inner.guard)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl EventSink for AuditLog {
    async fn record(&self, events: Vec<Event>) -> Result<(), RecordError> {
        let submitted = self.submit(events).map_err(|error| record_error(&error))?;
        let appended = submitted.await.map_err(|error| record_error(&error))?;
        self.confirm(&appended).map_err(|error| record_error(&error))
    }
}

/// The whole chain of causes: `RecordError` is text.
pub(crate) fn record_error(error: &dyn std::error::Error) -> RecordError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    RecordError::new(text)
}

/// The end of a log as it stands in its row; not yet believed.
pub(crate) struct Head {
    pub(crate) size: i64,
    pub(crate) chain: Vec<u8>,
    pub(crate) frontier: Vec<u8>,
    pub(crate) note: String,
}

impl Head {
    pub(crate) fn read(connection: &Connection, org: &Name) -> rusqlite::Result<Option<Self>> {
        let mut statement = connection.prepare_cached(
            "SELECT size, chain, frontier, checkpoint_note FROM audit_head WHERE org = ?1",
        )?;
        let head = statement.query_row([org.as_str()], |row| {
            Ok(Self {
                size: row.get(0)?,
                chain: row.get(1)?,
                frontier: row.get(2)?,
                note: row.get(3)?,
            })
        });
        head.optional()
    }

    pub(crate) fn parts(&self) -> Option<(Tree, Hash)> {
        let tree = Tree::from_parts(u64::try_from(self.size).ok()?, &self.frontier)?;
        Some((tree, self.chain.as_slice().try_into().ok()?))
    }
}

/// Where a log begins that was pruned.
pub(crate) struct Pruned {
    pub(crate) first_seq: u64,
    pub(crate) chain: Vec<u8>,
    pub(crate) frontier: Vec<u8>,
}

impl Pruned {
    pub(crate) fn read(connection: &Connection, org: &Name) -> rusqlite::Result<Option<Self>> {
        let mut statement = connection
            .prepare_cached("SELECT first_seq, chain, frontier FROM audit_pruned WHERE org = ?1")?;
        let pruned = statement.query_row([org.as_str()], |row| {
            let first_seq: i64 = row.get(0)?;
            Ok(Self {
                first_seq: first_seq.unsigned_abs(),
                chain: row.get(1)?,
                frontier: row.get(2)?,
            })
        });
        pruned.optional()
    }
}

pub(crate) fn read_log_id(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare_cached("SELECT log_id FROM audit_log")?;
    statement.query_row([], |row| row.get(0)).optional()
}

fn make_log_id(store: &Store) -> Result<String, OpenError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| OpenErrorKind::Random)?;
    let made = store.write(move |tx| {
        // Another process may have been faster; the first one stays.
        tx.execute("INSERT OR IGNORE INTO audit_log (one, log_id) VALUES (1, ?1)", [hex(&bytes)])?;
        tx.query_row("SELECT log_id FROM audit_log", [], |row| row.get(0))
    });
    Ok(made.wait().map_err(OpenErrorKind::Write)?)
}
