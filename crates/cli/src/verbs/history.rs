//! `log` and `show`.

use lictor::Records;
use lictor::audit::Filter;
use lictor::context::{ApprovalId, DecisionId, EventType, ExecutionId, RunId, SessionId};
use lictor::executor::ExecutionStatus;
use lictor::state::{ExecutionFilter, StoredExecution};
use serde_json::{Map, Value, json};

use super::Answer;
use super::undo::size;
use crate::args::Log;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{DIM, Output, name, readable};

pub(crate) async fn log(wish: &Log, context: &Context, output: &Output) -> Answer {
    let records = context.records(output).await?;
    let session = context.global.session.as_ref().filter(|_| context.global.given.session);
    let session = session.map(|id| SessionId::parse(id)).transpose();
    let filter = ExecutionFilter {
        session: session.map_err(|error| Failure::usage(error.to_string()))?,
        path: wish.path.clone(),
        changing: !wish.all,
        limit: Some(wish.limit),
        ..ExecutionFilter::default()
    };
    let found = records.executions().list(&filter).map_err(Failure::failed)?;
    let kept = records.transactions().stored().map_err(Failure::failed)?;
    output.result(&json!({ "executions": found, "undo_records": kept }), || {
        if found.is_empty() {
            return "nothing was done here yet".to_owned();
        }
        let bytes = size(kept.bytes);
        let mut text: String = found.iter().map(summary).collect();
        text.push_str(&format!("{DIM}{} undo record(s), {bytes}{DIM:#}\n", kept.records));
        text
    });
    Ok(0)
}

fn summary(stored: &StoredExecution) -> String {
    let record = &stored.record;
    let status = status(record.status);
    let intent = record.intent.as_deref().map(|text| format!(" \"{}\"", name(text)));
    let files = match record.files.as_slice() {
        [] => String::new(),
        [one] => format!(" {}", name(&one.path)),
        [first, rest @ ..] => format!(" {} and {} more", name(&first.path), rest.len()),
    };
    format!(
        "{} {DIM}{}{DIM:#} {status:<11} {}{files}{}\n",
        record.execution_id,
        record.started_at,
        record.capability,
        intent.unwrap_or_default()
    )
}

fn status(status: ExecutionStatus) -> &'static str {
    match status {
        ExecutionStatus::Applied => "applied",
        ExecutionStatus::RolledBack => "rolled back",
        ExecutionStatus::Undone => "undone",
        ExecutionStatus::Incomplete => "INCOMPLETE",
    }
}

pub(crate) async fn show(id: &str, context: &Context, output: &Output) -> Answer {
    let records = context.records(output).await?;
    let record = record(id, &records, context)?;
    let record = record.ok_or_else(|| Failure::not_found(format!("there is no `{id}` here")))?;
    output.result(&record, || readable(&serde_json::to_string_pretty(&record).unwrap_or_default()));
    Ok(0)
}

/// What an id names: its prefix says where to look.
fn record(id: &str, records: &Records, context: &Context) -> Result<Option<Value>, Failure> {
    let usage = |error: lictor::context::IdError| Failure::usage(error.to_string());
    match id.split_once('_').map(|(prefix, _)| prefix) {
        Some(ApprovalId::PREFIX) => {
            let id = ApprovalId::parse(id).map_err(usage)?;
            Ok(records.approval(&id).ok().map(|approval| json!(approval)))
        }
        Some(RunId::PREFIX) => {
            let id = RunId::parse(id).map_err(usage)?;
            records.run(&id).map_err(Failure::failed)
        }
        Some(DecisionId::PREFIX) => decision(id, records, context),
        _ => {
            let id = ExecutionId::parse(id).map_err(usage)?;
            let stored = records.executions().get(&id).map_err(Failure::failed)?;
            let Some(stored) = stored else { return from_trail(&id, records, context) };
            let bytes = records.transactions().stored_of(&id).map_err(Failure::failed)?;
            let mut shown = json!(stored);
            if let Some(shown) = shown.as_object_mut() {
                let kept = bytes.map(|bytes| json!({ "bytes": bytes }));
                shown.insert("undo_record".to_owned(), kept.unwrap_or_default());
            }
            Ok(Some(shown))
        }
    }
}

/// An execution as the trail tells it: one that only looked at something, or that ended before it
/// had begun, and so stands nowhere else.
fn from_trail(
    id: &ExecutionId,
    records: &Records,
    context: &Context,
) -> Result<Option<Value>, Failure> {
    let filter = Filter { execution: Some(id.clone()), ..Filter::default() };
    let events = records.audit().query(&context.principal.org, &filter).map_err(Failure::failed)?;
    if events.is_empty() {
        return Ok(None);
    }
    let mut shown = Map::new();
    shown.insert("execution_id".to_owned(), json!(id));
    let mut told = Vec::with_capacity(events.len());
    for stored in events {
        let event: Value = serde_json::from_slice(&stored.bytes).map_err(Failure::failed)?;
        let field = |key: &str| event.get(key).filter(|value| !value.is_null());
        let kind = field("event_type").and_then(Value::as_str);
        let status = match kind.and_then(|kind| kind.parse().ok()) {
            Some(EventType::ActionCompleted) => Some("applied"),
            Some(EventType::ActionFailed | EventType::ActionRejected) => Some("failed"),
            Some(EventType::ActionUnknown) => Some("incomplete"),
            _ => None,
        };
        shown.extend(status.map(|status| ("status".to_owned(), json!(status))));
        for (name, key) in TOLD {
            if let Some(value) = field(key) {
                shown.insert(name.to_owned(), value.clone());
            }
        }
        shown
            .entry("started_at")
            .or_insert_with(|| field("timestamp").cloned().unwrap_or_default());
        shown.entry("principal").or_insert_with(|| {
            json!({
                "org": field("org_id"), "user": field("user_id"), "agent": field("agent_id"),
            })
        });
        told.push(json!({
            "seq": stored.seq, "event_type": kind, "timestamp": field("timestamp"),
        }));
    }
    if let Some(made) = shown.get("decision_id").and_then(Value::as_str) {
        let made = decision(made, records, context)?;
        shown.insert("decision".to_owned(), made.unwrap_or_default());
    }
    shown.insert("files".to_owned(), json!([]));
    shown.insert("undo_record".to_owned(), Value::Null);
    shown.insert("events".to_owned(), told.into());
    Ok(Some(shown.into()))
}

/// What is taken from the events of an execution, and what it is called where there is a record.
const TOLD: [(&str, &str); 9] = [
    ("session_id", "session_id"),
    ("action_id", "action_id"),
    ("capability", "action_name"),
    ("params", "action_params"),
    ("decision_id", "decision_id"),
    ("run_id", "workflow_run_id"),
    ("step_id", "step_id"),
    ("duration_us", "duration_us"),
    ("error", "error_message"),
];

/// A decision as it is kept; of one that is not any more, what its execution's record or the trail says.
pub(crate) fn decision(
    id: &str,
    records: &Records,
    context: &Context,
) -> Result<Option<Value>, Failure> {
    let wanted = DecisionId::parse(id).map_err(|error| Failure::usage(error.to_string()))?;
    let org = context.principal.org.as_str();
    if let Some(kept) = records.decisions().get(org, &wanted).map_err(Failure::failed)? {
        return Ok(Some(json!(kept.record)));
    }
    let filter =
        Filter { types: vec![EventType::DecisionMade], newest_first: true, ..Filter::default() };
    let events = records.audit().query(&context.principal.org, &filter).map_err(Failure::failed)?;
    for stored in events {
        let event: Value = serde_json::from_slice(&stored.bytes).map_err(Failure::failed)?;
        if event.get("decision_id").and_then(Value::as_str) != Some(id) {
            continue;
        }
        let filter = ExecutionFilter::default();
        let executions = records.executions().list(&filter).map_err(Failure::failed)?;
        let execution =
            executions.into_iter().find(|stored| stored.record.decision_id.as_str() == id);
        return Ok(Some(match execution {
            Some(stored) => json!(stored.record.decision),
            None => as_recorded(id, &event),
        }));
    }
    Ok(None)
}

/// A decision that let nothing happen, as its event tells it.
fn as_recorded(id: &str, event: &Value) -> Value {
    let mut decision =
        event.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    decision.insert("id".to_owned(), json!(id));
    let name = event.get("action_name").cloned().unwrap_or_default();
    decision.insert("action_name".to_owned(), name);
    Value::Object(decision)
}
