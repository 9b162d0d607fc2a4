//! Archiving, pruning, holds, and the proofs of single events.

use std::fs::File;
use std::io::BufReader;

use lictor_audit::{
    ArchiveErrorKind, AuditLog, Cut, Filter, HoldError, Proof, ProofErrorKind, ProveError, Verdict,
    verify_file,
};
use lictor_context::Timestamp;

use crate::rig::{Rig, export, name, session};

fn filled(count: u64) -> (Rig, AuditLog) {
    let rig = Rig::new();
    let log = rig.open_guarded();
    rig.fill(&log, count);
    (rig, log)
}

#[test]
fn what_is_archived_leaves_a_log_that_proves_itself() {
    let (rig, log) = filled(700);
    let officer = session("acme", "ses_3");
    let done = log.archive(&officer, Cut::Seq(600), &rig.path("old.jsonl"), &rig.clock).unwrap();
    assert_eq!((done.first_seq, done.until_seq), (0, 512));
    let found = log.verify_store(&name("acme")).unwrap();
    assert_eq!((found.verdict, found.events), (Verdict::Pruned, 701 - 512));
    assert_eq!(log.count(&name("acme"), &Filter::default()).unwrap(), 701 - 512);
    // The archive alone proves what is in it.
    let open = |n: usize| BufReader::new(File::open(&done.files[n]).unwrap());
    let archived = verify_file(open(0), open(1), &log.public_key(), None).unwrap();
    assert_eq!((archived.verdict, archived.events), (Verdict::ValidPrefix, 512));
    // So does an export of what is left, and it goes on.
    let rest = export(&log, &Filter::default());
    let found = rest.verify(&log);
    assert_eq!((found.verdict, found.events), (Verdict::Pruned, 701 - 512));
    rig.fill(&log, 300);
    let done = log.archive(&officer, Cut::Seq(900), &rig.path("new.jsonl"), &rig.clock).unwrap();
    assert_eq!((done.first_seq, done.until_seq), (512, 768));
    let open = |n: usize| BufReader::new(File::open(&done.files[n]).unwrap());
    let archived = verify_file(open(0), open(1), &log.public_key(), None).unwrap();
    assert_eq!((archived.verdict, archived.events), (Verdict::ValidPrefix, 256), "{archived:?}");
    assert_eq!(log.verify_store(&name("acme")).unwrap().verdict, Verdict::Pruned);
    // What is left is proven one by one; what is not, is not.
    for seq in [768, 800, 1001] {
        let proof = log.prove(&name("acme"), seq).unwrap();
        assert_eq!(proof.verify(&log.public_key(), None).unwrap().seq, seq);
    }
    assert!(matches!(log.prove(&name("acme"), 767), Err(ProveError::NoEvent)));
}

#[test]
fn events_that_are_missing_and_were_never_pruned_are_named() {
    let (rig, log) = filled(700);
    let officer = session("acme", "ses_3");
    log.archive(&officer, Cut::Seq(600), &rig.path("old.jsonl"), &rig.clock).unwrap();
    for (sql, bad) in [
        ("DELETE FROM audit_event WHERE seq = 512", 512),
        ("UPDATE audit_pruned SET first_seq = 256", 256),
        ("UPDATE audit_pruned SET frontier = zeroblob(32)", 512),
        ("DELETE FROM audit_pruned", 0),
        ("UPDATE audit_node SET hash = zeroblob(32) WHERE level = 1 AND idx = 3", 0),
        ("UPDATE audit_node SET hash = zeroblob(32) WHERE level = 2 AND idx = 1", 256),
        ("DELETE FROM audit_node WHERE level = 1 AND idx = 3", 0),
        ("UPDATE audit_node SET hash = zeroblob(32) WHERE level = 1 AND idx = 40", 640),
        ("INSERT INTO audit_node VALUES ('acme', 9, 0, zeroblob(32))", 512),
    ] {
        let copy = rig.copy();
        let log = copy.open();
        copy.tamper(sql);
        let found = log.verify_store(&name("acme")).unwrap();
        let named = (found.verdict, found.first_bad_seq);
        assert_eq!(named, (Verdict::Tampered, Some(bad)), "{sql}: {found:?}");
    }
}

#[test]
fn nothing_is_removed_under_a_hold() {
    let (rig, log) = filled(600);
    let officer = session("acme", "ses_3");
    log.place_hold(&officer, "case-7", "asked by counsel", &rig.clock).unwrap();
    let refused = log.archive(&officer, Cut::Seq(512), &rig.path("a"), &rig.clock).unwrap_err();
    assert!(matches!(refused.kind(), ArchiveErrorKind::Held { holds } if *holds == ["case-7"]));
    assert!(!rig.path("a").exists());
    let again = log.place_hold(&officer, "case-7", "", &rig.clock);
    assert!(matches!(again, Err(HoldError::Same(..))));
    // Another organisation is not held by it.
    assert!(log.holds(&name("umbrella")).unwrap().is_empty());
    log.release_hold(&officer, "case-7", "closed", &rig.clock).unwrap();
    log.archive(&officer, Cut::Seq(512), &rig.path("a"), &rig.clock).unwrap();
    let kinds = Filter {
        types: vec![lictor_context::EventType::HoldPlaced, lictor_context::EventType::HoldReleased],
        ..Filter::default()
    };
    assert_eq!(log.count(&name("acme"), &kinds).unwrap(), 2);
}

#[test]
fn too_few_events_are_not_archived_and_never_all() {
    let (rig, log) = filled(256);
    let officer = session("acme", "ses_3");
    let nothing = |cut| {
        let refused = log.archive(&officer, cut, &rig.path("a"), &rig.clock).unwrap_err();
        matches!(refused.kind(), ArchiveErrorKind::Nothing { .. })
    };
    assert!(nothing(Cut::Seq(255)));
    assert!(nothing(Cut::Seq(u64::MAX)));
    assert!(nothing(Cut::Before(Timestamp::from_micros(0))));
    rig.fill(&log, 1);
    let all = Cut::Before(Timestamp::from_micros(i64::MAX));
    let done = log.archive(&officer, all, &rig.path("a"), &rig.clock).unwrap();
    assert_eq!(done.until_seq, 256);
}

#[test]
fn an_archive_never_overwrites_a_file_and_never_prunes_what_does_not_hold() {
    let (rig, log) = filled(300);
    let officer = session("acme", "ses_3");
    std::fs::write(rig.path("a"), "somebody's").unwrap();
    let refused = log.archive(&officer, Cut::Seq(300), &rig.path("a"), &rig.clock).unwrap_err();
    assert!(matches!(refused.kind(), ArchiveErrorKind::Read(_)), "{refused:?}");
    assert_eq!(std::fs::read(rig.path("a")).unwrap(), b"somebody's");
    rig.tamper("UPDATE audit_event SET user = 'eve' WHERE seq = 3");
    let refused = log.archive(&officer, Cut::Seq(300), &rig.path("b"), &rig.clock).unwrap_err();
    assert!(matches!(refused.kind(), ArchiveErrorKind::Unproven { .. }), "{refused:?}");
    assert_eq!(log.count(&name("acme"), &Filter::default()).unwrap(), 300);
}

#[test]
fn one_event_is_proven_offline_and_no_other_one() {
    let (_rig, log) = filled(300);
    let origin = log.origin(&name("acme"));
    for seq in [0, 1, 15, 16, 255, 256, 299] {
        let text = log.prove(&name("acme"), seq).unwrap().text();
        let proof = Proof::parse(&text).unwrap();
        let proven = proof.verify(&log.public_key(), Some(&origin)).unwrap();
        assert_eq!((proven.seq, proven.size), (seq, 300));
        let stored = log.query(&name("acme"), &Filter::default()).unwrap();
        assert_eq!(proven.event, stored[usize::try_from(seq).unwrap()].bytes);
    }
    let text = log.prove(&name("acme"), 7).unwrap().text();
    // A valid proof, but of another event, or of another log.
    let other = log.prove(&name("acme"), 8).unwrap().text();
    let extra = |text: &str| text.lines().nth(1).unwrap().to_owned();
    let mixed = text.replace(&extra(&text), &extra(&other));
    let refused = Proof::parse(&mixed).unwrap().verify(&log.public_key(), None).unwrap_err();
    assert_eq!(*refused.kind(), ProofErrorKind::OtherRoot);
    let refused = Proof::parse(&text).unwrap().verify(&log.public_key(), Some("lictor/x/acme"));
    assert!(matches!(refused.unwrap_err().kind(), ProofErrorKind::OtherLog(_)));
}

#[test]
fn every_bit_flip_of_a_proof_is_found() {
    let (_rig, log) = filled(20);
    let proof = log.prove(&name("acme"), 5).unwrap();
    let text = proof.text();
    let (key, origin) = (log.public_key(), log.origin(&name("acme")));
    let good = proof.verify(&key, Some(&origin)).unwrap();
    for bit in 0..text.len() * 8 {
        let mut bytes = text.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(flipped) = String::from_utf8(bytes) else { continue };
        let found = Proof::parse(&flipped).and_then(|proof| proof.verify(&key, Some(&origin)));
        assert!(found.as_ref() != Ok(&good), "bit {bit}: {flipped}");
        assert!(found.is_err(), "bit {bit}: {flipped}");
    }
}

#[test]
fn an_event_is_found_by_its_id() {
    let (_rig, log) = filled(40);
    for event in log.query(&name("acme"), &Filter::default()).unwrap() {
        let line: serde_json::Value = serde_json::from_slice(&event.bytes).unwrap();
        let id = line["event_id"].as_str().unwrap();
        assert_eq!(log.find_event(&name("acme"), id).unwrap(), Some(event.seq));
        assert_eq!(log.find_event(&name("umbrella"), id).unwrap(), None);
    }
    assert_eq!(log.find_event(&name("acme"), "evt_nonsense").unwrap(), None);
}
