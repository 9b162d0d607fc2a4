//! Removing old decisions, and counts that nothing counts any more.

use lictor_context::Timestamp;
use lictor_store::Store;
use lictor_store::rusqlite::{Connection, params};

use crate::error::StateError;

/// So many rows go in one transaction.
const AT_ONCE: i64 = 5_000;

/// Never what an open request is about.
const DECISIONS: &str = "org = ?1 AND at < ?2 AND id NOT IN
    (SELECT json_extract(record, '$.decision.id') FROM approval WHERE open = 1)";
/// Never what a budget counts: budgets have no end.
const USAGE: &str = "org = ?1 AND at < ?2 AND cost_microusd = 0 AND tokens = 0";

/// How many rows went, or would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct PrunedRows {
    /// Decisions with what they were made from.
    pub decisions: u64,
    /// Counted calls.
    pub usage: u64,
}

/// Old rows of one organisation.
#[derive(Debug, Clone)]
pub struct OldRows {
    store: Store,
    org: String,
    decisions_before: Timestamp,
    usage_before: Timestamp,
}

impl OldRows {
    /// Decisions and counts of an organisation from before two moments.
    #[must_use]
    pub fn new(
        store: Store,
        org: &str,
        decisions_before: Timestamp,
        usage_before: Timestamp,
    ) -> Self {
        Self { store, org: org.to_owned(), decisions_before, usage_before }
    }

    /// How many there are.
    ///
    /// # Errors
    /// When the database fails.
    pub fn count(&self) -> Result<PrunedRows, StateError> {
        let counted = self.store.read(|conn| {
            let count = |table: &str, which: &str, before: Timestamp| {
                let sql = format!("SELECT count(*) FROM {table} WHERE {which}");
                let found = conn
                    .prepare_cached(&sql)?
                    .query_row(params![self.org, before.as_micros()], |row| row.get::<_, i64>(0))?;
                Ok::<_, StateError>(found.unsigned_abs())
            };
            Ok::<_, StateError>(PrunedRows {
                decisions: count("decision", DECISIONS, self.decisions_before)?,
                usage: count("usage", USAGE, self.usage_before)?,
            })
        });
        Ok(counted?)
    }

    /// Removes them, some at a time, so that nobody has to wait for long.
    ///
    /// # Errors
    /// When the database fails; what went by then is gone.
    pub fn remove(&self) -> Result<PrunedRows, StateError> {
        Ok(PrunedRows {
            decisions: self.delete("decision", DECISIONS, self.decisions_before)?,
            usage: self.delete("usage", USAGE, self.usage_before)?,
        })
    }

    fn delete(
        &self,
        table: &'static str,
        which: &'static str,
        before: Timestamp,
    ) -> Result<u64, StateError> {
        let mut all = 0;
        loop {
            let org = self.org.clone();
            let written = self.store.write(move |tx| delete_in(tx, table, which, &org, before));
            let gone = written.wait()?;
            all += gone;
            if gone < AT_ONCE.unsigned_abs() {
                return Ok(all);
            }
        }
    }
}

fn delete_in(
    tx: &Connection,
    table: &str,
    which: &str,
    org: &str,
    before: Timestamp,
) -> Result<u64, StateError> {
    let sql = format!(
        "DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE {which} LIMIT ?3)"
    );
    let gone = tx.prepare_cached(&sql)?.execute(params![org, before.as_micros(), AT_ONCE])?;
    Ok(gone as u64)
}
