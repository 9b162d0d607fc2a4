//! The trail in a store: appending, and asking.

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use lictor_context::{Event, EventSink, Name, RecordError};
use lictor_store::Store;

use crate::ends::Slot;
use crate::error::{
    AppendError, ExportError, OpenError, OpenErrorKind, QueryError, QueryErrorKind, VerifyError,
    VerifyErrorKind,
};
use crate::export::{Exported, export_from};
use crate::filter::{Filter, StoredEvent};
use crate::guard::{Guard, GuardError};
use crate::key::SigningKey;
use crate::log::{Checkpoint, PublicKey, hex};
use crate::maker::Maker;
use crate::metrics::{self, Measured};
use crate::redact::Redactor;
use crate::sealed::Subjects;
use crate::stores::{Pending, StoreError, TrailStore, WriteJob};
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

/// The trail: one log an organisation, in a [`TrailStore`]. By default that is tables of a
/// [`Store`], which it may share with others. Clones are the same trail.
pub struct AuditLog<S = Store> {
    pub(crate) inner: Arc<Inner<S>>,
}

impl<S> Clone for AuditLog<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

pub(crate) struct Inner<S> {
    pub(crate) store: S,
    pub(crate) maker: Maker,
    pub(crate) guard: Option<Guard>,
    /// The last note of each organisation that is known to be ours, so that it need not be
    /// verified before each append.
    pub(crate) known: Mutex<HashMap<String, (String, Checkpoint)>>,
}

impl<S> Inner<S> {
    fn known(&self) -> MutexGuard<'_, HashMap<String, (String, Checkpoint)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a note as ours.
    pub(crate) fn know(&self, org: &Name, note: (String, Checkpoint)) {
        self.known().insert(org.as_str().to_owned(), note);
    }
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
    /// The log after the last of them. It was signed, or a later end was that the same commit
    /// led to.
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
        let subjects = options.subjects_dir.as_deref().map(Subjects::open).transpose();
        let subjects = subjects.map_err(OpenErrorKind::Subjects)?;
        let log = Self::opened(store, (key, subjects), options)?;
        log.finish_erasures()?;
        Ok(log)
    }
}

impl<S: TrailStore> AuditLog<S> {
    /// Opens the trail in a store of any kind. Such a trail keeps no content that was left out of
    /// events, and its key is not rotated; everything else is as in tables.
    ///
    /// # Errors
    /// When the store or the guard's folder is not usable, or the options ask for sealing.
    pub fn over(store: S, key: SigningKey, options: AuditOptions) -> Result<Self, OpenError> {
        if options.subjects_dir.is_some() {
            return Err(OpenErrorKind::NotSealing.into());
        }
        Self::opened(store, (key, None), options)
    }

    fn opened(
        store: S,
        (key, subjects): (SigningKey, Option<Subjects>),
        options: AuditOptions,
    ) -> Result<Self, OpenError> {
        let guard = options.guard_dir.map(|folder| Guard::open(&folder)).transpose();
        let guard = guard.map_err(OpenErrorKind::Guard)?;
        let redactor = match options.redactor {
            Some(redactor) => redactor,
            None => Redactor::new([""; 0], [""; 0]).map_err(OpenErrorKind::Redactor)?,
        };
        let mut fresh = [0; 16];
        getrandom::fill(&mut fresh).map_err(|_| OpenErrorKind::Random)?;
        let log_id = store.log_id(&hex(&fresh)).map_err(OpenErrorKind::Store)?;
        let maker = Maker::new(log_id, key, subjects, redactor);
        let inner = Arc::new(Inner { store, maker, guard, known: Mutex::default() });
        let log = Self { inner };
        let current = log.inner.store.view(|reader| reader.key()).map_err(OpenErrorKind::Store)?;
        log.follow_key(current.as_deref()).map_err(OpenErrorKind::Key)?;
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

    pub(crate) fn known(&self) -> MutexGuard<'_, HashMap<String, (String, Checkpoint)>> {
        self.inner.known()
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
        let (submitted, slot) = self.submit(events).map_err(|error| record_error(&error))?;
        let appended = submitted.wait().map_err(|error| record_error(&error))?;
        Ok(self.settled(appended, &slot)?.logs)
    }

    fn submit(&self, events: Vec<Event>) -> Result<(Pending, Slot), AppendError> {
        let log = self.clone();
        let events = self.prepare(events)?;
        let slot = Slot::default();
        let own = Arc::clone(&slot);
        let job: WriteJob = Box::new(move |writer| log.append_among(writer, events, own));
        Ok((self.inner.store.submit(job), slot))
    }

    /// What was appended, once it is committed.
    fn settled(&self, appended: Appended, slot: &Slot) -> Result<Appended, RecordError> {
        let among = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let appended = among.unwrap_or(Ok(appended)).map_err(|error| record_error(&error))?;
        self.confirm(&appended).map_err(|error| record_error(&error))?;
        Ok(appended)
    }

    /// The events of an organisation that match.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn query(&self, org: &Name, filter: &Filter) -> Result<Vec<StoredEvent>, QueryError> {
        let mut events = Vec::new();
        let read = self.inner.store.view(|reader| {
            reader.select(org, filter, &mut |line| {
                events.push(StoredEvent { seq: line.seq, bytes: line.bytes.to_vec() });
                ControlFlow::Continue(())
            })
        });
        read.map_err(|error| QueryError::new(org, error.into()))?;
        Ok(events)
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
        let read = self.inner.store.view(|reader| {
            let mut result = Ok(());
            reader.select(org, filter, &mut |line| go_on(&mut result, found(line.bytes)))?;
            result
        });
        read.map_err(|error| QueryError::new(org, error))
    }

    /// How many events of an organisation match; where a page begins and ends (`after`, `offset`,
    /// `limit`) does not count.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn count(&self, org: &Name, filter: &Filter) -> Result<u64, QueryError> {
        let count = self.inner.store.view(|reader| reader.count(org, filter));
        count.map_err(|error| QueryError::new(org, error.into()))
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
        let exported =
            self.inner.store.view(|reader| export_from(reader, org, filter, events, checkpoint));
        exported.map_err(|error| ExportError::new(org, error))
    }

    /// The signed checkpoint of an organisation's log as it is now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn checkpoint(&self, org: &Name) -> Result<Option<String>, QueryError> {
        let head = self.inner.store.view(|reader| reader.head(org));
        let head = head.map_err(|error| QueryError::new(org, error.into()))?;
        Ok(head.map(|head| head.note))
    }

    /// The organisations that have a log.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn orgs(&self) -> Result<Vec<Name>, StoreError> {
        let orgs = self.inner.store.view(|reader| reader.orgs())?;
        Ok(orgs.iter().filter_map(|org| Name::parse(org).ok()).collect())
    }

    /// Reads an organisation's log from its first event on, computes everything anew and compares
    /// it with what is stored, with what was signed, and with the rollback guard.
    ///
    /// # Errors
    /// When the store or the guard cannot be read. What was tampered with is no error but a
    /// verdict.
    pub fn verify_store(&self, org: &Name) -> Result<Verification, VerifyError> {
        let origin = self.origin(org);
        let current = self.inner.store.view(|reader| reader.key())?;
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
        let verified = self.inner.store.view(|reader| verify_rows(reader, &evidence));
        verified.map_err(|error: VerifyErrorKind| VerifyError::from(error))
    }
}

/// Goes on until something failed, and remembers it.
pub(crate) fn go_on<E>(failed: &mut Result<(), E>, result: Result<(), E>) -> ControlFlow<()> {
    if result.is_ok() {
        return ControlFlow::Continue(());
    }
    *failed = result;
    ControlFlow::Break(())
}

impl<S: TrailStore> fmt::Debug for AuditLog<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog")
            .field("store", &self.inner.store)
            .field("maker", &self.inner.maker)
            .field("guard", &self.inner.guard)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<S: TrailStore> EventSink for AuditLog<S> {
    async fn record(&self, events: Vec<Event>) -> Result<(), RecordError> {
        let (submitted, slot) = self.submit(events).map_err(|error| record_error(&error))?;
        let appended = submitted.settled().await.map_err(|error| record_error(&error))?;
        self.settled(appended, &slot).map(drop)
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
