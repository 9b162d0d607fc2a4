//! What the trail's verifiers are given: a good export, of which one half is replaced.

use lictor_audit::log::Checkpoint;
use lictor_audit::{Proof, PublicKey, cloud_event, ocsf, otlp_record, verify_file};

const EVENTS: &[u8] = include_bytes!("../../../crates/audit/tests/data/v1/plain.jsonl");
const EVIDENCE: &[u8] =
    include_bytes!("../../../crates/audit/tests/data/v1/plain.jsonl.checkpoint");
const KEY: &str = include_str!("../../../crates/audit/tests/data/v1/plain.pub");

/// Lines of events: nothing but the very bytes that were signed is complete.
pub fn event_lines(bytes: &[u8]) -> bool {
    for line in bytes.split(|byte| *byte == b'\n') {
        let _other_formats = (cloud_event(line, "fuzzed"), ocsf(line), otlp_record(line));
    }
    let proven = is_proven(bytes, EVIDENCE);
    assert_eq!(proven, bytes == EVENTS, "other bytes than the signed ones");
    proven
}

/// A checkpoint with what follows it: only what the key has signed is believed, and nothing but it
/// proves the events.
pub fn checkpoint(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let _alone = (Proof::parse(&text), PublicKey::parse(&text));
    let signed = std::str::from_utf8(EVIDENCE).unwrap_or_default();
    let Ok(key) = PublicKey::parse(KEY.trim_end()) else { return false };
    let opened = Checkpoint::open(&text, &key).ok();
    if let Some(opened) = &opened {
        assert!(signed.starts_with(&opened.text()), "nobody signed {:?}", opened.text());
    }
    let proven = is_proven(EVENTS, bytes);
    let note = signed.split_once("\n\n").map_or(signed, |(text, _)| text);
    assert!(!proven || text.starts_with(note), "proven by something else than the signed note");
    opened.is_some() || proven
}

fn is_proven(events: &[u8], evidence: &[u8]) -> bool {
    let Ok(key) = PublicKey::parse(KEY.trim_end()) else { return false };
    verify_file(events, evidence, &key, None).is_ok_and(|found| found.verdict.is_proven())
}
