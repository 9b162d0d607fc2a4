//! Whether a log holds: everything is read and computed anew, in memory that does not grow with
//! the number of events.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, Read as _};

use lictor_context::{Digest, Name, Timestamp};
use lictor_store::rusqlite::{Connection, Row};
use serde::Serialize;

use crate::error::{VerifyError, VerifyErrorKind};
use crate::export::LEAVES;
use crate::line::{Header, MAX_LINE};
use crate::log::{
    CHAIN_START, Checkpoint, CheckpointErrorKind, Hash, PublicKey, Tree, chain_hash, leaf_hash,
    parse_hash,
};
use crate::trail::{Head, read_log_id};

/// The longest signed note that is read.
const MAX_NOTE: usize = 64 * 1024;

/// What a verification found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every event that was signed is there, as it was signed, and no other one.
    Complete,
    /// What is there is as it was signed, from the first event on; the end is not proven.
    ValidPrefix,
    /// Something is not as it was signed.
    Tampered,
    /// It holds in itself, but another history was signed as well.
    Forked,
    /// It holds in itself, but more was signed once: an older copy was put back.
    RolledBack,
    /// As complete, but for old events whose removal is itself proven. Not given yet.
    Pruned,
    /// There is nothing that could prove anything.
    NoEvidence,
}

impl Verdict {
    /// The name that stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ValidPrefix => "valid_prefix",
            Self::Tampered => "tampered",
            Self::Forked => "forked",
            Self::RolledBack => "rolled_back",
            Self::Pruned => "pruned",
            Self::NoEvidence => "no_evidence",
        }
    }

    /// Whether everything is proven, the end included.
    #[must_use]
    pub const fn is_proven(self) -> bool {
        matches!(self, Self::Complete | Self::Pruned)
    }

    /// Whether what is there is proven, or there is nothing to prove, and only the end is open.
    #[must_use]
    pub const fn is_unproven_end(self) -> bool {
        matches!(self, Self::ValidPrefix | Self::NoEvidence)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a verification found, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[must_use]
pub struct Verification {
    /// The result.
    pub verdict: Verdict,
    /// How many events were read.
    pub events: u64,
    /// The root over them; none when there are none.
    pub root: Option<Digest>,
    /// The first place at which something is not as it should be, when it can be told.
    pub first_bad_seq: Option<u64>,
    /// What is the matter, in words; nothing when everything is well.
    pub problem: Option<String>,
    /// Which log the checkpoint says that it is of.
    #[serde(skip)]
    pub origin: Option<String>,
}

/// Reads lines in the order in which they were signed, and remembers the first that is wrong.
#[derive(Default, Clone)]
struct Walk {
    tree: Tree,
    sessions: HashMap<String, u64>,
    first_bad: Option<Bad>,
}

#[derive(Clone)]
struct Bad {
    seq: u64,
    problem: String,
}

impl Walk {
    /// One more line. `org` is whose log it has to be.
    fn step<'a>(&mut self, line: &'a [u8], org: Option<&str>) -> (Hash, Option<Header<'a>>) {
        let leaf = leaf_hash(line);
        let header = Header::parse(line);
        self.check(header.as_ref(), org);
        self.tree.push(leaf);
        (leaf, header)
    }

    fn check(&mut self, header: Option<&Header<'_>>, org: Option<&str>) {
        let due = self.tree.size();
        let Some(header) = header else {
            return self.bad("it is not an event");
        };
        if header.seq > due {
            self.bad(format!("it is missing: event {} stands in its place", header.seq));
        } else if header.seq < due {
            self.bad(format!("event {} stands in its place", header.seq));
        }
        if org.is_some_and(|org| org != header.org_id) {
            self.bad("it is of another organisation");
        }
        let next = match self.sessions.get_mut(&*header.session_id) {
            Some(next) => next,
            None => self.sessions.entry(header.session_id.clone().into_owned()).or_insert(0),
        };
        let session_due = *next;
        *next += 1;
        if header.session_seq != session_due {
            self.bad(format!("its session_seq is {}, not {session_due}", header.session_seq));
        }
    }

    /// The event that is due is wrong.
    fn bad(&mut self, problem: impl Into<String>) {
        let seq = self.tree.size();
        self.bad_at(seq, problem);
    }

    fn bad_at(&mut self, seq: u64, problem: impl Into<String>) {
        if self.first_bad.as_ref().is_none_or(|bad| seq < bad.seq) {
            self.first_bad = Some(Bad { seq, problem: problem.into() });
        }
    }

    fn result(self, verdict: Verdict, problem: Option<&str>) -> Verification {
        let events = self.tree.size();
        let bad = (verdict == Verdict::Tampered).then_some(self.first_bad).flatten();
        let seq = bad.as_ref().map(|bad| bad.seq);
        let named = bad.map(|bad| format!("event {}: {}", bad.seq, bad.problem));
        Verification {
            verdict,
            events,
            root: (events > 0).then(|| Digest::from_bytes(self.tree.root())),
            first_bad_seq: seq,
            problem: named.or_else(|| problem.map(str::to_owned)),
            origin: None,
        }
    }

    fn tampered(self, problem: &str) -> Verification {
        self.result(Verdict::Tampered, Some(problem))
    }
}

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

/// Verifies an export with nothing but its two files and the public key. `origin` is the log that
/// it has to be of (see [`AuditLog::origin`](crate::AuditLog::origin)); without it, any log that
/// this key signs will do, and [`Verification::origin`] says which one it was.
///
/// With a bare C2SP checkpoint in the place of the second file everything is still found, but the
/// first bad event is named only when its line gives it away, and a shortened file is `tampered`:
/// nothing then shows that what is left is genuine.
///
/// # Errors
/// When a file cannot be read. What was tampered with is no error but a verdict.
pub fn verify_file(
    mut events: impl BufRead,
    mut checkpoint: impl BufRead,
    key: &PublicKey,
    origin: Option<&str>,
) -> Result<Verification, VerifyError> {
    let note = read_note(&mut checkpoint)?;
    let mut list = read_list(&mut checkpoint, note.followed)?;
    let opened = note.text.as_deref().map(|text| Checkpoint::open(text, key));
    let org = match &opened {
        Some(Ok(signed)) => signed.origin.rsplit('/').next().map(str::to_owned),
        _ => None,
    };

    let mut file = FileWalk::default();
    let mut line = Vec::new();
    while let Some(whole) = read_line(&mut events, &mut line)? {
        let listed = match &mut list {
            Some(list) => list.next(&mut checkpoint)?,
            None => None,
        };
        file.line(&line, whole, org.as_deref(), listed);
    }
    let FileWalk { walk, first_difference } = file;
    if let Some(list) = &mut list {
        while list.next(&mut checkpoint)?.is_some() {}
    }

    let mut found = match opened {
        None if walk.tree.size() == 0 && list.is_none() => {
            walk.result(Verdict::NoEvidence, Some("there is neither an event nor a checkpoint"))
        }
        None => walk.result(Verdict::NoEvidence, Some("there is no checkpoint")),
        Some(Err(error)) if error.kind() == CheckpointErrorKind::NotSigned => {
            walk.result(Verdict::NoEvidence, Some(&error.to_string()))
        }
        // Events may be as they were: it is the evidence that is damaged.
        Some(Err(error)) => Walk { first_bad: None, ..walk }.tampered(&error.to_string()),
        Some(Ok(signed)) => {
            let named = signed.origin.clone();
            let mut found = if origin.is_some_and(|origin| origin != named) {
                Walk { first_bad: None, ..walk }.tampered("the checkpoint is of another log")
            } else {
                judge_file(walk, &signed, list.as_ref(), first_difference)
            };
            found.origin = Some(named);
            found
        }
    };
    if found.verdict == Verdict::NoEvidence {
        found.first_bad_seq = None;
    }
    Ok(found)
}

/// Walks along a file, and along the list beside it.
#[derive(Default, Clone)]
struct FileWalk {
    walk: Walk,
    /// Where file and list first part. Never changes once it is set.
    first_difference: Option<u64>,
}

impl FileWalk {
    fn line(&mut self, line: &[u8], whole: bool, org: Option<&str>, listed: Option<Hash>) {
        let due = self.walk.tree.size();
        if !whole {
            self.walk.bad("its line is too long or has no end");
        }
        let (leaf, _) = self.walk.step(line, org);
        if listed != Some(leaf) || !whole {
            self.first_difference.get_or_insert(due);
        }
    }
}

fn judge_file(
    mut walk: Walk,
    signed: &Checkpoint,
    list: Option<&LeafList>,
    first_difference: Option<u64>,
) -> Verification {
    let size = walk.tree.size();
    let list_holds = list.is_some_and(|list| list.holds(signed));
    if size == signed.size && walk.tree.root() == signed.root {
        return if walk.first_bad.is_some() {
            walk.tampered("")
        } else if list.is_some() && !list_holds {
            walk.tampered("the events hold, but the list of leaves beside them does not")
        } else {
            walk.result(Verdict::Complete, None)
        };
    }
    if !list_holds {
        if size < signed.size {
            let problem = format!("it is missing, as is all after it: {} were signed", signed.size);
            walk.bad_at(size, problem);
        }
        return walk.tampered(
            "the events are not those that were signed; which one cannot be told without the \
             list of leaves",
        );
    }
    match first_difference {
        Some(seq) if seq < signed.size => {
            walk.bad_at(seq, "it is not the event that was signed");
        }
        Some(seq) => {
            walk.bad_at(seq, format!("it was never signed: only {} were", signed.size));
        }
        None => {}
    }
    if walk.first_bad.is_some() {
        return walk.tampered("");
    }
    let problem = format!("the first {size} of {} events are there and hold", signed.size);
    walk.result(Verdict::ValidPrefix, Some(&problem))
}

/// One line without its end; says whether it was whole. `None` at the end.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX).saturating_add(1);
    if reader.by_ref().take(limit).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(true));
    }
    // Too long, or torn: what is left of it is passed over, so that the next one is a line again.
    reader.skip_until(b'\n')?;
    Ok(Some(false))
}

struct Note {
    /// `None` when there is nothing at all; what is not text cannot be a note.
    text: Option<String>,
    /// Whether anything comes after it.
    followed: bool,
}

/// The signed note at the beginning: up to the second empty line, or the end.
fn read_note(reader: &mut impl BufRead) -> io::Result<Note> {
    let mut bytes = Vec::new();
    let mut empty_lines = 0;
    let mut followed = false;
    while bytes.len() <= MAX_NOTE {
        let start = bytes.len();
        let limit = u64::try_from(MAX_NOTE).unwrap_or(u64::MAX);
        if reader.by_ref().take(limit).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        if bytes.get(start..) == Some(b"\n") {
            empty_lines += 1;
            if empty_lines == 2 {
                bytes.truncate(start);
                followed = true;
                break;
            }
        }
    }
    let text = (!bytes.is_empty()).then(|| String::from_utf8(bytes).unwrap_or_default());
    Ok(Note { text, followed })
}

/// The list of leaves, read beside the events.
struct LeafList {
    tree: Tree,
    line: Vec<u8>,
    well_formed: bool,
}

fn read_list(reader: &mut impl BufRead, followed: bool) -> io::Result<Option<LeafList>> {
    if !followed {
        return Ok(None);
    }
    let mut list = LeafList { tree: Tree::new(), line: Vec::new(), well_formed: true };
    let whole = read_line(reader, &mut list.line)?;
    list.well_formed = whole == Some(true) && list.line == LEAVES.as_bytes();
    Ok(Some(list))
}

impl LeafList {
    fn next(&mut self, reader: &mut impl BufRead) -> io::Result<Option<Hash>> {
        if !self.well_formed {
            return Ok(None);
        }
        let Some(whole) = read_line(reader, &mut self.line)? else {
            return Ok(None);
        };
        let leaf = std::str::from_utf8(&self.line).ok().and_then(parse_hash);
        self.well_formed = whole && leaf.is_some();
        if self.well_formed {
            self.tree.push(leaf.unwrap_or_default());
        }
        Ok(leaf.filter(|_| self.well_formed))
    }

    /// Whether it is the list that was signed.
    fn holds(&self, signed: &Checkpoint) -> bool {
        self.well_formed && self.tree.size() == signed.size && self.tree.root() == signed.root
    }
}

#[cfg(test)]
mod tests {
    use lictor_context::{
        Event, EventFacts, EventType, ManualClock, Principal, Session, SessionId, Timestamp,
    };

    use super::*;
    use crate::key::SigningKey;
    use crate::line::{Place, event_line};
    use crate::log::base64_hash;

    struct Export {
        lines: Vec<Vec<u8>>,
        checkpoint: Vec<u8>,
        key: SigningKey,
        signed: Checkpoint,
    }

    fn export() -> Export {
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
        let name = |text| Name::parse(text).unwrap();
        let principal = Principal { org: name("acme"), user: name("ann"), agent: name("planner") };
        let sessions: Vec<_> = ["ses_1", "ses_2"]
            .iter()
            .map(|id| Session::resume(SessionId::parse(id).unwrap(), principal.clone()))
            .collect();
        let mut tree = Tree::new();
        let mut list = String::new();
        let mut lines = Vec::new();
        for seq in 0..50_u64 {
            let session = &sessions[usize::try_from(seq % 2).unwrap()];
            let facts = EventFacts {
                action_name: Some("fs.write".into()),
                success: Some(true),
                ..EventFacts::default()
            };
            let event = Event::new(session, EventType::ActionCompleted, facts, &clock);
            let line = event_line(&event, Place { seq, session_seq: seq / 2 });
            tree.push(leaf_hash(&line));
            list.push_str(&base64_hash(&leaf_hash(&line)));
            list.push('\n');
            lines.push(line);
        }
        let key = SigningKey::from_seed(&[1; 32]);
        let signed = Checkpoint { origin: "lictor/x/acme".into(), size: 50, root: tree.root() };
        let checkpoint = format!("{}\n{LEAVES}\n{list}", key.sign(&signed)).into_bytes();
        Export { lines, checkpoint, key, signed }
    }

    fn joined(lines: &[Vec<u8>]) -> Vec<u8> {
        lines.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect()
    }

    fn verify(export: &Export, events: &[u8], checkpoint: &[u8]) -> Verification {
        verify_file(events, checkpoint, export.key.public(), None).unwrap()
    }

    /// Halves the work of a long loop between the two processors that everybody has.
    fn on_two_threads(count: usize, each: impl Fn(usize) + Sync) {
        std::thread::scope(|scope| {
            let each = &each;
            for half in 0..2 {
                scope.spawn(move || (half..count).step_by(2).for_each(each));
            }
        });
    }

    /// Every bit of every line, its end included. That the line differs from the list is final,
    /// whatever follows it: so the walk need not go on, and the test stays fast. The test after
    /// this one goes all the way.
    #[test]
    fn every_bit_flip_of_the_events_is_found_at_its_line() {
        let export = export();
        let walks: Vec<_> = std::iter::once(FileWalk::default())
            .chain(export.lines.iter().scan(FileWalk::default(), |walk, line| {
                walk.line(line, true, Some("acme"), Some(leaf_hash(line)));
                Some(walk.clone())
            }))
            .collect();
        on_two_threads(export.lines.len(), |k| {
            let original = joined(&export.lines[k..(k + 2).min(50)]);
            let listed = Some(leaf_hash(&export.lines[k]));
            for bit in 0..(export.lines[k].len() + 1) * 8 {
                let mut bytes = original.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let mut walk = walks[k].clone();
                let mut line = Vec::new();
                let mut reader = bytes.as_slice();
                let whole = read_line(&mut reader, &mut line).unwrap().unwrap();
                walk.line(&line, whole, Some("acme"), listed);
                assert_eq!(walk.first_difference, Some(k as u64), "line {k}, bit {bit}");
                assert!(walk.walk.first_bad.is_none_or(|bad| bad.seq == k as u64));
            }
        });
    }

    fn flips_of_the_events(step: usize) {
        let export = export();
        let events = joined(&export.lines);
        assert_eq!(verify(&export, &events, &export.checkpoint).verdict, Verdict::Complete);
        on_two_threads(events.len() * 8 / step, |n| {
            let bit = n * step;
            let mut bytes = events.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = verify(&export, &bytes, &export.checkpoint);
            let line = events[..bit / 8].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(found.verdict, Verdict::Tampered, "bit {bit}");
            assert_eq!(found.first_bad_seq, Some(line as u64), "bit {bit}");
            assert!(found.problem.unwrap().starts_with(&format!("event {line}: ")));
        });
    }

    #[test]
    fn bit_flips_of_the_events_are_found_by_the_whole_verifier() {
        flips_of_the_events(997);
    }

    #[test]
    #[ignore = "the same for each single bit; half a minute in release"]
    fn every_bit_flip_of_the_events_is_found_by_the_whole_verifier() {
        flips_of_the_events(1);
    }

    /// A signature over counters that are not dense is a lie of the writer; it does not pass.
    #[test]
    fn what_was_signed_has_to_be_dense_and_of_the_organisation() {
        let export = export();
        for (from, to, seq) in [
            ("\"seq\":7,", "\"seq\":8,", 7),
            ("\"seq\":7,", "\"seq\":6,", 7),
            ("\"seq\":7,\"session_seq\":3", "\"seq\":7,\"session_seq\":4", 7),
            ("acme", "evil", 0),
            ("{\"v\":1", "{\"v\":2", 0),
            ("}", "", 0),
        ] {
            let mut tree = Tree::new();
            let replace = |line: &Vec<u8>| {
                String::from_utf8(line.clone()).unwrap().replace(from, to).into_bytes()
            };
            let lines: Vec<_> = export.lines.iter().map(replace).collect();
            lines.iter().for_each(|line| tree.push(leaf_hash(line)));
            let signed = Checkpoint { root: tree.root(), ..export.signed.clone() };
            let note = export.key.sign(&signed);
            let found = verify(&export, &joined(&lines), note.as_bytes());
            assert_eq!((found.verdict, found.first_bad_seq), (Verdict::Tampered, Some(seq)));
        }
    }

    #[test]
    fn every_bit_flip_of_the_note_is_found() {
        let export = export();
        // Nothing of it depends on how many events there are: none are the fastest.
        let note = export.key.sign(&Checkpoint {
            root: Tree::new().root(),
            size: 0,
            ..export.signed.clone()
        });
        assert_eq!(verify(&export, b"", note.as_bytes()).verdict, Verdict::Complete);
        on_two_threads(note.len() * 8, |bit| {
            let mut bytes = note.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = verify(&export, b"", &bytes);
            assert!(!found.verdict.is_proven(), "bit {bit}: {found:?}");
        });
    }

    #[test]
    fn every_bit_flip_of_the_list_is_found() {
        let export = export();
        let start = export.checkpoint.windows(LEAVES.len()).position(|w| w == LEAVES.as_bytes());
        let list = &export.checkpoint[start.unwrap()..];
        let holds = |mut bytes: &[u8]| {
            let mut list = read_list(&mut bytes, true).unwrap().unwrap();
            while list.next(&mut bytes).unwrap().is_some() {}
            list.holds(&export.signed)
        };
        assert!(holds(list));
        on_two_threads(list.len() * 8, |bit| {
            let mut bytes = list.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!holds(&bytes), "bit {bit}");
        });
        // The events are proven by the root alone, and still it is said.
        let mut checkpoint = export.checkpoint.clone();
        *checkpoint.last_mut().unwrap() ^= 1;
        let found = verify(&export, &joined(&export.lines), &checkpoint);
        assert_eq!((found.verdict, found.first_bad_seq), (Verdict::Tampered, None));
    }
}
