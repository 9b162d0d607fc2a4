//! Verifying an export, offline.

use std::io::{self, BufRead, Read as _};

use super::epochs::{NoSigner, signer};
use super::{Bad, Verdict, Verification, Walk};
use crate::error::VerifyError;
use crate::export::{EPOCHS, LEAVES};
use crate::line::MAX_LINE;
use crate::log::{Checkpoint, CheckpointErrorKind, Hash, PublicKey, Tree, parse_hash};

/// The longest signed note that is read.
const MAX_NOTE: usize = 64 * 1024;

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
    let named = note.text.as_deref().and_then(origin_of);
    let org = named.as_deref().and_then(|origin| origin.rsplit('/').next()).map(str::to_owned);

    let mut file = FileWalk::default();
    if let Some(list) = &list {
        file.walk = Walk::after(list.tree.clone());
    }
    let root_before = file.walk.tree.root();
    let mut line = Vec::new();
    while let Some(whole) = read_line(&mut events, &mut line)? {
        let listed = match &mut list {
            Some(list) => list.next(&mut checkpoint)?,
            None => None,
        };
        file.line(&line, whole, org.as_deref(), listed);
    }
    let FileWalk { walk, first_difference } = file;
    let mut epochs = Vec::new();
    if let Some(list) = &mut list {
        while list.next(&mut checkpoint)?.is_some() {}
        epochs = list.epochs(&mut checkpoint)?;
    }

    let evidence = FileEvidence { list: list.as_ref(), first_difference, root_before };
    let mut found = judge(walk, note.text.as_deref(), (key, origin), &epochs, &evidence);
    if found.verdict != Verdict::NoEvidence {
        found.origin = named;
    }
    Ok(found)
}

/// The first line of a note, not yet believed.
fn origin_of(note: &str) -> Option<String> {
    note.split('\n').next().map(str::to_owned)
}

struct FileEvidence<'a> {
    list: Option<&'a LeafList>,
    first_difference: Option<u64>,
    root_before: Hash,
}

fn judge(
    mut walk: Walk,
    note: Option<&str>,
    (key, origin): (&PublicKey, Option<&str>),
    epochs: &[String],
    evidence: &FileEvidence<'_>,
) -> Verification {
    let Some(note) = note else {
        let empty = walk.tree.size() == 0 && evidence.list.is_none();
        let problem = if empty {
            "there is neither an event nor a checkpoint"
        } else {
            "there is no checkpoint"
        };
        return walk.result(Verdict::NoEvidence, Some(problem));
    };
    let named = origin_of(note).unwrap_or_default();
    // A prefix may end before a key was rotated; its list of leaves does not.
    let ended: Vec<_> = walk.rotations.clone();
    let known = epochs.get(..ended.len()).unwrap_or(epochs);
    let signer = match signer(&ended, known, key, &named, walk.first_seq) {
        Ok(signer) => signer,
        Err(NoSigner { from, problem }) => {
            // Which event it is says more than what follows from it.
            if let Some(seq) = evidence.list.and(evidence.first_difference) {
                walk.bad_at(seq, "it is not the event that was signed");
            }
            return match walk.first_bad.take() {
                Some(bad) => walk.tampered(bad),
                None => walk.unvouched(from, &problem),
            };
        }
    };
    // When events are missing at the end, so may be those that tell of the last key: the one that
    // is believed in has to have signed then.
    let opened = Checkpoint::open(note, signer.key).or_else(|error| {
        let cut = error.kind() == CheckpointErrorKind::NotSigned && epochs.len() > ended.len();
        if cut { Checkpoint::open(note, key) } else { Err(error) }
    });
    match opened {
        Err(error) if error.kind() == CheckpointErrorKind::NotSigned && ended.is_empty() => {
            let found = walk.result(Verdict::NoEvidence, Some(&error.to_string()));
            Verification { first_bad_seq: Some(signer.from), ..found }
        }
        Err(error) => walk.unvouched(signer.from, &error.to_string()),
        Ok(signed) if origin.is_some_and(|origin| origin != signed.origin) => {
            let first = walk.first_seq;
            walk.unvouched(first, "the checkpoint is of another log")
        }
        Ok(signed) => judge_file(walk, &signed, (epochs.len(), signer.from), evidence),
    }
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
    (epochs, from): (usize, u64),
    evidence: &FileEvidence<'_>,
) -> Verification {
    let FileEvidence { list, first_difference, root_before } = *evidence;
    let size = walk.tree.size();
    let list_holds = list.is_some_and(|list| list.holds(signed));
    if size == signed.size && walk.tree.root() == signed.root {
        let bad = if let Some(bad) = walk.first_bad.take() {
            bad
        } else if list.is_some() && !list_holds {
            let seq = first_difference.unwrap_or(size);
            Bad::at(seq, "the events hold, but the list of leaves beside them does not")
        } else if epochs != walk.rotations.len() {
            Bad::at(size, "there is a checkpoint of an epoch that no event tells of")
        } else if !walk.pruning_is_told(&root_before) {
            Bad::at(walk.first_seq, "what is missing before it was never pruned")
        } else {
            return walk.whole();
        };
        return walk.tampered(bad);
    }
    if !list_holds {
        if size < signed.size {
            let problem = format!("it is missing, as is all after it: {} were signed", signed.size);
            walk.bad_at(size, problem);
        }
        let why = "the events are not those that were signed; which one cannot be told without the \
                   list of leaves";
        return match walk.first_bad.take() {
            Some(bad) => walk.tampered(bad),
            None => walk.unvouched(from, why),
        };
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
    if let Some(bad) = walk.first_bad.take() {
        return walk.tampered(bad);
    }
    let problem = if walk.first_seq == 0 {
        format!("the first {size} of {} events are there and hold", signed.size)
    } else {
        let first = walk.first_seq;
        format!("the events from {first} on to before {size}, of {}, hold", signed.size)
    };
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
    /// Whether an empty line ended it: then the checkpoints of the epochs follow.
    ended: bool,
}

fn read_list(reader: &mut impl BufRead, followed: bool) -> io::Result<Option<LeafList>> {
    if !followed {
        return Ok(None);
    }
    let mut list =
        LeafList { tree: Tree::new(), line: Vec::new(), well_formed: true, ended: false };
    let whole = read_line(reader, &mut list.line)? == Some(true);
    let title = std::str::from_utf8(&list.line).ok().and_then(|line| line.strip_prefix(LEAVES));
    let first = match title {
        Some("") => Some(0),
        // Only one way to write a number: another one would be a bit that nobody misses.
        Some(rest) => rest
            .strip_prefix(' ')
            .and_then(|text| text.parse().ok().filter(|first: &u64| first.to_string() == text))
            .filter(|first| *first > 0),
        None => None,
    };
    list.well_formed = whole && first.is_some();
    let mut frontier = Vec::new();
    for _ in 0..first.unwrap_or(0).count_ones() {
        let whole = read_line(reader, &mut list.line)? == Some(true);
        let hash = std::str::from_utf8(&list.line).ok().and_then(parse_hash);
        list.well_formed &= whole && hash.is_some();
        frontier.extend(hash.unwrap_or_default());
    }
    if list.well_formed
        && let Some(tree) = Tree::from_parts(first.unwrap_or(0), &frontier)
    {
        list.tree = tree;
    }
    Ok(Some(list))
}

impl LeafList {
    fn next(&mut self, reader: &mut impl BufRead) -> io::Result<Option<Hash>> {
        if !self.well_formed || self.ended {
            return Ok(None);
        }
        let Some(whole) = read_line(reader, &mut self.line)? else {
            return Ok(None);
        };
        if whole && self.line.is_empty() {
            self.ended = true;
            return Ok(None);
        }
        let leaf = std::str::from_utf8(&self.line).ok().and_then(parse_hash);
        self.well_formed = whole && leaf.is_some();
        if self.well_formed {
            self.tree.push(leaf.unwrap_or_default());
        }
        Ok(leaf.filter(|_| self.well_formed))
    }

    /// What follows the list: the checkpoints with which the epochs ended.
    fn epochs(&mut self, reader: &mut impl BufRead) -> io::Result<Vec<String>> {
        let mut epochs = Vec::new();
        if !self.ended {
            return Ok(epochs);
        }
        let whole = read_line(reader, &mut self.line)? == Some(true);
        self.well_formed &= whole && self.line == EPOCHS.as_bytes();
        let mut followed = true;
        while followed && self.well_formed {
            let note = read_note(reader)?;
            self.well_formed = note.text.is_some();
            epochs.extend(note.text);
            followed = note.followed;
        }
        Ok(epochs)
    }

    /// Whether it is the list that was signed.
    fn holds(&self, signed: &Checkpoint) -> bool {
        self.well_formed && self.tree.size() == signed.size && self.tree.root() == signed.root
    }
}

#[cfg(test)]
mod tests {
    use lictor_context::{
        Event, EventFacts, EventType, ManualClock, Name, Principal, Session, SessionId, Timestamp,
    };

    use super::*;
    use crate::key::SigningKey;
    use crate::line::{Place, event_line};
    use crate::log::{base64_hash, leaf_hash};

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

    /// As many events and flips as the environment says; all flips are found in one walk, each at
    /// its line. `LICTOR_AUDIT_EVENTS=1000000 LICTOR_AUDIT_FLIPS=100000 cargo test --release …`
    #[test]
    #[expect(clippy::disallowed_methods, reason = "how much is tested is said by the environment")]
    fn random_bit_flips_of_a_long_log_are_found_at_their_lines() {
        let wished = |name: &str, usual: usize| {
            std::env::var(name).ok().map_or(usual, |text| text.parse().expect("a number"))
        };
        let events = wished("LICTOR_AUDIT_EVENTS", 20_000);
        let flips = wished("LICTOR_AUDIT_FLIPS", 4_000);
        let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed % below as u64).unwrap()
        };
        let mut chosen: Vec<usize> = (0..flips).map(|_| random(events)).collect();
        chosen.sort_unstable();
        let mut chosen = chosen.into_iter().peekable();
        let lines = export().lines;
        let renumbered = |seq: usize| {
            let text = String::from_utf8(lines[seq % 50].clone()).unwrap();
            let (old, next) = (seq % 50, seq % 50 / 2);
            text.replace(&format!("\"seq\":{old},"), &format!("\"seq\":{seq},"))
                .replace(&format!("session_seq\":{next},"), &format!("session_seq\":{},", seq / 2))
                .into_bytes()
        };
        let mut walk = FileWalk::default();
        let mut missed = 0;
        for seq in 0..events {
            let line = renumbered(seq);
            let listed = Some(leaf_hash(&line));
            while chosen.next_if(|at| *at == seq).is_some() {
                let mut bytes = joined(&[line.clone(), renumbered(seq + 1)]);
                let bit = random((line.len() + 1) * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
                let (mut flipped, mut read) = (walk.clone(), Vec::new());
                let whole = read_line(&mut bytes.as_slice(), &mut read).unwrap().unwrap();
                flipped.line(&read, whole, Some("acme"), listed);
                missed += usize::from(flipped.first_difference != Some(seq as u64));
            }
            walk.line(&line, true, Some("acme"), listed);
        }
        assert_eq!(missed, 0, "of {flips} flips in {events} events");
        assert!(walk.walk.first_bad.is_none() && walk.first_difference.is_none());
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
    fn every_bit_flip_of_the_note_is_found_and_leaves_no_event_vouched_for() {
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
            assert_eq!(found.first_bad_seq, Some(0), "nothing is vouched for, bit {bit}");
        });
    }

    /// The events are proven by the root alone, and still it is said, and where.
    #[test]
    fn every_bit_flip_of_the_list_is_found_at_its_event() {
        let export = export();
        let start = export.checkpoint.windows(LEAVES.len()).position(|w| w == LEAVES.as_bytes());
        let list = &export.checkpoint[start.unwrap()..];
        let mut whole = FileWalk::default();
        for line in &export.lines {
            whole.line(line, true, Some("acme"), Some(leaf_hash(line)));
        }
        let judged = |mut bytes: &[u8]| {
            let mut list = read_list(&mut bytes, true).unwrap().unwrap();
            let mut first_difference = None;
            for (seq, line) in (0..).zip(&export.lines) {
                if list.next(&mut bytes).unwrap() != Some(leaf_hash(line)) {
                    first_difference.get_or_insert(seq);
                }
            }
            while list.next(&mut bytes).unwrap().is_some() {}
            let root_before = Tree::new().root();
            let evidence = FileEvidence { list: Some(&list), first_difference, root_before };
            judge_file(whole.walk.clone(), &export.signed, (0, 0), &evidence)
        };
        assert_eq!(judged(list).verdict, Verdict::Complete);
        on_two_threads(list.len() * 8, |bit| {
            let mut bytes = list.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = judged(&bytes);
            // The title is of all leaves, and each leaf has 45 bytes.
            let due = (bit / 8).saturating_sub(LEAVES.len() + 1) as u64 / 45;
            let named = (found.verdict, found.first_bad_seq);
            assert_eq!(named, (Verdict::Tampered, Some(due)), "bit {bit}: {found:?}");
        });
        // And so does the whole verifier.
        let mut checkpoint = export.checkpoint.clone();
        *checkpoint.last_mut().unwrap() ^= 1;
        let found = verify(&export, &joined(&export.lines), &checkpoint);
        assert_eq!((found.verdict, found.first_bad_seq), (Verdict::Tampered, Some(49)));
    }
}
