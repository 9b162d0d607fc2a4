//! The line of JSON.

use lictor_audit::{MAX_LINE, Place, event_line};
use lictor_context::{
    CapabilityFacts, Digest, Event, EventFacts, EventType, ManualClock, Session, Timestamp,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::rig::{START, session};

const FIELDS: &str = "v event_id seq session_seq event_type timestamp org_id user_id agent_id \
    session_id action_id action_name action_params capability_type capability_source \
    capability_version mcp_server_id mcp_server_name execution_id decision_id workflow_run_id \
    step_id trace_id requires_approval approval_granted success duration_us error_message \
    severity metadata";
const PLACE: Place = Place { seq: 42, session_seq: 7 };

fn event(session: &Session, facts: EventFacts) -> Event {
    Event::new(session, EventType::ActionFailed, facts, &ManualClock::new(START))
}

fn line(facts: EventFacts) -> Vec<u8> {
    event_line(&event(&session("acme", "ses_1"), facts), PLACE)
}

fn parsed(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap()
}

#[test]
fn a_bare_event_has_every_field_in_order() {
    let text = String::from_utf8(line(EventFacts::default())).unwrap();
    let id = text.split('"').nth(5).unwrap().to_owned();
    let expected = format!(
        r#"{{"v":1,"event_id":"{id}","seq":42,"session_seq":7,"event_type":"action_failed","timestamp":"2025-11-13T02:13:20.000000Z","org_id":"acme","user_id":"ann","agent_id":"planner","session_id":"ses_1","action_id":null,"action_name":null,"action_params":null,"capability_type":null,"capability_source":null,"capability_version":null,"mcp_server_id":null,"mcp_server_name":null,"execution_id":null,"decision_id":null,"workflow_run_id":null,"step_id":null,"trace_id":null,"requires_approval":false,"approval_granted":null,"success":null,"duration_us":0,"error_message":null,"severity":"error","metadata":{{}}}}"#
    );
    assert_eq!(text, expected);
    assert!(id.starts_with("evt_"));
}

/// All the text that an event can carry is this text.
fn everywhere(text: &str) -> Event {
    let mut metadata = Map::new();
    metadata.insert(text.to_owned(), json!([text, { text: text }]));
    let facts = EventFacts {
        action_name: Some(text.to_owned()),
        action_params: Some(json!({ text: text })),
        capability: Some(CapabilityFacts {
            kind: text.to_owned(),
            source: text.to_owned(),
            version: text.to_owned(),
            mcp_server: Some(text.to_owned()),
        }),
        step_id: Some(text.to_owned()),
        error_message: Some(text.to_owned()),
        metadata,
        ..EventFacts::default()
    };
    event(&session("acme", "ses_1").with_trace_id(text), facts)
}

#[test]
fn no_text_breaks_out_of_its_line() {
    for text in [
        "\n{\"v\":1,\"seq\":43}\n",
        "\r\n",
        "\u{1b}[2J\u{1b}]0;title\u{7}",
        "\u{9b}31m",
        "\u{202e}gnp.exe\u{2066}",
        "a\u{2028}b\u{2029}c\u{85}d",
        "\"}\\",
        "\0\u{7f}\u{feff}\u{200b}",
        "\u{e0041}\u{e007f}",
    ] {
        let line = event_line(&everywhere(text), PLACE);
        let shown = String::from_utf8(line.clone()).unwrap();
        let hidden = |c: char| {
            c.is_control()
                || matches!(c, '\u{200b}'..='\u{202e}' | '\u{2066}' | '\u{feff}' | '\u{e0000}'..)
        };
        assert!(!shown.contains(hidden), "{shown:?}");
        // And it is still the same text.
        let value = parsed(&line);
        for field in ["action_name", "capability_type", "mcp_server_id", "step_id", "trace_id"] {
            assert_eq!(value[field], text);
        }
        assert_eq!(value["metadata"][text][1][text], text);
        assert_eq!(value["action_params"][text], text);
    }
}

#[test]
fn large_parameters_are_replaced_by_their_digest() {
    let large = json!({ "list": vec!["0123456789"; 10_000] });
    let bytes = large.to_string().len();
    let truncated =
        json!({ "truncated": { "bytes": bytes, "digest": Digest::of_json(&large).unwrap() } });
    let params = EventFacts { action_params: Some(large.clone()), ..EventFacts::default() };
    assert_eq!(parsed(&line(params))["action_params"], truncated);

    let mut small = Map::new();
    small.insert("keep".into(), json!(1));
    let both =
        EventFacts { action_params: Some(large.clone()), metadata: small, ..EventFacts::default() };
    assert_eq!(parsed(&line(both))["metadata"], json!({ "keep": 1 }));

    let Value::Object(metadata) = large else { unreachable!() };
    let metadata = EventFacts { metadata, ..EventFacts::default() };
    let value = parsed(&line(metadata));
    assert_eq!((&value["metadata"], &value["action_params"]), (&truncated, &Value::Null));
}

#[test]
fn nothing_makes_a_line_too_long() {
    let long = "\u{1}\u{202e}".repeat(100_000);
    let line = event_line(&everywhere(&long), PLACE);
    assert!(line.len() <= MAX_LINE, "{}", line.len());
    let value = parsed(&line);
    assert!(value["error_message"].as_str().unwrap().contains("[cut: 400000 bytes, sha256:"));
    assert_eq!(value["metadata"]["truncated"]["digest"].as_str().unwrap().len(), 71);
}

#[test]
fn deep_parameters_are_replaced() {
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let facts = EventFacts { action_params: Some(deep), ..EventFacts::default() };
    assert!(parsed(&line(facts))["action_params"]["truncated"].is_object());
    let fine = (0..64).fold(json!(1), |inner, _| json!([inner]));
    let facts = EventFacts { action_params: Some(fine.clone()), ..EventFacts::default() };
    assert_eq!(parsed(&line(facts))["action_params"], fine);
}

#[test]
fn a_time_beyond_rfc_3339_becomes_the_last_one() {
    let clock = ManualClock::new(Timestamp::from_micros(i64::MAX));
    let event =
        Event::new(&session("acme", "s"), EventType::LockBroken, EventFacts::default(), &clock);
    assert_eq!(parsed(&event_line(&event, PLACE))["timestamp"], "9999-12-30T22:00:00.999999Z");
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e15..1e15).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_event_reads_back_as_it_was(
        params in prop::option::of(json_value()),
        extra in json_value(),
        message in prop::option::of(any::<String>()),
        action in prop::option::of(".{0,40}"),
        success in prop::option::of(any::<bool>()),
        approval in prop::option::of(any::<bool>()),
        micros in 0_u64..1 << 52,
    ) {
        let mut metadata = Map::new();
        metadata.insert("extra".into(), extra);
        let facts = EventFacts {
            action_params: params.clone(),
            action_name: action.clone(),
            error_message: message.clone(),
            success,
            requires_approval: approval,
            approval_granted: approval,
            duration: Some(std::time::Duration::from_micros(micros)),
            metadata: metadata.clone(),
            ..EventFacts::default()
        };
        let line = line(facts);
        prop_assert!(!line.contains(&b'\n'));
        let value = parsed(&line);
        prop_assert_eq!(&value["action_params"], &params.unwrap_or_default());
        prop_assert_eq!(&value["metadata"], &Value::Object(metadata));
        prop_assert_eq!(&value["error_message"], &json!(message));
        prop_assert_eq!(&value["action_name"], &json!(action));
        prop_assert_eq!(&value["success"], &json!(success));
        prop_assert_eq!(&value["approval_granted"], &json!(approval));
        prop_assert_eq!(&value["requires_approval"], &json!(approval.unwrap_or(false)));
        prop_assert_eq!(&value["duration_us"], &json!(micros));
        let fields: Vec<_> = FIELDS.split_whitespace().collect();
        let object = value.as_object().unwrap();
        prop_assert_eq!(object.len(), fields.len());
        let text = String::from_utf8(line).unwrap();
        let mut rest = text.as_str();
        for field in fields {
            let at = rest.find(&format!("\"{field}\":"));
            prop_assert!(at.is_some(), "{}", field);
            rest = rest.get(at.unwrap() + 1..).unwrap();
        }
    }
}
