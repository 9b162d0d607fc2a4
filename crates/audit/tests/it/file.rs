//! `audit_is_append_only`: exports, verified offline. That every single bit flip is found is shown in `src/verify.rs`.

use lictor_audit::log::{Tree, leaf_hash};
use lictor_audit::{Filter, SigningKey, Verdict, verify_file};
use lictor_context::{Digest, SessionId};

use crate::rig::{Export, Rig, check, export, name, open_in, session};

fn exported(count: u64) -> (Rig, lictor_audit::AuditLog, Export) {
    let rig = Rig::new();
    let log = rig.open();
    rig.fill(&log, count);
    let export = export(&log, &Filter::default());
    (rig, log, export)
}

#[test]
fn an_export_verifies_with_its_two_files_and_the_public_key() {
    let (_rig, log, export) = exported(50);
    let found = export.verify(&log);
    check(&found, Verdict::Complete, None);
    let mut tree = Tree::new();
    export.lines.iter().for_each(|line| tree.push(leaf_hash(line)));
    assert_eq!(found.root, Some(Digest::from_bytes(tree.root())));
    assert_eq!(found.origin, Some(log.origin(&name("acme"))));
    assert_eq!(
        serde_json::to_string(&found).unwrap(),
        format!(
            r#"{{"verdict":"complete","events":50,"root":"{}","first_bad_seq":null,"problem":null}}"#,
            Digest::from_bytes(tree.root())
        )
    );
}

#[test]
fn insertion_deletion_and_swap_are_named() {
    let (_rig, log, whole) = exported(50);
    for at in [0, 1, 24, 48] {
        let with = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
            let mut lines = whole.lines.clone();
            change(&mut lines);
            Export { lines, checkpoint: whole.checkpoint.clone() }.verify(&log)
        };
        let seq = Some(at as u64);
        check(&with(&|lines| drop(lines.remove(at))), Verdict::Tampered, seq);
        check(&with(&|lines| lines.swap(at, at + 1)), Verdict::Tampered, seq);
        check(&with(&|lines| lines.insert(at, lines[at + 1].clone())), Verdict::Tampered, seq);
        check(&with(&|lines| lines.insert(at, b"{}".to_vec())), Verdict::Tampered, seq);
        check(&with(&|lines| lines.insert(at, Vec::new())), Verdict::Tampered, seq);
        check(&with(&|lines| lines[at].push(b' ')), Verdict::Tampered, seq);
    }
    let mut lines = whole.lines.clone();
    lines.push(lines[49].clone());
    let longer = Export { lines, checkpoint: whole.checkpoint.clone() };
    check(&longer.verify(&log), Verdict::Tampered, Some(50));
}

#[test]
fn a_cut_tail_is_a_prefix_and_nothing_more() {
    let (_rig, log, mut cut) = exported(50);
    for left in [49, 30, 1, 0] {
        cut.lines.truncate(left);
        let found = cut.verify(&log);
        check(&found, Verdict::ValidPrefix, None);
        assert!(found.problem.unwrap().contains("of 50"));
    }
    // An edit is not hidden by cutting the tail as well.
    let (_rig, log, mut cut) = exported(50);
    cut.lines.truncate(30);
    cut.lines[12] = String::from_utf8(cut.lines[12].clone()).unwrap().replace("ann", "bob").into();
    check(&cut.verify(&log), Verdict::Tampered, Some(12));
    // A line that is torn in the middle is not part of a prefix.
    let (_rig, log, whole) = exported(5);
    let mut events = whole.events();
    events.truncate(events.len() - 1);
    let torn = verify_file(events.as_slice(), whole.checkpoint.as_slice(), &log.public_key(), None);
    check(&torn.unwrap(), Verdict::Tampered, Some(4));
}

/// The first five lines are the C2SP note, as others write it.
fn bare(checkpoint: &[u8]) -> Vec<u8> {
    checkpoint.split_inclusive(|byte| *byte == b'\n').take(5).flatten().copied().collect()
}

#[test]
fn a_bare_checkpoint_is_enough_to_prove() {
    let (_rig, log, mut whole) = exported(50);
    whole.checkpoint = bare(&whole.checkpoint);
    assert_eq!(whole.checkpoint, log.checkpoint(&name("acme")).unwrap().unwrap().into_bytes());
    check(&whole.verify(&log), Verdict::Complete, None);
    let kept = whole.lines.clone();
    // Nothing shows that what is left was signed: it must not pass for a prefix.
    whole.lines.truncate(40);
    check(&whole.verify(&log), Verdict::Tampered, Some(40));
    whole.lines = kept;
    whole.lines[7] =
        String::from_utf8(whole.lines[7].clone()).unwrap().replace("ann", "bob").into();
    // Which one it is cannot be told; none of them is vouched for any more.
    check(&whole.verify(&log), Verdict::Tampered, Some(0));
    whole.lines.remove(5);
    check(&whole.verify(&log), Verdict::Tampered, Some(5));
}

#[test]
fn a_rewritten_suffix_does_not_become_true_by_being_consistent() {
    let (_rig, log, mut forged) = exported(50);
    let mut tree = Tree::new();
    let mut list = String::from_utf8(bare(&forged.checkpoint)).unwrap();
    list.push_str("\nlictor-leaves/v1\n");
    for (n, line) in forged.lines.iter_mut().enumerate() {
        if n >= 20 {
            *line = String::from_utf8(line.clone()).unwrap().replace("step", "best").into();
        }
        tree.push(leaf_hash(line));
    }
    // With the true list, the first forged line is named.
    check(&forged.verify(&log), Verdict::Tampered, Some(20));
    // With a forged list, it is still refused.
    use base64::Engine as _;
    for line in &forged.lines {
        list.push_str(&base64::engine::general_purpose::STANDARD.encode(leaf_hash(line)));
        list.push('\n');
    }
    forged.checkpoint = list.into_bytes();
    check(&forged.verify(&log), Verdict::Tampered, Some(0));
    // And with a checkpoint that the forger signed, there is no evidence.
    let (_rig, other, theirs) = exported(50);
    check(&theirs.verify(&log), Verdict::NoEvidence, Some(0));
    check(&theirs.verify(&other), Verdict::Complete, None);
}

#[test]
fn events_of_another_log_are_refused() {
    let (rig, log, mut ours) = exported(10);
    // Another log under the same key.
    let folder = rig.path("other");
    std::fs::create_dir(&folder).unwrap();
    let store = lictor_store::Store::open(
        &folder.join("audit.db"),
        lictor_store::StoreOptions::default(),
        lictor_audit::migrations(),
    );
    let key = SigningKey::load_or_create(&rig.path("audit.key")).unwrap();
    let other =
        lictor_audit::AuditLog::open(store.unwrap(), key, lictor_audit::AuditOptions::default())
            .unwrap();
    rig.fill(&other, 10);
    let theirs = export(&other, &Filter::default());
    check(&theirs.verify(&other), Verdict::Complete, None);
    // Whole and signed, but of the wrong log.
    check(&theirs.verify(&log), Verdict::Tampered, Some(0));
    // Their events, our checkpoint.
    ours.lines = theirs.lines;
    check(&ours.verify(&log), Verdict::Tampered, Some(0));
}

#[test]
fn no_checkpoint_is_no_evidence() {
    let (_rig, log, mut whole) = exported(3);
    whole.checkpoint.clear();
    check(&whole.verify(&log), Verdict::NoEvidence, None);
    let rig = Rig::new();
    let log = rig.open();
    let empty = export(&log, &Filter::default());
    assert!(empty.lines.is_empty() && empty.checkpoint.is_empty());
    check(&empty.verify(&log), Verdict::NoEvidence, None);
}

#[test]
fn a_filtered_export_is_never_complete() {
    let (_rig, log, _) = exported(20);
    let one = Filter { session: Some(SessionId::parse("ses_2").unwrap()), ..Filter::default() };
    check(&export(&log, &one).verify(&log), Verdict::Tampered, Some(0));
    let first = Filter { limit: Some(5), ..Filter::default() };
    check(&export(&log, &first).verify(&log), Verdict::ValidPrefix, None);
    let backwards = Filter { newest_first: true, ..Filter::default() };
    check(&export(&log, &backwards).verify(&log), Verdict::Tampered, Some(0));
}

#[test]
fn an_older_export_still_verifies_for_what_it_is() {
    let (rig, log, old) = exported(10);
    log.append(vec![rig.event(&session("acme", "ses_3"), 1)]).unwrap();
    check(&old.verify(&log), Verdict::Complete, None);
    // But new events under an old checkpoint were never signed by it.
    let mixed =
        Export { lines: export(&log, &Filter::default()).lines, checkpoint: old.checkpoint };
    check(&mixed.verify(&log), Verdict::Tampered, Some(10));
    // A second opening is the same log.
    let again = open_in(rig.folder.path(), lictor_audit::AuditOptions::default());
    assert_eq!(again.log_id(), log.log_id());
}

#[test]
fn rubbish_does_not_bring_the_verifier_down() {
    let (_rig, log, whole) = exported(3);
    let long = vec![b'x'; 1 << 20];
    for junk in [b"\xff\xfe".as_slice(), b"\n\n\n\n", b"\0", &long, b"null\n", b"[]\n{}\n"] {
        let events = verify_file(junk, whole.checkpoint.as_slice(), &log.public_key(), None);
        assert!(!events.unwrap().verdict.is_proven());
        let events = whole.events();
        let checkpoint = verify_file(events.as_slice(), junk, &log.public_key(), None);
        assert!(!checkpoint.unwrap().verdict.is_proven());
    }
}
