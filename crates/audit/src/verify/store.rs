//! Verifying the rows of a store.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::ops::Range;

use lictor_context::{Digest, Name, Timestamp};
use memchr::memmem::Finder;

use super::epochs::signer;
use super::{Bad, Verdict, Verification, Walk};
use crate::error::VerifyErrorKind;
use crate::header::{Header, has_control};
use crate::line::MAX_LINE;
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
    let bad_session =
        reader.sessions(org)?.is_some_and(|sessions| !sessions_hold(sessions, &rows.walk));
    let bad_node = match stored_nodes.filter(|_| has_nodes) {
        Some(stored) => bad_node(reader, org, &before, (rows.nodes, stored))?,
        None => None,
    };
    let extra = Extra {
        begins_badly: !begins_well,
        strange_seal: reader.count_sealed(org)? != rows.sealed,
        bad_node,
        epochs: reader.epochs(org)?,
        bad_session,
        root_before: before.root(),
    };
    let first_seq = before.size();
    let mut found = judge_rows(rows, head, evidence, &extra);
    let log_id = reader.log_id()?;
    if log_id.as_deref() != Some(evidence.log_id)
        && !matches!(found.verdict, Verdict::NoEvidence | Verdict::Tampered)
    {
        let walk = Walk::after(before);
        let other = walk.unvouched(first_seq, "the store holds the id of another log");
        found = Verification { events: found.events, root: found.root, ..other };
    }
    found.origin = Some(evidence.origin.to_owned());
    Ok(found)
}

/// What was found beside the events.
struct Extra {
    begins_badly: bool,
    strange_seal: bool,
    bad_node: Option<u64>,
    epochs: Vec<(u64, String)>,
    bad_session: bool,
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
    let (sizes, notes): (Vec<u64>, Vec<String>) = extra.epochs.iter().cloned().unzip();
    let rotations = std::mem::take(&mut walk.rotations);
    let signed_by = signer(&rotations, &notes, evidence.key, evidence.origin, walk.first_seq);
    let from = signed_by.as_ref().map_or_else(|broken| broken.from, |signer| signer.from);
    let Some(head) = head else {
        return if size > 0 || extra.begins_badly {
            walk.unvouched(from, "the end of the log is gone")
        } else if signed_once.is_some() {
            let problem = "the log is empty, and events were signed once";
            rolled_back(walk, problem)
        } else {
            walk.result(Verdict::NoEvidence, Some("the log is empty, and nothing was ever signed"))
        };
    };
    let signed = match Checkpoint::open(&head.note, evidence.key) {
        Ok(signed) if signed.origin == evidence.origin => Ok(signed),
        Ok(_) => Err("the checkpoint is of another log".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    if let Ok(signed) = &signed {
        if size < signed.size {
            let signed = signed.size;
            walk.bad_at(
                size,
                format!("it is missing, as is everything after it: {signed} were signed"),
            );
        } else if size > signed.size {
            walk.bad_at(signed.size, format!("it was never signed: only {} were", signed.size));
        }
        if !walk.pruning_is_told(&extra.root_before) {
            let first = walk.first_seq;
            walk.bad_at(first, "what is missing before it was never pruned");
        }
    }
    if let Some(bad) = walk.first_bad.take() {
        return walk.tampered(bad);
    }
    match signed {
        Err(problem) => return walk.unvouched(from, &problem),
        Ok(signed) if walk.tree.root() != signed.root || extra.begins_badly => {
            return walk.unvouched(from, "the events are not those that were signed");
        }
        Ok(_) => {}
    }
    if let Some(seq) = end_parts(&head, &walk.tree, &chain) {
        let problem = "the end of the log, as it is stored, does not follow from its events";
        return walk.tampered(Bad::at(seq, problem));
    }
    let told: Vec<u64> = rotations.iter().map(|rotation| rotation.size).collect();
    if let Some(seq) = epochs_part(&told, &sizes) {
        let problem = "the ends of the epochs do not follow from the events";
        return walk.tampered(Bad::at(seq, problem));
    }
    match signed_by {
        Ok(signer) if signer.key == evidence.key => {}
        Ok(_) => return walk.unvouched(from, "the checkpoint is of a key whose epoch ended"),
        Err(broken) => return walk.unvouched(from, &broken.problem),
    }
    // What the log would go on with is no event yet: the next one would not follow.
    for (bad, problem) in [
        (extra.bad_node, "a stored node of the tree does not follow from the events"),
        (extra.bad_session.then_some(size), "a session would go on with another number"),
        (extra.strange_seal.then_some(size), "there is sealed content that belongs to no event"),
    ] {
        if let Some(seq) = bad {
            return walk.tampered(Bad::at(seq, problem));
        }
    }
    judge_end(walk, guarded_root, evidence)
}

fn rolled_back(walk: Walk, problem: &str) -> Verification {
    let missing = walk.tree.size();
    let found = walk.result(Verdict::RolledBack, Some(problem));
    Verification { first_bad_seq: Some(missing), ..found }
}

/// The first event that is under a hash of the stored end that is another one; the last event, when
/// it is the chain.
fn end_parts(head: &Head, tree: &Tree, chain: &Hash) -> Option<u64> {
    let last = tree.size().saturating_sub(1);
    if head.size != tree.size() {
        return Some(last);
    }
    let other = parting(&head.frontier, tree);
    other.or_else(|| (head.chain != *chain).then_some(last))
}

/// The first event under the first hash of a tree in whose place another one is stored.
fn parting(stored: &[u8], tree: &Tree) -> Option<u64> {
    let (due, size) = (tree.frontier(), tree.size());
    if stored == due {
        return None;
    }
    let same = stored.iter().zip(&due).take_while(|(stored, due)| stored == due).count();
    // Each hash stands for a bit of the size, the largest first.
    let runs = (0..u64::BITS).rev().map(|bit| size & (1 << bit)).filter(|run| *run > 0);
    let before: u64 = runs.take(same / size_of::<Hash>()).sum();
    Some(before.min(size.saturating_sub(1)))
}

/// The first event that ends an epoch only in one of two lists.
fn epochs_part(told: &[u64], stored: &[u64]) -> Option<u64> {
    let longer = told.len().max(stored.len());
    let at = (0..longer).find(|at| told.get(*at) != stored.get(*at))?;
    let size = told.get(at).into_iter().chain(stored.get(at)).min()?;
    Some(size.saturating_sub(1))
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
            rolled_back(walk, &problem)
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
    let stored = StoredNodes { reader, org, runs: Vec::new() };
    let ciphertext = Finder::new(CIPHERTEXT);
    let mut walking =
        Walking { reader, org, stored, ciphertext, keeps_nodes, erased, guarded_size, found };
    let mut result = Ok(());
    reader.rows(org, &mut |row| go_on(&mut result, walking.step(&row)))?;
    result.map(|()| walking.found)
}

/// On the way along the rows.
struct Walking<'a> {
    reader: &'a dyn TrailReader,
    org: &'a Name,
    stored: StoredNodes<'a>,
    /// Finds [`CIPHERTEXT`].
    ciphertext: Finder<'static>,
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
        if self.keeps_nodes {
            for at in 0..found.walk.made.len() {
                let Some((place, hash)) = found.walk.made.get(at).copied() else { break };
                found.nodes += 1;
                // Above an event that is bad itself, no node can be the one that is due.
                if found.walk.first_bad.is_none() && !self.stored.has(place, &hash)? {
                    let (first, problem) =
                        (place.first(), "a node of the tree over it is another one");
                    found.walk.bad_at(first, problem);
                }
            }
        }
        if self.ciphertext.find(bytes).is_some()
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

/// So many nodes of one level are read at once.
const RUN: u64 = 64;

/// The nodes of the tree as they are stored, level by level, each level in order.
struct StoredNodes<'a> {
    reader: &'a dyn TrailReader,
    org: &'a Name,
    /// By level: where what was read last begins, and what it was.
    runs: Vec<(u64, Vec<Hash>)>,
}

impl StoredNodes<'_> {
    /// Whether this is what is stored at a place. Where one is missing, those after it stand in a wrong
    /// place; it was asked for before them.
    fn has(&mut self, place: Node, hash: &Hash) -> Result<bool, VerifyErrorKind> {
        let level = usize::try_from(place.level).unwrap_or(usize::MAX);
        if self.runs.len() <= level {
            self.runs.resize_with(level.saturating_add(1), Default::default);
        }
        let Some((first, run)) = self.runs.get_mut(level) else { return Ok(false) };
        let at = |first: u64| usize::try_from(place.index.checked_sub(first)?).ok();
        if at(*first).is_none_or(|at| at >= run.len()) {
            (*first, *run) = (place.index, self.reader.hashes(self.org, place, RUN)?);
        }
        Ok(at(*first).and_then(|at| run.get(at)) == Some(hash))
    }
}

/// The first event under a node that is not as it has to be: those that the walk completed were
/// looked at, so it is one too many, or one below what was pruned that does not lead to the root that
/// is said of it.
fn bad_node(
    reader: &dyn TrailReader,
    org: &Name,
    before: &Tree,
    (walked, stored): (u64, u64),
) -> Result<Option<u64>, VerifyErrorKind> {
    let first = before.size();
    let mut tree = Tree::new();
    let mut nodes = StoredNodes { reader, org, runs: Vec::new() };
    for hash in reader.hashes(org, Node { level: 1, index: 0 }, first / 16)? {
        let mut made = Vec::new();
        tree.push_noting(hash, |place, hash| made.push((place, hash)));
        for (place, hash) in made {
            let place = Node { level: place.level + 1, ..place };
            if !nodes.has(place, &hash)? {
                return Ok(Some(place.first()));
            }
        }
    }
    if let Some(seq) = parting(&tree.frontier(), before) {
        return Ok(Some(seq));
    }
    let pruned: u64 = (1..16).map(|level| first >> (level * 4)).sum();
    Ok((stored != walked + pruned).then_some(first))
}

/// What stands in an event with something sealed beside it.
const CIPHERTEXT: &str = "\"ct\":\"sha256:";

/// Whether what is kept beside a line says what the line says.
fn agrees(beside: &Beside<'_>, header: &Header<'_>) -> bool {
    let time = beside.timestamp;
    i64::try_from(header.seq) == Ok(beside.seq)
        && beside.session == header.session_id
        && i64::try_from(header.session_seq) == Ok(beside.session_seq)
        && beside.event_type == header.event_type
        && (is_written(time, &header.timestamp) || is_read(time, &header.timestamp))
        && beside.user == header.user_id
        && beside.agent == header.agent_id
        && beside.action_name == header.action_name.as_deref()
        && beside.execution == header.execution_id.as_deref()
        && beside.run == header.workflow_run_id.as_deref()
        && beside.success == header.success
}

/// The year 2100: until then each microsecond has one text, and that text is no other's.
const WRITTEN: Range<i64> = 0..4_102_444_800_000_000;

/// Whether a time stands in a text as it is written here. Reading one takes longer than writing it.
fn is_written(micros: i64, text: &str) -> bool {
    struct Rest<'a>(&'a str);
    impl fmt::Write for Rest<'_> {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    let mut rest = Rest(text);
    WRITTEN.contains(&micros)
        && write!(rest, "{}", Timestamp::from_micros(micros)).is_ok()
        && rest.0.is_empty()
}

/// Whether a time is what a text says, however that is written.
fn is_read(micros: i64, text: &str) -> bool {
    Timestamp::parse(text).is_ok_and(|time| time.as_micros() == micros)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A text that is taken for a time because it is written like it is read as that time, and no
        /// other text of it is taken so.
        #[test]
        fn what_is_written_like_a_time_is_read_as_it(micros in WRITTEN, at in 0..27_usize, digit in b'0'..=b'9') {
            let mut text = Timestamp::from_micros(micros).to_string();
            prop_assert!(is_written(micros, &text) && is_read(micros, &text));
            text.replace_range(at..=at, char::from(digit).encode_utf8(&mut [0; 4]));
            prop_assert!(!is_written(micros, &text) || is_read(micros, &text), "{text}");
            text.push('0');
            prop_assert!(!is_written(micros, &text), "{text}");
        }
    }

    #[test]
    fn a_time_that_has_no_text_of_its_own_is_read() {
        for micros in [i64::MIN, -1, WRITTEN.end, i64::MAX] {
            let text = Timestamp::from_micros(micros).to_string();
            assert!(!is_written(micros, &text), "{text}");
        }
    }
}
