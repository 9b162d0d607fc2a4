//! Verifying the rows of a store.

use std::collections::{HashMap, HashSet};

use lictor_context::{Digest, Name, Timestamp};
use lictor_store::rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params};

use super::epochs::signer;
use super::{Verdict, Verification, Walk};
use crate::error::VerifyErrorKind;
use crate::export::epoch_notes;
use crate::filter::to_i64;
use crate::line::{Header, MAX_LINE};
use crate::log::{CHAIN_START, Checkpoint, Hash, Node, PublicKey, Tree, chain_hash};
use crate::sealed::sealed_fields;
use crate::trail::{Head, Pruned, read_log_id};

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
    let org = evidence.org;
    let head = Head::read(connection, org)?;
    let pruned = Pruned::read(connection, org)?;
    let begins = pruned.as_ref().and_then(|pruned| {
        let tree = Tree::from_parts(pruned.first_seq, &pruned.frontier)?;
        Some((tree, pruned.chain.as_slice().try_into().ok()?))
    });
    let begins_badly = pruned.is_some() && begins.is_none();
    let (before, chain) = begins.unwrap_or((Tree::new(), CHAIN_START));
    let rows = walk_rows(connection, evidence, before.clone(), chain)?;
    let sessions_hold = sessions_hold(connection, org, &rows.walk)?;
    let extra = Extra {
        begins_badly,
        sealed: count(connection, "audit_sealed", org)? == rows.sealed,
        nodes: nodes_hold(connection, org, &before, rows.nodes)?,
        epochs: epoch_notes(connection, org)?,
        sessions_hold,
        root_before: before.root(),
    };
    let mut found = judge_rows(rows, head, evidence, &extra);
    let log_id = read_log_id(connection)?;
    if log_id.as_deref() != Some(evidence.log_id) && found.verdict != Verdict::NoEvidence {
        found.verdict = Verdict::Tampered;
        found.problem.get_or_insert_with(|| "the store holds the id of another log".to_owned());
    }
    found.origin = Some(evidence.origin.to_owned());
    Ok(found)
}

/// What was found beside the events.
struct Extra {
    begins_badly: bool,
    sealed: bool,
    nodes: bool,
    epochs: Vec<(i64, String)>,
    sessions_hold: bool,
    root_before: Hash,
}

fn judge_rows(
    rows: Rows,
    head: Option<Head>,
    evidence: &StoreEvidence<'_>,
    extra: &Extra,
) -> Verification {
    let Rows { mut walk, chain, guarded_root, .. } = rows;
    let size = walk.tree.size();
    let signed_once = evidence.guarded.flatten();
    let Some(head) = head else {
        return if size > 0 || extra.begins_badly {
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
    if !walk.pruning_is_told(&extra.root_before) {
        let first = walk.first_seq;
        walk.bad_at(first, "what is missing before it was never pruned");
    }
    if walk.first_bad.is_some() {
        return walk.tampered("");
    }
    if walk.tree.root() != signed.root || extra.begins_badly {
        return walk.tampered("the events are not those that were signed");
    }
    let end = head.parts();
    if end.is_none_or(|(tree, head_chain)| tree != walk.tree || head_chain != chain) {
        return walk.tampered("the end of the log does not follow from its events");
    }
    let (sizes, notes): (Vec<i64>, Vec<String>) = extra.epochs.iter().cloned().unzip();
    if walk.rotations.iter().map(|rotation| to_i64(rotation.size)).ne(sizes) {
        return walk.tampered("the ends of the epochs do not follow from the events");
    }
    match signer(&walk.rotations, &notes, evidence.key, evidence.origin) {
        Ok(signer) if signer == evidence.key => {}
        Ok(_) => return walk.tampered("the checkpoint is of a key whose epoch ended"),
        Err(problem) => return walk.tampered(&problem),
    }
    for (holds, problem) in [
        (extra.sessions_hold, "the counters of the sessions do not follow from the events"),
        (extra.nodes, "the stored nodes of the tree do not follow from the events"),
        (extra.sealed, "there is sealed content that belongs to no event"),
    ] {
        if !holds {
            return walk.tampered(problem);
        }
    }
    judge_end(walk, guarded_root, evidence)
}

/// What the rollback guard says to a log that holds.
fn judge_end(walk: Walk, guarded_root: Option<Hash>, evidence: &StoreEvidence<'_>) -> Verification {
    let size = walk.tree.size();
    match evidence.guarded {
        None => walk.whole(),
        Some(None) => walk.result(
            Verdict::ValidPrefix,
            Some("the rollback guard knows nothing of this log: newer events may have been lost"),
        ),
        Some(Some((guarded, _))) if guarded > size => {
            let problem = format!("{guarded} events were signed once: an older copy was put back");
            walk.result(Verdict::RolledBack, Some(&problem))
        }
        // The guard lags behind what was pruned since: only what follows can be compared.
        Some(Some((guarded, _))) if guarded < walk.first_seq => walk.whole(),
        Some(Some((guarded, root))) if guarded_root != Some(root) => {
            let problem = format!("another history of {guarded} events was signed as well");
            walk.result(Verdict::Forked, Some(&problem))
        }
        Some(Some(_)) => walk.whole(),
    }
}

/// What a walk along the rows found.
struct Rows {
    walk: Walk,
    chain: Hash,
    /// The root at the size that the guard knows.
    guarded_root: Option<Hash>,
    sealed: u64,
    /// How many nodes there have to be, of those that the walk completed.
    nodes: u64,
}

fn walk_rows(
    connection: &Connection,
    evidence: &StoreEvidence<'_>,
    before: Tree,
    chain: Hash,
) -> Result<Rows, VerifyErrorKind> {
    let org = evidence.org;
    let guarded_size = evidence.guarded.flatten().map(|(size, _)| size);
    let walk = Walk::after(before);
    let guarded_root = (guarded_size == Some(walk.tree.size())).then(|| walk.tree.root());
    let mut found = Rows { walk, chain, guarded_root, sealed: 0, nodes: 0 };
    let erased = erased_keys(connection, org)?;
    let mut node = connection
        .prepare_cached("SELECT hash FROM audit_node WHERE org = ?1 AND level = ?2 AND idx = ?3")?;
    let mut sealed = connection.prepare_cached(
        "SELECT ciphertext FROM audit_sealed WHERE org = ?1 AND seq = ?2 AND pointer = ?3",
    )?;
    let mut statement = connection.prepare_cached(
        "SELECT bytes, leaf, chain, seq, session, session_seq, type, ts, user, agent, \
         action_name, execution, run, success FROM audit_event WHERE org = ?1 ORDER BY seq",
    )?;
    let mut rows = statement.query([org.as_str()])?;
    while let Some(row) = rows.next()? {
        let bytes = row.get_ref(0)?.as_blob().unwrap_or_default();
        let due = found.walk.tree.size();
        if bytes.len() > MAX_LINE || has_control(bytes) {
            found.walk.bad("it is not one line, or too long");
        }
        let grown = (due % 16 == 15).then(|| found.walk.tree.clone());
        let (leaf, header) = found.walk.step(bytes, Some(org.as_str()));
        if header.is_some_and(|header| !row_agrees(row, &header)) {
            found.walk.bad_at(due, "its row does not say what its bytes say");
        }
        found.chain = chain_hash(&found.chain, &leaf);
        if row.get_ref(1)?.as_blob().ok() != Some(leaf.as_slice()) {
            found.walk.bad_at(due, "its bytes are not those that were hashed");
        }
        if row.get_ref(2)?.as_blob().ok() != Some(found.chain.as_slice()) {
            found.walk.bad_at(due, "the chain breaks there");
        }
        if let Some(mut grown) = grown {
            let mut made = Vec::new();
            grown.push_noting(leaf, |place, hash| made.push((place, hash)));
            for (place, hash) in made {
                found.nodes += 1;
                if !node_is(&mut node, org, place, &hash)? {
                    found.walk.bad_at(due, "a node of the tree that it completes is another one");
                }
            }
        }
        if contains_ciphertext(bytes)
            && let Some(problem) =
                sealed_problem(&mut sealed, org, due, bytes, &erased, &mut found.sealed)?
        {
            found.walk.bad_at(due, problem);
        }
        if guarded_size == Some(found.walk.tree.size()) {
            found.guarded_root = Some(found.walk.tree.root());
        }
    }
    Ok(found)
}

fn node_is(
    statement: &mut CachedStatement<'_>,
    org: &Name,
    place: Node,
    hash: &Hash,
) -> Result<bool, VerifyErrorKind> {
    let stored: Option<Vec<u8>> = statement
        .query_row(params![org.as_str(), place.level, to_i64(place.index)], |row| row.get(0))
        .optional()?;
    Ok(stored.as_deref() == Some(hash.as_slice()))
}

/// Whether nothing is stored as a node but what has to be: those that the walk completed, and
/// below what was pruned those that lead to the root that is said of it.
fn nodes_hold(
    connection: &Connection,
    org: &Name,
    before: &Tree,
    walked: u64,
) -> Result<bool, VerifyErrorKind> {
    let stored = count(connection, "audit_node", org)?;
    let first = before.size();
    // A log of the first version has none until its next append.
    if stored == 0 && first == 0 {
        return Ok(true);
    }
    let pruned: u64 = (1..16).map(|level| first >> (level * 4)).sum();
    if stored != walked + pruned {
        return Ok(false);
    }
    if first == 0 {
        return Ok(true);
    }
    let mut node = connection
        .prepare_cached("SELECT hash FROM audit_node WHERE org = ?1 AND level = ?2 AND idx = ?3")?;
    let mut lowest = connection.prepare_cached(
        "SELECT hash FROM audit_node WHERE org = ?1 AND level = 1 AND idx < ?2 ORDER BY idx",
    )?;
    let mut rows = lowest.query(params![org.as_str(), to_i64(first / 16)])?;
    let mut tree = Tree::new();
    while let Some(row) = rows.next()? {
        let bytes = row.get_ref(0)?.as_blob().unwrap_or_default();
        let Ok(hash) = <Hash>::try_from(bytes) else { return Ok(false) };
        let mut made = Vec::new();
        tree.push_noting(hash, |place, hash| made.push((place, hash)));
        for (place, hash) in made {
            let place = Node { level: place.level + 1, ..place };
            if !node_is(&mut node, org, place, &hash)? {
                return Ok(false);
            }
        }
    }
    Ok(tree.root() == before.root())
}

fn count(connection: &Connection, table: &str, org: &Name) -> Result<u64, VerifyErrorKind> {
    let sql = format!("SELECT count(*) FROM {table} WHERE org = ?1");
    let count: i64 =
        connection.prepare_cached(&sql)?.query_row([org.as_str()], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

fn erased_keys(connection: &Connection, org: &Name) -> Result<HashSet<String>, VerifyErrorKind> {
    let mut statement =
        connection.prepare_cached("SELECT key_id FROM audit_erased WHERE org = ?1")?;
    let keys = statement.query_map([org.as_str()], |row| row.get(0))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

fn contains_ciphertext(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|line| line.contains("\"ct\":\"sha256:"))
}

/// What is wrong with the ciphertexts beside an event. Those of an erased person may be gone.
fn sealed_problem(
    statement: &mut CachedStatement<'_>,
    org: &Name,
    seq: u64,
    bytes: &[u8],
    erased: &HashSet<String>,
    found: &mut u64,
) -> Result<Option<&'static str>, VerifyErrorKind> {
    for field in sealed_fields(bytes) {
        let stored: Option<Vec<u8>> = statement
            .query_row(params![org.as_str(), to_i64(seq), field.pointer], |row| row.get(0))
            .optional()?;
        match stored {
            Some(ciphertext) => {
                *found += 1;
                if Digest::of(&ciphertext).to_string() != field.ct {
                    return Ok(Some("what was sealed beside it is not what was sealed"));
                }
            }
            None if erased.contains(&field.key) => {}
            None => return Ok(Some("what was sealed beside it is gone, and nobody was erased")),
        }
    }
    Ok(None)
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
    walk: &Walk,
) -> Result<bool, VerifyErrorKind> {
    let sessions: &HashMap<String, u64> = &walk.sessions;
    let mut statement =
        connection.prepare_cached("SELECT session, next_seq FROM audit_session WHERE org = ?1")?;
    let mut rows = statement.query([org.as_str()])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let (session, next): (String, i64) = (row.get(0)?, row.get(1)?);
        match sessions.get(&session) {
            Some(due) if Some(*due) == u64::try_from(next).ok() => count += 1,
            // All its events were pruned.
            None if walk.first_seq > 0 && next >= 0 => {}
            _ => return Ok(false),
        }
    }
    Ok(count == sessions.len())
}
