//! Events as other systems want them. These are copies for reading: nothing of them is signed,
//! and each names the event that it was made from.

use lictor_context::{Digest, Timestamp};
use serde_json::{Map, Value, json};

/// The version of OCSF that is written; fields change their meaning between versions.
const OCSF: &str = "1.6.0";

/// An event's line as a CloudEvents 1.0 event: `source` and `id` tell one from all others.
#[must_use]
pub fn cloud_event(line: &[u8], origin: &str) -> Option<Value> {
    let event: Value = serde_json::from_slice(line).ok()?;
    let text = |key: &str| event.get(key)?.as_str().map(str::to_owned);
    Some(json!({
        "specversion": "1.0",
        "id": text("event_id")?,
        "source": format!("urn:{origin}"),
        "type": format!("lictor.{}", text("event_type")?),
        "subject": text("action_id"),
        "time": text("timestamp")?,
        "datacontenttype": "application/json",
        "lictorseq": event.get("seq")?,
        "lictorleaf": Digest::from_bytes(crate::log::leaf_hash(line)),
        "data": event,
    }))
}

/// An event's line as an OCSF event of the class API Activity (6003).
#[must_use]
pub fn ocsf(line: &[u8]) -> Option<Value> {
    let event: Value = serde_json::from_slice(line).ok()?;
    let text = |key: &str| event.get(key)?.as_str().map(str::to_owned);
    let kind = text("event_type")?;
    // 99 is "other": what an action does is not create, read, update or delete by itself.
    let (class, activity) = (6003, 99);
    let severity = match text("severity")?.as_str() {
        "warning" => 3,
        "error" => 4,
        "critical" => 5,
        _ => 1,
    };
    let (status_id, status) = match event.get("success").and_then(Value::as_bool) {
        Some(true) => (1, "Success"),
        Some(false) => (2, "Failure"),
        None => (0, "Unknown"),
    };
    let time = Timestamp::parse(&text("timestamp")?).ok()?;
    Some(json!({
        "category_uid": 6, "class_uid": class, "activity_id": activity, "activity_name": kind,
        "type_uid": class * 100 + activity, "severity_id": severity,
        "status_id": status_id, "status": status, "status_detail": text("error_message"),
        "time": time.as_micros() / 1000,
        "duration": event.get("duration_us").and_then(Value::as_u64).map(|us| us / 1000),
        "actor": {
            "user": { "name": text("user_id"), "org": { "uid": text("org_id") } },
            "session": { "uid": text("session_id") }, "app_name": text("agent_id"),
        },
        "api": { "operation": text("action_name"), "version": text("capability_version"),
            "request": { "uid": text("action_id") } },
        "src_endpoint": { "name": text("agent_id") },
        "metadata": {
            "version": OCSF, "uid": text("event_id"), "sequence": event.get("seq"),
            "tenant_uid": text("org_id"), "correlation_uid": text("execution_id"),
            "product": { "name": "lictor", "vendor_name": "lictor" },
        },
        "unmapped": event,
    }))
}

/// An event's line as a log record of OTLP/JSON.
#[must_use]
pub fn otlp_record(line: &[u8]) -> Option<Value> {
    let event: Value = serde_json::from_slice(line).ok()?;
    let text = |key: &str| event.get(key)?.as_str().map(str::to_owned);
    let (number, name) = match text("severity")?.as_str() {
        "warning" => (13, "WARN"),
        "error" => (17, "ERROR"),
        "critical" => (21, "FATAL"),
        _ => (9, "INFO"),
    };
    let time = Timestamp::parse(&text("timestamp")?).ok()?;
    let nanos = format!("{}000", time.as_micros());
    let mut record = Map::new();
    record.insert("timeUnixNano".into(), nanos.clone().into());
    record.insert("observedTimeUnixNano".into(), nanos.into());
    record.insert("severityNumber".into(), number.into());
    record.insert("severityText".into(), name.into());
    record.insert("eventName".into(), format!("lictor.{}", text("event_type")?).into());
    record.insert("body".into(), json!({ "stringValue": String::from_utf8_lossy(line) }));
    let names = [
        ("gen_ai.agent.id", "agent_id"),
        ("gen_ai.conversation.id", "session_id"),
        ("gen_ai.tool.name", "action_name"),
        ("gen_ai.tool.call.id", "action_id"),
        ("user.id", "user_id"),
        ("lictor.event_id", "event_id"),
        ("lictor.org_id", "org_id"),
        ("lictor.execution_id", "execution_id"),
        ("lictor.workflow_run_id", "workflow_run_id"),
    ];
    let mut attributes: Vec<Value> = names
        .iter()
        .filter_map(|(name, key)| {
            Some(json!({ "key": name, "value": { "stringValue": text(key)? } }))
        })
        .collect();
    let seq = event.get("seq")?.to_string();
    attributes.push(json!({ "key": "lictor.seq", "value": { "intValue": seq } }));
    record.insert("attributes".into(), attributes.into());
    // W3C: 32 hex digits, not all of them zero.
    if let Some(trace) = text("trace_id")
        && trace.len() == 32
        && trace.bytes().all(|byte| byte.is_ascii_hexdigit())
        && trace.bytes().any(|byte| byte != b'0')
    {
        record.insert("traceId".into(), trace.to_ascii_lowercase().into());
    }
    Some(Value::Object(record))
}

/// Log records as one line of OTLP/JSON: a `LogsData`, which is what an `ExportLogsServiceRequest`
/// looks like as well.
#[must_use]
pub fn otlp_request(records: Vec<Value>, origin: &str) -> Value {
    let resource = json!({ "attributes": [
        { "key": "service.name", "value": { "stringValue": "lictor" } },
        { "key": "lictor.log", "value": { "stringValue": origin } },
    ] });
    json!({ "resourceLogs": [ { "resource": resource, "scopeLogs": [
        { "scope": { "name": "lictor.audit", "version": "1" }, "logRecords": records },
    ] } ] })
}
