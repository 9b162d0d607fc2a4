//! `audit_is_append_only`, bit by bit: a log of fifty events in tables and in files, with everything that is
//! kept of it. Usually a few bits of each part; `LICTOR_AUDIT_EVERY_BIT=1` takes them all. (Exports are taken
//! bit by bit each time, in `src/verify/file.rs`.)

use std::path::{Path, PathBuf};

use lictor_audit::{AuditLog, AuditOptions, JsonlOptions, JsonlStore, SigningKey, Verdict};
use lictor_store::rusqlite::{Connection, params};

use crate::rig::{Rig, name, session};

const EVENTS: u64 = 50;

/// The bits of so many bytes to flip: never less than eight of them, others for each `part`.
#[expect(clippy::disallowed_methods, reason = "how much is tested is said by the environment")]
fn bits(bytes: usize, part: usize) -> impl Iterator<Item = usize> {
    let all = bytes * 8;
    let every = std::env::var_os("LICTOR_AUDIT_EVERY_BIT").is_some();
    let step = if every { 1 } else { (all / 8).max(1) };
    (if every { 0 } else { part * 31 % step }..all).step_by(step)
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

#[test]
fn a_flipped_bit_of_a_row_is_named_and_one_of_a_node_or_the_head_is_found() {
    let rig = Rig::new();
    let log = rig.open();
    rig.fill(&log, EVENTS);
    rig.tamper("");
    let db = Connection::open(rig.database()).unwrap();
    let verify = || log.verify_store(&name("acme"));
    assert_eq!(verify().unwrap().verdict, Verdict::Complete);
    let each = |(table, column): (&str, &str), look: &dyn Fn(u64, usize)| {
        let id = match table {
            "audit_event" => "seq",
            "audit_node" => "idx",
            _ => "1",
        };
        let read = format!("SELECT {id}, CAST({column} AS BLOB) FROM {table} ORDER BY 1");
        let rows: Vec<(i64, Vec<u8>)> = db
            .prepare(&read)
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert!(!rows.is_empty(), "{table}");
        let value = if column == "checkpoint_note" { "CAST(?1 AS TEXT)" } else { "?1" };
        let sql = format!("UPDATE {table} SET {column} = {value} WHERE {id} = ?2");
        let write = |bytes: &[u8], id: i64| _ = db.execute(&sql, params![bytes, id]).unwrap();
        for (n, (id, original)) in rows.iter().enumerate() {
            for bit in bits(original.len(), n) {
                write(&flipped(original, bit), *id);
                look(n as u64, bit);
            }
            write(original, *id);
        }
    };
    for column in ["bytes", "leaf", "chain"] {
        each(("audit_event", column), &|seq, bit| {
            let found = verify().unwrap();
            let named = (found.verdict, found.first_bad_seq);
            assert_eq!(named, (Verdict::Tampered, Some(seq)), "{column}, bit {bit}: {found:?}");
        });
    }
    for at in [
        ("audit_node", "hash"),
        ("audit_head", "chain"),
        ("audit_head", "frontier"),
        ("audit_head", "checkpoint_note"),
    ] {
        each(at, &|row, bit| {
            // A note that is no text cannot even be read; that is no verdict, and no `complete`.
            let proven = verify().is_ok_and(|found| found.verdict.is_proven());
            assert!(!proven, "{at:?}, row {row}, bit {bit}");
        });
    }
    assert_eq!(verify().unwrap().verdict, Verdict::Complete);
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

/// Where in a line its checkpoint stands.
fn note_in(line: &[u8]) -> Option<std::ops::Range<usize>> {
    let text = std::str::from_utf8(line).unwrap();
    let from = text.find("\"note\":\"")? + 8;
    Some(from..from + text[from..].find('"')?)
}

#[test]
fn a_flipped_bit_of_an_event_in_a_file_is_named_and_one_of_any_other_line_is_found() {
    let rig = Rig::new();
    let folder = rig.path("files");
    let log = open(&folder);
    for batch in 0..10 {
        let events = (0..5).map(|n| rig.event(&session("acme", "ses_1"), batch * 5 + n));
        log.append(events.collect()).unwrap();
    }
    drop(log);
    let verify = || open(&folder).verify_store(&name("acme"));
    assert_eq!(verify().unwrap().verdict, Verdict::Complete);
    let (mut seq, mut part) = (0, 0);
    let last = files(&folder).pop().unwrap();
    for path in files(&folder) {
        let whole = std::fs::read(&path).unwrap();
        let mut offset = 0;
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            let own = line.starts_with(br#"{"lictor":"#);
            part += 1;
            let end = path == last && offset + line.len() == whole.len();
            let note = if end { None } else { note_in(line) };
            for bit in bits(line.len(), part) {
                if note.as_ref().is_some_and(|note| note.contains(&(bit / 8))) {
                    // Checkpoints that later ones took the place of are evidence of nothing any more.
                    continue;
                }
                std::fs::write(&path, flipped(&whole, offset * 8 + bit)).unwrap();
                let found = verify();
                let at = format!("{}, byte {}, bit {}", path.display(), offset + bit / 8, bit % 8);
                if own || bit / 8 == line.len() - 1 {
                    // What says what is committed is no event; it is found all the same.
                    assert!(!found.is_ok_and(|found| found.verdict.is_proven()), "{at}");
                } else {
                    let found = found.unwrap();
                    assert_eq!(found.verdict, Verdict::Tampered, "{at}: {found:?}");
                    assert!(
                        found.first_bad_seq.is_some_and(|bad| bad <= seq),
                        "{at}: {found:?}, {seq}"
                    );
                }
            }
            offset += line.len();
            seq += u64::from(!own);
        }
        std::fs::write(&path, &whole).unwrap();
    }
    assert_eq!(seq, EVENTS);
    assert_eq!(verify().unwrap().verdict, Verdict::Complete);
}
