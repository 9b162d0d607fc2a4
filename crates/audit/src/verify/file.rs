//! Verifying an export, offline.

use std::io::{self, BufRead, Read as _};

use super::{Verdict, Verification, Walk};
use crate::error::VerifyError;
use crate::export::LEAVES;
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
