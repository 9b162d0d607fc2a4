//! Workflow runs as rows: an id, a status, and a record that only the engine understands.

use lictor_context::RunId;
use lictor_store::Store;
use lictor_store::rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::Value;

use crate::error::StateError;

/// A run as a row.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// Its revision: one above what is stored, 1 for a new run.
    pub revision: u64,
    /// Its status, in the engine's word.
    pub status: String,
    /// When it was submitted, in microseconds since 1970.
    pub created_at: i64,
    /// Everything else.
    pub record: Value,
}

/// The runs in a store.
#[derive(Debug, Clone)]
pub struct Runs {
    store: Store,
}

impl Runs {
    /// Over a store that was opened with [`crate::migrations`].
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Saves a run inside somebody's transaction.
    ///
    /// # Errors
    /// When its revision is not one above the one that is stored, or the database fails.
    pub fn put_in(tx: &Connection, row: &RunRow) -> Result<(), StateError> {
        let found: Option<i64> = tx
            .prepare_cached("SELECT revision FROM run WHERE id = ?1")?
            .query_row([row.id.as_str()], |found| found.get(0))
            .optional()?;
        let found = found.unwrap_or(0).unsigned_abs();
        if row.revision != found + 1 {
            return Err(StateError::Stale { found });
        }
        let revision = i64::try_from(row.revision).unwrap_or(i64::MAX);
        tx.prepare_cached(
            "INSERT INTO run (id, revision, status, created_at, record)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (id) DO UPDATE SET
                 revision = excluded.revision, status = excluded.status, record = excluded.record",
        )?
        .execute(params![
            row.id.as_str(),
            revision,
            row.status,
            row.created_at,
            row.record.to_string()
        ])?;
        Ok(())
    }

    /// One run's record.
    ///
    /// # Errors
    /// When the database fails.
    pub fn get(&self, id: &RunId) -> Result<Option<Value>, StateError> {
        Ok(self.store.read(|conn| {
            let text: Option<String> = conn
                .prepare_cached("SELECT record FROM run WHERE id = ?1")?
                .query_row([id.as_str()], |row| row.get(0))
                .optional()?;
            Ok::<_, StateError>(text.map(|text| serde_json::from_str(&text)).transpose()?)
        })?)
    }

    /// The records of runs, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn list(&self, limit: u32) -> Result<Vec<Value>, StateError> {
        Ok(self.store.read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT record FROM run ORDER BY created_at DESC, id DESC LIMIT ?1",
            )?;
            let rows = statement.query_map([limit], |row| row.get::<_, String>(0))?;
            let mut found = Vec::new();
            for row in rows {
                found.push(serde_json::from_str(&row?)?);
            }
            Ok::<_, StateError>(found)
        })?)
    }
}
