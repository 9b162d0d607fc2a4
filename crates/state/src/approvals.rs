//! Approvals, kept in the store: they survive a restart while they wait.

use std::sync::Arc;

use lictor_context::{ApprovalId, Digest};
use lictor_governance::{Approval, ApprovalStore, ApprovalStoreError, Judged, StoredApproval};
use lictor_store::rusqlite::{ErrorCode, OptionalExtension as _, params};
use lictor_store::{Store, rusqlite};

use crate::error::StateError;

/// Keeps approvals in a store that was opened with [`crate::migrations`].
#[derive(Debug, Clone)]
pub struct SqliteApprovalStore {
    store: Store,
}

impl SqliteApprovalStore {
    /// Over a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    fn query(
        &self,
        condition: &'static str,
        argument: Option<String>,
    ) -> Result<Vec<StoredApproval>, ApprovalStoreError> {
        let found = self.store.read(|conn| {
            let sql = format!(
                "SELECT record, revision FROM approval WHERE {condition}
                 ORDER BY requested_at DESC, id DESC"
            );
            let mut statement = conn.prepare_cached(&sql)?;
            let rows = statement.query_map(params![argument], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
            })?;
            let mut found = Vec::new();
            for row in rows {
                let (record, revision) = row?;
                let approval = serde_json::from_str(&record)?;
                found.push(StoredApproval { approval, revision: revision.unsigned_abs() });
            }
            Ok::<_, StateError>(found)
        });
        found.map_err(|error| unavailable(error.into()))
    }
}

impl ApprovalStore for SqliteApprovalStore {
    fn insert(&self, approval: &Approval, judged: &Judged) -> Result<(), ApprovalStoreError> {
        let (id, digest) = (approval.id().to_string(), approval.action_digest().to_string());
        let open = approval.state().is_open();
        let at = approval.requested_at().as_micros();
        let text = serialise(approval)?;
        let parts: Vec<_> =
            judged.parts().map(|(name, bytes)| (name.to_string(), Arc::clone(bytes))).collect();
        let written = self.store.write(move |tx| {
            tx.prepare_cached(
                "INSERT INTO approval (id, action_digest, open, revision, requested_at, record)
                 VALUES (?1, ?2, ?3, 1, ?4, ?5)",
            )?
            .execute(params![id, digest, open, at, text])?;
            let mut keep = tx.prepare_cached(
                "INSERT INTO approval_part (approval, name, bytes) VALUES (?1, ?2, ?3)",
            )?;
            for (name, bytes) in &parts {
                keep.execute(params![id, name, &**bytes])?;
            }
            Ok::<_, StateError>(())
        });
        match written.wait().map_err(StateError::from) {
            Ok(()) => Ok(()),
            Err(StateError::Sqlite(rusqlite::Error::SqliteFailure(error, _)))
                if error.code == ErrorCode::ConstraintViolation =>
            {
                Err(ApprovalStoreError::Conflict)
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    fn judged(&self, id: &ApprovalId) -> Result<Option<Judged>, ApprovalStoreError> {
        let found = self.store.read(|conn| {
            let digest: Option<String> = conn
                .prepare_cached("SELECT action_digest FROM approval WHERE id = ?1")?
                .query_row([id.as_str()], |row| row.get(0))
                .optional()?;
            let mut statement =
                conn.prepare_cached("SELECT name, bytes FROM approval_part WHERE approval = ?1")?;
            let rows = statement.query_map([id.as_str()], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))
            })?;
            let mut parts = Vec::new();
            for row in rows {
                let (name, bytes) = row?;
                parts.push((parse(&name)?, Arc::from(bytes)));
            }
            let Some(digest) = digest.filter(|_| !parts.is_empty()) else { return Ok(None) };
            Ok::<_, StateError>(Some(Judged::from_parts(parse(&digest)?, parts)))
        });
        found.map_err(|error| unavailable(error.into()))
    }

    fn get(&self, id: &ApprovalId) -> Result<Option<StoredApproval>, ApprovalStoreError> {
        Ok(self.query("id = ?1", Some(id.to_string()))?.into_iter().next())
    }

    fn list(&self, only_open: bool) -> Result<Vec<StoredApproval>, ApprovalStoreError> {
        let condition = if only_open { "open = 1 AND ?1 IS NULL" } else { "?1 IS NULL" };
        self.query(condition, None)
    }

    fn find_open(
        &self,
        action_digest: Digest,
    ) -> Result<Option<StoredApproval>, ApprovalStoreError> {
        let found =
            self.query("action_digest = ?1 AND open = 1", Some(action_digest.to_string()))?;
        Ok(found.into_iter().next())
    }

    fn update(
        &self,
        id: &ApprovalId,
        expected_revision: u64,
        approval: &Approval,
    ) -> Result<(), ApprovalStoreError> {
        if approval.id() != id {
            return Err(ApprovalStoreError::Conflict);
        }
        let exchange = Exchange::new(&self.store, expected_revision, approval)?;
        let written = self.store.write(move |tx| exchange.run(tx));
        match written.wait().map_err(StateError::from) {
            Ok(true) => Ok(()),
            Ok(false) => Err(ApprovalStoreError::Conflict),
            Err(error) => Err(unavailable(error)),
        }
    }
}

/// An approval that takes the place of the one that somebody saw.
pub(crate) struct Exchange {
    id: String,
    revision: i64,
    open: bool,
    text: String,
}

impl Exchange {
    pub(crate) fn new(
        store: &Store,
        expected_revision: u64,
        approval: &Approval,
    ) -> Result<Self, ApprovalStoreError> {
        let open = approval.state().is_open();
        if !open {
            store.fold_on_close();
        }
        Ok(Self {
            id: approval.id().to_string(),
            revision: i64::try_from(expected_revision).unwrap_or(i64::MAX),
            open,
            text: serialise(approval)?,
        })
    }

    /// Whether it was done: nobody was faster.
    pub(crate) fn run(&self, tx: &rusqlite::Transaction<'_>) -> Result<bool, StateError> {
        let Self { id, revision, open, text } = self;
        let known: Option<i64> = tx
            .prepare_cached("SELECT revision FROM approval WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?;
        if known != Some(*revision) {
            return Ok(false);
        }
        tx.prepare_cached(
            "UPDATE approval SET open = ?2, revision = revision + 1, record = ?3 WHERE id = ?1",
        )?
        .execute(params![id, open, text])?;
        if !open {
            tx.prepare_cached("DELETE FROM approval_part WHERE approval = ?1")?.execute([id])?;
        }
        Ok(true)
    }
}

fn parse(digest: &str) -> Result<Digest, StateError> {
    digest.parse().map_err(|error: lictor_context::DigestError| {
        StateError::Record(serde::de::Error::custom(error))
    })
}

fn serialise(approval: &Approval) -> Result<String, ApprovalStoreError> {
    serde_json::to_string(approval).map_err(|error| unavailable(error.into()))
}

fn unavailable(error: StateError) -> ApprovalStoreError {
    ApprovalStoreError::Unavailable(error.to_string())
}
