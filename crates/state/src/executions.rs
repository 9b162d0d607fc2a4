//! The index of executions: what `log` and `show` print, and what answers duplicates.

use lictor_context::{Digest, ExecutionId, RunId, SessionId, Timestamp};
use lictor_executor::{ExecutionRecord, ExecutionStatus};
use lictor_store::rusqlite::{self, Connection, OptionalExtension as _, Row, params};
use lictor_store::{Migration, Store};
use serde::Serialize;

use crate::error::StateError;

/// Nobody ever found executions by this index: whose they are is looked at from the newest on. Each
/// execution wrote a page of it.
pub(crate) const UNREAD: Migration =
    Migration { owner: "state", version: 11, sql: "DROP INDEX execution_session;" };

/// Nor by this one: whose run they are of is looked at in the same query, from the newest on.
pub(crate) const UNREAD_RUN: Migration =
    Migration { owner: "state", version: 12, sql: "DROP INDEX execution_run;" };

/// Which executions.
#[derive(Debug, Clone, Default)]
pub struct ExecutionFilter {
    /// Of this session.
    pub session: Option<SessionId>,
    /// Of this workflow run.
    pub run: Option<RunId>,
    /// Those that touched this path, or something below it.
    pub path: Option<String>,
    /// Only those that stand and that an undo is about: applied, no undo themselves, and none that
    /// changed nothing.
    pub undoable: bool,
    /// Not those that changed nothing and that nobody was asked about: what found everything as it
    /// was to make it.
    pub changing: bool,
    /// Only undos that stand.
    pub undos: bool,
    /// At most so many; all when `None`.
    pub limit: Option<u32>,
}

/// An execution as it stands in the index.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoredExecution {
    /// The record.
    #[serde(flatten)]
    pub record: ExecutionRecord,
    /// The execution that undid it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undone_by: Option<ExecutionId>,
}

/// The index of executions in a store.
#[derive(Debug, Clone)]
pub struct Executions {
    store: Store,
}

const COLUMNS: &str = "record, status, undone_by";

impl Executions {
    /// Over a store that was opened with [`crate::migrations`].
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// As [`put_sealed_in`](Self::put_sealed_in), with nothing that is sealed.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_in(tx: &Connection, record: &ExecutionRecord) -> Result<(), StateError> {
        Self::put_sealed_in(tx, record, None)
    }

    /// Records an execution inside somebody's transaction, with what is sealed of it; replaces what stands under its id,
    /// its key as well: a command that began under the key of an intent lets it go to the landing of its changes.
    /// What it takes back is marked so, and what those had taken back stands again. One that was
    /// undone stays so: a recovery may come late to say that it was done.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_sealed_in(
        tx: &Connection,
        record: &ExecutionRecord,
        sealed: Option<&[u8]>,
    ) -> Result<(), StateError> {
        let text = serde_json::to_string(record)?;
        tx.prepare_cached(
            "INSERT INTO execution
                 (id, started_at, session, status, idempotency_key, run, undoes, record, sealed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (id) DO UPDATE SET record = excluded.record, sealed = excluded.sealed,
                 undoes = excluded.undoes, idempotency_key = excluded.idempotency_key, status =
                 CASE WHEN undone_by IS NOT NULL AND excluded.status = 'applied' THEN status
                      ELSE excluded.status END",
        )?
        .execute(params![
            record.execution_id.as_str(),
            record.started_at.as_micros(),
            record.session_id.as_str(),
            word(record.status),
            record.idempotency_key.map(|key| key.to_string()),
            record.run_id.as_ref().map(RunId::as_str),
            !record.undo_of.is_empty(),
            text,
            sealed,
        ])?;
        // Not as the caller has it: of one that was taken back since, a recovery that comes late
        // would turn over what that has turned over.
        if record.status == ExecutionStatus::Applied
            && !record.undo_of.is_empty()
            && Self::status_in(tx, &record.execution_id)? == Some(ExecutionStatus::Applied)
        {
            mark_undone(tx, record)?;
        }
        Ok(())
    }

    /// The status under which an execution is recorded, inside somebody's transaction; `None` when
    /// it is not.
    ///
    /// # Errors
    /// When the database fails.
    pub fn status_in(
        tx: &Connection,
        id: &ExecutionId,
    ) -> Result<Option<ExecutionStatus>, StateError> {
        Ok(get_in(tx, id)?.map(|stored| stored.record.status))
    }

    /// One execution.
    ///
    /// # Errors
    /// When the database fails.
    pub fn get(&self, id: &ExecutionId) -> Result<Option<StoredExecution>, StateError> {
        Ok(self.store.read(|conn| get_in(conn, id))?)
    }

    /// The newest applied execution under an idempotency key, not older than `since`. One that
    /// was undone is not one: asking again is a new wish.
    ///
    /// # Errors
    /// When the database fails.
    pub fn find_key(
        &self,
        key: Digest,
        since: Timestamp,
    ) -> Result<Option<ExecutionRecord>, StateError> {
        let found = self.store.read(|conn| {
            let sql = format!(
                "SELECT {COLUMNS} FROM execution
                 WHERE idempotency_key = ?1 AND started_at >= ?2 AND status = 'applied'
                 ORDER BY started_at DESC LIMIT 1"
            );
            let mut statement = conn.prepare_cached(&sql)?;
            let key = key.to_string();
            let row = statement.query_row(params![key, since.as_micros()], raw).optional()?;
            row.map(read).transpose()
        });
        Ok(found?.map(|stored| stored.record))
    }

    /// The newest execution under an idempotency key of which it is not known what became of it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn find_in_doubt(&self, key: Digest) -> Result<Option<ExecutionId>, StateError> {
        let found = self.store.read(|conn| {
            let sql = format!(
                "SELECT {COLUMNS} FROM execution
                 WHERE idempotency_key = ?1 AND status = 'incomplete'
                 ORDER BY started_at DESC LIMIT 1"
            );
            let mut statement = conn.prepare_cached(&sql)?;
            let row = statement.query_row([key.to_string()], raw).optional()?;
            row.map(read).transpose()
        });
        Ok(found?.map(|stored| stored.record.execution_id))
    }

    /// What is on record under an idempotency key, inside somebody's transaction: one of which it is not
    /// known what became, or else one that is applied and not older than `since`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn under_key_in(
        tx: &Connection,
        key: Digest,
        since: Timestamp,
    ) -> Result<Option<ExecutionRecord>, StateError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM execution WHERE idempotency_key = ?1
               AND (status = 'incomplete' OR (status = 'applied' AND started_at >= ?2))
             ORDER BY status = 'incomplete' DESC, started_at DESC LIMIT 1"
        );
        let mut statement = tx.prepare_cached(&sql)?;
        let row =
            statement.query_row(params![key.to_string(), since.as_micros()], raw).optional()?;
        Ok(row.map(read).transpose()?.map(|stored| stored.record))
    }

    /// Executions, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn list(&self, filter: &ExecutionFilter) -> Result<Vec<StoredExecution>, StateError> {
        let session = filter.session.as_ref().map(SessionId::as_str);
        let run = filter.run.as_ref().map(RunId::as_str);
        let limit = filter.limit.map_or(usize::MAX, |limit| limit as usize);
        Ok(self.store.read(|conn| {
            let sql = format!(
                "SELECT {COLUMNS} FROM execution
                 WHERE (?1 IS NULL OR session = ?1) AND (?2 IS NULL OR run = ?2)
                   AND (NOT ?3 OR (status = 'applied' AND undoes = 0))
                   AND (NOT ?4 OR (status = 'applied' AND undoes = 1))
                 ORDER BY started_at DESC, id DESC"
            );
            let mut statement = conn.prepare_cached(&sql)?;
            let mut rows = statement.query(params![session, run, filter.undoable, filter.undos])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                if found.len() >= limit {
                    break;
                }
                let stored = read(raw(row)?)?;
                let record = &stored.record;
                let counts = !record.undo_of.is_empty()
                    || record.requires_approval
                    || record.staged.is_some();
                let passed_over = filter.undoable || (filter.changing && !counts);
                if passed_over && record.changed_nothing() {
                    continue;
                }
                if filter.path.as_deref().is_none_or(|path| touches(&stored.record, path)) {
                    found.push(stored);
                }
            }
            Ok::<_, StateError>(found)
        })?)
    }
}

fn touches(record: &ExecutionRecord, path: &str) -> bool {
    let within = |touched: &str| {
        touched.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    record.files.iter().any(|file| within(&file.path) || file.to.as_deref().is_some_and(within))
}

/// What a standing undo takes back is undone. What had been undone by that stands again, and if
/// it is an undo itself, what it takes back is undone again; and so on.
fn mark_undone(tx: &Connection, by: &ExecutionRecord) -> Result<(), StateError> {
    // Who takes something back, and whether it stands itself.
    let mut undos = vec![(by.clone(), true)];
    while let Some((by, stands)) = undos.pop() {
        let (status, undone_by) = match stands {
            true => (ExecutionStatus::Undone, Some(by.execution_id.as_str())),
            false => (ExecutionStatus::Applied, None),
        };
        for id in &by.undo_of {
            let Some(known) = get_in(tx, id)? else { continue };
            // Said twice, by a recovery, it turns nothing over again; and only who undid
            // something can let it stand again.
            if stands == (known.undone_by.as_ref() == Some(&by.execution_id)) {
                continue;
            }
            // One that found everything back, because another undo was at it just now, did not.
            if stands && by.files.is_empty() && known.record.status != ExecutionStatus::Applied {
                continue;
            }
            tx.prepare_cached("UPDATE execution SET status = ?2, undone_by = ?3 WHERE id = ?1")?
                .execute(params![id.as_str(), word(status), undone_by])?;
            undos.push((known.record, !stands));
        }
    }
    Ok(())
}

fn get_in(conn: &Connection, id: &ExecutionId) -> Result<Option<StoredExecution>, StateError> {
    let sql = format!("SELECT {COLUMNS} FROM execution WHERE id = ?1");
    let mut statement = conn.prepare_cached(&sql)?;
    let row = statement.query_row([id.as_str()], raw).optional()?;
    row.map(read).transpose()
}

type Raw = (String, String, Option<String>);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn read((record, status, undone_by): Raw) -> Result<StoredExecution, StateError> {
    let mut record: ExecutionRecord = serde_json::from_str(&record)?;
    // The column is newer than the record: an undo changes only the column.
    record.status = serde_json::from_value(serde_json::Value::String(status))?;
    let undone_by = undone_by.and_then(|id| ExecutionId::parse(&id).ok());
    Ok(StoredExecution { record, undone_by })
}

fn word(status: ExecutionStatus) -> &'static str {
    match status {
        ExecutionStatus::Applied => "applied",
        ExecutionStatus::RolledBack => "rolled_back",
        ExecutionStatus::Undone => "undone",
        ExecutionStatus::Incomplete => "incomplete",
    }
}
