//! The lives of capabilities, packs and facades as rows: a record that governance understands, and
//! a seal that whoever reads it holds against it.

use lictor_governance::{CatalogueKey, CatalogueRecord};
use lictor_store::rusqlite::{Connection, OptionalExtension as _, Row, params};
use lictor_store::{Migration, Store};

use crate::error::StateError;

/// The table. A number and not a name stands for the step: see [`crate::migrations`].
pub(crate) const MIGRATION: Migration = Migration {
    owner: "state",
    version: 3,
    sql: "
CREATE TABLE catalogue (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version TEXT NOT NULL,
    revision INTEGER NOT NULL,
    seal TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (kind, id, version)
) STRICT;
",
};

/// A record and its seal, as they are stored. The text is what was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueRow {
    /// The record as JSON.
    pub record: String,
    /// The seal over that text.
    pub seal: String,
}

/// The rows in a store.
#[derive(Debug, Clone)]
pub struct CatalogueRows {
    store: Store,
}

impl CatalogueRows {
    /// Over a store that was opened with [`crate::migrations`].
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Writes a record inside somebody's transaction.
    ///
    /// # Errors
    /// When its revision is not one above the one that is stored, or the database fails.
    pub fn put_in(
        tx: &Connection,
        record: &CatalogueRecord,
        row: &CatalogueRow,
    ) -> Result<(), StateError> {
        let CatalogueKey { kind, id, version } = &record.key;
        let names = params![kind.as_str(), id, version.to_string()];
        let found: Option<i64> = tx
            .prepare_cached(
                "SELECT revision FROM catalogue WHERE kind = ?1 AND id = ?2 AND version = ?3",
            )?
            .query_row(names, |found| found.get(0))
            .optional()?;
        let found = found.unwrap_or(0).unsigned_abs();
        if record.revision != found + 1 {
            return Err(StateError::Stale { found });
        }
        let revision = i64::try_from(record.revision).unwrap_or(i64::MAX);
        tx.prepare_cached(
            "INSERT INTO catalogue (kind, id, version, revision, seal, record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (kind, id, version) DO UPDATE SET
                 revision = excluded.revision, seal = excluded.seal, record = excluded.record",
        )?
        .execute(params![
            kind.as_str(),
            id,
            version.to_string(),
            revision,
            row.seal,
            row.record
        ])?;
        Ok(())
    }

    /// All rows.
    ///
    /// # Errors
    /// When the database fails.
    pub fn list(&self) -> Result<Vec<CatalogueRow>, StateError> {
        Ok(self.store.read(|conn| {
            let mut statement = conn
                .prepare_cached("SELECT record, seal FROM catalogue ORDER BY kind, id, version")?;
            let rows = statement.query_map([], row)?;
            rows.map(|row| row.map_err(StateError::from)).collect::<Result<Vec<_>, _>>()
        })?)
    }

    /// One row.
    ///
    /// # Errors
    /// When the database fails.
    pub fn get(&self, key: &CatalogueKey) -> Result<Option<CatalogueRow>, StateError> {
        let CatalogueKey { kind, id, version } = key;
        Ok(self.store.read(|conn| {
            let found = conn
                .prepare_cached(
                    "SELECT record, seal FROM catalogue
                     WHERE kind = ?1 AND id = ?2 AND version = ?3",
                )?
                .query_row(params![kind.as_str(), id, version.to_string()], row)
                .optional()?;
            Ok::<_, StateError>(found)
        })?)
    }
}

fn row(row: &Row<'_>) -> lictor_store::rusqlite::Result<CatalogueRow> {
    Ok(CatalogueRow { record: row.get(0)?, seal: row.get(1)? })
}
