//! Workflows on this runtime: their road is ours, their runs are kept in our store.

use std::sync::Arc;

use async_trait::async_trait;
use lictor_capability::{
    Action, CapabilityId, Contract, ContractError, Effects, Origin, UndoScope,
};
use lictor_context::{Event, ExecutionId, RunId, Session, Timestamp};
use lictor_document::Source;
use lictor_executor::{ExecuteErrorKind, ExecutionStatus, Granted, Handler, HandlerError, Request};
use lictor_governance::ApprovalState as Answer;
use lictor_state::{RunRow, Runs, StateError};
use lictor_workflow::{
    ApprovalCall, ApprovalState, Engine, FailureKind, Purpose, Recalled, Road, RunRecord, RunStore,
    StepCall, StepDone, StepFailure, StoreError, UndoCall, Workflow,
};
use serde_json::{Value, json};

use crate::agent::{Agent, Consent, Done};
use crate::catalogue::PacksOfRuns;
use crate::error::{ActError, ActErrorKind, ErrorCode};
use crate::runtime::Runtime;

/// The capability behind approval steps.
pub(crate) const APPROVAL_CAPABILITY: &str = "workflow.approval";

pub(crate) fn approval_contract() -> Result<Arc<Contract>, ContractError> {
    let text = include_bytes!("../contracts/workflow.approval.yaml");
    Contract::from_yaml_lazily(&Source::new("workflow.approval.yaml", text)).map(Arc::new)
}

/// An approval step does nothing; that people were asked is all there is to it.
#[derive(Debug)]
pub(crate) struct ApprovalHandler;

#[async_trait]
impl Handler for ApprovalHandler {
    fn describe(&self, _: Request<'_>) -> Result<Effects, HandlerError> {
        Ok(Effects::default())
    }

    async fn run(&self, _: Granted<'_>) -> Result<Value, HandlerError> {
        Ok(json!({ "approved": true }))
    }
}

impl Runtime {
    /// The workflow engine on this runtime. With `consent`, what the policy asks approval for is
    /// approved at once by somebody who proved who they are.
    #[must_use]
    pub fn engine(&self, consent: Option<Consent>) -> Engine {
        let road = RuntimeRoad { runtime: self.clone(), consent, packs: PacksOfRuns::default() };
        let store = RuntimeRuns { runtime: self.clone() };
        Engine::new(Arc::new(road), Arc::new(store), Arc::clone(self.clock()))
    }

    /// Checks a workflow against what a session can ask for.
    ///
    /// # Errors
    /// When it names what does not exist, or gives an input that a contract refuses.
    pub fn validate_workflow(
        &self,
        session: &Session,
        workflow: &Workflow,
    ) -> Result<(), lictor_workflow::WorkflowError> {
        workflow.validate_against(self.agent(session).graph())
    }
}

struct RuntimeRoad {
    runtime: Runtime,
    consent: Option<Consent>,
    packs: PacksOfRuns,
}

impl RuntimeRoad {
    fn agent(&self, session: &Session) -> Agent {
        self.runtime.agent(session)
    }

    fn action(&self, call: &StepCall) -> Action {
        let origin = Origin {
            run_id: Some(call.run_id.clone()),
            step_id: Some(call.step_id.clone()),
            rolls_back: None,
        };
        let action = self
            .agent(&call.session)
            .action(call.capability.clone(), call.input.clone())
            .with_origin(origin)
            .with_idempotency_key(call.idempotency_key());
        match &call.version {
            Some(version) => action.with_version(version.clone()),
            None => action,
        }
    }

    async fn act_within(&self, call: &StepCall) -> Result<Done, ActError> {
        let agent = self.agent(&call.session);
        // Looked at before every step: a pack that is frozen under a running workflow stops it.
        // What takes back is not stopped.
        if call.purpose == Purpose::Step {
            self.packs.check(&self.runtime, &call.run_id, &call.capability)?;
        }
        let act = agent.act(self.action(call), self.consent.as_ref());
        match call.timeout {
            None => act.await,
            // The executor takes back what nobody waits for any more.
            Some(limit) => tokio::time::timeout(limit, act).await.unwrap_or_else(|_| {
                let kind = ActErrorKind::TimedOut { limit_ms: limit.as_millis() };
                Err(kind.into())
            }),
        }
    }
}

fn step_done(done: Done) -> StepDone {
    let record = done.record;
    StepDone {
        changed: !record.files.is_empty(),
        undo: if record.files.is_empty() { UndoScope::Full } else { record.undo },
        decision: json!(record.decision),
        output: record.output,
        execution_id: Some(record.execution_id),
    }
}

fn step_failure(error: &ActError) -> StepFailure {
    let kind = match error.code() {
        ErrorCode::Denied => FailureKind::Denied,
        ErrorCode::ApprovalRequired => match error.kind() {
            ActErrorKind::ApprovalRequired(approval) => {
                FailureKind::NeedsApproval { approval_id: approval.id().to_string() }
            }
            _ => FailureKind::Denied,
        },
        ErrorCode::Usage | ErrorCode::InvalidInput | ErrorCode::NotFound => FailureKind::Invalid,
        ErrorCode::Conflict => FailureKind::Conflict,
        ErrorCode::Integrity => FailureKind::Integrity,
        ErrorCode::Busy => FailureKind::Busy,
        ErrorCode::Incomplete => FailureKind::Incomplete {
            stuck: error
                .stuck()
                .iter()
                .map(|one| format!("{}: {}", one.path, one.reason))
                .collect(),
        },
        ErrorCode::Failed => match error.kind() {
            ActErrorKind::TimedOut { .. } => FailureKind::TimedOut,
            ActErrorKind::Execution(inner)
                if matches!(inner.kind(), ExecuteErrorKind::TimedOut { .. }) =>
            {
                FailureKind::TimedOut
            }
            _ => FailureKind::Failed,
        },
    };
    let retryable = matches!(kind, FailureKind::Failed | FailureKind::TimedOut | FailureKind::Busy);
    StepFailure {
        kind,
        message: error.to_string(),
        retryable,
        execution_id: error.execution_id().cloned(),
        decision: error.decision().map_or(Value::Null, |decision| json!(decision)),
    }
}

#[async_trait]
impl Road for RuntimeRoad {
    async fn act(&self, call: StepCall) -> Result<StepDone, StepFailure> {
        self.act_within(&call).await.map(step_done).map_err(|error| step_failure(&error))
    }

    async fn check(&self, call: StepCall) -> Result<Value, StepFailure> {
        let checked = self.agent(&call.session).check(self.action(&call));
        checked.map(|checked| json!(checked.decision)).map_err(|error| step_failure(&error))
    }

    async fn undo(&self, call: UndoCall) -> Result<(), String> {
        match self.status(&call.execution_id)? {
            Some(ExecutionStatus::Undone | ExecutionStatus::RolledBack) => return Ok(()),
            Some(ExecutionStatus::Applied) => {}
            Some(ExecutionStatus::Incomplete) => {
                return Err("it is not settled; `lictor recover` comes first".to_owned());
            }
            None => return Err("there is no record of it".to_owned()),
        }
        let agent = self.agent(&call.session);
        let origin = Origin {
            run_id: Some(call.run_id),
            step_id: Some(call.step_id),
            rolls_back: Some(call.execution_id.clone()),
        };
        let action = agent.undo_action(&call.execution_id).map_err(|error| error.to_string())?;
        let done = agent.act(action.with_origin(origin), None).await;
        done.map(|_| ()).map_err(|error| error.to_string())
    }

    async fn request_approval(&self, call: ApprovalCall) -> Result<ApprovalState, String> {
        let agent = self.agent(&call.session);
        let capability =
            CapabilityId::parse(APPROVAL_CAPABILITY).map_err(|error| error.to_string())?;
        let origin = Origin {
            run_id: Some(call.run_id.clone()),
            step_id: Some(call.step_id.clone()),
            rolls_back: None,
        };
        let input = json!({
            "run_id": call.run_id, "step_id": call.step_id, "message": call.message,
            "binding": call.digest,
        });
        let action = agent
            .action(capability, input)
            .with_origin(origin)
            .with_risk(call.risk)
            .with_approvals(call.approvals);
        let digest = agent.check(action.clone()).map_err(|error| error.to_string())?;
        let digest = digest.decision.action_digest;
        // An answer that was a refusal stays one; asking again would only ask until it pleases.
        let all = self.runtime.approvals().list(false).map_err(|error| error.to_string())?;
        if let Some(known) = all.iter().find(|one| one.action_digest() == digest) {
            match known.state_at(self.runtime.clock().now()) {
                Answer::Denied => {
                    let denial = known.denial();
                    let reason = denial.map_or_else(String::new, |denial| {
                        format!("{} refused: {}", denial.approver, denial.reason)
                    });
                    return Ok(ApprovalState::Denied { reason });
                }
                Answer::Expired => {
                    return Ok(ApprovalState::Denied { reason: "time ran out".to_owned() });
                }
                Answer::Spent => return Ok(ApprovalState::Granted),
                Answer::Pending | Answer::Granted => {}
            }
        }
        match agent.act(action, self.consent.as_ref()).await {
            Ok(_) => Ok(ApprovalState::Granted),
            Err(error) => match error.kind() {
                ActErrorKind::ApprovalRequired(approval) => {
                    Ok(ApprovalState::Pending { approval_id: approval.id().to_string() })
                }
                _ => Ok(ApprovalState::Denied { reason: error.to_string() }),
            },
        }
    }

    async fn recall(&self, call: &StepCall) -> Recalled {
        // Journals were settled when the runtime was opened, so the index knows every execution
        // that changed anything; builtin capabilities do nothing else.
        let found =
            self.runtime.executions().find_key(call.idempotency_key(), Timestamp::from_micros(0));
        match found {
            Ok(Some(record)) => {
                Recalled::Done(step_done(Done { record, duplicate: true, checks: Vec::new() }))
            }
            Ok(None) => Recalled::NothingDone,
            Err(error) => Recalled::Unknown { reason: error.to_string() },
        }
    }
}

impl RuntimeRoad {
    fn status(&self, id: &ExecutionId) -> Result<Option<ExecutionStatus>, String> {
        let stored = self.runtime.executions().get(id).map_err(|error| error.to_string())?;
        Ok(stored.map(|stored| stored.record.status))
    }
}

struct RuntimeRuns {
    runtime: Runtime,
}

fn read(record: Value) -> Result<RunRecord, StoreError> {
    serde_json::from_value(record).map_err(|error| StoreError::Unavailable(error.to_string()))
}

fn unavailable(error: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

#[async_trait]
impl RunStore for RuntimeRuns {
    async fn save(&self, run: &RunRecord, events: Vec<Event>) -> Result<(), StoreError> {
        let row = RunRow {
            id: run.run_id.clone(),
            revision: run.revision,
            status: run.status().as_str().to_owned(),
            created_at: run.created_at.as_micros(),
            record: serde_json::to_value(run).map_err(unavailable)?,
        };
        let saved = self.runtime.parts.ledger.commit(events, move |tx| {
            Runs::put_in(tx, &row)?;
            Ok(Vec::new())
        });
        saved.await.map_err(|error| match error {
            StateError::Stale { found } => {
                let (run_id, given) = (run.run_id.clone(), run.revision);
                StoreError::Stale { run_id, found, given }
            }
            other => unavailable(other),
        })
    }

    async fn load(&self, run_id: &RunId) -> Result<Option<RunRecord>, StoreError> {
        let found = self.runtime.runs().get(run_id).map_err(unavailable)?;
        found.map(read).transpose()
    }

    async fn list(&self, limit: usize) -> Result<Vec<RunRecord>, StoreError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let found = self.runtime.runs().list(limit).map_err(unavailable)?;
        found.into_iter().map(read).collect()
    }
}
