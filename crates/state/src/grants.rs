//! Grants, kept in the store.

use lictor_governance::{ApprovalStoreError, Grant, GrantStore, StoredApproval, StoredGrant};
use lictor_store::rusqlite::params;
use lictor_store::{PendingWrite, Store};

use crate::approvals::Exchange;
use crate::error::StateError;

/// Keeps grants in a store that was opened with [`crate::migrations`].
#[derive(Debug, Clone)]
pub struct SqliteGrantStore {
    store: Store,
}

impl SqliteGrantStore {
    /// Over a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

impl GrantStore for SqliteGrantStore {
    fn insert(&self, grant: &Grant, agreed: &StoredApproval) -> Result<(), ApprovalStoreError> {
        let (id, at) = (grant.id().to_string(), grant.created_at().as_micros());
        let text = serialise(grant)?;
        let exchange = Exchange::new(&self.store, agreed.revision, &agreed.approval)?;
        let written = self.store.write(move |tx| {
            if !exchange.run(tx)? {
                return Ok(false);
            }
            tx.prepare_cached(
                "INSERT INTO approval_grant (id, revision, created_at, record)
                 VALUES (?1, 1, ?2, ?3)",
            )?
            .execute(params![id, at, text])?;
            Ok::<_, StateError>(true)
        });
        done(written)
    }

    fn list(&self) -> Result<Vec<StoredGrant>, ApprovalStoreError> {
        let found = self.store.read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT record, revision FROM approval_grant ORDER BY created_at DESC, id DESC",
            )?;
            let rows = statement
                .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
            let mut found = Vec::new();
            for row in rows {
                let (record, revision) = row?;
                let grant = serde_json::from_str(&record)?;
                found.push(StoredGrant { grant, revision: revision.unsigned_abs() });
            }
            Ok::<_, StateError>(found)
        });
        found.map_err(|error| unavailable(error.into()))
    }

    fn update(&self, expected_revision: u64, grant: &Grant) -> Result<(), ApprovalStoreError> {
        let (id, text) = (grant.id().to_string(), serialise(grant)?);
        let revision = i64::try_from(expected_revision).unwrap_or(i64::MAX);
        let written = self.store.write(move |tx| {
            let changed = tx
                .prepare_cached(
                    "UPDATE approval_grant SET revision = revision + 1, record = ?3
                     WHERE id = ?1 AND revision = ?2",
                )?
                .execute(params![id, revision, text])?;
            Ok::<_, StateError>(changed > 0)
        });
        done(written)
    }
}

/// Whether nobody was faster.
fn done(written: PendingWrite<bool, StateError>) -> Result<(), ApprovalStoreError> {
    match written.wait().map_err(StateError::from) {
        Ok(true) => Ok(()),
        Ok(false) => Err(ApprovalStoreError::Conflict),
        Err(error) => Err(unavailable(error)),
    }
}

fn serialise(grant: &Grant) -> Result<String, ApprovalStoreError> {
    serde_json::to_string(grant).map_err(|error| unavailable(error.into()))
}

fn unavailable(error: StateError) -> ApprovalStoreError {
    ApprovalStoreError::Unavailable(error.to_string())
}
