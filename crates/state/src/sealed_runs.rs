//! What of runs, and of the outputs of executions, is not kept in clear: ciphertext beside the record,
//! until nobody needs it any more. What is sealed, and under which key, is the caller's.

use lictor_context::{ExecutionId, RunId, Timestamp};
use lictor_store::Migration;
use lictor_store::rusqlite::{Connection, OptionalExtension as _, params};

use crate::error::StateError;
use crate::executions::Executions;
use crate::runs::{RunRow, Runs};

/// Beside each run what is sealed of it, when it was over, and whether anybody looked yet: in
/// databases of older versions nobody did.
pub(crate) const SEALED: Migration = Migration {
    owner: "state",
    version: 9,
    sql: "
ALTER TABLE run ADD COLUMN sealed BLOB;
ALTER TABLE run ADD COLUMN over_at INTEGER;
ALTER TABLE run ADD COLUMN looked INTEGER NOT NULL DEFAULT 0;
CREATE INDEX run_unlooked ON run (id) WHERE looked = 0;
CREATE INDEX run_sealed ON run (over_at) WHERE length(sealed) > 0;
ALTER TABLE execution ADD COLUMN sealed BLOB;
CREATE INDEX execution_sealed ON execution (started_at) WHERE length(sealed) > 0;
",
};

/// The record of a run, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRun {
    /// The record in clear, as JSON: without what is sealed.
    pub record: String,
    /// The whole record, sealed, where there is more to it; empty when that was destroyed.
    pub sealed: Option<Vec<u8>>,
}

impl Runs {
    /// Records of an older version that stand as they were given, at most so many.
    ///
    /// # Errors
    /// When the database fails.
    pub fn unlooked(&self, limit: u32) -> Result<Vec<(RunId, String)>, StateError> {
        let found = self.store().read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT id, record FROM run WHERE looked = 0 ORDER BY id LIMIT ?1",
            )?;
            let rows = statement.query_map([limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<Vec<(String, String)>, _>>().map_err(StateError::from)
        })?;
        let parsed = found.into_iter().map(|(id, record)| Ok((RunId::parse(&id)?, record)));
        parsed
            .collect::<Result<_, lictor_context::IdError>>()
            .map_err(|error| StateError::Unavailable(error.to_string()))
    }

    /// Puts what is kept from now on in the place of such a record inside somebody's transaction;
    /// not when somebody saved the run meanwhile. Without a row it stays as it is, for good.
    ///
    /// # Errors
    /// When the database fails.
    pub fn look_in(tx: &Connection, id: &RunId, row: Option<&RunRow>) -> Result<(), StateError> {
        match row {
            Some(row) => tx
                .prepare_cached(
                    "UPDATE run SET record = ?2, sealed = ?3, over_at = ?4, looked = 1
                     WHERE id = ?1 AND looked = 0",
                )?
                .execute(params![id.as_str(), row.record, row.sealed, row.over_at])?,
            None => tx
                .prepare_cached("UPDATE run SET looked = 1 WHERE id = ?1 AND looked = 0")?
                .execute([id.as_str()])?,
        };
        Ok(())
    }

    /// Destroys what is sealed of runs that were over before then, and of executions that were
    /// begun before then; that there was something stays. How many there were.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget_in(tx: &Connection, before: Timestamp) -> Result<usize, StateError> {
        let before = before.as_micros();
        let runs = tx
            .prepare_cached(
                "UPDATE run SET sealed = x'' WHERE length(sealed) > 0 AND over_at < ?1",
            )?
            .execute([before])?;
        let executions = tx
            .prepare_cached(
                "UPDATE execution SET sealed = x'' WHERE length(sealed) > 0 AND started_at < ?1",
            )?
            .execute([before])?;
        Ok(runs + executions)
    }

    /// Whether there is something that [`forget_in`](Self::forget_in) would destroy.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forgettable(&self, before: Timestamp) -> Result<bool, StateError> {
        Ok(self.store().read(|conn| {
            conn.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM run WHERE length(sealed) > 0 AND over_at < ?1)
                     OR EXISTS (SELECT 1 FROM execution
                                WHERE length(sealed) > 0 AND started_at < ?1)",
            )?
            .query_row([before.as_micros()], |row| row.get(0))
            .map_err(StateError::from)
        })?)
    }
}

impl Executions {
    /// What is sealed of an execution; empty when that was destroyed, or could not be kept.
    ///
    /// # Errors
    /// When the database fails.
    pub fn sealed(&self, id: &ExecutionId) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.store().read(|conn| {
            let found = conn
                .prepare_cached("SELECT sealed FROM execution WHERE id = ?1")?
                .query_row([id.as_str()], |row| row.get(0))
                .optional()?;
            Ok::<_, StateError>(found.flatten())
        })?)
    }
}
