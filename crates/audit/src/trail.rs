//! The trail in a store: appending, and asking.

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use lictor_context::{Event, EventSink, Name, RecordError};
use lictor_store::rusqlite::{self, Connection, OptionalExtension as _, Transaction, params};
use lictor_store::{PendingWrite, Store};

use crate::error::{
    AppendError, AppendErrorKind, ExportError, ExportErrorKind, OpenError, OpenErrorKind,
    QueryError, QueryErrorKind, VerifyError, VerifyErrorKind, flat,
};
use crate::export::{Exported, export_from};
use crate::filter::{Filter, StoredEvent, to_i64};
use crate::guard::{Guard, GuardError};
use crate::key::SigningKey;
use crate::line::{Place, event_line, line_action_name, line_time};
use crate::log::{CHAIN_START, Checkpoint, Hash, PublicKey, Tree, chain_hash, hex, leaf_hash};
use crate::verify::{StoreEvidence, Verification, verify_rows};

/// How a trail is opened.
#[derive(Debug, Clone, Default)]
pub struct AuditOptions {
    guard_dir: Option<PathBuf>,
}

impl AuditOptions {
    /// A folder, outside of what agents can write and of what a restored backup would cover, that
    /// remembers how far each log was signed. Without one, an older copy of the store verifies.
    #[must_use]
    pub fn guard_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.guard_dir = Some(folder.into());
        self
    }
}

/// The trail: one log an organisation, in tables of a [`Store`] that it may share with others.
/// Clones are the same trail.
#[derive(Clone)]
pub struct AuditLog {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    key: SigningKey,
    log_id: String,
    guard: Option<Guard>,
    /// The last note of each organisation that is known to be ours, so that it need not be
    /// verified before each append.
    known: Mutex<HashMap<String, (String, Checkpoint)>>,
}

/// Where events went. Nothing holds before the transaction is committed; hand it to
/// [`AuditLog::confirm`] then.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "after the commit, confirm it: the rollback guard learns of it there"]
pub struct Appended {
    logs: Vec<AppendedTo>,
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
        let log_id = match store.read(read_log_id).map_err(OpenErrorKind::Read)? {
            Some(log_id) => log_id,
            None => make_log_id(&store)?,
        };
        let known = Mutex::default();
        Ok(Self { inner: Arc::new(Inner { store, key, log_id, guard, known }) })
    }

    /// The log's id: 32 hex digits, made at first use.
    #[must_use]
    pub fn log_id(&self) -> &str {
        &self.inner.log_id
    }

    /// What an organisation's checkpoints say they are of: `lictor/<log id>/<org>`.
    #[must_use]
    pub fn origin(&self, org: &Name) -> String {
        format!("lictor/{}/{org}", self.inner.log_id)
    }

    /// The key that verifies.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        self.inner.key.public()
    }

    /// Appends events inside somebody's transaction: they are there if and only if the rest of it
    /// is. All or none of them; each organisation's get one signed checkpoint.
    ///
    /// The end of the log is read inside the transaction, so that many processes never fork it.
    /// When the transaction is committed, call [`confirm`](Self::confirm).
    ///
    /// # Errors
    /// When SQLite refuses, or the log is not what was signed last.
    pub fn append_in(
        &self,
        tx: &Transaction<'_>,
        events: &[Event],
    ) -> Result<Appended, AppendError> {
        let mut orgs: Vec<&Name> = Vec::new();
        for event in events {
            if !orgs.contains(&event.org()) {
                orgs.push(event.org());
            }
        }
        let Some(first) = orgs.first() else {
            return Ok(Appended { logs: Vec::new() });
        };
        let failed = |org: &Name, kind: AppendErrorKind| AppendError::new(org, kind);
        // A caller that goes on after our error must not commit half of our rows.
        run(tx, "SAVEPOINT audit_append").map_err(|error| failed(first, error.into()))?;
        let mut logs = Vec::with_capacity(orgs.len());
        for org in &orgs {
            let own = events.iter().filter(|event| event.org() == *org);
            match self.append_org(tx, org, own) {
                Ok(appended) => logs.push(appended),
                Err(kind) => {
                    // The first error says more than one of undoing would.
                    run(tx, "ROLLBACK TO audit_append").unwrap_or_default();
                    run(tx, "RELEASE audit_append").unwrap_or_default();
                    return Err(failed(org, kind));
                }
            }
        }
        run(tx, "RELEASE audit_append").map_err(|error| failed(first, error.into()))?;
        Ok(Appended { logs })
    }

    fn append_org<'a>(
        &self,
        tx: &Transaction<'_>,
        org: &Name,
        events: impl Iterator<Item = &'a Event>,
    ) -> Result<AppendedTo, AppendErrorKind> {
        let origin = self.origin(org);
        let (mut tree, mut chain) = self.head(tx, org, &origin)?;
        let first_seq = tree.size();
        let mut sessions: HashMap<&str, u64> = HashMap::new();
        {
            let mut insert = tx.prepare_cached(INSERT_EVENT)?;
            for event in events {
                let session = event.session().id().as_str();
                let next = match sessions.get_mut(session) {
                    Some(next) => next,
                    None => sessions.entry(session).or_insert(next_session_seq(tx, org, session)?),
                };
                let place = Place { seq: tree.size(), session_seq: *next };
                *next += 1;
                let bytes = event_line(event, place);
                let leaf = leaf_hash(&bytes);
                chain = chain_hash(&chain, &leaf);
                tree.push(leaf);
                let (principal, facts) = (event.session().principal(), event.facts());
                insert.execute(params![
                    org.as_str(),
                    to_i64(place.seq),
                    session,
                    to_i64(place.session_seq),
                    event.event_type().as_str(),
                    line_time(event).as_micros(),
                    principal.user.as_str(),
                    principal.agent.as_str(),
                    line_action_name(event),
                    facts.execution_id.as_ref().map(|id| id.as_str()),
                    facts.run_id.as_ref().map(|id| id.as_str()),
                    facts.success,
                    bytes,
                    leaf,
                    chain,
                ])?;
            }
        }
        {
            let mut upsert = tx.prepare_cached(UPSERT_SESSION)?;
            for (session, next) in &sessions {
                upsert.execute(params![org.as_str(), session, to_i64(*next)])?;
            }
        }
        let checkpoint = Checkpoint { origin, size: tree.size(), root: tree.root() };
        let note = self.inner.key.sign(&checkpoint);
        tx.prepare_cached(UPSERT_HEAD)?.execute(params![
            org.as_str(),
            to_i64(tree.size()),
            chain,
            tree.frontier(),
            note
        ])?;
        self.known().insert(org.as_str().to_owned(), (note, checkpoint.clone()));
        let events = tree.size() - first_seq;
        Ok(AppendedTo { org: org.clone(), first_seq, events, checkpoint })
    }

    /// The end of the log as this transaction sees it, if it is what was signed.
    fn head(
        &self,
        tx: &Transaction<'_>,
        org: &Name,
        origin: &str,
    ) -> Result<(Tree, Hash), AppendErrorKind> {
        let (tree, chain) = match Head::read(tx, org)? {
            None => (Tree::new(), CHAIN_START),
            Some(head) => {
                let (tree, chain) = head.parts().ok_or(AppendErrorKind::Tampered)?;
                let signed = self.open_note(org, head.note).ok_or(AppendErrorKind::Tampered)?;
                let same = signed.origin == origin
                    && signed.size == tree.size()
                    && signed.root == tree.root();
                // INVARIANT: nothing is signed that does not follow from what was signed before;
                // whoever rewrote the log has it refused here, not confirmed.
                if !same {
                    return Err(AppendErrorKind::Tampered);
                }
                (tree, chain)
            }
        };
        if let Some(guard) = &self.inner.guard {
            guard.check(origin, tree.size(), &tree.root())?;
        }
        Ok((tree, chain))
    }

    fn open_note(&self, org: &Name, note: String) -> Option<Checkpoint> {
        let mut known = self.known();
        if let Some((text, checkpoint)) = known.get(org.as_str())
            && *text == note
        {
            return Some(checkpoint.clone());
        }
        let checkpoint = Checkpoint::open(&note, self.public_key()).ok()?;
        known.insert(org.as_str().to_owned(), (note, checkpoint.clone()));
        Some(checkpoint)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, (String, Checkpoint)>> {
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
        let appended = self.submit(events).wait().map_err(|error| record_error(&error))?;
        self.confirm(&appended).map_err(|error| record_error(&error))?;
        Ok(appended.logs)
    }

    fn submit(&self, events: Vec<Event>) -> PendingWrite<Appended, AppendError> {
        let log = self.clone();
        self.inner.store.write(move |tx| log.append_in(tx, &events))
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
        // Before the snapshot: what is signed from now on may not be in it.
        let guarded = match &self.inner.guard {
            Some(guard) => Some(guard.read(&origin).map_err(VerifyErrorKind::Guard)?),
            None => None,
        };
        let evidence = StoreEvidence {
            org,
            log_id: &self.inner.log_id,
            origin: &origin,
            key: self.public_key(),
            guarded,
        };
        let verified = self.inner.store.read(|connection| verify_rows(connection, &evidence));
        verified.map_err(|error| VerifyError::from(flat::<VerifyErrorKind>(error)))
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog")
            .field("store", &self.inner.store)
            .field("log_id", &self.inner.log_id)
            .field("key", &self.inner.key)
            .field("guard", &self.inner.guard)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl EventSink for AuditLog {
    async fn record(&self, events: Vec<Event>) -> Result<(), RecordError> {
        let appended = self.submit(events).await.map_err(|error| record_error(&error))?;
        self.confirm(&appended).map_err(|error| record_error(&error))
    }
}

/// The whole chain of causes: `RecordError` is text.
fn record_error(error: &dyn std::error::Error) -> RecordError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    RecordError::new(text)
}

const INSERT_EVENT: &str = "INSERT INTO audit_event (org, seq, session, session_seq, type, ts, \
    user, agent, action_name, execution, run, success, bytes, leaf, chain) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
const UPSERT_SESSION: &str = "INSERT INTO audit_session (org, session, next_seq) \
    VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET next_seq = excluded.next_seq";
const UPSERT_HEAD: &str = "INSERT INTO audit_head (org, size, chain, frontier, checkpoint_note) \
    VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET size = excluded.size, \
    chain = excluded.chain, frontier = excluded.frontier, \
    checkpoint_note = excluded.checkpoint_note";

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

fn next_session_seq(
    tx: &Transaction<'_>,
    org: &Name,
    session: &str,
) -> Result<u64, AppendErrorKind> {
    let mut statement =
        tx.prepare_cached("SELECT next_seq FROM audit_session WHERE org = ?1 AND session = ?2")?;
    let next: Option<i64> =
        statement.query_row([org.as_str(), session], |row| row.get(0)).optional()?;
    u64::try_from(next.unwrap_or(0)).map_err(|_| AppendErrorKind::Tampered)
}

fn run(tx: &Transaction<'_>, sql: &str) -> rusqlite::Result<()> {
    tx.prepare_cached(sql)?.execute([]).map(|_| ())
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
