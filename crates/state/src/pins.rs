//! Approvers' PINs, kept in the store; of each only a slow hash.

use lictor_context::Name;
use lictor_governance::{PinRecord, PinStore, PinStoreError};
use lictor_store::rusqlite::{OptionalExtension as _, params};
use lictor_store::{Migration, Store};

use crate::error::StateError;

pub(crate) const MIGRATION: Migration = Migration {
    owner: "state",
    version: 8,
    sql: "
CREATE TABLE approver_pin (
    folded_name TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT;
",
};

/// Keeps PINs in a store that was opened with [`crate::migrations`].
#[derive(Debug, Clone)]
pub struct SqlitePinStore {
    store: Store,
}

impl SqlitePinStore {
    /// Over a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

impl PinStore for SqlitePinStore {
    fn get(&self, name: &Name) -> Result<Option<(PinRecord, u64)>, PinStoreError> {
        let key = name.as_str().to_lowercase();
        let found = self.store.read(|conn| {
            let row: Option<(String, i64)> = conn
                .prepare_cached("SELECT record, revision FROM approver_pin WHERE folded_name = ?1")?
                .query_row([&key], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((record, revision)) = row else { return Ok(None) };
            Ok::<_, StateError>(Some((serde_json::from_str(&record)?, revision.unsigned_abs())))
        });
        found.map_err(|error| unavailable(&error.into()))
    }

    fn update(&self, expected_revision: u64, record: &PinRecord) -> Result<(), PinStoreError> {
        let key = record.name.as_str().to_lowercase();
        let text = serde_json::to_string(record).map_err(|error| unavailable(&error.into()))?;
        let revision = i64::try_from(expected_revision).unwrap_or(i64::MAX);
        let written = self.store.write(move |tx| {
            let known: Option<i64> = tx
                .prepare_cached("SELECT revision FROM approver_pin WHERE folded_name = ?1")?
                .query_row([&key], |row| row.get(0))
                .optional()?;
            if known.unwrap_or(0) != revision {
                return Ok::<_, StateError>(false);
            }
            tx.prepare_cached(
                "INSERT INTO approver_pin (folded_name, revision, record) VALUES (?1, ?2 + 1, ?3)
                 ON CONFLICT (folded_name) DO UPDATE SET revision = ?2 + 1, record = ?3",
            )?
            .execute(params![key, revision, text])?;
            Ok(true)
        });
        match written.wait().map_err(StateError::from) {
            Ok(true) => Ok(()),
            Ok(false) => Err(PinStoreError::Conflict),
            Err(error) => Err(unavailable(&error)),
        }
    }
}

fn unavailable(error: &StateError) -> PinStoreError {
    PinStoreError::Unavailable(error.to_string())
}
