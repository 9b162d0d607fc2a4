//! Sealed fields: kept encrypted, shown while the key is there, gone with it; proofs stay.

use lictor_audit::{
    AppendErrorKind, AuditLog, AuditOptions, EraseErrorKind, Filter, RevealErrorKind, SigningKey,
    Verdict, commitment, migrations,
};
use lictor_context::{Event, EventFacts, EventType, Session, seal_keeping};
use lictor_store::rusqlite::Connection;
use lictor_store::{Store, StoreOptions};
use serde_json::{Value, json};

use crate::migrated::older;
use crate::rig::{Rig, check, export, name, open_in, principal_session, session};

const SECRET: &str = "the diagnosis is canary-77";

fn options(rig: &Rig) -> AuditOptions {
    AuditOptions::default().guard_dir(rig.path("guard")).subjects_dir(rig.path("subjects"))
}

fn sealing(rig: &Rig) -> AuditLog {
    open_in(rig.folder.path(), options(rig))
}

fn write_event(rig: &Rig, session: &Session, content: &str) -> Event {
    let (params, private) = seal_keeping(&json!({ "path": "a.txt", "content": content }));
    let facts = EventFacts {
        action_name: Some("fs.write".into()),
        action_params: Some(params),
        private,
        ..EventFacts::default()
    };
    Event::new(session, EventType::DecisionMade, facts, &rig.clock)
}

fn line(log: &AuditLog, seq: usize) -> Value {
    let events = log.query(&name("acme"), &Filter::default()).unwrap();
    serde_json::from_slice(&events[seq].bytes).unwrap()
}

/// Whether any file of the rig holds a text, whatever the file.
fn holds(rig: &Rig, text: &str) -> bool {
    fn files(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files(&path, found) } else { found.push(path) }
        }
    }
    let mut all = Vec::new();
    files(rig.folder.path(), &mut all);
    all.iter().any(|path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn what_is_sealed_is_kept_and_stands_in_no_file_in_clear() {
    let rig = Rig::new();
    let log = sealing(&rig);
    log.append(vec![write_event(&rig, &session("acme", "ses_1"), SECRET)]).unwrap();
    let field = line(&log, 0)["action_params"]["content"].clone();
    assert_eq!(field["bytes"], SECRET.len());
    let revealed = log.reveal(&name("acme"), 0).unwrap();
    assert_eq!(revealed.len(), 1);
    assert_eq!(revealed[0].pointer, "/action_params/content");
    assert_eq!(revealed[0].content, SECRET);
    // With content and salt, and without any key, anybody can check it.
    let commit = |content: &str| commitment(&revealed[0].salt, content.as_bytes()).to_string();
    assert_eq!(field["sealed"], commit(SECRET));
    assert_ne!(field["sealed"], commit("the diagnosis is another one"));
    assert!(!holds(&rig, SECRET) && !holds(&rig, "canary-77"));
    assert!(!format!("{revealed:?} {log:?}").contains("canary"));
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
    assert!(matches!(log.reveal(&name("acme"), 9).unwrap_err().kind(), RevealErrorKind::NoEvent));
}

/// Content of which only the digest came along: it too is of no use to somebody who guesses.
#[test]
fn a_digest_that_came_without_its_content_cannot_be_guessed() {
    let rig = Rig::new();
    let log = sealing(&rig);
    let params = lictor_context::seal(&json!({ "content": "yes" }));
    let digest = params["content"]["sealed"].as_str().unwrap().to_owned();
    let event = || {
        let facts = EventFacts { action_params: Some(params.clone()), ..EventFacts::default() };
        Event::new(&session("acme", "ses_1"), EventType::ActionStarted, facts, &rig.clock)
    };
    log.append(vec![event(), event()]).unwrap();
    let (one, two) = (line(&log, 0), line(&log, 1));
    let sealed = |event: &Value| event["action_params"]["content"]["sealed"].clone();
    assert_ne!(sealed(&one), digest);
    assert_ne!(sealed(&one), sealed(&two));
    assert!(!holds(&rig, &digest) && !holds(&rig, digest.strip_prefix("sha256:").unwrap()));
    assert!(log.reveal(&name("acme"), 0).unwrap().is_empty());
}

#[test]
fn erasing_a_person_leaves_every_proof_valid_and_others_readable() {
    let rig = Rig::new();
    let log = sealing(&rig);
    let (ann, bob) = (session("acme", "ses_1"), principal_session("acme", "bob", "ses_2"));
    let events = (0..20).map(|n| {
        let session = if n % 2 == 0 { &ann } else { &bob };
        write_event(&rig, session, &format!("{SECRET} {n}"))
    });
    log.append(events.collect()).unwrap();
    let before = export(&log, &Filter::default());
    let root = before.verify(&log).root;
    let proof = log.prove(&name("acme"), 4).unwrap();

    let officer = principal_session("acme", "officer", "ses_3");
    let erased = log.erase_subject(&officer, &name("ann"), &rig.clock).unwrap();
    assert_eq!(erased.seq, 20);
    let event = line(&log, 20);
    assert_eq!(event["event_type"], "subject_erased");
    assert_eq!(event["metadata"], json!({ "subject": erased.key }));
    assert!(!event.to_string().contains("\"ann\""));

    let gone = log.reveal(&name("acme"), 4).unwrap_err();
    assert!(matches!(gone.kind(), RevealErrorKind::Erased { key } if *key == erased.key));
    assert_eq!(log.reveal(&name("acme"), 5).unwrap()[0].content, format!("{SECRET} 5"));
    // What was exported and proven before holds as before.
    assert_eq!(before.verify(&log).root, root);
    proof.verify(&log.public_key(), None).unwrap();
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
    // Nobody has the key any more, not even a trail that is opened anew.
    assert!(sealing(&rig).reveal(&name("acme"), 4).is_err());
    let again = log.erase_subject(&officer, &name("ann"), &rig.clock).unwrap_err();
    assert!(matches!(again.kind(), EraseErrorKind::NoKey));
    // Somebody of that name may act again, under another key.
    log.append(vec![write_event(&rig, &ann, "new")]).unwrap();
    assert_eq!(log.reveal(&name("acme"), 21).unwrap()[0].content, "new");
    assert!(log.reveal(&name("acme"), 4).is_err());
}

#[test]
fn erasing_reaches_no_other_organisation() {
    let rig = Rig::new();
    let log = sealing(&rig);
    for org in ["acme", "umbrella"] {
        log.append(vec![write_event(&rig, &session(org, "ses_1"), SECRET)]).unwrap();
    }
    log.erase_subject(&session("umbrella", "ses_9"), &name("ann"), &rig.clock).unwrap();
    assert!(log.reveal(&name("umbrella"), 0).is_err());
    assert_eq!(log.reveal(&name("acme"), 0).unwrap()[0].content, SECRET);
    assert_eq!(log.count(&name("acme"), &Filter::default()).unwrap(), 1);
}

#[test]
fn what_an_older_version_sealed_is_shown_proven_and_erased() {
    let rig = Rig::new();
    let log = sealing(&rig);
    // A line's worth, and more than a page.
    let contents = [SECRET.to_owned(), SECRET.repeat(400)];
    for content in &contents {
        log.append(vec![write_event(&rig, &session("acme", "ses_1"), content)]).unwrap();
    }
    drop(log);
    let path = rig.path("version-3.db");
    older(&rig.database(), &path, 3);
    let store = Store::open(&path, StoreOptions::default(), migrations()).unwrap();
    let key = SigningKey::load_or_create(&rig.path("audit.key")).unwrap();
    let log = AuditLog::open(store, key, options(&rig)).unwrap();
    for (seq, content) in (0..).zip(&contents) {
        assert_eq!(log.reveal(&name("acme"), seq).unwrap()[0].content, *content);
    }
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
    let changed = Connection::open(&path).unwrap();
    let update = "UPDATE audit_sealed SET ciphertext = x'00'";
    assert!(changed.execute(update, []).is_err(), "the guard rail is there as before");
    log.append(vec![write_event(&rig, &session("acme", "ses_1"), "later")]).unwrap();
    assert_eq!(log.reveal(&name("acme"), 2).unwrap()[0].content, "later");
    log.erase_subject(&session("acme", "ses_2"), &name("ann"), &rig.clock).unwrap();
    assert!(log.reveal(&name("acme"), 0).is_err());
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
}

/// An attacker with everything but the key, and with the right candidates, learns nothing: no
/// stored bytes depend on a candidate in a way that can be computed without the key.
#[test]
fn after_erasure_a_dictionary_confirms_nothing() {
    let rig = Rig::new();
    let log = sealing(&rig);
    log.append(vec![write_event(&rig, &session("acme", "ses_1"), "yes")]).unwrap();
    let key = std::fs::read_dir(rig.path("subjects")).unwrap().next().unwrap().unwrap().path();
    let key = std::fs::read(key).unwrap()[16..].to_vec();
    log.erase_subject(&session("acme", "ses_2"), &name("ann"), &rig.clock).unwrap();
    assert_eq!(std::fs::read_dir(rig.path("subjects")).unwrap().count(), 0);
    let db = Connection::open(rig.database()).unwrap();
    let ct: Vec<u8> =
        db.query_row("SELECT ciphertext FROM audit_sealed", [], |row| row.get(0)).unwrap();
    let commit = line(&log, 0)["action_params"]["content"]["sealed"].as_str().unwrap().to_owned();
    for candidate in ["yes", "no", "maybe"] {
        let digest = lictor_context::Digest::of(candidate.as_bytes()).to_string();
        assert_ne!(commit, digest);
        assert_ne!(commit, commitment(&[0; 32], candidate.as_bytes()).to_string());
        assert!(!ct.windows(candidate.len()).any(|window| window == candidate.as_bytes()));
    }
    // No file holds the key.
    let text: Vec<u8> = key;
    for entry in std::fs::read_dir(rig.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(32).any(|window| window == text), "{path:?}");
        }
    }
}

#[test]
fn a_ciphertext_that_was_changed_or_taken_away_is_named() {
    for (sql, revealed) in [
        ("UPDATE audit_sealed SET ciphertext = zeroblob(60) WHERE seq = 3", 3),
        ("UPDATE audit_sealed SET ciphertext = CAST(ciphertext || x'00' AS BLOB) WHERE seq = 3", 3),
        ("DELETE FROM audit_sealed WHERE seq = 3", 3),
        (
            "UPDATE audit_sealed SET ciphertext = (SELECT ciphertext FROM audit_sealed \
             WHERE seq = 4) WHERE seq = 3",
            3,
        ),
    ] {
        let rig = Rig::new();
        let log = sealing(&rig);
        let events = (0..8).map(|_| write_event(&rig, &session("acme", "ses_1"), SECRET));
        log.append(events.collect()).unwrap();
        rig.tamper(sql);
        check(&log.verify_store(&name("acme")).unwrap(), Verdict::Tampered, Some(3));
        let refused = log.reveal(&name("acme"), revealed).unwrap_err();
        assert!(matches!(refused.kind(), RevealErrorKind::Damaged { .. }), "{refused:?}");
    }
    let rig = Rig::new();
    let log = sealing(&rig);
    log.append(vec![write_event(&rig, &session("acme", "ses_1"), SECRET)]).unwrap();
    rig.tamper("INSERT INTO audit_sealed VALUES ('acme', 0, '/metadata/x', x'00')");
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Tampered, Some(1));
}

/// Between hashing and storing, a bit flips: then nothing is signed, and nothing is stored.
#[test]
fn what_is_not_stored_as_written_is_not_signed() {
    let rig = Rig::new();
    let log = rig.open();
    rig.fill(&log, 5);
    rig.tamper(
        "CREATE TRIGGER flip AFTER INSERT ON audit_event WHEN NEW.seq = 7 BEGIN \
         UPDATE audit_event SET bytes = CAST(replace(CAST(bytes AS TEXT), 'ann', 'bnn') AS BLOB) \
         WHERE org = NEW.org AND seq = 7; END",
    );
    let events = (0..4).map(|n| rig.event(&session("acme", "ses_1"), n)).collect::<Vec<_>>();
    let store = lictor_store::Store::open(
        &rig.database(),
        lictor_store::StoreOptions::default(),
        lictor_audit::migrations(),
    );
    let (inside, events) = (log.clone(), log.prepare(events).unwrap());
    let refused =
        store.unwrap().write(move |tx| Ok::<_, ()>(inside.append_in(tx, events).unwrap_err()));
    let refused = refused.wait().unwrap();
    assert!(matches!(refused.kind(), AppendErrorKind::NotAsWritten { seq: 7 }), "{refused:?}");
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
    assert_eq!(log.count(&name("acme"), &Filter::default()).unwrap(), 5);
}

/// What was sealed before the key was destroyed, and recorded after, is erased as well.
#[test]
fn what_was_sealed_before_a_person_was_erased_and_recorded_after_is_erased() {
    let rig = Rig::new();
    let log = sealing(&rig);
    let session = session("acme", "ses_1");
    log.append(vec![write_event(&rig, &session, "first")]).unwrap();
    let late = log.prepare(vec![write_event(&rig, &session, "second")]).unwrap();
    log.erase_subject(&session, &name("ann"), &rig.clock).unwrap();
    let inside = log.clone();
    let store = lictor_store::Store::open(
        &rig.database(),
        lictor_store::StoreOptions::default(),
        lictor_audit::migrations(),
    );
    let appended = store.unwrap().write(move |tx| inside.append_in(tx, late)).wait().unwrap();
    log.confirm(&appended).unwrap();
    let seq = log.count(&name("acme"), &Filter::default()).unwrap() - 1;
    assert_eq!(line(&log, 2)["action_name"], "fs.write");
    let refused = log.reveal(&name("acme"), seq).unwrap_err();
    assert!(matches!(refused.kind(), RevealErrorKind::Erased { .. }), "{refused:?}");
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
}

/// Only the trail says such things, because verifiers believe them.
#[test]
fn nobody_else_writes_the_trails_own_events() {
    let rig = Rig::new();
    let log = rig.open();
    for kind in [
        EventType::KeyRotated,
        EventType::AuditPruned,
        EventType::SubjectErased,
        EventType::HoldPlaced,
        EventType::HoldReleased,
    ] {
        let event = Event::new(&session("acme", "ses_1"), kind, EventFacts::default(), &rig.clock);
        assert!(log.append(vec![event]).is_err(), "{kind}");
    }
    assert_eq!(log.count(&name("acme"), &Filter::default()).unwrap(), 0);
}
