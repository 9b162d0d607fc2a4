//! Appending to the tables.

use std::collections::HashMap;

use lictor_context::{Event, Name};
use lictor_store::rusqlite::{self, OptionalExtension as _, Transaction, params};

use crate::error::{AppendError, AppendErrorKind};
use crate::fault::point;
use crate::filter::to_i64;
use crate::line::{line_action_name, line_time};
use crate::log::{Hash, Node, Tree, leaf_hash};
use crate::maker::{Cursor, Made, Maker, Prepared, PreparedEvents, is_own};
use crate::rotate::read_key;
use crate::trail::{Appended, AppendedTo, AuditLog, Head};

const INSERT_EVENT: &str = "INSERT INTO audit_event (org, seq, session, session_seq, type, ts, \
    user, agent, action_name, execution, run, success, bytes, leaf, chain) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
const INSERT_NODE: &str = "INSERT INTO audit_node (org, level, idx, hash) VALUES (?1, ?2, ?3, ?4)";
const INSERT_SEALED: &str =
    "INSERT INTO audit_sealed (org, seq, pointer, ciphertext) VALUES (?1, ?2, ?3, ?4)";
const UPSERT_SESSION: &str = "INSERT INTO audit_session (org, session, next_seq) \
    VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET next_seq = excluded.next_seq";
const UPSERT_HEAD: &str = "INSERT INTO audit_head (org, size, chain, frontier, checkpoint_note) \
    VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET size = excluded.size, \
    chain = excluded.chain, frontier = excluded.frontier, \
    checkpoint_note = excluded.checkpoint_note";

impl AuditLog {
    /// Appends events inside somebody's transaction: they are there if and only if the rest of it
    /// is. All or none of them; each organisation's get one signed checkpoint.
    ///
    /// The end of the log is read inside the transaction, so that many processes never fork it.
    /// What was written is read again before it is signed. When the transaction is committed,
    /// call [`confirm`](Self::confirm). What takes time is done in [`prepare`](Self::prepare),
    /// where nobody waits for it.
    ///
    /// # Errors
    /// When SQLite refuses, the log is not what was signed last, a person's key is not to be had,
    /// or one of the events is of a type that the trail writes by itself.
    pub fn append_in(
        &self,
        tx: &Transaction<'_>,
        events: PreparedEvents,
    ) -> Result<Appended, AppendError> {
        match events.find(is_own) {
            Some(event) => {
                Err(AppendError::new(event.org(), AppendErrorKind::Reserved(event.event_type())))
            }
            None => self.append_prepared(tx, events),
        }
    }

    /// Leaves out what is not to stand in events, seals what only some may read, and writes the
    /// rest: all that can be done before it is known where they will stand.
    ///
    /// # Errors
    /// When a person's key is not to be had.
    pub fn prepare(&self, events: Vec<Event>) -> Result<PreparedEvents, AppendError> {
        self.inner.maker.prepare(events)
    }

    /// As [`append_in`](Self::append_in), whatever the types.
    pub(crate) fn append_own(
        &self,
        tx: &Transaction<'_>,
        events: Vec<Event>,
    ) -> Result<Appended, AppendError> {
        self.append_prepared(tx, self.prepare(events)?)
    }

    fn append_prepared(
        &self,
        tx: &Transaction<'_>,
        events: PreparedEvents,
    ) -> Result<Appended, AppendError> {
        let PreparedEvents { orgs, measured } = events;
        let Some((first, _)) = orgs.first() else {
            return Ok(Appended { logs: Vec::new(), measured });
        };
        let first = first.clone();
        let failed = |org: &Name, kind: AppendErrorKind| AppendError::new(org, kind);
        // A caller that goes on after our error must not commit half of our rows.
        run(tx, "SAVEPOINT audit_append").map_err(|error| failed(&first, error.into()))?;
        let mut logs = Vec::with_capacity(orgs.len());
        for (org, own) in orgs {
            match self.append_org(tx, &org, own) {
                Ok(appended) => logs.push(appended),
                Err(kind) => {
                    // The first error says more than one of undoing would.
                    run(tx, "ROLLBACK TO audit_append").unwrap_or_default();
                    run(tx, "RELEASE audit_append").unwrap_or_default();
                    return Err(failed(&org, kind));
                }
            }
        }
        run(tx, "RELEASE audit_append").map_err(|error| failed(&first, error.into()))?;
        Ok(Appended { logs, measured })
    }

    pub(crate) fn append_org(
        &self,
        tx: &Transaction<'_>,
        org: &Name,
        events: Vec<Prepared>,
    ) -> Result<AppendedTo, AppendErrorKind> {
        let mut cursor = self.head(tx, org)?;
        let before = cursor.tree.clone();
        make_nodes(tx, org, before.size())?;
        let mut sessions = HashMap::new();
        let goes_on = |session: &str| next_session_seq(tx, org, session);
        let lines = Maker::lines(&mut cursor, events, &mut sessions, goes_on)?;
        point("append: before the rows")?;
        for made in &lines {
            insert(tx, org, made)?;
        }
        point("append: before the sessions")?;
        let mut upsert = tx.prepare_cached(UPSERT_SESSION)?;
        for (session, next) in &sessions {
            upsert.execute(params![org.as_str(), session, to_i64(*next)])?;
        }
        // INVARIANT: what is signed is what is stored. A bit that flipped on the way would
        // otherwise make a log that nobody can ever verify.
        read_back(tx, org, before.clone(), &cursor)?;
        point("append: before it is signed")?;
        let (note, checkpoint) = self.inner.maker.sign(org, &cursor.tree);
        self.put_head(tx, org, &cursor, &note)?;
        point("append: before the commit")?;
        self.known().insert(org.as_str().to_owned(), (note, checkpoint.clone()));
        let events = cursor.tree.size() - before.size();
        Ok(AppendedTo { org: org.clone(), first_seq: before.size(), events, checkpoint })
    }

    pub(crate) fn put_head(
        &self,
        tx: &Transaction<'_>,
        org: &Name,
        cursor: &Cursor,
        note: &str,
    ) -> Result<(), AppendErrorKind> {
        tx.prepare_cached(UPSERT_HEAD)?.execute(params![
            org.as_str(),
            to_i64(cursor.tree.size()),
            cursor.chain,
            cursor.tree.frontier(),
            note
        ])?;
        Ok(())
    }

    /// The end of the log as this transaction sees it, if it is what was signed.
    pub(crate) fn head(&self, tx: &Transaction<'_>, org: &Name) -> Result<Cursor, AppendErrorKind> {
        let origin = self.origin(org);
        self.follow_key(read_key(tx)?.as_deref())?;
        let cursor = match Head::read(tx, org)? {
            None => Cursor::start(),
            Some(head) => {
                let (tree, chain) = head.parts().ok_or(AppendErrorKind::Tampered)?;
                let signed = self.open_note(org, head.note).ok_or(AppendErrorKind::Tampered)?;
                let same = signed.origin == origin
                    && signed.size == tree.size()
                    && signed.root == tree.root();
                // INVARIANT: nothing is signed that does not follow from what was signed before;
                // whoever rewrote the log has it refused here, not confirmed.
                if !same {
                    return Err(AppendErrorKind::Tampered);
                }
                Cursor { tree, chain }
            }
        };
        if let Some(guard) = &self.inner.guard {
            guard.check(&origin, cursor.tree.size(), &cursor.tree.root())?;
        }
        Ok(cursor)
    }
}

fn insert(tx: &Transaction<'_>, org: &Name, made: &Made) -> Result<(), AppendErrorKind> {
    let event = &made.event;
    let (principal, facts) = (event.session().principal(), event.facts());
    tx.prepare_cached(INSERT_EVENT)?.execute(params![
        org.as_str(),
        to_i64(made.place.seq),
        event.session().id().as_str(),
        to_i64(made.place.session_seq),
        event.event_type().as_str(),
        line_time(event).as_micros(),
        principal.user.as_str(),
        principal.agent.as_str(),
        line_action_name(event),
        facts.execution_id.as_ref().map(|id| id.as_str()),
        facts.run_id.as_ref().map(|id| id.as_str()),
        facts.success,
        made.bytes,
        made.leaf,
        made.chain,
    ])?;
    insert_nodes(tx, org, &made.nodes)?;
    for content in &made.sealed {
        tx.prepare_cached(INSERT_SEALED)?.execute(params![
            org.as_str(),
            to_i64(made.place.seq),
            content.pointer,
            content.ciphertext
        ])?;
    }
    Ok(())
}

fn insert_nodes(
    tx: &Transaction<'_>,
    org: &Name,
    nodes: &[(Node, Hash)],
) -> Result<(), AppendErrorKind> {
    for (node, hash) in nodes {
        let (level, index) = (node.level, to_i64(node.index));
        tx.prepare_cached(INSERT_NODE)?.execute(params![org.as_str(), level, index, hash])?;
    }
    Ok(())
}

/// The nodes of a log that was begun before there were any.
fn make_nodes(tx: &Transaction<'_>, org: &Name, size: u64) -> Result<(), AppendErrorKind> {
    let made = "SELECT EXISTS (SELECT 1 FROM audit_node WHERE org = ?1)";
    if size < 16 || tx.prepare_cached(made)?.query_row([org.as_str()], |row| row.get(0))? {
        return Ok(());
    }
    let mut tree = Tree::new();
    let mut nodes = Vec::new();
    let mut leaves =
        tx.prepare_cached("SELECT leaf FROM audit_event WHERE org = ?1 ORDER BY seq")?;
    let mut rows = leaves.query([org.as_str()])?;
    while let Some(row) = rows.next()? {
        let leaf: Hash = row.get(0)?;
        tree.push_noting(leaf, |node, hash| nodes.push((node, hash)));
    }
    insert_nodes(tx, org, &nodes)
}

/// Reads what was written, hashes it again, and compares.
fn read_back(
    tx: &Transaction<'_>,
    org: &Name,
    mut tree: Tree,
    cursor: &Cursor,
) -> Result<(), AppendErrorKind> {
    let first = tree.size();
    let mut statement = tx.prepare_cached(
        "SELECT seq, bytes, leaf FROM audit_event WHERE org = ?1 AND seq >= ?2 ORDER BY seq",
    )?;
    let mut rows = statement.query(params![org.as_str(), to_i64(first)])?;
    while let Some(row) = rows.next()? {
        let due = tree.size();
        let seq: i64 = row.get(0)?;
        let bytes = row.get_ref(1)?.as_blob().unwrap_or_default();
        let leaf = leaf_hash(bytes);
        if seq != to_i64(due) || row.get_ref(2)?.as_blob().ok() != Some(leaf.as_slice()) {
            return Err(AppendErrorKind::NotAsWritten { seq: due });
        }
        tree.push(leaf);
    }
    if tree == cursor.tree { Ok(()) } else { Err(AppendErrorKind::NotAsWritten { seq: first }) }
}

fn next_session_seq(
    tx: &Transaction<'_>,
    org: &Name,
    session: &str,
) -> Result<u64, AppendErrorKind> {
    let mut statement =
        tx.prepare_cached("SELECT next_seq FROM audit_session WHERE org = ?1 AND session = ?2")?;
    let next: Option<i64> =
        statement.query_row([org.as_str(), session], |row| row.get(0)).optional()?;
    u64::try_from(next.unwrap_or(0)).map_err(|_| AppendErrorKind::Tampered)
}

fn run(tx: &Transaction<'_>, sql: &str) -> rusqlite::Result<()> {
    tx.prepare_cached(sql)?.execute([]).map(|_| ())
}
