//! `audit_is_append_only`, bit by bit: a log of fifty events in tables and in files, with everything that is
//! kept of it; each flip is named by an event. Every bit of nodes and of the end of the log, checkpoint
//! included; of rows, of files and of what the other verifier is shown usually a few bits each, and with
//! `LICTOR_AUDIT_EVERY_BIT=1` all. (Exports are taken bit by bit each time, in `src/verify/file.rs`.)

use std::path::{Path, PathBuf};

use lictor_audit::{
    AuditLog, AuditOptions, Filter, JsonlOptions, JsonlStore, SigningKey, Verdict, Verification,
};
use lictor_store::rusqlite::{Connection, params};

use crate::other::python;
use crate::rig::{Export, Rig, export, name, session};
use crate::second::{Case, both_judge_alike};

const EVENTS: u64 = 50;

/// Whether nothing is left out.
#[expect(clippy::disallowed_methods, reason = "how much is tested is said by the environment")]
fn every_bit() -> bool {
    std::env::var_os("LICTOR_AUDIT_EVERY_BIT").is_some()
}

/// The bits of so many bytes to flip: when not all, then never less than eight of them, others for
/// each `part`.
fn bits(bytes: usize, part: usize, every: bool) -> impl Iterator<Item = usize> {
    let all = bytes * 8;
    let step = if every { 1 } else { (all / 8).max(1) };
    (if every { 0 } else { part * 31 % step }..all).step_by(step)
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

/// Flips bits of a column, one after the other, and puts each back.
struct Flipping<'a> {
    db: &'a Connection,
    verify: &'a dyn Fn() -> Verification,
}

impl Flipping<'_> {
    /// Each flip of it is named by the event that `due` says for the row's id and the bit.
    fn names(&self, (table, column): (&str, &str), every: bool, due: impl Fn(u64, usize) -> u64) {
        let id = match table {
            "audit_event" => "seq",
            "audit_node" => "idx",
            _ => "1",
        };
        let read = format!("SELECT {id}, CAST({column} AS BLOB) FROM {table} ORDER BY 1");
        let rows: Vec<(i64, Vec<u8>)> = self
            .db
            .prepare(&read)
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert!(!rows.is_empty(), "{table}");
        let value = if column == "checkpoint_note" { "CAST(?1 AS TEXT)" } else { "?1" };
        let sql = format!("UPDATE {table} SET {column} = {value} WHERE {id} = ?2");
        let write = |bytes: &[u8], id: i64| _ = self.db.execute(&sql, params![bytes, id]).unwrap();
        for (n, (id, original)) in rows.iter().enumerate() {
            for bit in bits(original.len(), n, every) {
                write(&flipped(original, bit), *id);
                let found = (self.verify)();
                let named = (found.verdict, found.first_bad_seq);
                let due = due(u64::try_from(*id).unwrap(), bit);
                let at = format!("{table}.{column}, row {id}, bit {bit}");
                assert_eq!(named, (Verdict::Tampered, Some(due)), "{at}: {found:?}");
            }
            write(original, *id);
        }
    }
}

#[test]
fn a_flipped_bit_of_a_row_a_node_or_the_end_is_named() {
    let rig = Rig::new();
    let log = rig.open();
    rig.fill(&log, EVENTS);
    rig.tamper("");
    let db = Connection::open(rig.database()).unwrap();
    let verify = || log.verify_store(&name("acme")).unwrap();
    assert_eq!(verify().verdict, Verdict::Complete);
    let flipping = Flipping { db: &db, verify: &verify };
    for column in ["bytes", "leaf", "chain"] {
        flipping.names(("audit_event", column), every_bit(), |seq, _| seq);
    }
    // The first event under it: a node of this log covers sixteen.
    flipping.names(("audit_node", "hash"), true, |index, _| index * 16);
    // The tree of 50 is one of 32, one of 16 and one of 2.
    flipping.names(("audit_head", "frontier"), true, |_, bit| [0, 32, 48][bit / 256]);
    flipping.names(("audit_head", "chain"), true, |_, _| EVENTS - 1);
    // Nothing else is signed: no event is vouched for any more.
    flipping.names(("audit_head", "checkpoint_note"), true, |_, _| 0);
    assert_eq!(verify().verdict, Verdict::Complete);
}

/// Where the end of an epoch is signed, that goes on vouching for what is before it.
#[test]
fn a_damaged_checkpoint_takes_its_word_from_what_came_after_the_last_epoch_only() {
    let rig = Rig::new();
    let log = rig.open();
    rig.fill(&log, 20);
    log.rotate_key(&[session("acme", "ses_1")], &rig.clock).unwrap();
    rig.fill(&log, EVENTS - 21);
    rig.tamper("");
    let db = Connection::open(rig.database()).unwrap();
    let verify = || log.verify_store(&name("acme")).unwrap();
    let flipping = Flipping { db: &db, verify: &verify };
    flipping.names(("audit_head", "checkpoint_note"), every_bit(), |_, _| 21);
    assert_eq!(verify().verdict, Verdict::Complete);
    let whole = export(&log, &Filter::default());
    for bit in bits(whole.checkpoint.len(), 0, every_bit()) {
        let checkpoint = flipped(&whole.checkpoint, bit);
        let found = Export { lines: whole.lines.clone(), checkpoint }.verify(&log);
        assert_eq!(found.verdict, Verdict::Tampered, "bit {bit}: {found:?}");
        assert!(found.first_bad_seq.is_some_and(|seq| seq < EVENTS), "bit {bit}: {found:?}");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("org-acme")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// As another process opens it.
fn open(folder: &Path) -> AuditLog<JsonlStore> {
    let options = JsonlOptions { max_events: 20, ..JsonlOptions::default() };
    let store = JsonlStore::open(folder, options).unwrap();
    // What a last line that is not whole committed was never there, unless a guard knows of it.
    let options = AuditOptions::default().guard_dir(folder.join("guard"));
    AuditLog::over(store, SigningKey::from_seed(&[3; 32]), options).unwrap()
}

#[test]
fn a_flipped_bit_of_any_line_of_a_file_is_named() {
    let rig = Rig::new();
    let folder = rig.path("files");
    let log = open(&folder);
    for batch in 0..10 {
        let events = (0..5).map(|n| rig.event(&session("acme", "ses_1"), batch * 5 + n));
        log.append(events.collect()).unwrap();
    }
    drop(log);
    let verify = || open(&folder).verify_store(&name("acme")).unwrap();
    assert_eq!(verify().verdict, Verdict::Complete);
    let (mut seq, mut part) = (0, 0);
    for path in files(&folder) {
        let whole = std::fs::read(&path).unwrap();
        let mut offset = 0;
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            let own = line.starts_with(br#"{"lictor":"#);
            part += 1;
            for bit in bits(line.len(), part, every_bit()) {
                std::fs::write(&path, flipped(&whole, offset * 8 + bit)).unwrap();
                let found = verify();
                let at = format!("{}, byte {}, bit {}", path.display(), offset + bit / 8, bit % 8);
                // A last line that is not whole committed nothing; the guard knows that it did.
                let due = [Verdict::Tampered, Verdict::RolledBack];
                assert!(due.contains(&found.verdict), "{at}: {found:?}");
                // A line of ours may be about each event of the batch that follows.
                let last = seq + if own { 4 } else { 0 };
                let named = found.first_bad_seq.is_some_and(|bad| bad <= last);
                assert!(named, "{at}: {found:?}, {seq}");
            }
            offset += line.len();
            seq += u64::from(!own);
        }
        std::fs::write(&path, &whole).unwrap();
    }
    assert_eq!(seq, EVENTS);
    assert_eq!(verify().verdict, Verdict::Complete);
}

/// Both verifiers, shown the same: with an epoch in it and without.
#[test]
fn the_other_verifier_names_the_same_event_for_a_flipped_bit_of_the_evidence() {
    if !python() {
        return;
    }
    let rig = Rig::new();
    let log = rig.open();
    let mut cases = Vec::new();
    for rotates in [false, true] {
        if rotates {
            log.rotate_key(&[session("acme", "ses_1")], &rig.clock).unwrap();
        }
        rig.fill(&log, EVENTS / 2 - u64::from(rotates));
        let whole = export(&log, &Filter::default());
        let evidence = whole.checkpoint.clone();
        let step = if every_bit() { 1 } else { 71 };
        for bit in (0..evidence.len() * 8).step_by(step) {
            cases.push(Case {
                name: format!("rotated: {rotates}, bit {bit}"),
                events: whole.events(),
                evidence: flipped(&evidence, bit),
                key: log.public_key(),
            });
        }
    }
    for found in both_judge_alike(rig.folder.path(), &cases) {
        assert!(found.first_bad_seq.is_some_and(|seq| seq <= EVENTS), "{found:?}");
        assert!(!found.verdict.is_proven());
    }
}
