//! Workflow runs as rows: an id, a status, who drives it, and a record that only the engine
//! understands.

use lictor_context::RunId;
use lictor_store::rusqlite::{self, Connection, OptionalExtension as _, Row, params};
use lictor_store::{Migration, Store};
use serde_json::Value;

use crate::error::StateError;
use crate::sealed_runs::KeptRun;

/// Who drives a run, until when, and what is wished of it.
pub(crate) const LEASES: Migration = Migration {
    owner: "state",
    version: 2,
    sql: "
ALTER TABLE run ADD COLUMN token INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN owner TEXT;
ALTER TABLE run ADD COLUMN leased_until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN wish TEXT;
",
};

/// Which workspace a run belongs to, where several share a database.
pub(crate) const PLACES: Migration = Migration {
    owner: "state",
    version: 7,
    sql: "ALTER TABLE run ADD COLUMN place TEXT NOT NULL DEFAULT '';",
};

/// A run as a row.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// Where it belongs, when the database is that of several workspaces; empty when it is not.
    pub place: String,
    /// Its revision: one above what is stored, 1 for a new run.
    pub revision: u64,
    /// Its status, in the engine's word.
    pub status: String,
    /// When it was submitted, in microseconds since 1970.
    pub created_at: i64,
    /// Everything else, as JSON: as far as it may be kept in clear.
    pub record: String,
    /// All of it, sealed, where there is more to it.
    pub sealed: Option<Vec<u8>>,
    /// When it came to an end, in microseconds since 1970; none while it has not.
    pub over_at: Option<i64>,
}

/// The right to drive a run, as a row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// Whose it is.
    pub owner: String,
    /// Its number.
    pub token: u64,
    /// Until when, in microseconds since 1970.
    pub until: i64,
}

/// What came of asking for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimedRow {
    /// There is no such run.
    Missing,
    /// Somebody else has it.
    Held {
        /// Who.
        by: String,
    },
    /// It is had.
    Had {
        /// The run's record.
        run: KeptRun,
        /// The lease.
        lease: LeaseRow,
    },
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

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Keeps a new run that nobody drives, inside somebody's transaction.
    ///
    /// # Errors
    /// When there is such a run, or the database fails.
    pub fn create_in(tx: &Connection, row: &RunRow) -> Result<(), StateError> {
        match stored(tx, &row.id)? {
            None if row.revision == 1 => insert(tx, row, 0, None),
            found => Err(StateError::Stale { found: found.map_or(0, |it| it.revision) }),
        }
    }

    /// Keeps a run under its lease inside somebody's transaction, and gives the lease back when
    /// the run is at rest. Answers with what was wished of it.
    ///
    /// # Errors
    /// When the lease or the revision is not the one that is expected, or the database fails.
    pub fn save_in(
        tx: &Connection,
        row: &RunRow,
        lease: &LeaseRow,
        at_rest: bool,
    ) -> Result<Option<String>, StateError> {
        let held = (!at_rest).then_some(lease);
        let Some(found) = stored(tx, &row.id)? else {
            if row.revision != 1 || lease.token != 1 {
                return Err(StateError::Stale { found: 0 });
            }
            insert(tx, row, lease.token, held)?;
            return Ok(None);
        };
        if !found.is_held_under(lease) {
            return Err(StateError::Fenced);
        }
        if row.revision != found.revision + 1 {
            return Err(StateError::Stale { found: found.revision });
        }
        tx.prepare_cached(
            "UPDATE run SET revision = ?2, status = ?3, record = ?4, owner = ?5,
                 leased_until = ?6, wish = NULL, sealed = ?7, over_at = ?8, looked = 1
             WHERE id = ?1",
        )?
        .execute(params![
            row.id.as_str(),
            signed(row.revision),
            row.status,
            row.record,
            held.map(|lease| &lease.owner),
            held.map_or(0, |lease| lease.until),
            row.sealed,
            row.over_at,
        ])?;
        Ok(found.wish)
    }

    /// Takes a run of a place inside somebody's transaction, when nobody else has it: its lease was given
    /// back, is over at `now`, is the asker's own, or `gone` says that its owner is no more.
    ///
    /// # Errors
    /// When the database fails.
    pub fn claim_in(
        tx: &Connection,
        (place, id): (&str, &RunId),
        owner: &str,
        now: i64,
        until: i64,
        gone: impl Fn(&str) -> bool,
    ) -> Result<ClaimedRow, StateError> {
        let Some(found) = stored(tx, id)?.filter(|found| found.place == place) else {
            return Ok(ClaimedRow::Missing);
        };
        if let Some(by) = found.owner
            && by != owner
            && found.until > now
            && !gone(&by)
        {
            return Ok(ClaimedRow::Held { by });
        }
        let lease = LeaseRow { owner: owner.to_owned(), token: found.token + 1, until };
        tx.prepare_cached(
            "UPDATE run SET token = ?2, owner = ?3, leased_until = ?4 WHERE id = ?1",
        )?
        .execute(params![id.as_str(), signed(lease.token), lease.owner, until])?;
        let run = tx
            .prepare_cached("SELECT record, sealed FROM run WHERE id = ?1")?
            .query_row([id.as_str()], kept)?;
        Ok(ClaimedRow::Had { run, lease })
    }

    /// Makes a lease last longer inside somebody's transaction. Answers with what was wished of
    /// the run.
    ///
    /// # Errors
    /// When the lease is not the one that is stored, or the database fails.
    pub fn renew_in(
        tx: &Connection,
        id: &RunId,
        lease: &LeaseRow,
    ) -> Result<Option<String>, StateError> {
        match stored(tx, id)? {
            Some(found) if found.is_held_under(lease) => {
                tx.prepare_cached("UPDATE run SET leased_until = ?2, wish = NULL WHERE id = ?1")?
                    .execute(params![id.as_str(), lease.until])?;
                Ok(found.wish)
            }
            _ => Err(StateError::Fenced),
        }
    }

    /// Gives a lease back inside somebody's transaction, when it is the one that is stored.
    ///
    /// # Errors
    /// When the database fails.
    pub fn release_in(tx: &Connection, id: &RunId, lease: &LeaseRow) -> Result<(), StateError> {
        tx.prepare_cached(
            "UPDATE run SET owner = NULL, leased_until = 0
             WHERE id = ?1 AND token = ?2 AND owner = ?3",
        )?
        .execute(params![id.as_str(), signed(lease.token), lease.owner])?;
        Ok(())
    }

    /// Leaves a wish inside somebody's transaction. `choose` gets the earlier one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn ask_in(
        tx: &Connection,
        id: &RunId,
        choose: impl FnOnce(Option<String>) -> String,
    ) -> Result<(), StateError> {
        let Some(found) = stored(tx, id)? else { return Ok(()) };
        tx.prepare_cached("UPDATE run SET wish = ?2 WHERE id = ?1")?
            .execute(params![id.as_str(), choose(found.wish)])?;
        Ok(())
    }

    /// The runs in one of these states that nobody drives, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn orphans(
        &self,
        place: &str,
        states: &[&str],
        now: i64,
        limit: usize,
        gone: impl Fn(&str) -> bool,
    ) -> Result<Vec<RunId>, StateError> {
        let mut found = self.store.read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT id, owner, leased_until, created_at FROM run
                 WHERE status = ?1 AND place = ?2",
            )?;
            let mut found: Vec<(i64, String)> = Vec::new();
            for state in states {
                let mut rows = statement.query([*state, place])?;
                while let Some(row) = rows.next()? {
                    let (owner, until): (Option<String>, i64) = (row.get(1)?, row.get(2)?);
                    if owner.is_none_or(|owner| until <= now || gone(&owner)) {
                        found.push((row.get(3)?, row.get(0)?));
                    }
                }
            }
            Ok::<_, StateError>(found)
        })?;
        found.sort_unstable();
        let ids = found.into_iter().take(limit).map(|(_, id)| RunId::parse(&id));
        ids.collect::<Result<_, _>>().map_err(|error| StateError::Unavailable(error.to_string()))
    }

    /// One run's record, with what is sealed of it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn get_kept(&self, id: &RunId) -> Result<Option<KeptRun>, StateError> {
        Ok(self.store.read(|conn| {
            let found = conn
                .prepare_cached("SELECT record, sealed FROM run WHERE id = ?1")?
                .query_row([id.as_str()], kept);
            Ok::<_, StateError>(found.optional()?)
        })?)
    }

    /// One run's record, without what is sealed.
    ///
    /// # Errors
    /// When the database fails.
    pub fn get(&self, id: &RunId) -> Result<Option<Value>, StateError> {
        let found = self.get_kept(id)?;
        Ok(found.map(|found| serde_json::from_str(&found.record)).transpose()?)
    }

    /// The records of runs without what is sealed, the newest first.
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

fn kept(row: &Row<'_>) -> rusqlite::Result<KeptRun> {
    Ok(KeptRun { record: row.get(0)?, sealed: row.get(1)? })
}

struct Stored {
    revision: u64,
    token: u64,
    owner: Option<String>,
    until: i64,
    wish: Option<String>,
    place: String,
}

impl Stored {
    fn is_held_under(&self, lease: &LeaseRow) -> bool {
        self.token == lease.token && self.owner.as_deref() == Some(&lease.owner)
    }
}

fn stored(tx: &Connection, id: &RunId) -> Result<Option<Stored>, StateError> {
    let mut statement = tx.prepare_cached(
        "SELECT revision, token, owner, leased_until, wish, place FROM run WHERE id = ?1",
    )?;
    let found = statement.query_row([id.as_str()], |row| {
        Ok(Stored {
            revision: row.get::<_, i64>(0)?.unsigned_abs(),
            token: row.get::<_, i64>(1)?.unsigned_abs(),
            owner: row.get(2)?,
            until: row.get(3)?,
            wish: row.get(4)?,
            place: row.get(5)?,
        })
    });
    Ok(found.optional()?)
}

fn insert(
    tx: &Connection,
    row: &RunRow,
    token: u64,
    held: Option<&LeaseRow>,
) -> Result<(), StateError> {
    tx.prepare_cached(
        "INSERT INTO run
             (id, revision, status, created_at, record, token, owner, leased_until, place,
              sealed, over_at, looked)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 1)",
    )?
    .execute(params![
        row.id.as_str(),
        signed(row.revision),
        row.status,
        row.created_at,
        row.record,
        signed(token),
        held.map(|lease| &lease.owner),
        held.map_or(0, |lease| lease.until),
        row.place,
        row.sealed,
        row.over_at,
    ])?;
    Ok(())
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
