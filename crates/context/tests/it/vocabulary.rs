//! Ids, digests, time, sealing.

use std::time::Duration;

use lictor_context::{
    Clock, Digest, EventType, ExecutionId, ManualClock, Name, SystemClock, Timestamp,
    canonical_json, seal,
};
use proptest::prelude::*;
use serde_json::json;

#[test]
fn a_generated_id_is_a_prefix_and_32_hex_digits() {
    let id = ExecutionId::generate(&SystemClock);
    let (prefix, hex) = id.as_str().split_once('_').unwrap();
    assert_eq!(prefix, "exe");
    assert_eq!(hex.len(), 32);
    assert!(hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(hex.as_bytes()[12], b'7', "version 7");
}

#[test]
fn ids_that_cannot_be_keys_are_refused() {
    for text in ["", "a b", "a/b", "a\n", "é", &"x".repeat(129)] {
        assert!(Name::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_digest_is_written_and_read_back() {
    let digest = Digest::of(b"abc");
    assert_eq!(
        digest.to_string(),
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(Digest::parse(&digest.to_string()), Ok(digest));
    assert!(Digest::parse(&digest.to_string().to_uppercase()).is_err());
    assert!(Digest::parse("sha256:ba78").is_err());
}

#[test]
fn canonical_json_sorts_keys_and_formats_numbers_as_rfc_8785_does() {
    let bytes =
        canonical_json(&json!({"b": 1.0, "a": [true, null, "é\u{1}"], "\u{20ac}": 1e21})).unwrap();
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        "{\"a\":[true,null,\"é\\u0001\"],\"b\":1,\"€\":1e+21}"
    );
}

#[test]
fn time_is_utc_with_microseconds() {
    let at = Timestamp::parse("2026-11-20T11:00:00.5+01:00").unwrap();
    assert_eq!(at.to_string(), "2026-11-20T10:00:00.500000Z");
    assert_eq!(at.plus(Duration::from_secs(1)).since(at), Duration::from_secs(1));
    assert_eq!(at.since(at.plus(Duration::from_secs(1))), Duration::ZERO);
}

#[test]
fn a_manual_clock_moves_when_told() {
    let clock = ManualClock::new(Timestamp::from_micros(5));
    clock.advance(Duration::from_micros(7));
    assert_eq!(clock.now().as_micros(), 12);
    assert_eq!(clock.monotonic(), Duration::from_micros(7));
}

#[test]
fn every_event_type_is_read_back_by_its_name() {
    for kind in EventType::ALL {
        assert_eq!(kind.as_str().parse::<EventType>().unwrap(), *kind);
    }
    assert!("nothing_happened".parse::<EventType>().is_err());
}

#[test]
fn content_is_sealed_and_secrets_are_redacted() {
    let sealed = seal(&json!({
        "path": "a.txt",
        "content": "hello\n",
        "headers": [{"Authorization": "Bearer canary"}],
        "note": "x".repeat(300),
    }));
    assert_eq!(sealed["path"], "a.txt");
    assert_eq!(sealed["content"]["bytes"], 6);
    assert_eq!(sealed["content"]["sealed"], Digest::of(b"hello\n").to_string());
    assert_eq!(sealed["headers"][0]["Authorization"], json!({"redacted": true}));
    assert_eq!(sealed["note"]["bytes"], 300);
}

proptest! {
    /// `secrets_stay_out`.
    #[test]
    fn no_canary_under_a_secret_key_is_ever_recorded(depth in 0_usize..6, list in any::<bool>()) {
        let mut value = json!({"api_key": "canary"});
        for _ in 0..depth {
            value = if list { json!([value]) } else { json!({"inner": value}) };
        }
        prop_assert!(!seal(&value).to_string().contains("canary"));
    }
}
