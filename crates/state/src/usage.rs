//! Usage, counted in the store: across processes and restarts.

use lictor_context::{ActionId, Timestamp, Usage};
use lictor_governance::{
    Calls, ReserveError, Scope, Subject, Tallies, Tally, UsageCheck, UsageEntry, UsageExceeded,
    UsageStore, UsageStoreError, UsageWindow,
};
use lictor_store::rusqlite::{Connection, params};
use lictor_store::{Migration, Store};

use crate::error::StateError;

/// The table of this file.
pub(crate) const MIGRATION: Migration = Migration {
    owner: "state",
    version: 5,
    sql: "
CREATE TABLE usage (
    id INTEGER PRIMARY KEY,
    action TEXT NOT NULL,
    at INTEGER NOT NULL,
    org TEXT NOT NULL,
    user TEXT NOT NULL,
    agent TEXT NOT NULL,
    session TEXT NOT NULL,
    capability TEXT NOT NULL,
    cost_microusd INTEGER NOT NULL,
    tokens INTEGER NOT NULL
) STRICT;
CREATE INDEX usage_action ON usage (action);
CREATE INDEX usage_session ON usage (org, session, at);
CREATE INDEX usage_agent ON usage (org, agent, at);
CREATE INDEX usage_user ON usage (org, user, at);
CREATE INDEX usage_org ON usage (org, at);
",
};

/// Counts usage in a store that was opened with [`crate::migrations`].
///
/// A reservation counts and writes in one transaction of the store's one writer, so that callers
/// in any number of threads and processes never get more than a limit leaves.
#[derive(Debug, Clone)]
pub struct SqliteUsageStore {
    store: Store,
}

impl SqliteUsageStore {
    /// Over a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

impl UsageStore for SqliteUsageStore {
    fn tally(
        &self,
        subject: &Subject,
        windows: &[UsageWindow],
        now: Timestamp,
    ) -> Result<Tallies, UsageStoreError> {
        let counted = self.store.read(|conn| tallies(conn, subject, windows, now));
        counted.map_err(|error| unavailable(&error.into()))
    }

    fn reserve(
        &self,
        entry: UsageEntry,
        windows: Vec<UsageWindow>,
        check: UsageCheck,
    ) -> Result<(), ReserveError> {
        let written = self.store.write(move |tx| {
            let counted = tallies(tx, &entry.subject, &windows, entry.at)?;
            if let Err(exceeded) = check(&counted) {
                return Ok::<_, StateError>(Err::<(), UsageExceeded>(exceeded));
            }
            let (subject, usage) = (&entry.subject, entry.usage);
            tx.prepare_cached(
                "INSERT INTO usage
                     (action, at, org, user, agent, session, capability, cost_microusd, tokens)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                entry.action.as_str(),
                entry.at.as_micros(),
                subject.org,
                subject.user,
                subject.agent,
                subject.session,
                entry.capability,
                signed(usage.cost_microusd),
                signed(usage.tokens),
            ])?;
            Ok(Ok(()))
        });
        match written.wait().map_err(StateError::from) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(exceeded)) => Err(ReserveError::Exceeded(exceeded)),
            Err(error) => Err(ReserveError::Store(unavailable(&error))),
        }
    }

    fn report(&self, action: &ActionId, usage: Usage) -> Result<(), UsageStoreError> {
        let action = action.to_string();
        let written = self.store.write(move |tx| {
            tx.prepare_cached(
                "UPDATE usage SET cost_microusd = cost_microusd + ?2, tokens = tokens + ?3
                 WHERE id = (SELECT max(id) FROM usage WHERE action = ?1)",
            )?
            .execute(params![
                action,
                signed(usage.cost_microusd),
                signed(usage.tokens)
            ])?;
            Ok::<_, StateError>(())
        });
        written.wait().map_err(|error| unavailable(&error.into()))
    }
}

fn tallies(
    conn: &Connection,
    subject: &Subject,
    windows: &[UsageWindow],
    now: Timestamp,
) -> Result<Tallies, StateError> {
    let mut tallies = Tallies::default();
    for window in windows {
        let column = match window.scope {
            Scope::Session => "session",
            Scope::Agent => "agent",
            Scope::User => "user",
            Scope::Org => "org",
        };
        let sql = format!(
            "SELECT capability, count(*), min(at), sum(cost_microusd), sum(tokens) FROM usage
             WHERE org = ?1 AND {column} = ?2 AND at > ?3 GROUP BY capability"
        );
        let mut statement = conn.prepare_cached(&sql)?;
        let since = window.since(now).as_micros();
        let mut rows = statement.query(params![subject.org, subject.name(window.scope), since])?;
        let mut tally = Tally::default();
        while let Some(row) = rows.next()? {
            let calls = Calls {
                n: row.get::<_, i64>(1)?.unsigned_abs(),
                oldest: Timestamp::from_micros(row.get(2)?),
            };
            tally.calls.insert(row.get(0)?, calls);
            tally.spent = tally.spent.plus(Usage {
                cost_microusd: row.get::<_, i64>(3)?.unsigned_abs(),
                tokens: row.get::<_, i64>(4)?.unsigned_abs(),
            });
        }
        tallies.windows.push((*window, tally));
    }
    Ok(tallies)
}

/// What no column holds is more than any limit, and stays so.
fn signed(number: u64) -> i64 {
    // A quarter of the range: sums of a few such do not overflow, and an overflow is an error,
    // which denies.
    i64::try_from(number).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

fn unavailable(error: &StateError) -> UsageStoreError {
    UsageStoreError(error.to_string())
}
