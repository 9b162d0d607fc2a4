//! `audit_is_append_only`: a store that somebody tampered with.

use lictor_audit::log::{Tree, chain_hash, leaf_hash};
use lictor_audit::{AuditLog, AuditOptions, Filter, Verdict};
use lictor_store::rusqlite::{Connection, params};

use crate::rig::{Rig, check, name, open_in, session};

fn filled(count: u64) -> (Rig, AuditLog) {
    let rig = Rig::new();
    let log = rig.open();
    rig.fill(&log, count);
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
    (rig, log)
}

#[test]
fn every_change_of_a_row_is_named() {
    for column in [
        "org = 'evil'",
        "seq = 99",
        "session = 'ses_9'",
        "session_seq = 7",
        "type = 'lock_broken'",
        "ts = ts + 1",
        "user = 'bob'",
        "agent = 'other'",
        "action_name = NULL",
        "action_name = 'fs.write'",
        "execution = 'exe_1'",
        "run = 'wfr_1'",
        "success = NOT success",
        "success = NULL",
        "bytes = CAST(replace(CAST(bytes AS TEXT), 'ann', 'bob') AS BLOB)",
        "bytes = x''",
        "bytes = CAST(bytes || char(10) AS BLOB)",
        "leaf = zeroblob(32)",
        "leaf = x''",
        "chain = zeroblob(32)",
    ] {
        let (rig, log) = filled(12);
        rig.tamper(&format!("UPDATE audit_event SET {column} WHERE org = 'acme' AND seq = 5"));
        check(&log.verify_store(&name("acme")).unwrap(), Verdict::Tampered, Some(5));
    }
}

#[test]
fn missing_and_additional_rows_are_named() {
    let changed = |sql: &str| {
        let (rig, log) = filled(12);
        rig.tamper(sql);
        log.verify_store(&name("acme")).unwrap()
    };
    check(&changed("DELETE FROM audit_event WHERE seq = 0"), Verdict::Tampered, Some(0));
    check(&changed("DELETE FROM audit_event WHERE seq = 7"), Verdict::Tampered, Some(7));
    check(&changed("DELETE FROM audit_event WHERE seq > 8"), Verdict::Tampered, Some(9));
    check(&changed("DELETE FROM audit_event"), Verdict::Tampered, Some(0));
    let swap = "UPDATE audit_event SET seq = -1 WHERE seq = 3;
        UPDATE audit_event SET seq = 3 WHERE seq = 4; UPDATE audit_event SET seq = 4 WHERE seq = -1";
    check(&changed(swap), Verdict::Tampered, Some(3));
    let copy = |seq: i64| {
        format!(
            "INSERT INTO audit_event SELECT org, {seq}, session, session_seq, type, ts, user, \
             agent, action_name, execution, run, success, bytes, leaf, chain \
             FROM audit_event WHERE seq = 4"
        )
    };
    check(&changed(&copy(12)), Verdict::Tampered, Some(12));
    check(&changed(&copy(-1)), Verdict::Tampered, Some(0));
}

#[test]
fn the_end_of_the_log_is_checked_as_well() {
    for (sql, seq) in [
        ("DELETE FROM audit_head", 0),
        ("UPDATE audit_head SET size = 11", 11),
        ("UPDATE audit_head SET chain = zeroblob(32)", 11),
        ("UPDATE audit_head SET frontier = zeroblob(64)", 0),
        (
            "UPDATE audit_head SET frontier = CAST(substr(frontier, 1, 32) || zeroblob(32) AS BLOB)",
            8,
        ),
        ("UPDATE audit_head SET frontier = x''", 0),
        ("UPDATE audit_head SET checkpoint_note = ''", 0),
        ("UPDATE audit_head SET checkpoint_note = replace(checkpoint_note, '12', '11')", 0),
        // The next event would not follow.
        ("UPDATE audit_session SET next_seq = next_seq + 1", 12),
        ("DELETE FROM audit_session WHERE session = 'ses_1'", 12),
        ("INSERT INTO audit_session VALUES ('acme', 'ses_9', 1)", 12),
        ("UPDATE audit_log SET log_id = 'another'", 0),
    ] {
        let (rig, log) = filled(12);
        rig.tamper(sql);
        let found = log.verify_store(&name("acme")).unwrap();
        let named = (found.verdict, found.first_bad_seq);
        assert_eq!(named, (Verdict::Tampered, Some(seq)), "{sql}: {found:?}");
        assert!(found.problem.is_some(), "{sql}");
    }
}

/// Rewrites everything from an event on, as somebody would who knows the format but not the key.
fn rewrite_suffix(rig: &Rig, log: &AuditLog, from: u64) {
    let events = log.query(&name("acme"), &Filter::default()).unwrap();
    rig.tamper("");
    let connection = Connection::open(rig.database()).unwrap();
    let (mut tree, mut chain) = (Tree::new(), [0; 32]);
    for event in events {
        let mut bytes = event.bytes;
        if event.seq >= from {
            bytes = String::from_utf8(bytes).unwrap().replace("\"ann\"", "\"bob\"").into_bytes();
        }
        let leaf = leaf_hash(&bytes);
        chain = chain_hash(&chain, &leaf);
        tree.push(leaf);
        connection
            .execute(
                "UPDATE audit_event SET bytes = ?1, leaf = ?2, chain = ?3, \
                 user = iif(?4, 'bob', user) WHERE org = 'acme' AND seq = ?5",
                params![bytes, leaf, chain, event.seq >= from, event.seq as i64],
            )
            .unwrap();
    }
    let end = "UPDATE audit_head SET chain = ?1, frontier = ?2";
    connection.execute(end, params![chain, tree.frontier()]).unwrap();
}

#[test]
fn a_rewritten_suffix_is_neither_believed_nor_signed() {
    let (rig, log) = filled(12);
    rewrite_suffix(&rig, &log, 6);
    // The only checkpoint vouches for none of them any more.
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Tampered, Some(0));
    // Going on would put our signature over the forged events.
    let event = || vec![rig.event(&session("acme", "ses_1"), 1)];
    assert!(log.append(event()).unwrap_err().to_string().contains("not what was signed"));
    assert!(rig.open().append(event()).is_err());
}

#[test]
fn an_older_copy_is_recognised_and_nothing_is_signed_on_it() {
    let rig = Rig::new();
    let log = rig.open_guarded();
    rig.fill(&log, 5);
    drop(log);
    let copy = rig.path("copy.db");
    // Everything is in one file after this.
    let fold = "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE;";
    Connection::open(rig.database()).unwrap().execute_batch(fold).unwrap();
    copy_file(&rig.database(), &copy);
    let log = rig.open_guarded();
    rig.fill(&log, 5);
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
    drop(log);
    Connection::open(rig.database()).unwrap().execute_batch(fold).unwrap();
    copy_file(&copy, &rig.database());

    let log = rig.open_guarded();
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::RolledBack, Some(5));
    let event = rig.event(&session("acme", "ses_1"), 1);
    let refused = log.append(vec![event]).unwrap_err().to_string();
    assert!(refused.contains("10 events were signed, and the store has 5"), "{refused}");
    // Who has no guard cannot know.
    check(&rig.open().verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
    // The copy goes its own way without a guard: once it is as long, it is a fork.
    rig.fill(&rig.open(), 5);
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Forked, None);
    let event = rig.event(&session("acme", "ses_1"), 1);
    assert!(log.append(vec![event]).unwrap_err().to_string().contains("another history"));
    // And so it stays when it is longer.
    rig.fill(&rig.open(), 5);
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Forked, None);
}

#[test]
fn an_emptied_log_is_a_rollback_where_a_guard_remembers_it() {
    let rig = Rig::new();
    let log = rig.open_guarded();
    rig.fill(&log, 5);
    rig.tamper("DELETE FROM audit_event; DELETE FROM audit_head; DELETE FROM audit_session");
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::RolledBack, Some(0));
    assert!(log.append(vec![rig.event(&session("acme", "ses_1"), 1)]).is_err());
    check(&rig.open().verify_store(&name("acme")).unwrap(), Verdict::NoEvidence, None);
}

#[test]
fn a_guard_that_forgot_proves_no_end() {
    let rig = Rig::new();
    rig.fill(&rig.open(), 5);
    let log = rig.open_guarded();
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::ValidPrefix, None);
    rig.fill(&log, 5);
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
    // A guard that cannot be read is no reason to go on without one.
    for file in rig.path("guard").read_dir().unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "head") {
            damage(&path);
        }
    }
    assert!(log.verify_store(&name("acme")).is_err());
    assert!(log.append(vec![rig.event(&session("acme", "ses_1"), 1)]).is_err());
}

#[test]
fn another_log_under_the_same_key_is_not_believed() {
    let (rig, log) = filled(3);
    let origin = log.origin(&name("acme"));
    // As if these rows had been carried over from a log of another id.
    rig.tamper("UPDATE audit_log SET log_id = 'another'");
    let other = rig.open();
    assert_ne!(other.origin(&name("acme")), origin);
    check(&other.verify_store(&name("acme")).unwrap(), Verdict::Tampered, Some(0));
    assert!(other.append(vec![rig.event(&session("acme", "ses_1"), 1)]).is_err());
}

#[test]
fn another_key_is_not_believed() {
    let (rig, _log) = filled(3);
    remove(&rig.path("audit.key"));
    remove(&rig.path("audit.key.pub"));
    let log = open_in(rig.folder.path(), AuditOptions::default());
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Tampered, Some(0));
    assert!(log.append(vec![rig.event(&session("acme", "ses_1"), 1)]).is_err());
}

#[expect(clippy::disallowed_methods, reason = "this is who tampers with it")]
fn copy_file(from: &std::path::Path, to: &std::path::Path) {
    std::fs::copy(from, to).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "this is who tampers with it")]
fn damage(path: &std::path::Path) {
    std::fs::write(path, "rubbish").unwrap();
}

#[expect(clippy::disallowed_methods, reason = "this is who tampers with it")]
fn remove(path: &std::path::Path) {
    std::fs::remove_file(path).unwrap();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "another file takes the place of the guard's")]
fn a_guard_whose_file_was_exchanged_is_read_anew() {
    let rig = Rig::new();
    let log = rig.open_guarded();
    rig.fill(&log, 5);
    let head = || {
        let files = rig.path("guard").read_dir().unwrap().map(|file| file.unwrap().path());
        files.into_iter().find(|path| path.extension().is_some_and(|end| end == "head")).unwrap()
    };
    let (path, put_aside) = (head(), rig.path("aside"));
    std::fs::copy(&path, &put_aside).unwrap();
    rig.fill(&log, 5);
    let says = || std::fs::read_to_string(&path).unwrap().lines().nth(1).unwrap().to_owned();
    assert_eq!(says(), "10");
    // An older one is put over it: what is appended next goes into that one.
    std::fs::rename(&put_aside, &path).unwrap();
    assert_eq!(says(), "5");
    rig.fill(&log, 1);
    assert_eq!(says(), "11");
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
    // A damaged one refuses.
    std::fs::write(&put_aside, "no head").unwrap();
    std::fs::rename(&put_aside, &path).unwrap();
    assert!(log.verify_store(&name("acme")).is_err());
    assert!(log.append(vec![rig.event(&session("acme", "ses_1"), 1)]).is_err());
    // Gone, it is made anew.
    std::fs::remove_file(&path).unwrap();
    rig.fill(&log, 1);
    assert_eq!(says(), "12");
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
}
