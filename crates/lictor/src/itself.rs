//! What a session may know of its own actions, as capabilities: they go down the road like
//! everything else, so policy says who may look, and the trail who did.

use std::sync::Arc;

use async_trait::async_trait;
use lictor_audit::{AuditLog, Filter};
use lictor_capability::{Contract, ContractError, Effects};
use lictor_context::{ApprovalId, Clock, DecisionId, EventType, ExecutionId, Session};
use lictor_document::Source;
use lictor_executor::{Granted, Handler, HandlerError, Handlers, Request};
use lictor_governance::{Approval, ApprovalState, ApprovalStore};
use lictor_state::{ExecutionFilter, Executions, SqliteApprovalStore, StoredExecution};
use lictor_store::Store;
use serde_json::{Map, Value, json};

use crate::ledger::StateLedger;

const LOG: &str = "session.log";
const EXPLAIN: &str = "session.explain";
const PENDING: &str = "session.pending";

/// So many executions unless asked for otherwise.
const USUAL: u32 = 20;

pub(crate) fn contracts() -> Result<Vec<Arc<Contract>>, ContractError> {
    let texts: [(&str, &[u8]); 3] = [
        (LOG, include_bytes!("../contracts/session.log.yaml")),
        (EXPLAIN, include_bytes!("../contracts/session.explain.yaml")),
        (PENDING, include_bytes!("../contracts/session.pending.yaml")),
    ];
    let read = |(id, text)| Contract::from_yaml_lazily(&Source::new(id, text)).map(Arc::new);
    texts.into_iter().map(read).collect()
}

/// Adds the handlers of [`contracts`].
pub(crate) fn with_handlers(
    handlers: Handlers,
    store: &Store,
    audit: &AuditLog,
    (ledger, clock): (&Arc<StateLedger>, &Arc<dyn Clock>),
) -> Handlers {
    let own = Arc::new(Own {
        executions: Executions::new(store.clone()),
        approvals: Arc::new(SqliteApprovalStore::new(store.clone())),
        audit: audit.clone(),
        ledger: Arc::clone(ledger),
        clock: Arc::clone(clock),
    });
    let asked = [(LOG, Asked::Log), (EXPLAIN, Asked::Explain), (PENDING, Asked::Pending)];
    asked.into_iter().fold(handlers, |handlers, (id, asked)| {
        handlers.with(id, Arc::new(OwnHandler { own: Arc::clone(&own), asked }))
    })
}

#[derive(Debug, Clone, Copy)]
enum Asked {
    Log,
    Explain,
    Pending,
}

struct OwnHandler {
    own: Arc<Own>,
    asked: Asked,
}

#[async_trait]
impl Handler for OwnHandler {
    fn describe(&self, _: Request<'_>) -> Result<Effects, HandlerError> {
        Ok(Effects::default())
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        let session = granted.described().action().session();
        let input = granted.input();
        self.own.ledger.catch_up().await.map_err(HandlerError::failed)?;
        match self.asked {
            Asked::Log => self.own.log(session, input),
            Asked::Explain => self.own.explain(session, input),
            Asked::Pending => self.own.pending(session, input),
        }
    }
}

/// Where it is looked up. INVARIANT: nothing of another session is told, not even that it is there.
struct Own {
    executions: Executions,
    approvals: Arc<dyn ApprovalStore>,
    audit: AuditLog,
    ledger: Arc<StateLedger>,
    clock: Arc<dyn Clock>,
}

impl Own {
    fn log(&self, session: &Session, input: &Value) -> Result<Value, HandlerError> {
        let limit = input.get("limit").and_then(Value::as_u64);
        let filter = ExecutionFilter {
            session: Some(session.id().clone()),
            path: input.get("path").and_then(Value::as_str).map(str::to_owned),
            limit: limit.and_then(|limit| u32::try_from(limit).ok()).or(Some(USUAL)),
            ..ExecutionFilter::default()
        };
        let found = self.executions.list(&filter).map_err(HandlerError::failed)?;
        let executions: Vec<Value> = found.iter().map(told).collect();
        Ok(json!({ "executions": executions }))
    }

    fn pending(&self, session: &Session, input: &Value) -> Result<Value, HandlerError> {
        let all = input.get("all").and_then(Value::as_bool).unwrap_or(false);
        let found = self.approvals.list(!all).map_err(HandlerError::failed)?;
        let now = self.clock.now();
        let own = found.into_iter().map(|stored| stored.approval);
        let own = own.filter(|approval| approval.session_id() == session.id());
        let approvals: Vec<Value> = own
            .filter(|approval| all || approval.state_at(now).is_open())
            .map(|approval| asked(&approval, approval.state_at(now)))
            .collect();
        Ok(json!({ "approvals": approvals }))
    }

    fn explain(&self, session: &Session, input: &Value) -> Result<Value, HandlerError> {
        let id = input.get("id").and_then(Value::as_str).unwrap_or_default();
        let unknown = || HandlerError::input(format!("this session has no `{id}`"));
        let unfit = |error: lictor_context::IdError| HandlerError::input(error.to_string());
        match id.split_once('_').map(|(prefix, _)| prefix) {
            Some(ExecutionId::PREFIX) => {
                let id = ExecutionId::parse(id).map_err(unfit)?;
                let stored = self.executions.get(&id).map_err(HandlerError::failed)?;
                let own = stored.filter(|stored| stored.record.session_id == *session.id());
                let record = own.ok_or_else(unknown)?.record;
                Ok(json!({ "capability": record.capability, "decision": record.decision }))
            }
            Some(ApprovalId::PREFIX) => {
                let id = ApprovalId::parse(id).map_err(unfit)?;
                let stored = self.approvals.get(&id).map_err(HandlerError::failed)?;
                let own = stored.map(|stored| stored.approval);
                let own = own.filter(|approval| approval.session_id() == session.id());
                let approval = own.ok_or_else(unknown)?;
                let state = approval.state_at(self.clock.now());
                Ok(json!({
                    "capability": approval.action().capability, "decision": approval.decision(),
                    "approval": asked(&approval, state),
                }))
            }
            _ => {
                let id = DecisionId::parse(id).map_err(unfit)?;
                self.decision(session, &id)?.ok_or_else(unknown)
            }
        }
    }

    /// A decision as the trail tells it: also of what was refused, and of what changed nothing.
    fn decision(&self, session: &Session, id: &DecisionId) -> Result<Option<Value>, HandlerError> {
        let filter = Filter {
            types: vec![EventType::DecisionMade],
            session: Some(session.id().clone()),
            newest_first: true,
            ..Filter::default()
        };
        let events = self.audit.query(&session.principal().org, &filter);
        for stored in events.map_err(HandlerError::failed)? {
            let event: Value =
                serde_json::from_slice(&stored.bytes).map_err(HandlerError::failed)?;
            if event.get("decision_id").and_then(Value::as_str) == Some(id.as_str()) {
                let mut decision =
                    event.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
                decision.insert("id".to_owned(), json!(id));
                let capability = event.get("action_name").cloned().unwrap_or_default();
                return Ok(Some(json!({ "capability": capability, "decision": decision })));
            }
        }
        Ok(None)
    }
}

fn told(stored: &StoredExecution) -> Value {
    let record = &stored.record;
    let mut told = Map::new();
    let mut put = |key: &str, value: Value| drop(told.insert(key.to_owned(), value));
    put("execution_id", json!(record.execution_id));
    put("capability", json!(record.capability));
    put("status", json!(record.status));
    put("started_at", json!(record.started_at));
    put("undo", json!(record.undo));
    if let Some(intent) = &record.intent {
        put("intent", json!(intent));
    }
    if !record.undo_of.is_empty() {
        put("undo_of", json!(record.undo_of));
    }
    if let Some(by) = &stored.undone_by {
        put("undone_by", json!(by));
    }
    let files = record.files.iter().map(|file| match &file.to {
        Some(to) => json!({ "path": file.path, "op": file.op, "to": to }),
        None => json!({ "path": file.path, "op": file.op }),
    });
    put("files", files.collect());
    Value::Object(told)
}

fn asked(approval: &Approval, state: ApprovalState) -> Value {
    let files: Vec<&str> = approval.action().files.iter().map(|file| file.path.as_str()).collect();
    let mut asked = json!({
        "approval_id": approval.id(), "capability": approval.action().capability,
        "state": state, "given": approval.granted_by().len(), "needed": approval.needed(),
        "requested_at": approval.requested_at(), "expires_at": approval.expires_at(),
        "files": files,
    });
    if let (Some(denial), Some(fields)) = (approval.denial(), asked.as_object_mut()) {
        fields.insert("denied_because".to_owned(), json!(denial.reason));
    }
    asked
}
