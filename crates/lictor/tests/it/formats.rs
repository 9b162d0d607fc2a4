//! Events in the formats of other systems: what is written is what these accept.

use std::collections::BTreeSet;

use lictor::audit::{Filter, cloud_event, event_line, ocsf, otlp_record, otlp_request};
use lictor::audit::{Place as At, REDACTED};
use lictor::context::{
    CapabilityFacts, Event, EventFacts, EventType, ManualClock, Name, Principal, Session, Severity,
    SystemClock, Timestamp,
};
use lictor::{Runtime, RuntimeOptions};
use serde_json::{Value, json};

const POLICY: &str = "version: 1\ndefault: deny\n\
    paths: { forbidden: [\"no/**\"], protected: [\"ask/**\"], allowed: [\"**\"] }\n";
const ORIGIN: &str = "lictor/00112233445566778899aabbccddeeff/acme";

fn schema() -> jsonschema::Validator {
    let text = include_str!("../data/otlp-logs.schema.json");
    jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()
}

#[track_caller]
fn accepted(schema: &jsonschema::Validator, line: &Value) {
    let problems: Vec<String> = schema
        .iter_errors(line)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(problems.is_empty(), "{problems:?}: {line}");
}

fn session(trace: Option<&str>) -> Session {
    let name = |text| Name::parse(text).unwrap();
    let principal = Principal { org: name("acme"), user: name("ann"), agent: name("bot") };
    let session = Session::new(principal, &SystemClock);
    match trace {
        Some(trace) => session.with_trace_id(trace.to_owned()),
        None => session,
    }
}

/// An event of every type, with every field, and with as few as there may be.
pub(crate) fn lines() -> Vec<Vec<u8>> {
    let clock = ManualClock::new(Timestamp::from_micros(1_763_000_000_123_456));
    let traces =
        [None, Some("4BF92F3577B34DA6A3CE929D0E0E4736"), Some(&"0".repeat(32)), Some("x y")]
            .map(session);
    let mut all = Vec::new();
    for (n, kind) in EventType::ALL.iter().enumerate() {
        let full = EventFacts {
            action_name: Some("fs.write".to_owned()),
            action_params: Some(json!({ "path": "a\n\u{202e}b", "n": [1, null, 2.5] })),
            capability: Some(CapabilityFacts {
                kind: "skill".into(),
                source: "builtin".into(),
                version: "1.0.0".into(),
                mcp_server: None,
            }),
            step_id: Some("s".to_owned()),
            success: Some(n % 2 == 0),
            error_message: Some(REDACTED.to_owned()),
            metadata: [("k".to_owned(), json!({ "deep": [true] }))].into_iter().collect(),
            ..EventFacts::default()
        };
        for facts in [full, EventFacts::default()] {
            let event = Event::new(&traces[n % traces.len()], *kind, facts, &clock);
            let seq = all.len() as u64;
            all.push(event_line(&event, At { seq, session_seq: seq }));
        }
    }
    all
}

#[test]
fn every_event_is_a_log_record_that_otlp_accepts() {
    let schema = schema();
    let lines = lines();
    let records: Vec<Value> = lines.iter().map(|line| otlp_record(line).unwrap()).collect();
    accepted(&schema, &otlp_request(records.clone(), ORIGIN));
    let mut severities = BTreeSet::new();
    for (line, record) in lines.iter().zip(&records) {
        let event: Value = serde_json::from_slice(line).unwrap();
        assert_eq!(record["timeUnixNano"], "1763000000123456000");
        assert_eq!(record["body"]["stringValue"].as_str().unwrap().as_bytes(), line);
        assert_eq!(
            record["eventName"],
            json!(format!("lictor.{}", event["event_type"].as_str().unwrap()))
        );
        let severity = match event["severity"].as_str().unwrap() {
            "info" => (9, "INFO"),
            "warning" => (13, "WARN"),
            "error" => (17, "ERROR"),
            _ => (21, "FATAL"),
        };
        assert_eq!(
            (&record["severityNumber"], &record["severityText"]),
            (&json!(severity.0), &json!(severity.1))
        );
        severities.insert(severity.0);
        let attribute = |name: &str| {
            let all = record["attributes"].as_array().unwrap();
            all.iter().find(|one| one["key"] == name).map(|one| one["value"].clone())
        };
        let text = |value: &Value| value.as_str().map(|text| json!({ "stringValue": text }));
        for (name, field) in [
            ("gen_ai.agent.id", "agent_id"),
            ("gen_ai.conversation.id", "session_id"),
            ("gen_ai.tool.name", "action_name"),
            ("user.id", "user_id"),
            ("lictor.event_id", "event_id"),
            ("lictor.org_id", "org_id"),
        ] {
            assert_eq!(attribute(name), text(&event[field]), "{name}");
        }
        assert_eq!(attribute("lictor.seq"), Some(json!({ "intValue": event["seq"].to_string() })));
        // The only trace that is one.
        let is_one = event["trace_id"] == "4BF92F3577B34DA6A3CE929D0E0E4736";
        let trace = is_one.then(|| json!("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(record.get("traceId").cloned(), trace);
    }
    assert_eq!(
        severities.len(),
        [Severity::Info, Severity::Warning, Severity::Error, Severity::Critical].len()
    );
}

#[test]
fn the_schema_refuses_what_otlp_refuses() {
    let schema = schema();
    let line = lines().remove(0);
    let good = otlp_request(vec![otlp_record(&line).unwrap()], ORIGIN);
    accepted(&schema, &good);
    let at = "/resourceLogs/0/scopeLogs/0/logRecords/0";
    for (field, wrong) in [
        ("timeUnixNano", json!(1_763_000_000_123_456_000_i64)),
        ("severityNumber", json!("SEVERITY_NUMBER_INFO")),
        ("severityNumber", json!(25)),
        ("body", json!("text")),
        ("body", json!({ "stringValue": "a", "intValue": "1" })),
        ("attributes", json!({ "a": 1 })),
        ("attributes", json!([{ "key": "a", "value": { "intValue": 1 } }])),
        ("traceId", json!("0".repeat(32))),
        ("traceId", json!("q83v")),
        ("trace_id", json!("4bf92f3577b34da6a3ce929d0e0e4736")),
    ] {
        let mut bad = good.clone();
        bad.pointer_mut(at).unwrap()[field] = wrong.clone();
        assert!(!schema.is_valid(&bad), "{field}: {wrong}");
    }
}

#[test]
fn every_event_is_a_cloud_event_and_an_ocsf_event_with_what_these_need() {
    let mut seen = BTreeSet::new();
    for line in lines() {
        let event: Value = serde_json::from_slice(&line).unwrap();
        let made = cloud_event(&line, ORIGIN).unwrap();
        // The attributes that have to be there, none of them empty; names of a-z and 0-9 only.
        for name in ["id", "source", "specversion", "type"] {
            assert!(made[name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {made}");
        }
        assert_eq!(made["specversion"], "1.0");
        let names = made.as_object().unwrap().keys();
        assert!(
            names
                .clone()
                .all(|it| it.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
        );
        assert!(
            seen.insert(format!("{} {}", made["source"], made["id"])),
            "the pair is another one each time"
        );
        assert_eq!(made["data"], event);
        let made = ocsf(&line).unwrap();
        for name in ["category_uid", "class_uid", "activity_id", "type_uid", "severity_id", "time"]
        {
            assert!(made[name].is_i64(), "{name}: {made}");
        }
        let number = |name: &str| made[name].as_i64().unwrap();
        assert_eq!(number("class_uid") / 1000, number("category_uid"));
        assert_eq!(number("type_uid"), number("class_uid") * 100 + number("activity_id"));
        assert_eq!(made["metadata"]["version"], "1.6.0");
        assert_eq!(made["unmapped"], event);
    }
}

#[tokio::test]
async fn what_a_runtime_records_is_accepted_as_well() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("work/.lictor")).unwrap();
    std::fs::write(dir.path().join("work/.lictor/policy.yaml"), POLICY).unwrap();
    let options = RuntimeOptions::new(dir.path().join("work"), dir.path().join("keys"));
    let runtime = Runtime::open(options).await.unwrap();
    let agent = runtime.agent(&session(Some("4bf92f3577b34da6a3ce929d0e0e4736")));
    for path in ["a", "no/a", "ask/a"] {
        let done = agent.call("fs.write", json!({ "path": path, "content": "x" })).await;
        assert_eq!(done.is_ok(), path == "a");
    }
    let trail = runtime.audit().query(&Name::parse("acme").unwrap(), &Filter::default()).unwrap();
    let records: Vec<Value> =
        trail.iter().map(|event| otlp_record(&event.bytes).unwrap()).collect();
    assert!(records.len() > 5);
    accepted(&schema(), &otlp_request(records, ORIGIN));
}
