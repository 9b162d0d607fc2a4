//! Decisions with what they were made from, and the texts of the policies that made them.

use lictor_context::{DecisionId, Digest, Timestamp};
use lictor_governance::{DecisionRecord, PolicySource};
use lictor_store::rusqlite::{Connection, OptionalExtension as _, params};
use lictor_store::{Migration, Store};
use serde_json::Value;

use crate::error::StateError;

/// The tables of this file.
pub(crate) const MIGRATION: Migration = Migration {
    owner: "state",
    version: 6,
    sql: "
CREATE TABLE decision (
    id TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    org TEXT NOT NULL,
    record TEXT NOT NULL,
    inputs TEXT NOT NULL
) STRICT;
CREATE INDEX decision_time ON decision (org, at);

CREATE TABLE policy_set (
    digest TEXT PRIMARY KEY,
    seen_at INTEGER NOT NULL,
    sources TEXT NOT NULL
) STRICT;
",
};

/// A decision as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredDecision {
    /// When it was made.
    pub at: Timestamp,
    /// The organisation.
    pub org: String,
    /// What it says.
    pub record: DecisionRecord,
    /// What it was made from, as far as that may be kept: `DecisionInputs`, where nothing of it
    /// had to be left out.
    pub inputs: Value,
}

/// A decision on its way into the store, written down already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDecision {
    /// Its id.
    pub id: DecisionId,
    /// When it was made.
    pub at: Timestamp,
    /// The organisation.
    pub org: String,
    /// The JSON text of what it says.
    pub record: String,
    /// The JSON text of what it was made from.
    pub inputs: String,
}

/// The decisions of a store that was opened with [`crate::migrations`].
#[derive(Debug, Clone)]
pub struct Decisions {
    store: Store,
}

impl Decisions {
    /// Over a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Keeps a decision, inside somebody's transaction.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_in(tx: &Connection, decision: &NewDecision) -> Result<(), StateError> {
        tx.prepare_cached(
            "INSERT OR IGNORE INTO decision (id, at, org, record, inputs)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            decision.id.as_str(),
            decision.at.as_micros(),
            decision.org,
            decision.record,
            decision.inputs,
        ])?;
        Ok(())
    }

    /// One decision of an organisation.
    ///
    /// # Errors
    /// When the database fails.
    pub fn get(&self, org: &str, id: &DecisionId) -> Result<Option<StoredDecision>, StateError> {
        let found = self.store.read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT at, org, record, inputs FROM decision WHERE org = ?1 AND id = ?2",
            )?;
            let row = statement.query_row(params![org, id.as_str()], columns).optional()?;
            row.map(decoded).transpose()
        });
        Ok(found?)
    }

    /// Those of an organisation, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn list(
        &self,
        org: &str,
        since: Option<Timestamp>,
    ) -> Result<Vec<StoredDecision>, StateError> {
        let since = since.map_or(i64::MIN, Timestamp::as_micros);
        let found = self.store.read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT at, org, record, inputs FROM decision
                 WHERE org = ?1 AND at >= ?2 ORDER BY at, id",
            )?;
            let rows = statement.query_map(params![org, since], columns)?;
            let mut found = Vec::new();
            for row in rows {
                found.push(decoded(row?)?);
            }
            Ok::<_, StateError>(found)
        });
        Ok(found?)
    }

    /// Keeps the texts of the policies in force under their digest, once.
    ///
    /// # Errors
    /// When the database fails.
    pub fn keep_policies(
        &self,
        digest: Digest,
        sources: &[PolicySource],
        now: Timestamp,
    ) -> Result<(), StateError> {
        if self.policies(digest)?.is_some() {
            return Ok(());
        }
        let text = serde_json::to_string(sources)?;
        let digest = digest.to_string();
        let written = self.store.write(move |tx| {
            tx.prepare_cached(
                "INSERT OR IGNORE INTO policy_set (digest, seen_at, sources) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![digest, now.as_micros(), text])?;
            Ok::<_, StateError>(())
        });
        Ok(written.wait()?)
    }

    /// The texts of the policies that have a digest.
    ///
    /// # Errors
    /// When the database fails.
    pub fn policies(&self, digest: Digest) -> Result<Option<Vec<PolicySource>>, StateError> {
        let found = self.store.read(|conn| {
            let mut statement =
                conn.prepare_cached("SELECT sources FROM policy_set WHERE digest = ?1")?;
            let text: Option<String> =
                statement.query_row([digest.to_string()], |row| row.get(0)).optional()?;
            Ok::<_, StateError>(match text {
                Some(text) => Some(serde_json::from_str(&text)?),
                None => None,
            })
        });
        Ok(found?)
    }
}

type Columns = (i64, String, String, String);

fn columns(
    row: &lictor_store::rusqlite::Row<'_>,
) -> Result<Columns, lictor_store::rusqlite::Error> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn decoded((at, org, record, inputs): Columns) -> Result<StoredDecision, StateError> {
    Ok(StoredDecision {
        at: Timestamp::from_micros(at),
        org,
        record: serde_json::from_str(&record)?,
        inputs: serde_json::from_str(&inputs)?,
    })
}
