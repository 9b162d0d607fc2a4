//! Verifying the rows of a store.

use std::collections::HashMap;

use lictor_context::{Name, Timestamp};
use lictor_store::rusqlite::{Connection, Row};

use super::{Verdict, Verification, Walk};
use crate::error::VerifyErrorKind;
use crate::line::{Header, MAX_LINE};
use crate::log::{CHAIN_START, Checkpoint, Hash, PublicKey, chain_hash};
use crate::trail::{Head, read_log_id};

/// What rows are compared with, beside what the store itself says.
pub(crate) struct StoreEvidence<'a> {
    pub(crate) org: &'a Name,
    pub(crate) log_id: &'a str,
    pub(crate) origin: &'a str,
    pub(crate) key: &'a PublicKey,
    /// `None` without a guard, `Some(None)` when it knows nothing of this log.
    pub(crate) guarded: Option<Option<(u64, Hash)>>,
}

/// Verifies one organisation's rows, within one snapshot.
pub(crate) fn verify_rows(
    connection: &Connection,
    evidence: &StoreEvidence<'_>,
) -> Result<Verification, VerifyErrorKind> {
    let (walk, chain, guarded_root) = walk_rows(connection, evidence)?;
    let head = Head::read(connection, evidence.org)?;
    let origin = evidence.origin.to_owned();
    let log_id = read_log_id(connection)?;
    let sessions_hold = sessions_hold(connection, evidence.org, &walk.sessions)?;
    let mut found = judge_rows(walk, &chain, guarded_root, head, evidence, sessions_hold);
    if log_id.as_deref() != Some(evidence.log_id) && found.verdict != Verdict::NoEvidence {
        found.verdict = Verdict::Tampered;
        found.problem.get_or_insert_with(|| "the store holds the id of another log".to_owned());
    }
    found.origin = Some(origin);
    Ok(found)
}

fn judge_rows(
    mut walk: Walk,
    chain: &Hash,
    guarded_root: Option<Hash>,
    head: Option<Head>,
    evidence: &StoreEvidence<'_>,
    sessions_hold: bool,
) -> Verification {
    let size = walk.tree.size();
    let signed_once = evidence.guarded.flatten();
    let Some(head) = head else {
        return if size > 0 {
            walk.tampered("there are events, but the end of the log is gone")
        } else if signed_once.is_some() {
            walk.result(Verdict::RolledBack, Some("the log is empty, and events were signed once"))
        } else {
            walk.result(Verdict::NoEvidence, Some("the log is empty, and nothing was ever signed"))
        };
    };
    let signed = match Checkpoint::open(&head.note, evidence.key) {
        Ok(signed) => signed,
        Err(error) => return walk.tampered(&error.to_string()),
    };
    if signed.origin != evidence.origin {
        return walk.tampered("the checkpoint is of another log");
    }
    if size != signed.size {
        walk.bad_at(
            size.min(signed.size),
            if size < signed.size {
                format!("it is missing, as is everything after it: {} were signed", signed.size)
            } else {
                format!("it was never signed: only {} were", signed.size)
            },
        );
    }
    if walk.first_bad.is_some() {
        return walk.tampered("");
    }
    if walk.tree.root() != signed.root {
        return walk.tampered("the events are not those that were signed");
    }
    let end = head.parts();
    if end.is_none_or(|(tree, head_chain)| tree != walk.tree || head_chain != *chain) {
        return walk.tampered("the end of the log does not follow from its events");
    }
    if !sessions_hold {
        return walk.tampered("the counters of the sessions do not follow from the events");
    }
    match evidence.guarded {
        None => walk.result(Verdict::Complete, None),
        Some(None) => walk.result(
            Verdict::ValidPrefix,
            Some("the rollback guard knows nothing of this log: newer events may have been lost"),
        ),
        Some(Some((guarded, _))) if guarded > size => {
            let problem = format!("{guarded} events were signed once: an older copy was put back");
            walk.result(Verdict::RolledBack, Some(&problem))
        }
        Some(Some((guarded, root))) if guarded_root != Some(root) => {
            let problem = format!("another history of {guarded} events was signed as well");
            walk.result(Verdict::Forked, Some(&problem))
        }
        Some(Some(_)) => walk.result(Verdict::Complete, None),
    }
}

/// Walks along the rows; also says where the chain ends, and what the root was at the size that
/// the guard knows.
fn walk_rows(
    connection: &Connection,
    evidence: &StoreEvidence<'_>,
) -> Result<(Walk, Hash, Option<Hash>), VerifyErrorKind> {
    let guarded_size = evidence.guarded.flatten().map(|(size, _)| size);
    let mut guarded_root = None;
    let mut walk = Walk::default();
    let mut chain = CHAIN_START;
    let mut statement = connection.prepare_cached(
        "SELECT bytes, leaf, chain, seq, session, session_seq, type, ts, user, agent, \
         action_name, execution, run, success FROM audit_event WHERE org = ?1 ORDER BY seq",
    )?;
    let mut rows = statement.query([evidence.org.as_str()])?;
    while let Some(row) = rows.next()? {
        let bytes = row.get_ref(0)?.as_blob().unwrap_or_default();
        if bytes.len() > MAX_LINE || has_control(bytes) {
            walk.bad("it is not one line, or too long");
        }
        let due = walk.tree.size();
        let (leaf, header) = walk.step(bytes, Some(evidence.org.as_str()));
        if header.is_some_and(|header| !row_agrees(row, &header)) {
            walk.bad_at(due, "its row does not say what its bytes say");
        }
        chain = chain_hash(&chain, &leaf);
        if row.get_ref(1)?.as_blob().ok() != Some(leaf.as_slice()) {
            walk.bad_at(due, "its bytes are not those that were hashed");
        }
        if row.get_ref(2)?.as_blob().ok() != Some(chain.as_slice()) {
            walk.bad_at(due, "the chain breaks there");
        }
        if guarded_size == Some(walk.tree.size()) {
            guarded_root = Some(walk.tree.root());
        }
    }
    Ok((walk, chain, guarded_root))
}

/// Without a way out in the middle, so that it is done many bytes at a time.
fn has_control(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, byte| found | (*byte < b' '))
}

fn row_agrees(row: &Row<'_>, header: &Header<'_>) -> bool {
    let text = |column: usize, said: Option<&str>| {
        row.get_ref(column).is_ok_and(|value| value.as_str_or_null() == Ok(said))
    };
    let number = |column: usize, said: Option<i64>| {
        row.get_ref(column).is_ok_and(|value| value.as_i64_or_null() == Ok(said))
    };
    let time = Timestamp::parse(&header.timestamp).ok().map(Timestamp::as_micros);
    number(3, i64::try_from(header.seq).ok())
        && text(4, Some(&header.session_id))
        && number(5, i64::try_from(header.session_seq).ok())
        && text(6, Some(&header.event_type))
        && time.is_some()
        && number(7, time)
        && text(8, Some(&header.user_id))
        && text(9, Some(&header.agent_id))
        && text(10, header.action_name.as_deref())
        && text(11, header.execution_id.as_deref())
        && text(12, header.workflow_run_id.as_deref())
        && number(13, header.success.map(i64::from))
}

fn sessions_hold(
    connection: &Connection,
    org: &Name,
    sessions: &HashMap<String, u64>,
) -> Result<bool, VerifyErrorKind> {
    let mut statement =
        connection.prepare_cached("SELECT session, next_seq FROM audit_session WHERE org = ?1")?;
    let mut rows = statement.query([org.as_str()])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let (session, next): (String, i64) = (row.get(0)?, row.get(1)?);
        if sessions.get(&session).copied() != u64::try_from(next).ok() {
            return Ok(false);
        }
        count += 1;
    }
    Ok(count == sessions.len())
}
