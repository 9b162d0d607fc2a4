//! Logs in files: what a crash leaves, what somebody changed, and what other programs read.

use std::fs;
use std::path::{Path, PathBuf};

use lictor_audit::{
    AuditLog, AuditOptions, Filter, JsonlOptions, JsonlStore, SigningKey, Verdict, Verification,
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::rig::{Rig, name, session};

/// A folder of files, its key, and a guard.
struct Files {
    rig: Rig,
    folder: TempDir,
    options: JsonlOptions,
}

impl Files {
    fn new(max_events: u64) -> Self {
        let options = JsonlOptions { max_events, ..JsonlOptions::default() };
        Self { rig: Rig::new(), folder: tempfile::tempdir().unwrap(), options }
    }

    fn store(&self) -> JsonlStore {
        JsonlStore::open(self.folder.path(), self.options.clone()).unwrap()
    }

    /// As another process opens it.
    fn log(&self, options: AuditOptions) -> AuditLog<JsonlStore> {
        AuditLog::over(self.store(), SigningKey::from_seed(&[3; 32]), options).unwrap()
    }

    fn open(&self) -> AuditLog<JsonlStore> {
        self.log(AuditOptions::default())
    }

    fn guarded(&self) -> AuditLog<JsonlStore> {
        self.log(AuditOptions::default().guard_dir(self.rig.path("guard")))
    }

    fn append(&self, log: &AuditLog<JsonlStore>, count: u64) {
        let session = session("acme", "ses_1");
        let events = (0..count).map(|n| self.rig.event(&session, n)).collect();
        log.append(events).unwrap();
    }

    /// The files of `acme`, in order.
    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path().join("org-acme")).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    fn last(&self) -> PathBuf {
        self.files().pop().unwrap()
    }

    fn count(&self) -> u64 {
        self.open().count(&name("acme"), &Filter::default()).unwrap()
    }
}

fn verify(log: &AuditLog<JsonlStore>) -> Verification {
    log.verify_store(&name("acme")).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "somebody changes the files")]
fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_batch_that_was_cut_off_anywhere_was_never_there() {
    let files = Files::new(u64::MAX);
    files.append(&files.open(), 3);
    let before = fs::read(files.last()).unwrap().len();
    files.append(&files.open(), 2);
    let whole = fs::read(files.last()).unwrap();
    // At each end of a line, beside it, and at every so many bytes.
    let ends = (before..=whole.len()).filter(|end| {
        let beside = end.saturating_sub(1)..(end + 2).min(whole.len());
        *end == whole.len() || end % 29 == 0 || whole[beside].contains(&b'\n')
    });
    for end in ends {
        write(&files.last(), &whole[..end]);
        let due = if end == whole.len() { 5 } else { 3 };
        assert_eq!(files.count(), due, "cut off at {end} of {}", whole.len());
        let log = files.open();
        files.append(&log, 1);
        let found = verify(&log);
        assert_eq!((found.verdict, found.events), (Verdict::Complete, due + 1), "{found:?}");
    }
}

#[test]
fn what_a_power_cut_leaves_behind_the_end_is_cut_off() {
    let files = Files::new(u64::MAX);
    files.append(&files.open(), 3);
    let before = fs::read(files.last()).unwrap();
    files.append(&files.open(), 2);
    let whole = fs::read(files.last()).unwrap();
    // The disk had the end of the batch, and not its beginning: it reads as zeros.
    let mut hole = whole.clone();
    hole[before.len()..before.len() + 40].fill(0);
    let zeros = [before.as_slice(), &[0; 512]].concat();
    for left in [hole, zeros] {
        write(&files.last(), &left);
        let log = files.open();
        assert_eq!(files.count(), 3);
        files.append(&log, 1);
        assert_eq!(verify(&log).verdict, Verdict::Complete);
        assert!(!fs::read(files.last()).unwrap().contains(&0));
    }
}

#[test]
fn files_end_at_their_limit_and_each_says_what_it_follows() {
    let files = Files::new(10);
    let log = files.open();
    for _ in 0..12 {
        files.append(&log, 4);
    }
    assert_eq!(files.files().len(), 4, "12 batches of 4, 3 a file");
    for (n, path) in files.files().iter().enumerate() {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with(r#"{"lictor":"segment","v":1,"#), "{text}");
        assert!(text.contains(&format!(r#""org":"acme","first_seq":{},"#, n * 12)));
        let last = text.lines().last().unwrap();
        assert_eq!(last.starts_with(r#"{"lictor":"seal","#), n < 3, "{last}");
    }
    // The lines of the events are those that an export has.
    let mut lines = String::new();
    for path in files.files() {
        let text = fs::read_to_string(path).unwrap();
        let events = text.lines().filter(|line| !line.starts_with(r#"{"lictor":"#));
        events.for_each(|line| lines.extend([line, "\n"]));
    }
    let (mut exported, mut evidence) = (Vec::new(), Vec::new());
    log.export(&name("acme"), &Filter::default(), &mut exported, &mut evidence).unwrap();
    assert_eq!(lines.as_bytes(), exported);

    let by_size = Files {
        options: JsonlOptions { max_bytes: 4096, ..JsonlOptions::default() },
        ..Files::new(1)
    };
    let log = by_size.open();
    (0..20).for_each(|_| by_size.append(&log, 1));
    assert!(by_size.files().len() > 3);
    assert_eq!(verify(&log).verdict, Verdict::Complete);
}

#[test]
fn a_file_that_is_missing_or_another_one_is_named_and_nothing_is_added() {
    let files = Files::new(4);
    let log = files.open();
    (0..6).for_each(|_| files.append(&log, 2));
    drop(log);
    let paths = files.files();
    let middle = fs::read(&paths[1]).unwrap();
    let other = {
        let other = Files::new(4);
        let log = other.open();
        (0..6).for_each(|_| other.append(&log, 2));
        fs::read(&other.files()[1]).unwrap()
    };
    let refuses = |what: &str, first_bad: u64| {
        let log = files.open();
        let found = verify(&log);
        assert_eq!((found.verdict, found.first_bad_seq), (Verdict::Tampered, Some(first_bad)));
        let more = log.append(vec![files.rig.event(&session("acme", "ses_1"), 1)]);
        assert!(more.is_err(), "{what}");
    };
    #[expect(clippy::disallowed_methods, reason = "somebody takes it away")]
    fs::remove_file(&paths[1]).unwrap();
    refuses("a file is gone", 4);
    write(&paths[1], &other);
    refuses("a file of another log", 4);
    write(&paths[1], &middle);
    assert_eq!(verify(&files.open()).verdict, Verdict::Complete);
}

#[test]
fn a_cut_or_replaced_end_is_found_while_it_is_open() {
    let files = Files::new(u64::MAX);
    let log = files.guarded();
    files.append(&log, 2);
    let older = fs::read(files.last()).unwrap();
    files.append(&log, 2);
    let newer = fs::read(files.last()).unwrap();
    // In place, and as another file at the same path.
    for replaced in [false, true] {
        if replaced {
            #[expect(clippy::disallowed_methods, reason = "somebody puts an older copy back")]
            fs::remove_file(files.last()).unwrap();
            write(&files.folder.path().join("org-acme").join(format!("{:020}.jsonl", 0)), &older);
        } else {
            write(&files.last(), &older);
        }
        assert_eq!(verify(&log).verdict, Verdict::RolledBack);
        assert!(log.append(vec![files.rig.event(&session("acme", "ses_1"), 1)]).is_err());
        write(&files.last(), &newer);
        assert_eq!(verify(&log).verdict, Verdict::Complete);
    }
}

#[test]
fn a_trail_that_seals_is_refused_where_nothing_can_be_kept_sealed() {
    let files = Files::new(u64::MAX);
    let options = AuditOptions::default().subjects_dir(files.rig.path("subjects"));
    let opened = AuditLog::over(files.store(), SigningKey::from_seed(&[3; 32]), options);
    assert!(opened.unwrap_err().to_string().contains("audit trail"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever one changes in the lines of events, `verify` says so and names the event.
    #[test]
    fn a_flipped_bit_in_an_event_is_named(at in any::<proptest::sample::Index>(), bit in 0_u8..8) {
        let files = Files::new(6);
        let log = files.open();
        (0..5).for_each(|_| files.append(&log, 3));
        drop(log);
        // All offsets of bytes of events, with the event's seq.
        let mut places = Vec::new();
        let mut seq = 0;
        for path in files.files() {
            let bytes = fs::read(&path).unwrap();
            let mut offset = 0;
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                if !line.starts_with(br#"{"lictor":"#) {
                    places.extend((offset..offset + line.len() - 1).map(|at| (path.clone(), at, seq)));
                    seq += 1;
                }
                offset += line.len();
            }
        }
        let (path, offset, seq) = at.get(&places).clone();
        let mut bytes = fs::read(&path).unwrap();
        bytes[offset] ^= 1 << bit;
        write(&path, &bytes);
        let found = verify(&files.open());
        prop_assert_eq!(found.verdict, Verdict::Tampered, "{:?}", found);
        prop_assert!(found.first_bad_seq.is_some_and(|bad| bad <= seq), "{:?} of {}", found, seq);
    }
}
