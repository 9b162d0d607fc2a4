//! Verifying the rows of a store.

use std::collections::HashSet;

use lictor_context::{Digest, Name, Timestamp};

use super::epochs::signer;
use super::{Verdict, Verification, Walk};
use crate::error::VerifyErrorKind;
use crate::header::Header;
use crate::line::{MAX_LINE, contains};
use crate::log::{Checkpoint, Hash, Node, PublicKey, Tree, chain_hash};
use crate::sealed::sealed_fields;
use crate::stores::{Beside, Head, StoredRow, TrailReader, beginning};
use crate::trail::go_on;

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
    reader: &dyn TrailReader,
    evidence: &StoreEvidence<'_>,
) -> Result<Verification, VerifyErrorKind> {
    let org = evidence.org;
    let head = reader.head(org)?;
    let pruned = reader.pruned(org)?;
    let (before, chain, begins_well) = beginning(pruned.as_ref());
    let stored_nodes = reader.count_nodes(org)?;
    // A log of the first version has none until its next append.
    let has_nodes = stored_nodes.is_some_and(|nodes| nodes > 0 || before.size() > 0);
    let mut rows = walk_rows(reader, evidence, (before.clone(), chain), has_nodes)?;
    if let Some((seq, problem)) = reader.damage(org)? {
        rows.walk.bad_at(seq, problem);
    }
    let sessions_hold =
        reader.sessions(org)?.is_none_or(|sessions| sessions_hold(sessions, &rows.walk));
    let nodes = match stored_nodes.filter(|_| has_nodes) {
        Some(stored) => nodes_hold(reader, org, &before, (rows.nodes, stored))?,
        None => true,
    };
    let extra = Extra {
        begins_badly: !begins_well,
        sealed: reader.count_sealed(org)? == rows.sealed,
        nodes,
        epochs: reader.epochs(org)?,
        sessions_hold,
        root_before: before.root(),
    };
    let mut found = judge_rows(rows, head, evidence, &extra);
    let log_id = reader.log_id()?;
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
    epochs: Vec<(u64, String)>,
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
    let (sizes, notes): (Vec<u64>, Vec<String>) = extra.epochs.iter().cloned().unzip();
    if walk.rotations.iter().map(|rotation| rotation.size).ne(sizes) {
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
    reader: &dyn TrailReader,
    evidence: &StoreEvidence<'_>,
    (before, chain): (Tree, Hash),
    keeps_nodes: bool,
) -> Result<Rows, VerifyErrorKind> {
    let org = evidence.org;
    let guarded_size = evidence.guarded.flatten().map(|(size, _)| size);
    let walk = Walk::after(before);
    let guarded_root = (guarded_size == Some(walk.tree.size())).then(|| walk.tree.root());
    let found = Rows { walk, chain, guarded_root, sealed: 0, nodes: 0 };
    let erased = reader.erased_keys(org)?;
    let mut walking = Walking { reader, org, keeps_nodes, erased, guarded_size, found };
    let mut result = Ok(());
    reader.rows(org, &mut |row| go_on(&mut result, walking.step(&row)))?;
    result.map(|()| walking.found)
}

/// On the way along the rows.
struct Walking<'a> {
    reader: &'a dyn TrailReader,
    org: &'a Name,
    keeps_nodes: bool,
    erased: HashSet<String>,
    guarded_size: Option<u64>,
    found: Rows,
}

impl Walking<'_> {
    fn step(&mut self, row: &StoredRow<'_>) -> Result<(), VerifyErrorKind> {
        let (bytes, found) = (row.line.bytes, &mut self.found);
        let due = found.walk.tree.size();
        if bytes.len() > MAX_LINE || has_control(bytes) {
            found.walk.bad("it is not one line, or too long");
        }
        let grown = (self.keeps_nodes && due % 16 == 15).then(|| found.walk.tree.clone());
        let (leaf, header) = found.walk.step(bytes, Some(self.org.as_str()));
        found.chain = chain_hash(&found.chain, &leaf);
        if row.line.leaf.is_some_and(|stored| stored != leaf) {
            found.walk.bad_at(due, "its bytes are not those that were hashed");
        }
        if let Some(beside) = &row.beside {
            if header.is_some_and(|header| !agrees(beside, &header)) {
                found.walk.bad_at(due, "its row does not say what its bytes say");
            }
            if beside.chain != found.chain {
                found.walk.bad_at(due, "the chain breaks there");
            }
        }
        if let Some(mut grown) = grown {
            let mut made = Vec::new();
            grown.push_noting(leaf, |place, hash| made.push((place, hash)));
            for (place, hash) in made {
                found.nodes += 1;
                if !node_is(self.reader, self.org, place, &hash)? {
                    found.walk.bad_at(due, "a node of the tree that it completes is another one");
                }
            }
        }
        if contains_ciphertext(bytes)
            && let Some(problem) = self.sealed_problem(due, bytes)?
        {
            self.found.walk.bad_at(due, problem);
        }
        let found = &mut self.found;
        if self.guarded_size == Some(found.walk.tree.size()) {
            found.guarded_root = Some(found.walk.tree.root());
        }
        Ok(())
    }

    /// What is wrong with the ciphertexts beside an event. Those of an erased person may be gone.
    fn sealed_problem(
        &mut self,
        seq: u64,
        bytes: &[u8],
    ) -> Result<Option<&'static str>, VerifyErrorKind> {
        for field in sealed_fields(bytes) {
            match self.reader.sealed(self.org, seq, &field.pointer)? {
                Some(ciphertext) => {
                    self.found.sealed += 1;
                    if Digest::of(&ciphertext).to_string() != field.ct {
                        return Ok(Some("what was sealed beside it is not what was sealed"));
                    }
                }
                None if self.erased.contains(&field.key) => {}
                None => {
                    return Ok(Some("what was sealed beside it is gone, and nobody was erased"));
                }
            }
        }
        Ok(None)
    }
}

fn node_is(
    reader: &dyn TrailReader,
    org: &Name,
    place: Node,
    hash: &Hash,
) -> Result<bool, VerifyErrorKind> {
    Ok(reader.hashes(org, place, 1)?.first() == Some(hash))
}

/// Whether nothing is stored as a node but what has to be: those that the walk completed, and
/// below what was pruned those that lead to the root that is said of it.
fn nodes_hold(
    reader: &dyn TrailReader,
    org: &Name,
    before: &Tree,
    (walked, stored): (u64, u64),
) -> Result<bool, VerifyErrorKind> {
    let first = before.size();
    let pruned: u64 = (1..16).map(|level| first >> (level * 4)).sum();
    if stored != walked + pruned {
        return Ok(false);
    }
    if first == 0 {
        return Ok(true);
    }
    let mut tree = Tree::new();
    for hash in reader.hashes(org, Node { level: 1, index: 0 }, first / 16)? {
        let mut made = Vec::new();
        tree.push_noting(hash, |place, hash| made.push((place, hash)));
        for (place, hash) in made {
            let place = Node { level: place.level + 1, ..place };
            if !node_is(reader, org, place, &hash)? {
                return Ok(false);
            }
        }
    }
    Ok(tree.root() == before.root())
}

fn contains_ciphertext(bytes: &[u8]) -> bool {
    contains(bytes, "\"ct\":\"sha256:")
}

/// Without a way out in the middle, so that it is done many bytes at a time.
fn has_control(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, byte| found | (*byte < b' '))
}

/// Whether what is kept beside a line says what the line says.
fn agrees(beside: &Beside<'_>, header: &Header<'_>) -> bool {
    let time = Timestamp::parse(&header.timestamp).ok().map(Timestamp::as_micros);
    i64::try_from(header.seq) == Ok(beside.seq)
        && beside.session == header.session_id
        && i64::try_from(header.session_seq) == Ok(beside.session_seq)
        && beside.event_type == header.event_type
        && time == Some(beside.timestamp)
        && beside.user == header.user_id
        && beside.agent == header.agent_id
        && beside.action_name == header.action_name.as_deref()
        && beside.execution == header.execution_id.as_deref()
        && beside.run == header.workflow_run_id.as_deref()
        && beside.success == header.success
}

fn sessions_hold(stored: Vec<(String, u64)>, walk: &Walk) -> bool {
    let mut count = 0;
    for (session, next) in stored {
        match walk.sessions.get(&session) {
            Some(due) if *due == next => count += 1,
            // All its events were pruned.
            None if walk.first_seq > 0 && i64::try_from(next).is_ok() => {}
            _ => return false,
        }
    }
    count == walk.sessions.len()
}
