//! Keys that follow one another.

use lictor_audit::{AuditLog, Filter, RotateErrorKind, Verdict, verify_file};
use lictor_context::Session;

use crate::rig::{Rig, check, export, name, session};

fn rotate(rig: &Rig, log: &AuditLog, sessions: &[Session]) {
    log.rotate_key(sessions, &rig.clock).unwrap();
}

/// A log with three epochs of 8 and more events, and the public keys of each.
fn rotated() -> (Rig, AuditLog, Vec<lictor_audit::PublicKey>) {
    let rig = Rig::new();
    let log = rig.open_guarded();
    let mut keys = vec![log.public_key()];
    for _ in 0..2 {
        rig.fill(&log, 8);
        rotate(&rig, &log, &[session("acme", "ses_9")]);
        keys.push(log.public_key());
    }
    rig.fill(&log, 8);
    (rig, log, keys)
}

#[test]
fn a_log_goes_on_under_the_next_key_and_verifies_with_the_first_and_the_last() {
    let (rig, log, keys) = rotated();
    assert!(keys[0] != keys[1] && keys[1] != keys[2]);
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
    let whole = export(&log, &Filter::default());
    for key in &keys {
        let found =
            verify_file(whole.events().as_slice(), whole.checkpoint.as_slice(), key, None).unwrap();
        check(&found, Verdict::Complete, None);
    }
    let stranger = lictor_audit::SigningKey::from_seed(&[9; 32]);
    let found = verify_file(
        whole.events().as_slice(),
        whole.checkpoint.as_slice(),
        stranger.public(),
        None,
    );
    assert_eq!(found.unwrap().verdict, Verdict::Tampered);
    // Opened anew, with the key that is there now.
    let again = rig.open_guarded();
    assert_eq!(again.public_key(), keys[2]);
    rig.fill(&again, 2);
    check(&again.verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
}

#[test]
fn the_old_secret_is_gone_and_its_public_half_stays() {
    let rig = Rig::new();
    let log = rig.open();
    rig.fill(&log, 1);
    let (secret, public) =
        (std::fs::read(rig.path("audit.key")).unwrap(), log.public_key().to_string());
    rotate(&rig, &log, &[session("acme", "ses_1")]);
    let mut kept = false;
    for entry in std::fs::read_dir(rig.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { continue };
        assert!(!bytes.windows(32).any(|window| window == secret), "{path:?}");
        kept |= bytes == format!("{public}\n").as_bytes();
    }
    assert!(kept);
    assert!(!rig.path("audit.key.next").exists());
}

/// Somebody with today's key writes another beginning. Who believes in the first key finds out.
#[test]
fn a_later_key_makes_no_other_beginning() {
    let (rig, log, keys) = rotated();
    let whole = export(&log, &Filter::default());
    let seed: [u8; 32] = std::fs::read(rig.path("audit.key")).unwrap().try_into().unwrap();
    let today = lictor_audit::SigningKey::from_seed(&seed);
    assert_eq!(*today.public(), keys[2]);

    // The first six events, as if today's key had always been the key.
    let forged = rig.forge(&today, &log.origin(&name("acme")), &whole.lines[..6]);
    let events =
        |lines: &[Vec<u8>]| lines.join(&b'\n').into_iter().chain([b'\n']).collect::<Vec<_>>();
    let short = events(&whole.lines[..6]);
    let found = verify_file(short.as_slice(), forged.as_slice(), &keys[0], None).unwrap();
    assert!(!found.verdict.is_proven(), "{found:?}");

    // The whole, with another third event, and the ends of the epochs as they were.
    let mut lines = whole.lines.clone();
    let third = String::from_utf8(lines[3].clone()).unwrap();
    lines[3] = third.replace("\"severity\":\"info\"", "\"severity\":\"error\"").into_bytes();
    let mut forged = rig.forge(&today, &log.origin(&name("acme")), &lines);
    let at = |bytes: &[u8]| {
        bytes.windows(16).position(|window| window == b"lictor-epochs/v1").unwrap() - 1
    };
    forged.extend_from_slice(&whole.checkpoint[at(&whole.checkpoint)..]);
    for key in &keys {
        let bytes = events(&lines);
        let found = verify_file(bytes.as_slice(), forged.as_slice(), key, None).unwrap();
        assert_eq!(found.verdict, Verdict::Tampered, "{found:?}");
    }
    // Without the ends of the epochs as well.
    let forged = rig.forge(&today, &log.origin(&name("acme")), &lines);
    let bytes = events(&lines);
    let found = verify_file(bytes.as_slice(), forged.as_slice(), &keys[0], None).unwrap();
    assert_eq!(found.verdict, Verdict::Tampered, "{found:?}");
}

#[test]
fn a_store_whose_epochs_were_tampered_with_is_tampered() {
    // The first epoch has 9 events, the second ends with 18, and there are 26.
    for (sql, seq) in [
        ("DELETE FROM audit_epoch WHERE size = 9", 8),
        ("UPDATE audit_epoch SET size = 10 WHERE size = 9", 8),
        (
            "UPDATE audit_epoch SET note = (SELECT checkpoint_note FROM audit_head) WHERE size = 9",
            0,
        ),
        (
            "INSERT INTO audit_epoch VALUES ('acme', 20, (SELECT checkpoint_note FROM audit_head))",
            19,
        ),
        ("UPDATE audit_epoch SET note = replace(note, 'acme', 'evil')", 0),
    ] {
        let (rig, log, _) = rotated();
        rig.tamper(sql);
        let found = log.verify_store(&name("acme")).unwrap();
        let named = (found.verdict, found.first_bad_seq);
        assert_eq!(named, (Verdict::Tampered, Some(seq)), "{sql}: {found:?}");
    }
}

/// Another process, which opened the trail before, goes on under the new key.
#[test]
fn everybody_follows_a_rotation() {
    let rig = Rig::new();
    let (log, other) = (rig.open_guarded(), rig.open_guarded());
    rig.fill(&log, 3);
    rotate(&rig, &log, &[session("acme", "ses_1")]);
    rig.fill(&other, 3);
    assert_eq!(other.public_key(), log.public_key());
    rig.fill(&log, 3);
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
    check(&other.verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
}

#[test]
fn every_organisation_has_to_be_spoken_for() {
    let rig = Rig::new();
    let log = rig.open();
    rig.fill(&log, 2);
    let umbrella = session("umbrella", "ses_1");
    log.append(vec![rig.event(&umbrella, 0)]).unwrap();
    let key = log.public_key();
    let refused = log.rotate_key(&[session("acme", "ses_1")], &rig.clock).unwrap_err();
    assert!(matches!(refused.kind(), RotateErrorKind::OrgLeftOut(org) if org == "umbrella"));
    assert_eq!(log.public_key(), key);
    rotate(&rig, &log, &[session("acme", "ses_1"), umbrella]);
    for org in ["acme", "umbrella"] {
        check(&log.verify_store(&name(org)).unwrap(), Verdict::Complete, None);
    }
}
