//! Approvers, kept in the store; of their tokens only the digests.

use lictor_context::{Name, Timestamp};
use lictor_governance::{ApproverRecord, ApproverStore, ApproverStoreError};
use lictor_store::Store;
use lictor_store::rusqlite::{Connection, OptionalExtension as _, params};

use crate::error::StateError;

/// Keeps approvers in a store that was opened with [`crate::migrations`].
#[derive(Debug, Clone)]
pub struct SqliteApproverStore {
    store: Store,
}

impl SqliteApproverStore {
    /// Over a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

impl ApproverStore for SqliteApproverStore {
    fn insert(&self, record: &ApproverRecord, only_first: bool) -> Result<(), ApproverStoreError> {
        let key = folded(&record.name);
        let text = serde_json::to_string(record).map_err(|error| unavailable(error.into()))?;
        let written = self.store.write(move |tx| {
            let any: bool = tx.prepare_cached("SELECT 1 FROM approver")?.exists([])?;
            let same: bool = tx
                .prepare_cached("SELECT 1 FROM approver WHERE folded_name = ?1")?
                .exists([&key])?;
            if same || (only_first && any) {
                return Ok::<_, StateError>(false);
            }
            tx.prepare_cached("INSERT INTO approver (folded_name, record) VALUES (?1, ?2)")?
                .execute(params![key, text])?;
            Ok(true)
        });
        match written.wait().map_err(StateError::from) {
            Ok(true) => Ok(()),
            Ok(false) => Err(ApproverStoreError::Exists),
            Err(error) => Err(unavailable(error)),
        }
    }

    fn list(&self) -> Result<Vec<ApproverRecord>, ApproverStoreError> {
        let found = self.store.read(|conn| {
            let mut statement =
                conn.prepare_cached("SELECT record FROM approver ORDER BY folded_name")?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            let mut found = Vec::new();
            for row in rows {
                found.push(serde_json::from_str(&row?)?);
            }
            Ok::<_, StateError>(found)
        });
        found.map_err(|error| unavailable(error.into()))
    }

    fn revoke(&self, name: &Name, at: Timestamp) -> Result<(), ApproverStoreError> {
        let key = folded(name);
        let written = self.store.write(move |tx| revoke_in(tx, &key, at));
        match written.wait().map_err(StateError::from) {
            Ok(true) => Ok(()),
            Ok(false) => Err(ApproverStoreError::Unknown),
            Err(error) => Err(unavailable(error)),
        }
    }
}

fn revoke_in(tx: &Connection, key: &str, at: Timestamp) -> Result<bool, StateError> {
    let text: Option<String> = tx
        .prepare_cached("SELECT record FROM approver WHERE folded_name = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    let Some(text) = text else { return Ok(false) };
    let mut record: ApproverRecord = serde_json::from_str(&text)?;
    record.revoked_at.get_or_insert(at);
    let text = serde_json::to_string(&record)?;
    tx.prepare_cached("UPDATE approver SET record = ?2 WHERE folded_name = ?1")?
        .execute(params![key, text])?;
    Ok(true)
}

fn folded(name: &Name) -> String {
    name.as_str().to_lowercase()
}

fn unavailable(error: StateError) -> ApproverStoreError {
    ApproverStoreError::Unavailable(error.to_string())
}
