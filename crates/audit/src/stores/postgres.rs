//! Logs in tables of a PostgreSQL server.

use std::cell::RefCell;
use std::fmt;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, PoisonError};

use lictor_context::Name;
use postgres::types::ToSql;
use postgres::{Client, IsolationLevel, Row, Transaction};

use super::{
    Beside, Head, NewLine, Pending, Pruned, StoreError, StoredLine, StoredRow, TakeLine, TakeRow,
    TrailReader, TrailStore, TrailWriter, WriteJob,
};
use crate::error::NotAppended;
use crate::filter::{Filter, to_i64};
use crate::log::{Hash, Node};
use crate::trail::Appended;

/// So many rows are fetched at once.
const ROWS: i32 = 1000;

/// What keeps writers apart, until their transaction ends. One schema is one store.
const LOCK: &str =
    "SELECT pg_advisory_xact_lock(hashtextextended('lictor-audit/' || current_schema(), 0))";

/// Names are plain text. What others chose may hold zeros, which text of PostgreSQL cannot, so
/// names of actions are bytes.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS lictor_log (
  one integer PRIMARY KEY CHECK (one = 1), log_id text NOT NULL);
CREATE TABLE IF NOT EXISTS lictor_head (
  org text PRIMARY KEY, size bigint NOT NULL, chain bytea NOT NULL, frontier bytea NOT NULL,
  note text NOT NULL);
CREATE TABLE IF NOT EXISTS lictor_session (
  org text, session text, next_seq bigint NOT NULL, PRIMARY KEY (org, session));
CREATE TABLE IF NOT EXISTS lictor_event (
  org text, seq bigint, session text NOT NULL, session_seq bigint NOT NULL, type text NOT NULL,
  ts bigint NOT NULL, usr text NOT NULL, agent text NOT NULL, action_name bytea, execution text,
  run text, success boolean, bytes bytea NOT NULL, leaf bytea NOT NULL, chain bytea NOT NULL,
  PRIMARY KEY (org, seq));
CREATE INDEX IF NOT EXISTS lictor_event_session ON lictor_event (org, session, seq);
CREATE INDEX IF NOT EXISTS lictor_event_type ON lictor_event (org, type, seq);
CREATE INDEX IF NOT EXISTS lictor_event_ts ON lictor_event (org, ts, seq);
CREATE TABLE IF NOT EXISTS lictor_node (
  org text, level integer, idx bigint, hash bytea NOT NULL, PRIMARY KEY (org, level, idx));
CREATE TABLE IF NOT EXISTS lictor_pruned (
  org text PRIMARY KEY, first_seq bigint NOT NULL, chain bytea NOT NULL,
  frontier bytea NOT NULL);
CREATE TABLE IF NOT EXISTS lictor_hold (org text, name text, PRIMARY KEY (org, name));
";

type Connect = dyn Fn() -> Result<Client, postgres::Error> + Send + Sync;

/// Logs in a schema of a PostgreSQL server: the current one of the connections.
///
/// It blocks, and its client may not be used on a thread that drives an async runtime: appends
/// that are awaited go to a thread of their own, for everything else use `spawn_blocking`. What is
/// acknowledged is as durable as `synchronous_commit` says, which is left as the server has it.
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

struct Inner {
    connect: Box<Connect>,
    idle: Mutex<Vec<Client>>,
}

impl PostgresStore {
    /// Opens the store, and makes its tables when they are not there. `connect` makes a connection
    /// whenever one more is needed.
    ///
    /// # Errors
    /// When there is no connection, or the tables cannot be made.
    pub fn open(
        connect: impl Fn() -> Result<Client, postgres::Error> + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let inner = Inner { connect: Box::new(connect), idle: Mutex::default() };
        let store = Self { inner: Arc::new(inner) };
        store.with(|client| {
            let mut tx = client.transaction()?;
            tx.batch_execute(LOCK)?;
            tx.batch_execute(SCHEMA)?;
            tx.commit()?;
            Ok::<_, StoreError>(())
        })?;
        Ok(store)
    }

    fn with<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut Client) -> Result<T, E>,
    ) -> Result<T, E> {
        let idle = self.idle().pop();
        let mut client = match idle.filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => (self.inner.connect)().map_err(StoreError::from)?,
        };
        let answer = work(&mut client);
        if !client.is_closed() {
            self.idle().push(client);
        }
        answer
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Client>> {
        self.inner.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, job: WriteJob) -> Result<Appended, NotAppended> {
        self.with(|client| {
            // Dropped, a transaction is rolled back.
            let mut tx = client.transaction().map_err(StoreError::from)?;
            tx.batch_execute(LOCK).map_err(StoreError::from)?;
            let mut tables = Tables(RefCell::new(tx));
            let appended = job(&mut tables).map_err(NotAppended::Refused)?;
            tables.0.into_inner().commit().map_err(StoreError::from)?;
            Ok(appended)
        })
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

impl From<postgres::Error> for StoreError {
    fn from(error: postgres::Error) -> Self {
        Self::Other(Box::new(error))
    }
}

impl TrailStore for PostgresStore {
    fn log_id(&self, fresh: &str) -> Result<String, StoreError> {
        self.with(|client| {
            client.execute(
                "INSERT INTO lictor_log (one, log_id) VALUES (1, $1) ON CONFLICT DO NOTHING",
                &[&fresh],
            )?;
            Ok(client.query_one("SELECT log_id FROM lictor_log", &[])?.try_get(0)?)
        })
    }

    fn view<T, E: From<StoreError>>(
        &self,
        look: impl FnOnce(&dyn TrailReader) -> Result<T, E>,
    ) -> Result<T, E> {
        self.with(|client| {
            let tx = client
                .build_transaction()
                .isolation_level(IsolationLevel::RepeatableRead)
                .read_only(true)
                .start()
                .map_err(StoreError::from)?;
            look(&Tables(RefCell::new(tx)))
        })
    }

    fn submit(&self, job: WriteJob) -> Pending {
        let store = self.clone();
        Pending::blocking(move || store.run(job))
    }
}

/// The tables, as one transaction sees them.
struct Tables<'a>(RefCell<Transaction<'a>>);

type Values<'a> = [&'a (dyn ToSql + Sync)];

impl Tables<'_> {
    fn rows_of(&self, sql: &str, values: &Values<'_>) -> Result<Vec<Row>, StoreError> {
        Ok(self.0.borrow_mut().query(sql, values)?)
    }

    fn row_of(&self, sql: &str, values: &Values<'_>) -> Result<Option<Row>, StoreError> {
        Ok(self.0.borrow_mut().query_opt(sql, values)?)
    }

    fn execute(&self, sql: &str, values: &Values<'_>) -> Result<u64, StoreError> {
        Ok(self.0.borrow_mut().execute(sql, values)?)
    }

    /// Fetches row after row. In between, `take` may ask other things.
    fn each(
        &self,
        sql: &str,
        values: &Values<'_>,
        mut take: impl FnMut(&Row) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let portal = self.0.borrow_mut().bind(sql, values)?;
        loop {
            let rows = self.0.borrow_mut().query_portal(&portal, ROWS)?;
            for row in &rows {
                if take(row)?.is_break() {
                    return Ok(());
                }
            }
            if rows.is_empty() {
                return Ok(());
            }
        }
    }
}

/// A number that should not be negative; a negative one fits nothing.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn level(node: Node) -> i32 {
    i32::try_from(node.level).unwrap_or(i32::MAX)
}

fn hash(row: &Row) -> Result<Hash, StoreError> {
    // What is no hash is none that anything leads to.
    Ok(row.try_get::<_, &[u8]>(0)?.try_into().unwrap_or_default())
}

impl TrailReader for Tables<'_> {
    fn log_id(&self) -> Result<Option<String>, StoreError> {
        let row = self.row_of("SELECT log_id FROM lictor_log", &[])?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    fn orgs(&self) -> Result<Vec<String>, StoreError> {
        let rows = self.rows_of("SELECT org FROM lictor_head", &[])?;
        let orgs: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
        let mut orgs = orgs?;
        // In the order of bytes, whatever the collation.
        orgs.sort_unstable();
        Ok(orgs)
    }

    fn head(&self, org: &Name) -> Result<Option<Head>, StoreError> {
        let sql = "SELECT size, chain, frontier, note FROM lictor_head WHERE org = $1";
        let Some(row) = self.row_of(sql, &[&org.as_str()])? else { return Ok(None) };
        Ok(Some(Head {
            size: unsigned(row.try_get(0)?),
            chain: row.try_get(1)?,
            frontier: row.try_get(2)?,
            note: row.try_get(3)?,
        }))
    }

    fn pruned(&self, org: &Name) -> Result<Option<Pruned>, StoreError> {
        let sql = "SELECT first_seq, chain, frontier FROM lictor_pruned WHERE org = $1";
        let Some(row) = self.row_of(sql, &[&org.as_str()])? else { return Ok(None) };
        let (chain, frontier) = (row.try_get(1)?, row.try_get(2)?);
        Ok(Some(Pruned { first_seq: unsigned(row.try_get(0)?), chain, frontier }))
    }

    fn lines(
        &self,
        org: &Name,
        range: Range<u64>,
        take: &mut TakeLine<'_>,
    ) -> Result<(), StoreError> {
        let sql = "SELECT seq, bytes, leaf FROM lictor_event
                   WHERE org = $1 AND seq >= $2 AND seq < $3 ORDER BY seq";
        let (start, end) = (to_i64(range.start), to_i64(range.end));
        self.each(sql, &[&org.as_str(), &start, &end], |row| {
            let (bytes, leaf) = (row.try_get(1)?, Some(row.try_get(2)?));
            Ok(take(StoredLine { seq: unsigned(row.try_get(0)?), bytes, leaf }))
        })
    }

    fn hashes(&self, org: &Name, from: Node, count: u64) -> Result<Vec<Hash>, StoreError> {
        let org = org.as_str();
        let (first, end) = (to_i64(from.index), to_i64(from.index.saturating_add(count)));
        let rows = if from.level == 0 {
            let sql = "SELECT leaf FROM lictor_event
                       WHERE org = $1 AND seq >= $2 AND seq < $3 ORDER BY seq";
            self.rows_of(sql, &[&org, &first, &end])?
        } else {
            let sql = "SELECT hash FROM lictor_node
                       WHERE org = $1 AND idx >= $2 AND idx < $3 AND level = $4 ORDER BY idx";
            self.rows_of(sql, &[&org, &first, &end, &level(from)])?
        };
        rows.iter().map(hash).collect()
    }

    fn next_session_seq(&self, org: &Name, session: &str) -> Result<u64, StoreError> {
        let sql = "SELECT next_seq FROM lictor_session WHERE org = $1 AND session = $2";
        let row = self.row_of(sql, &[&org.as_str(), &session])?;
        let next: Option<i64> = row.map(|row| row.try_get(0)).transpose()?;
        u64::try_from(next.unwrap_or(0))
            .map_err(|_| StoreError::Damaged(format!("the session `{session}` goes on before 0")))
    }

    fn holds(&self, org: &Name) -> Result<Vec<String>, StoreError> {
        let rows = self.rows_of("SELECT name FROM lictor_hold WHERE org = $1", &[&org.as_str()])?;
        let holds: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
        let mut holds = holds?;
        holds.sort_unstable();
        Ok(holds)
    }

    fn rows(&self, org: &Name, take: &mut TakeRow<'_>) -> Result<(), StoreError> {
        let sql = "SELECT bytes, leaf, chain, seq, session, session_seq, type, ts, usr, agent,
                   action_name, execution, run, success FROM lictor_event
                   WHERE org = $1 ORDER BY seq";
        self.each(sql, &[&org.as_str()], |row| {
            let name: Option<&[u8]> = row.try_get(10)?;
            let beside = Beside {
                leaf: row.try_get(1)?,
                chain: row.try_get(2)?,
                seq: row.try_get(3)?,
                session: row.try_get(4)?,
                session_seq: row.try_get(5)?,
                event_type: row.try_get(6)?,
                timestamp: row.try_get(7)?,
                user: row.try_get(8)?,
                agent: row.try_get(9)?,
                action_name: name.map(|name| std::str::from_utf8(name).unwrap_or("\u{fffd}")),
                execution: row.try_get(11)?,
                run: row.try_get(12)?,
                success: row.try_get(13)?,
            };
            let (seq, leaf) = (unsigned(beside.seq), Some(beside.leaf));
            let line = StoredLine { seq, bytes: row.try_get(0)?, leaf };
            Ok(take(StoredRow { line, beside: Some(beside) }))
        })
    }

    fn select(
        &self,
        org: &Name,
        filter: &Filter,
        take: &mut TakeLine<'_>,
    ) -> Result<(), StoreError> {
        let mut asked = Asked::of(org, filter);
        if let Some(after) = filter.after {
            asked.and(if filter.newest_first { "seq <" } else { "seq >" }, to_i64(after));
        }
        let order = if filter.newest_first { "DESC" } else { "ASC" };
        let limit = filter.limit.map_or("ALL".to_owned(), |limit| to_i64(limit).to_string());
        let sql = format!(
            "SELECT seq, bytes FROM lictor_event WHERE {} ORDER BY seq {order} LIMIT {limit} OFFSET {}",
            asked.sql,
            to_i64(filter.offset)
        );
        self.each(&sql, &asked.values(), |row| {
            let (seq, bytes) = (unsigned(row.try_get(0)?), row.try_get(1)?);
            Ok(take(StoredLine { seq, bytes, leaf: None }))
        })
    }

    fn count(&self, org: &Name, filter: &Filter) -> Result<u64, StoreError> {
        let asked = Asked::of(org, filter);
        let sql = format!("SELECT count(*) FROM lictor_event WHERE {}", asked.sql);
        let row = self.row_of(&sql, &asked.values())?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.map_or(0, unsigned))
    }

    fn sessions(&self, org: &Name) -> Result<Option<Vec<(String, u64)>>, StoreError> {
        let sql = "SELECT session, next_seq FROM lictor_session WHERE org = $1";
        let rows = self.rows_of(sql, &[&org.as_str()])?;
        let session = |row: &Row| Ok((row.try_get(0)?, unsigned(row.try_get(1)?)));
        rows.iter().map(session).collect::<Result<_, StoreError>>().map(Some)
    }

    fn count_nodes(&self, org: &Name) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT count(*) FROM lictor_node WHERE org = $1";
        let row = self.row_of(sql, &[&org.as_str()])?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.map(unsigned))
    }
}

/// Conditions with their values.
struct Asked {
    sql: String,
    values: Vec<Box<dyn ToSql + Sync>>,
}

impl Asked {
    fn of(org: &Name, filter: &Filter) -> Self {
        let mut all = Self { sql: "true".to_owned(), values: Vec::new() };
        all.and("org =", org.as_str().to_owned());
        if !filter.types.is_empty() {
            let types: Vec<String> =
                filter.types.iter().map(|kind| kind.as_str().to_owned()).collect();
            all.values.push(Box::new(types));
            all.sql.push_str(&format!(" AND type = ANY(${})", all.values.len()));
        }
        let text = |text: &str| text.to_owned();
        all.maybe("session =", filter.session.as_ref().map(|id| text(id.as_str())));
        all.maybe("usr =", filter.user.as_ref().map(|name| text(name.as_str())));
        all.maybe("agent =", filter.agent.as_ref().map(|name| text(name.as_str())));
        all.maybe("action_name =", filter.action.as_ref().map(|name| name.as_bytes().to_vec()));
        all.maybe("execution =", filter.execution.as_ref().map(|id| text(id.as_str())));
        all.maybe("run =", filter.run.as_ref().map(|id| text(id.as_str())));
        all.maybe("success =", filter.success);
        all.maybe("ts >=", filter.since.map(lictor_context::Timestamp::as_micros));
        all.maybe("ts <", filter.until.map(lictor_context::Timestamp::as_micros));
        all
    }

    fn and(&mut self, condition: &str, value: impl ToSql + Sync + 'static) {
        self.values.push(Box::new(value));
        self.sql.push_str(&format!(" AND {condition} ${}", self.values.len()));
    }

    fn maybe(&mut self, condition: &str, value: Option<impl ToSql + Sync + 'static>) {
        if let Some(value) = value {
            self.and(condition, value);
        }
    }

    fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|value| &**value).collect()
    }
}

impl TrailWriter for Tables<'_> {
    fn insert(&mut self, org: &Name, line: &NewLine<'_>) -> Result<(), StoreError> {
        let beside = &line.beside;
        let sql = "INSERT INTO lictor_event (org, seq, session, session_seq, type, ts, usr, agent,
                   action_name, execution, run, success, bytes, leaf, chain)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
        self.execute(
            sql,
            &[
                &org.as_str(),
                &beside.seq,
                &beside.session,
                &beside.session_seq,
                &beside.event_type,
                &beside.timestamp,
                &beside.user,
                &beside.agent,
                &beside.action_name.map(str::as_bytes),
                &beside.execution,
                &beside.run,
                &beside.success,
                &line.bytes,
                &beside.leaf,
                &beside.chain,
            ],
        )?;
        Ok(())
    }

    fn put_node(&mut self, org: &Name, place: Node, hash: &Hash) -> Result<(), StoreError> {
        let sql = "INSERT INTO lictor_node (org, level, idx, hash) VALUES ($1, $2, $3, $4)";
        let values: &Values<'_> =
            &[&org.as_str(), &level(place), &to_i64(place.index), &hash.as_slice()];
        self.execute(sql, values).map(drop)
    }

    fn put_session(&mut self, org: &Name, session: &str, next: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO lictor_session (org, session, next_seq) VALUES ($1, $2, $3)
                   ON CONFLICT (org, session) DO UPDATE SET next_seq = excluded.next_seq";
        self.execute(sql, &[&org.as_str(), &session, &to_i64(next)]).map(drop)
    }

    fn put_head(&mut self, org: &Name, before: u64, head: &Head) -> Result<(), StoreError> {
        let (org, size) = (org.as_str(), to_i64(head.size));
        let Head { chain, frontier, note, .. } = head;
        let changed = if before == 0 {
            let sql = "INSERT INTO lictor_head (org, size, chain, frontier, note)
                       VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
            self.execute(sql, &[&org, &size, chain, frontier, note])?
        } else {
            let sql = "UPDATE lictor_head SET size = $2, chain = $3, frontier = $4, note = $5
                       WHERE org = $1 AND size = $6";
            self.execute(sql, &[&org, &size, chain, frontier, note, &to_i64(before)])?
        };
        if changed == 1 { Ok(()) } else { Err(StoreError::HeadMoved) }
    }

    fn put_hold(&mut self, org: &Name, name: &str, placed: bool) -> Result<(), StoreError> {
        let sql = if placed {
            "INSERT INTO lictor_hold (org, name) VALUES ($1, $2)"
        } else {
            "DELETE FROM lictor_hold WHERE org = $1 AND name = $2"
        };
        self.execute(sql, &[&org.as_str(), &name]).map(drop)
    }

    fn prune(&mut self, org: &Name, pruned: &Pruned) -> Result<(), StoreError> {
        let sql = "INSERT INTO lictor_pruned (org, first_seq, chain, frontier)
                   VALUES ($1, $2, $3, $4) ON CONFLICT (org) DO UPDATE SET
                   first_seq = excluded.first_seq, chain = excluded.chain,
                   frontier = excluded.frontier";
        let (org, until) = (org.as_str(), to_i64(pruned.first_seq));
        self.execute(sql, &[&org, &until, &pruned.chain, &pruned.frontier])?;
        let sql = "DELETE FROM lictor_event WHERE org = $1 AND seq < $2";
        self.execute(sql, &[&org, &until]).map(drop)
    }
}
