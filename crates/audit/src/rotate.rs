//! Another signing key: each log says so itself, and the end of the old key's epoch is signed by
//! both. Then the old secret is destroyed.

use lictor_context::{Clock, Event, EventFacts, EventType, Name, Session};
use lictor_store::rusqlite::{Transaction, params};
use lictor_store::{Store, WriteError};
use serde_json::Value;

use crate::append::Signing;
use crate::error::AppendErrorKind;
use crate::fault::point;
use crate::filter::to_i64;
use crate::guard::GuardError;
use crate::key::{KeyError, SigningKey};
use crate::log::PublicKey;
use crate::maker::Prepared;
use crate::stores::{StoreError, Tables, TrailStore};
use crate::trail::{Appended, AuditLog};

/// The key was rotated by another process, and the next one is not to be had here.
#[derive(Debug, thiserror::Error)]
#[error("the signing key was rotated, and the next one is not where this one was")]
pub struct KeyRotatedError(#[source] Option<KeyError>);

/// The key was not rotated.
#[derive(Debug, thiserror::Error)]
#[error("cannot rotate the signing key")]
pub struct RotateError(#[source] RotateErrorKind);

/// Why the key was not rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotateErrorKind {
    /// The key did not come from a file, so nobody would find the next one.
    #[error("the key came from no file")]
    NoFile,
    /// A log of an organisation for which no session was given.
    #[error("the organisation `{0}` has a log too, and nobody speaks for it")]
    OrgLeftOut(String),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The organisations could not be read.
    #[error("the store could not be read")]
    Read(#[source] StoreError),
    /// It could not be recorded. The old key stays.
    #[error("it could not be recorded; the old key stays")]
    NotRecorded(#[source] Box<WriteError<AppendErrorKind>>),
    /// The next key did not take the place of the old one. It does so at the next opening.
    #[error(transparent)]
    NotReplaced(#[from] KeyRotatedError),
    /// The rollback guard refused, after the key was rotated.
    #[error(transparent)]
    Guard(GuardError),
    /// A file could not be written.
    #[error("a file could not be read or written")]
    Io(#[from] std::io::Error),
}

impl RotateError {
    /// Why.
    #[must_use]
    pub fn kind(&self) -> &RotateErrorKind {
        &self.0
    }
}

impl AuditLog<Store> {
    /// Signs with a new key from now on, in all logs of this store. One session speaks for each
    /// organisation that has a log: its log gets an event `key_rotated`, and a checkpoint that
    /// both keys signed. Then the secret of the old key is overwritten; its public half stays
    /// beside the new one.
    ///
    /// Whoever believes in the first key can follow each rotation; with a later key alone nobody
    /// can make another beginning for them.
    ///
    /// # Errors
    /// When it is not done, or not to its end; what is missing then is done at the next opening.
    pub fn rotate_key(
        &self,
        sessions: &[Session],
        clock: &dyn Clock,
    ) -> Result<PublicKey, RotateError> {
        self.rotate(sessions, clock).map_err(RotateError)
    }

    fn rotate(
        &self,
        sessions: &[Session],
        clock: &dyn Clock,
    ) -> Result<PublicKey, RotateErrorKind> {
        let key = self.inner.maker.key();
        let path = key.path().ok_or(RotateErrorKind::NoFile)?;
        let speaks = |org: &Name| sessions.iter().find(|session| session.principal().org == *org);
        let mut events = Vec::new();
        let next = SigningKey::next(path)?;
        for org in self.orgs().map_err(RotateErrorKind::Read)? {
            let session =
                speaks(&org).ok_or_else(|| RotateErrorKind::OrgLeftOut(org.as_str().to_owned()))?;
            let mut facts = EventFacts { success: Some(true), ..EventFacts::default() };
            let names = [("previous_key", key.public()), ("next_key", next.public())];
            for (name, key) in names {
                facts.metadata.insert(name.to_owned(), Value::from(key.to_string()));
            }
            events.push(Event::new(session, EventType::KeyRotated, facts, clock));
        }
        point("rotate: before it is recorded")?;
        let public = next.public().clone();
        let log = self.clone();
        // INVARIANT: nobody signs with the next key, for which the old one is destroyed, before it
        // is durable that it is the next one.
        let write = move |tx: &Transaction<'_>| log.record_rotation(tx, events, &next);
        let written = self.inner.store.write_alone(write);
        let appended =
            written.wait().map_err(|error| RotateErrorKind::NotRecorded(Box::new(error)))?;
        point("rotate: before the key takes its place")?;
        self.follow_key(Some(&public.to_string()))?;
        self.confirm(&appended).map_err(RotateErrorKind::Guard)?;
        Ok(public)
    }

    fn record_rotation(
        &self,
        tx: &Transaction<'_>,
        events: Vec<Event>,
        next: &SigningKey,
    ) -> Result<Appended, AppendErrorKind> {
        let mut logs = Vec::new();
        for event in events {
            let org = event.org().clone();
            let mut tables = Tables::shared(&self.inner.store, tx);
            let own = [Prepared::own(event)];
            let appended = self.append_org(&mut tables, &org, &own, Signing::AtOnce)?;
            let mut note: String = tx.query_row(
                "SELECT checkpoint_note FROM audit_head WHERE org = ?1",
                [org.as_str()],
                |row| row.get(0),
            )?;
            note.push_str(&next.signature_line(&appended.checkpoint));
            let size = to_i64(appended.checkpoint.size);
            tx.execute(
                "UPDATE audit_head SET checkpoint_note = ?2 WHERE org = ?1",
                params![org.as_str(), note],
            )?;
            tx.execute(
                "INSERT INTO audit_epoch (org, size, note) VALUES (?1, ?2, ?3)",
                params![org.as_str(), size, note],
            )?;
            logs.push(appended);
        }
        tx.execute(
            "INSERT INTO audit_key (one, public) VALUES (1, ?1)
             ON CONFLICT DO UPDATE SET public = excluded.public",
            [next.public().to_string()],
        )?;
        Ok(Appended { logs, measured: Vec::new() })
    }
}

impl<S: TrailStore> AuditLog<S> {
    /// Signs with the key that the store says is the current one, whoever rotated it.
    pub(crate) fn follow_key(&self, current: Option<&str>) -> Result<(), KeyRotatedError> {
        let key = self.inner.maker.key();
        let Some(current) = current.filter(|current| *current != key.public().to_string()) else {
            return Ok(());
        };
        let path = key.path().ok_or(KeyRotatedError(None))?;
        match SigningKey::find(path, current) {
            Ok(Some(key)) => {
                self.inner.maker.set_key(key);
                self.known().clear();
                Ok(())
            }
            Ok(None) => Err(KeyRotatedError(None)),
            Err(error) => Err(KeyRotatedError(Some(error))),
        }
    }
}
