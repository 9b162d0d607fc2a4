//! Tables that grow with the program, each crate its own.

use std::collections::BTreeMap;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use crate::connection::CommitPermit;
use crate::error::OpenErrorKind;

/// One step of one owner's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Whose tables: by custom the crate's name.
    pub owner: &'static str,
    /// 1, 2, 3 … for each owner. A published one never changes.
    pub version: u32,
    /// What leads from the version before to this one; it may not end the transaction.
    pub sql: &'static str,
}

const TABLE: &str = "\
    CREATE TABLE IF NOT EXISTS schema_version (
        owner TEXT NOT NULL,
        version INTEGER NOT NULL,
        applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
        PRIMARY KEY (owner, version)
    ) STRICT, WITHOUT ROWID";

/// Brings the database to the newest version of everything, in one transaction.
pub(crate) fn migrate(
    connection: &mut Connection,
    commits: &CommitPermit,
    migrations: &[Migration],
) -> Result<(), OpenErrorKind> {
    let known = known_versions(migrations)?;
    if is_current(&known, &found_versions(connection)?)? {
        return Ok(());
    }
    // Another process may do the same just now: look again once nobody else can write.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    let found = found_versions(&transaction)?;
    if is_current(&known, &found)? {
        return Ok(());
    }
    if found.is_empty() {
        transaction.execute_batch(TABLE)?;
    }
    for migration in migrations {
        if migration.version <= found.get(migration.owner).copied().unwrap_or(0) {
            continue;
        }
        let failed = |source| OpenErrorKind::Migration {
            owner: migration.owner.to_owned(),
            version: migration.version,
            source,
        };
        transaction.execute_batch(migration.sql).map_err(failed)?;
        if transaction.is_autocommit() {
            return Err(failed(transaction_ended()));
        }
        transaction
            .execute(
                "INSERT INTO schema_version (owner, version) VALUES (?1, ?2)",
                (migration.owner, migration.version),
            )
            .map_err(failed)?;
    }
    Ok(commits.commit(transaction)?)
}

/// What to say when a piece of SQL ended a transaction that was not its own.
pub(crate) fn transaction_ended() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT_ROLLBACK),
        Some("the transaction was ended from within".to_owned()),
    )
}

fn known_versions(migrations: &[Migration]) -> Result<BTreeMap<&'static str, u32>, OpenErrorKind> {
    let mut known = BTreeMap::new();
    for migration in migrations {
        let last: &mut u32 = known.entry(migration.owner).or_default();
        let expected = last.saturating_add(1);
        if migration.version != expected {
            return Err(OpenErrorKind::Misnumbered {
                owner: migration.owner.to_owned(),
                expected,
                found: migration.version,
            });
        }
        *last = expected;
    }
    Ok(known)
}

fn found_versions(connection: &Connection) -> Result<BTreeMap<String, u32>, OpenErrorKind> {
    let query = "SELECT owner, max(version) FROM schema_version GROUP BY owner";
    let mut statement = match connection.prepare(query) {
        Ok(statement) => statement,
        // No such table: a new database.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => {
            return Ok(BTreeMap::new());
        }
        Err(error) => return Err(error.into()),
    };
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Owners that this program does not know are somebody else's business.
fn is_current(
    known: &BTreeMap<&'static str, u32>,
    found: &BTreeMap<String, u32>,
) -> Result<bool, OpenErrorKind> {
    let mut current = true;
    for (owner, known) in known {
        let found = found.get(*owner).copied().unwrap_or(0);
        if found > *known {
            return Err(OpenErrorKind::Newer { owner: (*owner).to_owned(), found, known: *known });
        }
        current &= found == *known;
    }
    Ok(current)
}
