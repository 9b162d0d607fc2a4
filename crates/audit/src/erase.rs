//! Persons: what was sealed of them, and erasing it.

use std::ops::ControlFlow;

use lictor_context::{Clock, Event, EventFacts, EventType, Name, Session};
use lictor_store::{Store, rusqlite};
use serde_json::Value;

use crate::error::{AppendError, NotAppended, OpenError, OpenErrorKind};
use crate::fault::point;
use crate::guard::GuardError;
use crate::sealed::{Revealed, SealedField, SubjectError, open_field, sealed_fields};
use crate::stores::{StoreError, Tables, TrailStore as _};
use crate::trail::AuditLog;

/// A person was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    /// The key that was destroyed; events name it beside what was sealed under it.
    pub key: String,
    /// The `seq` of the event that says so.
    pub seq: u64,
}

/// A person was not erased, or not in full: it can be done again.
#[derive(Debug, thiserror::Error)]
#[error("cannot erase what was sealed of `{user}`")]
pub struct EraseError {
    user: String,
    #[source]
    kind: EraseErrorKind,
}

/// Why a person was not erased.
#[derive(Debug, thiserror::Error)]
pub enum EraseErrorKind {
    /// The trail keeps no keys of persons.
    #[error("this trail seals nothing: it was opened without a folder for the keys of persons")]
    NotSealing,
    /// Nothing was sealed of this person, or it was erased before.
    #[error("nothing is sealed of this person: no key is there")]
    NoKey,
    /// The event that has to say so was not recorded. Nothing was erased.
    #[error("that it was done could not be recorded; nothing was erased")]
    NotRecorded(#[source] Box<NotAppended>),
    /// The rollback guard refused. Nothing was erased.
    #[error(transparent)]
    Guard(GuardError),
    /// The key could not be destroyed. It is recorded that it will be, and tried again at the
    /// next opening.
    #[error(transparent)]
    Key(#[from] SubjectError),
    /// It could not be noted that it is done; it is tried again at the next opening.
    #[error("a file could not be read or written")]
    Io(#[from] std::io::Error),
    /// It could not be noted that it is done; it is tried again at the next opening.
    #[error("it could not be noted that it is done")]
    NotNoted(#[source] StoreError),
}

impl EraseError {
    /// Why.
    #[must_use]
    pub fn kind(&self) -> &EraseErrorKind {
        &self.kind
    }
}

/// What was sealed in an event could not be shown.
#[derive(Debug, thiserror::Error)]
#[error("cannot show what was sealed in event {seq}")]
pub struct RevealError {
    seq: u64,
    #[source]
    kind: RevealErrorKind,
}

/// Why what was sealed could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum RevealErrorKind {
    /// There is no such event.
    #[error("there is no such event")]
    NoEvent,
    /// The key it was sealed under is gone.
    #[error("it was erased: the key `{key}` is destroyed")]
    Erased {
        /// Which key.
        key: String,
    },
    /// The ciphertext is gone, or is not what was sealed.
    #[error("`{pointer}`: the ciphertext is not there, or is not what was sealed")]
    Damaged {
        /// Where in the event.
        pointer: String,
    },
    /// The store could not be read.
    #[error("the store could not be read")]
    Store(#[source] StoreError),
    /// The keys of persons could not be read.
    #[error(transparent)]
    Key(#[from] SubjectError),
}

impl RevealError {
    /// Why.
    #[must_use]
    pub fn kind(&self) -> &RevealErrorKind {
        &self.kind
    }
}

impl AuditLog<Store> {
    /// Erases what was sealed of a person of the session's organisation, whatever copies of the
    /// trail there are: their key is destroyed. First it is recorded that it will be. Events,
    /// proofs and checkpoints stay as they are; what stands in events in clear stays as well.
    ///
    /// It takes as long for a hundred thousand events as for one.
    ///
    /// # Errors
    /// When it is not done, or not noted; doing it again is right then.
    pub fn erase_subject(
        &self,
        session: &Session,
        user: &Name,
        clock: &dyn Clock,
    ) -> Result<Erased, EraseError> {
        let failed = |kind| EraseError { user: user.as_str().to_owned(), kind };
        self.erase(session, user, clock).map_err(failed)
    }

    fn erase(
        &self,
        session: &Session,
        user: &Name,
        clock: &dyn Clock,
    ) -> Result<Erased, EraseErrorKind> {
        let subjects = self.inner.maker.subjects().ok_or(EraseErrorKind::NotSealing)?;
        let org = session.principal().org.clone();
        let key = subjects.existing(&org, user)?.ok_or(EraseErrorKind::NoKey)?.id().to_owned();
        point("erase: before it is recorded")?;
        let mut facts = EventFacts { success: Some(true), ..EventFacts::default() };
        // Nothing that names the person: the key's id is random.
        facts.metadata.insert("subject".to_owned(), Value::from(key.clone()));
        let event = Event::new(session, EventType::SubjectErased, facts, clock);
        let (log, id, of) = (self.clone(), key.clone(), org.clone());
        let written = self.inner.store.write(move |tx| {
            let mut tables = Tables::shared(&log.inner.store, tx);
            let appended = log.append_own(&mut tables, vec![event])?;
            tx.execute(
                "INSERT OR IGNORE INTO audit_erased (org, key_id, done) VALUES (?1, ?2, 0)",
                [of.as_str(), &id],
            )
            .map_err(|error| AppendError::new(&of, error.into()))?;
            Ok(appended)
        });
        let appended =
            written.wait().map_err(|error| EraseErrorKind::NotRecorded(Box::new(error.into())))?;
        self.confirm(&appended).map_err(EraseErrorKind::Guard)?;
        subjects.destroy_of(&org, user, &key)?;
        point("erase: before it is noted as done")?;
        self.note_erased(key.clone()).map_err(EraseErrorKind::NotNoted)?;
        let seq = appended.logs().first().map_or(0, |log| log.first_seq);
        Ok(Erased { key, seq })
    }

    fn note_erased(&self, key: String) -> Result<(), StoreError> {
        let sql = "UPDATE audit_erased SET done = 1 WHERE key_id = ?1";
        let noted = self.inner.store.write(move |tx| tx.execute(sql, [key]).map(drop));
        noted.wait().map_err(StoreError::from)
    }

    /// Destroys the keys of which it is recorded that they are destroyed, and that are not:
    /// somebody died in between.
    pub(crate) fn finish_erasures(&self) -> Result<(), OpenError> {
        let Some(subjects) = self.inner.maker.subjects() else { return Ok(()) };
        let open = self.inner.store.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT key_id FROM audit_erased WHERE done = 0")?;
            let keys = statement.query_map([], |row| row.get::<_, String>(0))?;
            keys.collect::<rusqlite::Result<Vec<_>>>()
        });
        for key in open.map_err(|error| OpenErrorKind::Store(error.into()))? {
            subjects.destroy(&key).map_err(OpenErrorKind::Subjects)?;
            self.note_erased(key).map_err(OpenErrorKind::Unfinished)?;
        }
        Ok(())
    }

    /// What was sealed in an event of an organisation, as far as nobody erased it.
    ///
    /// # Errors
    /// When there is no such event, or what was sealed in it cannot be opened (any more).
    pub fn reveal(&self, org: &Name, seq: u64) -> Result<Vec<Revealed>, RevealError> {
        self.revealed(org, seq).map_err(|kind| RevealError { seq, kind })
    }

    fn revealed(&self, org: &Name, seq: u64) -> Result<Vec<Revealed>, RevealErrorKind> {
        let found = self.inner.store.view(|reader| {
            let (mut line, mut sealed) = (None, Vec::new());
            let only = seq..seq.saturating_add(1);
            reader.lines(org, only.clone(), &mut |found| {
                line = Some(found.bytes.to_vec());
                ControlFlow::Break(())
            })?;
            reader.each_sealed(org, only, &mut |(_, pointer, ciphertext)| {
                sealed.push((pointer.to_owned(), ciphertext.to_vec()));
                ControlFlow::Continue(())
            })?;
            Ok::<_, StoreError>((line, sealed))
        });
        let (line, sealed) = found.map_err(RevealErrorKind::Store)?;
        let line = line.ok_or(RevealErrorKind::NoEvent)?;
        let event = serde_json::from_slice::<Value>(&line).unwrap_or_default();
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
        let (id, user) = (text("event_id"), text("user_id"));
        let key = match (self.inner.maker.subjects(), Name::parse(user)) {
            (Some(subjects), Ok(user)) => subjects.existing(org, &user)?,
            _ => None,
        };
        let origin = self.origin(org);
        let open = |field: &SealedField| {
            let gone = || RevealErrorKind::Erased { key: field.key.clone() };
            let key = key.as_ref().filter(|key| key.id() == field.key).ok_or_else(gone)?;
            let ciphertext = sealed.iter().find(|(pointer, _)| *pointer == field.pointer);
            ciphertext
                .and_then(|(_, ciphertext)| open_field(field, ciphertext, (&origin, id), key))
                .ok_or_else(|| RevealErrorKind::Damaged { pointer: field.pointer.clone() })
        };
        sealed_fields(&line).iter().map(open).collect()
    }
}
