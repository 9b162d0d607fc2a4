//! What is left out before a line is made, whichever field it stands in.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use lictor_audit::{AuditOptions, Filter, Redactor};
use lictor_context::{CapabilityFacts, Event, EventFacts, EventType};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::rig::{Rig, name, open_in, session};

const SECRET: &str = "canary-hunter2/+x";

fn none() -> [&'static str; 0] {
    []
}

fn redactor() -> Redactor {
    Redactor::new(none(), [SECRET]).unwrap()
}

#[test]
fn a_declared_secret_is_left_out_of_every_field_of_a_line() {
    let rig = Rig::new();
    let log = open_in(rig.folder.path(), AuditOptions::default().redactor(redactor()));
    let text = || Some(format!("before {SECRET} after"));
    let facts = EventFacts {
        action_name: text(),
        action_params: Some(json!([[{ "a": [SECRET], SECRET: 1 }], 7])),
        capability: Some(CapabilityFacts {
            kind: SECRET.into(),
            source: SECRET.into(),
            version: SECRET.into(),
            mcp_server: text(),
        }),
        step_id: text(),
        error_message: text(),
        metadata: [("k".to_owned(), json!({ "deep": [SECRET] }))].into_iter().collect(),
        ..EventFacts::default()
    };
    let event = Event::new(&session("acme", "ses_1"), EventType::ActionFailed, facts, &rig.clock);
    log.append(vec![event]).unwrap();
    let line = log.query(&name("acme"), &Filter::default()).unwrap().remove(0).bytes;
    let line = String::from_utf8(line).unwrap();
    assert!(!line.contains("canary"), "{line}");
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["error_message"], "before [redacted] after");
}

#[test]
fn what_looks_like_a_secret_is_left_out_and_plain_words_are_not() {
    let redactor = Redactor::new(none(), none()).unwrap();
    for (text, left) in [
        ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
        ("Authorization: Bearer abcdefghijkl", "Authorization: Bearer [redacted]"),
        ("https://ann:hunter22@example.com/x", "https://ann:[redacted]@example.com/x"),
        ("run --password=hunter22 now", "run --password=[redacted] now"),
        ("api_key: 'k e y'", "api_key: [redacted]"),
        ("-----BEGIN PRIVATE KEY-----\nabc", "[redacted]"),
        ("a plain text about src/date.rs", "a plain text about src/date.rs"),
        ("sha256:e3b0c44298fc1c149afbf4c8996fb924", "sha256:e3b0c44298fc1c149afbf4c8996fb924"),
    ] {
        assert_eq!(redactor.text(text), left);
    }
    let value = json!({ "Authorization": "x", "items": [{ "password": 7 }], "plain": "y" });
    let left = json!({
        "Authorization": { "redacted": true }, "items": [{ "password": { "redacted": true } }],
        "plain": "y",
    });
    assert_eq!(redactor.value(&value), left);
    // Something that only says of itself that it was left out is left out.
    let liar = json!({ "token": { "redacted": true, "sealed": "hunter22" } });
    assert_eq!(redactor.value(&liar), json!({ "token": { "redacted": true } }));
}

proptest! {
    /// However deep, however encoded, whatever stands around it.
    #[test]
    fn a_declared_secret_is_found_however_it_travels(
        before in "[a-z]{0,5}", after in "[a-z]{0,5}", form in 0..6_u8, depth in 0..6_u8,
    ) {
        let whole = format!("{before}{SECRET}{after}");
        let text = match form {
            0 => whole,
            1 => STANDARD.encode(&whole),
            2 => URL_SAFE.encode(&whole),
            3 => whole.bytes().map(|byte| format!("{byte:02x}")).collect(),
            4 => format!("{before}canary-hunter2%2F%2Bx{after}"),
            _ => json!({ "message": json!({ "k": whole }).to_string() }).to_string(),
        };
        let value = (0..depth).fold(json!(text), |value, n| {
            if n % 2 == 0 { json!([value]) } else { json!({ "k": value }) }
        });
        let left = redactor().value(&value).to_string();
        let digits: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
        for trace in ["hunter2", &digits[..16], "Y2FuYXJ5", "NhbmFyeS", "jYW5hcnk"] {
            prop_assert!(!left.contains(trace), "{left}");
        }
    }
}

/// Values with and without secrets in them, at any depth, in texts, keys and numbers.
fn values() -> impl Strategy<Value = Value> {
    const TEXTS: &[&str] =
        &["plain", SECRET, "run --password=hunter22", "cus_4242", "[redacted]", ""];
    const KEYS: &[&str] = &["a", "password", SECRET, "x-internal", "cus_1"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        Just(json!(7)),
        Just(json!({ "redacted": true })),
        proptest::sample::select(TEXTS).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let pair = (proptest::sample::select(KEYS).prop_map(str::to_owned), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..3).prop_map(Value::from),
            prop::collection::vec(pair, 0..3)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Who asks first whether there is something to leave out misses nothing; and what stands below the
    /// name of a secret is left out wherever else it stands.
    #[test]
    fn what_is_said_to_hide_nothing_is_left_as_it_is(value in values()) {
        let redactor = Redactor::new(["x-internal", "cus_[0-9]+"], [SECRET]).unwrap();
        if !redactor.hides(&value) {
            prop_assert_eq!(redactor.value(&value), value.clone());
        }
        let named = redactor.named(&json!({ "password": [{ "deep": "a-word-that-is-one" }] }));
        prop_assert_eq!(&named, &["a-word-that-is-one"]);
        let more = redactor.and(named).unwrap();
        let left = more.value(&json!([value, "so a-word-that-is-one is gone"])).to_string();
        prop_assert!(!left.contains("a-word-that-is-one"), "{}", left);
    }
}
