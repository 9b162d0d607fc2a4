//! Logs in tables of a [`Store`], which they may share with others.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use lictor_context::Name;
use lictor_store::rusqlite::types::ValueRef;
use lictor_store::rusqlite::{self, Connection, OptionalExtension as _, Row, params};
use lictor_store::{ReadError, Store};

use super::{
    Beside, Head, NewLine, Pending, Pruned, StoreError, StoredLine, StoredRow, TakeLine, TakeRow,
    TakeSealed, TrailReader, TrailStore, TrailWriter, WriteJob,
};
use crate::ends::SharedEnds;
use crate::filter::{Filter, to_i64};
use crate::log::{Hash, Node, Tree};

const INSERT_EVENT: &str = "INSERT INTO audit_event (org, seq, session, session_seq, type, ts, \
    user, agent, action_name, execution, run, success, bytes, leaf, chain) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
const INSERT_NODE: &str = "INSERT INTO audit_node (org, level, idx, hash) VALUES (?1, ?2, ?3, ?4)";
const INSERT_SEALED: &str =
    "INSERT INTO audit_sealed (org, seq, pointer, ciphertext) VALUES (?1, ?2, ?3, ?4)";
const UPSERT_SESSION: &str = "INSERT INTO audit_session (org, session, next_seq) \
    VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET next_seq = excluded.next_seq";
const INSERT_HEAD: &str = "INSERT INTO audit_head (org, size, chain, frontier, checkpoint_note) \
    VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
const UPDATE_HEAD: &str = "UPDATE audit_head SET size = ?2, chain = ?3, frontier = ?4, \
    checkpoint_note = ?5 WHERE org = ?1 AND size = ?6";
const UPSERT_PRUNED: &str = "INSERT INTO audit_pruned (org, first_seq, chain, frontier) \
    VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET first_seq = excluded.first_seq, \
    chain = excluded.chain, frontier = excluded.frontier";

/// The trail's tables, as one connection sees them. Inside a transaction it may write.
pub(crate) struct Tables<'a> {
    connection: &'a Connection,
    shares: Shares<'a>,
}

/// What the appends of a transaction share.
enum Shares<'a> {
    Nothing,
    /// In a job of this store, it has what its jobs gather, if there are several.
    Job(&'a Store),
    /// When all jobs are done.
    Ends(Box<SharedEnds>),
}

impl<'a> Tables<'a> {
    pub(crate) fn of(connection: &'a Connection) -> Self {
        Self { connection, shares: Shares::Nothing }
    }

    /// In a job of the store.
    pub(crate) fn shared(store: &'a Store, transaction: &'a Connection) -> Self {
        Self { connection: transaction, shares: Shares::Job(store) }
    }

    /// When all jobs of a transaction are done.
    pub(crate) fn finishing(transaction: &'a Connection, ends: SharedEnds) -> Self {
        Self { connection: transaction, shares: Shares::Ends(Box::new(ends)) }
    }

    pub(crate) fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// What was shared.
    pub(crate) fn into_ends(self) -> SharedEnds {
        match self.shares {
            Shares::Ends(ends) => *ends,
            Shares::Nothing | Shares::Job(_) => SharedEnds::default(),
        }
    }
}

impl Tables<'_> {
    fn count_in(&self, sql: &str, org: &Name) -> Result<u64, StoreError> {
        let count =
            self.connection.prepare_cached(sql)?.query_row([org.as_str()], |row| row.get(0))?;
        Ok(unsigned(count))
    }
}

impl TrailStore for Store {
    fn log_id(&self, fresh: &str) -> Result<String, StoreError> {
        if let Some(log_id) = self.view(|reader| reader.log_id())? {
            return Ok(log_id);
        }
        let fresh = fresh.to_owned();
        let made = self.write(move |tx| {
            // Another process may have been faster; the first one stays.
            tx.execute("INSERT OR IGNORE INTO audit_log (one, log_id) VALUES (1, ?1)", [fresh])?;
            tx.query_row("SELECT log_id FROM audit_log", [], |row| row.get(0))
        });
        made.wait().map_err(StoreError::from)
    }

    fn view<T, E: From<StoreError>>(
        &self,
        look: impl FnOnce(&dyn TrailReader) -> Result<T, E>,
    ) -> Result<T, E> {
        self.read(|connection| look(&Tables::of(connection))).map_err(|error| match error {
            ReadError::Query(error) => error,
            ReadError::Unavailable(error) => StoreError::from(error).into(),
            ReadError::Closed => StoreError::Closed.into(),
        })
    }

    fn submit(&self, job: WriteJob) -> Pending {
        let store = self.clone();
        self.write(move |tx| job(&mut Tables::shared(&store, tx))).into()
    }
}

/// Steps through rows until `take` wants no more.
fn each(
    mut rows: rusqlite::Rows<'_>,
    mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<ControlFlow<()>>,
) -> Result<(), StoreError> {
    while let Some(row) = rows.next()? {
        if take(row)?.is_break() {
            break;
        }
    }
    Ok(())
}

fn blob<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a [u8]> {
    Ok(row.get_ref(column)?.as_blob().unwrap_or_default())
}

/// What should be text. What is none is still something that can be judged, and found wrong.
fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    let bytes = match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => &[],
    };
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// A number that should not be negative; a negative one fits nothing.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl TrailReader for Tables<'_> {
    fn log_id(&self) -> Result<Option<String>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT log_id FROM audit_log")?;
        Ok(statement.query_row([], |row| text(row, 0)).optional()?)
    }

    fn orgs(&self) -> Result<Vec<String>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT org FROM audit_head ORDER BY org")?;
        let orgs = statement.query_map([], |row| row.get(0))?;
        Ok(orgs.collect::<rusqlite::Result<_>>()?)
    }

    fn head(&self, org: &Name) -> Result<Option<Head>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT size, chain, frontier, checkpoint_note FROM audit_head WHERE org = ?1",
        )?;
        let head = statement.query_row([org.as_str()], |row| {
            Ok(Head {
                size: unsigned(row.get(0)?),
                chain: row.get(1)?,
                frontier: row.get(2)?,
                note: text(row, 3)?,
            })
        });
        Ok(head.optional()?)
    }

    fn pruned(&self, org: &Name) -> Result<Option<Pruned>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT first_seq, chain, frontier FROM audit_pruned WHERE org = ?1")?;
        let pruned = statement.query_row([org.as_str()], |row| {
            let (first_seq, chain, frontier) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Pruned { first_seq: unsigned(first_seq), chain, frontier })
        });
        Ok(pruned.optional()?)
    }

    fn lines(
        &self,
        org: &Name,
        range: Range<u64>,
        take: &mut TakeLine<'_>,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, bytes, leaf FROM audit_event
             WHERE org = ?1 AND seq >= ?2 AND seq < ?3 ORDER BY seq",
        )?;
        let place = params![org.as_str(), to_i64(range.start), to_i64(range.end)];
        each(statement.query(place)?, |row| {
            let (seq, leaf) = (unsigned(row.get(0)?), Some(blob(row, 2)?));
            Ok(take(StoredLine { seq, bytes: blob(row, 1)?, leaf }))
        })
    }

    fn hashes(&self, org: &Name, from: Node, count: u64) -> Result<Vec<Hash>, StoreError> {
        let (first, end) = (to_i64(from.index), to_i64(from.index.saturating_add(count)));
        // What is no hash is none that anything leads to.
        let hash = |row: &Row<'_>| Ok(blob(row, 0)?.try_into().unwrap_or_default());
        let hashes: rusqlite::Result<Vec<Hash>> = if from.level == 0 {
            let mut statement = self.connection.prepare_cached(
                "SELECT leaf FROM audit_event WHERE org = ?1 AND seq >= ?2 AND seq < ?3
                 ORDER BY seq",
            )?;
            statement.query_map(params![org.as_str(), first, end], hash)?.collect()
        } else {
            let mut statement = self.connection.prepare_cached(
                "SELECT hash FROM audit_node WHERE org = ?1 AND level = ?4 AND idx >= ?2
                 AND idx < ?3 ORDER BY idx",
            )?;
            statement.query_map(params![org.as_str(), first, end, from.level], hash)?.collect()
        };
        Ok(hashes?)
    }

    fn next_session_seq(&self, org: &Name, session: &str) -> Result<u64, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT next_seq FROM audit_session WHERE org = ?1 AND session = ?2")?;
        let next: Option<i64> =
            statement.query_row([org.as_str(), session], |row| row.get(0)).optional()?;
        u64::try_from(next.unwrap_or(0))
            .map_err(|_| StoreError::Damaged(format!("the session `{session}` goes on before 0")))
    }

    fn holds(&self, org: &Name) -> Result<Vec<String>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT name FROM audit_hold WHERE org = ?1 ORDER BY name")?;
        let holds = statement.query_map([org.as_str()], |row| row.get(0))?;
        Ok(holds.collect::<rusqlite::Result<_>>()?)
    }

    fn rows(&self, org: &Name, take: &mut TakeRow<'_>) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT bytes, leaf, chain, seq, session, session_seq, type, ts, user, agent, \
             action_name, execution, run, success FROM audit_event WHERE org = ?1 ORDER BY seq",
        )?;
        each(statement.query([org.as_str()])?, |row| {
            // What cannot be read says nothing that a line could say.
            let unreadable = Beside { seq: -1, ..Beside::default() };
            let beside = Some(beside(row).unwrap_or(unreadable));
            let (bytes, leaf) = (blob(row, 0)?, Some(blob(row, 1)?));
            let seq = beside.map_or(u64::MAX, |beside| unsigned(beside.seq));
            Ok(take(StoredRow { line: StoredLine { seq, bytes, leaf }, beside }))
        })
    }

    fn select(
        &self,
        org: &Name,
        filter: &Filter,
        take: &mut TakeLine<'_>,
    ) -> Result<(), StoreError> {
        let (sql, values) = filter.page_sql(org);
        let mut statement = self.connection.prepare_cached(&sql)?;
        each(statement.query(rusqlite::params_from_iter(values))?, |row| {
            Ok(take(StoredLine { seq: unsigned(row.get(0)?), bytes: blob(row, 1)?, leaf: None }))
        })
    }

    fn count(&self, org: &Name, filter: &Filter) -> Result<u64, StoreError> {
        let (sql, values) = filter.count_sql(org);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let values = rusqlite::params_from_iter(values);
        Ok(unsigned(statement.query_row(values, |row| row.get(0))?))
    }

    fn sessions(&self, org: &Name) -> Result<Option<Vec<(String, u64)>>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT session, next_seq FROM audit_session WHERE org = ?1")?;
        let sessions = statement
            .query_map([org.as_str()], |row| Ok((text(row, 0)?, unsigned(row.get(1)?))))?;
        Ok(Some(sessions.collect::<rusqlite::Result<_>>()?))
    }

    fn count_nodes(&self, org: &Name) -> Result<Option<u64>, StoreError> {
        self.count_in("SELECT count(*) FROM audit_node WHERE org = ?1", org).map(Some)
    }

    fn count_sealed(&self, org: &Name) -> Result<u64, StoreError> {
        self.count_in("SELECT count(*) FROM audit_sealed WHERE org = ?1", org)
    }

    fn sealed(&self, org: &Name, seq: u64, pointer: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT ciphertext FROM audit_sealed WHERE org = ?1 AND seq = ?2 AND pointer = ?3",
        )?;
        let place = params![org.as_str(), to_i64(seq), pointer];
        Ok(statement.query_row(place, |row| row.get(0)).optional()?)
    }

    fn each_sealed(
        &self,
        org: &Name,
        range: Range<u64>,
        take: &mut TakeSealed<'_>,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, pointer, ciphertext FROM audit_sealed
             WHERE org = ?1 AND seq >= ?2 AND seq < ?3 ORDER BY seq, pointer",
        )?;
        let place = params![org.as_str(), to_i64(range.start), to_i64(range.end)];
        each(statement.query(place)?, |row| {
            let pointer = row.get_ref(1)?.as_str()?;
            Ok(take((unsigned(row.get(0)?), pointer, blob(row, 2)?)))
        })
    }

    fn erased_keys(&self, org: &Name) -> Result<HashSet<String>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT key_id FROM audit_erased WHERE org = ?1")?;
        let keys = statement.query_map([org.as_str()], |row| text(row, 0))?;
        Ok(keys.collect::<rusqlite::Result<_>>()?)
    }

    fn epochs(&self, org: &Name) -> Result<Vec<(u64, String)>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT size, note FROM audit_epoch WHERE org = ?1 AND size > \
             (SELECT coalesce(max(first_seq), 0) FROM audit_pruned WHERE org = ?1) ORDER BY size",
        )?;
        let notes = statement
            .query_map([org.as_str()], |row| Ok((unsigned(row.get(0)?), text(row, 1)?)))?;
        Ok(notes.collect::<rusqlite::Result<_>>()?)
    }

    fn key(&self) -> Result<Option<String>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT public FROM audit_key")?;
        Ok(statement.query_row([], |row| row.get(0)).optional()?)
    }
}

fn beside<'a>(row: &'a Row<'_>) -> Option<Beside<'a>> {
    let text = |column: usize| row.get_ref(column).ok()?.as_str_or_null().ok();
    let number = |column: usize| row.get_ref(column).ok()?.as_i64_or_null().ok();
    Some(Beside {
        leaf: blob(row, 1).ok()?,
        chain: blob(row, 2).ok()?,
        seq: number(3)??,
        session: text(4)??,
        session_seq: number(5)??,
        event_type: text(6)??,
        timestamp: number(7)??,
        user: text(8)??,
        agent: text(9)??,
        action_name: text(10)?,
        execution: text(11)?,
        run: text(12)?,
        success: match number(13)? {
            None => None,
            Some(0) => Some(false),
            Some(1) => Some(true),
            Some(_) => return None,
        },
    })
}

impl TrailWriter for Tables<'_> {
    fn share(&mut self, look: &mut dyn FnMut(&mut SharedEnds)) -> bool {
        match &mut self.shares {
            Shares::Nothing => false,
            Shares::Job(store) => {
                store.gather(self.connection, SharedEnds::default, look).is_some()
            }
            Shares::Ends(ends) => {
                look(ends);
                true
            }
        }
    }

    fn insert(&mut self, org: &Name, line: &NewLine<'_>) -> Result<(), StoreError> {
        let beside = &line.beside;
        self.connection.prepare_cached(INSERT_EVENT)?.execute(params![
            org.as_str(),
            beside.seq,
            beside.session,
            beside.session_seq,
            beside.event_type,
            beside.timestamp,
            beside.user,
            beside.agent,
            beside.action_name,
            beside.execution,
            beside.run,
            beside.success,
            line.bytes,
            beside.leaf,
            beside.chain,
        ])?;
        Ok(())
    }

    fn put_node(&mut self, org: &Name, place: Node, hash: &Hash) -> Result<(), StoreError> {
        let place = params![org.as_str(), place.level, to_i64(place.index), hash];
        self.connection.prepare_cached(INSERT_NODE)?.execute(place)?;
        Ok(())
    }

    fn put_session(&mut self, org: &Name, session: &str, next: u64) -> Result<(), StoreError> {
        let session = params![org.as_str(), session, to_i64(next)];
        self.connection.prepare_cached(UPSERT_SESSION)?.execute(session)?;
        Ok(())
    }

    fn put_head(&mut self, org: &Name, before: u64, head: &Head) -> Result<(), StoreError> {
        let (org, size) = (org.as_str(), to_i64(head.size));
        let Head { chain, frontier, note, .. } = head;
        let changed = if before == 0 {
            self.connection
                .prepare_cached(INSERT_HEAD)?
                .execute(params![org, size, chain, frontier, note])?
        } else {
            let mut update = self.connection.prepare_cached(UPDATE_HEAD)?;
            update.execute(params![org, size, chain, frontier, note, to_i64(before)])?
        };
        if changed == 1 { Ok(()) } else { Err(StoreError::HeadMoved) }
    }

    fn put_hold(&mut self, org: &Name, name: &str, placed: bool) -> Result<(), StoreError> {
        let sql = if placed {
            "INSERT INTO audit_hold (org, name) VALUES (?1, ?2)"
        } else {
            "DELETE FROM audit_hold WHERE org = ?1 AND name = ?2"
        };
        self.connection.prepare_cached(sql)?.execute([org.as_str(), name])?;
        Ok(())
    }

    fn prune(&mut self, org: &Name, pruned: &Pruned) -> Result<(), StoreError> {
        let until = to_i64(pruned.first_seq);
        let begins = params![org.as_str(), until, pruned.chain, pruned.frontier];
        self.connection.execute(UPSERT_PRUNED, begins)?;
        for table in ["audit_sealed", "audit_event"] {
            let sql = format!("DELETE FROM {table} WHERE org = ?1 AND seq < ?2");
            self.connection.execute(&sql, params![org.as_str(), until])?;
        }
        Ok(())
    }

    /// The nodes of a log that was begun before there were any.
    fn complete(&mut self, org: &Name, size: u64) -> Result<(), StoreError> {
        let made = "SELECT EXISTS (SELECT 1 FROM audit_node WHERE org = ?1)";
        if size < 16
            || self.connection.prepare_cached(made)?.query_row([org.as_str()], |row| row.get(0))?
        {
            return Ok(());
        }
        let mut tree = Tree::new();
        let mut nodes = Vec::new();
        for leaf in self.hashes(org, Node { level: 0, index: 0 }, size)? {
            tree.push_noting(leaf, |place, hash| nodes.push((place, hash)));
        }
        nodes.iter().try_for_each(|(place, hash)| self.put_node(org, *place, hash))
    }

    fn put_sealed(
        &mut self,
        org: &Name,
        seq: u64,
        pointer: &str,
        ciphertext: &[u8],
    ) -> Result<(), StoreError> {
        let content = params![org.as_str(), to_i64(seq), pointer, ciphertext];
        self.connection.prepare_cached(INSERT_SEALED)?.execute(content)?;
        Ok(())
    }
}
