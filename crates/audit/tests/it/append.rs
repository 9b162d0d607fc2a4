//! Appending: dense, one chain, many writers.

use std::process::Command;

use lictor_audit::{AppendErrorKind, AuditLog, AuditOptions, Filter, Verdict, migrations};
use lictor_context::{Event, EventSink, Session, SystemClock};
use lictor_store::{Store, StoreOptions};
use serde_json::Value;

use crate::rig::{Rig, check, name, open_in, session};

fn values(log: &AuditLog, org: &str) -> Vec<Value> {
    let events = log.query(&name(org), &Filter::default()).unwrap();
    events.iter().map(|event| serde_json::from_slice(&event.bytes).unwrap()).collect()
}

/// `seq` is dense; `session_seq` is dense in each session.
#[track_caller]
fn assert_dense(log: &AuditLog, org: &str, count: usize) {
    let values = values(log, org);
    assert_eq!(values.len(), count);
    let mut sessions = std::collections::HashMap::new();
    for (seq, value) in values.iter().enumerate() {
        assert_eq!(value["seq"], seq);
        let next = sessions.entry(value["session_id"].as_str().unwrap()).or_insert(0);
        assert_eq!(value["session_seq"], *next);
        *next += 1;
    }
    check(&log.verify_store(&name(org)).unwrap(), Verdict::Complete, None);
}

#[test]
fn each_organisation_has_a_log_of_its_own() {
    let rig = Rig::new();
    let log = rig.open();
    let (acme, umbrella) = (session("acme", "ses_1"), session("umbrella", "ses_1"));
    let events = (0..10).map(|n| rig.event(if n % 3 == 0 { &umbrella } else { &acme }, n));
    let appended = log.append(events.collect()).unwrap();
    let logs: Vec<_> = appended
        .iter()
        .map(|to| (to.org.as_str(), to.first_seq, to.events, to.checkpoint.size))
        .collect();
    assert_eq!(logs, [("umbrella", 0, 4, 4), ("acme", 0, 6, 6)]);
    assert_dense(&log, "acme", 6);
    assert_dense(&log, "umbrella", 4);
    check(&log.verify_store(&name("nobody")).unwrap(), Verdict::NoEvidence, None);
    assert!(log.append(Vec::new()).unwrap().is_empty());
}

#[test]
fn events_share_the_fate_of_the_transaction() {
    let rig = Rig::new();
    let store = Store::open(&rig.database(), StoreOptions::default(), migrations()).unwrap();
    let key = lictor_audit::SigningKey::from_seed(&[5; 32]);
    let options = AuditOptions::default().guard_dir(rig.path("guard"));
    let log = AuditLog::open(store.clone(), key, options).unwrap();
    let event = |n| rig.event(&session("acme", "ses_1"), n);

    let (inside, first) = (log.clone(), log.prepare(vec![event(0)]).unwrap());
    let undone = store.write(move |tx| {
        let appended = inside.append_in(tx, first).unwrap();
        assert_eq!(appended.logs()[0].checkpoint.size, 1);
        Err::<(), _>("somebody else's mistake")
    });
    assert!(undone.wait().is_err());
    assert_eq!(log.count(&name("acme"), &Filter::default()).unwrap(), 0);

    let (inside, events) = (log.clone(), log.prepare(vec![event(1), event(2)]).unwrap());
    let appended = store.write(move |tx| inside.append_in(tx, events)).wait().unwrap();
    log.confirm(&appended).unwrap();
    assert_dense(&log, "acme", 2);
}

#[test]
fn an_append_that_fails_leaves_nothing_in_a_transaction_that_goes_on() {
    let rig = Rig::new();
    let log = rig.open();
    rig.fill(&log, 4);
    rig.tamper("UPDATE audit_session SET next_seq = -1 WHERE session = 'ses_2'");
    let store = Store::open(&rig.database(), StoreOptions::default(), migrations()).unwrap();
    let events =
        vec![rig.event(&session("acme", "ses_1"), 8), rig.event(&session("acme", "ses_2"), 9)];
    let (inside, events) = (log.clone(), log.prepare(events).unwrap());
    let refused = store.write(move |tx| {
        let refused = inside.append_in(tx, events).unwrap_err();
        Ok::<_, ()>(refused)
    });
    assert!(matches!(refused.wait().unwrap().kind(), AppendErrorKind::Tampered));
    assert_eq!(log.count(&name("acme"), &Filter::default()).unwrap(), 4);
}

#[test]
fn triggers_keep_honest_programs_from_changing_the_past() {
    let rig = Rig::new();
    let log = rig.open();
    rig.fill(&log, 4);
    let connection = lictor_store::rusqlite::Connection::open(rig.database()).unwrap();
    for sql in [
        "UPDATE audit_event SET user = 'bob'",
        "DELETE FROM audit_event WHERE seq = 3",
        "DELETE FROM audit_head",
        "UPDATE audit_head SET size = 3",
        "DELETE FROM audit_session",
        "UPDATE audit_session SET next_seq = 0",
        "UPDATE audit_log SET log_id = 'x'",
        "DELETE FROM audit_log",
    ] {
        assert!(connection.execute_batch(sql).is_err(), "{sql}");
    }
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
}

#[tokio::test]
async fn it_is_a_sink() {
    let rig = Rig::new();
    let log = rig.open_guarded();
    let sink: &dyn EventSink = &log;
    for n in 0..3 {
        sink.record(vec![rig.event(&session("acme", "ses_1"), n)]).await.unwrap();
    }
    assert_dense(&log, "acme", 3);
}

fn append_each(log: &AuditLog, session: &Session, count: u64) {
    for _ in 0..count {
        let event = Event::new(
            session,
            lictor_context::EventType::StepCompleted,
            lictor_context::EventFacts::default(),
            &SystemClock,
        );
        log.append(vec![event]).expect("appends");
    }
}

#[test]
fn eight_threads_make_one_chain() {
    let rig = Rig::new();
    let log = rig.open_guarded();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let log = &log;
            // Two threads a session.
            let session = session("acme", &format!("ses_{}", thread / 2));
            scope.spawn(move || append_each(log, &session, 25));
        }
    });
    assert_dense(&log, "acme", 200);
}

const CHILD: &str = "LICTOR_AUDIT_TEST_CHILD";

#[test]
#[expect(clippy::disallowed_methods, reason = "a second process is what is tested")]
fn sixteen_processes_make_one_chain() {
    if let Some(folder) = std::env::var_os(CHILD) {
        // We are the other process.
        let folder = std::path::PathBuf::from(folder);
        let log = open_in(&folder, AuditOptions::default().guard_dir(folder.join("guard")));
        append_each(&log, &session("acme", "ses_shared"), 25);
        return;
    }
    let rig = Rig::new();
    let log = rig.open_guarded();
    let spawn = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "append::sixteen_processes_make_one_chain"])
            .env(CHILD, rig.folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..16).map(|_| spawn()).collect();
    append_each(&log, &session("acme", "ses_shared"), 50);
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_dense(&log, "acme", 16 * 25 + 50);
}
