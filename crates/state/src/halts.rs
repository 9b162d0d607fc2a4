//! Halts, kept in the store: they hold for every process that opens it.

use lictor_governance::{Halt, HaltStore, HaltStoreError};
use lictor_store::Store;
use lictor_store::rusqlite::params;

use crate::error::StateError;

/// Keeps halts in a store that was opened with [`crate::migrations`].
#[derive(Debug, Clone)]
pub struct SqliteHaltStore {
    store: Store,
}

impl SqliteHaltStore {
    /// Over a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    fn query(&self, sql: &'static str) -> Result<Vec<Halt>, HaltStoreError> {
        let found = self.store.read(|conn| {
            let mut statement = conn.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            let mut found = Vec::new();
            for row in rows {
                found.push(serde_json::from_str(&row?)?);
            }
            Ok::<_, StateError>(found)
        });
        found.map_err(|error| unavailable(StateError::from(error)))
    }
}

impl HaltStore for SqliteHaltStore {
    fn insert(&self, halt: &Halt) -> Result<(), HaltStoreError> {
        let text = serde_json::to_string(halt).map_err(|error| unavailable(error.into()))?;
        let (id, at) = (halt.id.to_string(), halt.at.as_micros());
        let written = self.store.write(move |tx| {
            tx.prepare_cached(
                "INSERT INTO halt (id, in_force, at, record) VALUES (?1, 1, ?2, ?3)",
            )?
            .execute(params![id, at, text])?;
            Ok::<_, StateError>(())
        });
        written.wait().map_err(|error| unavailable(StateError::from(error)))
    }

    fn in_force(&self) -> Result<Vec<Halt>, HaltStoreError> {
        self.query("SELECT record FROM halt WHERE in_force = 1 ORDER BY at, id")
    }

    fn list(&self) -> Result<Vec<Halt>, HaltStoreError> {
        self.query("SELECT record FROM halt ORDER BY at DESC, id DESC")
    }

    fn lift(&self, halt: &Halt) -> Result<bool, HaltStoreError> {
        let text = serde_json::to_string(halt).map_err(|error| unavailable(error.into()))?;
        let id = halt.id.to_string();
        let written = self.store.write(move |tx| {
            let changed = tx
                .prepare_cached(
                    "UPDATE halt SET in_force = 0, record = ?2 WHERE id = ?1 AND in_force = 1",
                )?
                .execute(params![id, text])?;
            Ok::<_, StateError>(changed > 0)
        });
        written.wait().map_err(|error| unavailable(StateError::from(error)))
    }
}

fn unavailable(error: StateError) -> HaltStoreError {
    HaltStoreError(error.to_string())
}
