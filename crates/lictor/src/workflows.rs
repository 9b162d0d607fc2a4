//! Workflows on this runtime: their road is ours, their runs are kept in our store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use lictor_capability::{
    Action, CapabilityId, Contract, ContractError, Effects, HandlerSpec, Origin, UndoStrategy,
};
use lictor_context::{Event, ExecutionId, Session, SessionId, Timestamp};
use lictor_document::Source;
use lictor_executor::{ExecuteErrorKind, ExecutionStatus, Granted, Handler, HandlerError, Request};
use lictor_governance::ApprovalState as Answer;
use lictor_undo::OnConflict;
use lictor_workflow::{
    ApprovalCall, ApprovalState, Engine, FailureKind, Outline, Purpose, Recalled, Road, RunStore,
    StepCall, StepDone, StepFailure, UndoBy, UndoCall, Workflow,
};
use semver::VersionReq;
use serde_json::{Value, json};

use crate::agent::{Agent, Done};
use crate::consent::Consent;
use crate::error::{ActError, ActErrorKind, ErrorCode};
use crate::runs::RuntimeRuns;
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
        let road = RuntimeRoad { runtime: self.clone(), consent, agents: Mutex::default() };
        let store = RuntimeRuns::new(self.clone());
        Engine::new(Arc::new(road), Arc::new(store), Arc::clone(self.clock()))
            .with_owner(self.parts.owners.next())
    }

    /// The runs of this workspace, as the engine keeps them.
    #[must_use]
    pub fn run_store(&self) -> Arc<dyn RunStore> {
        Arc::new(RuntimeRuns::new(self.clone()))
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

/// More sessions than this are set up anew when one of them comes back.
const MAX_AGENTS: usize = 256;

type SetUp = (Vec<Arc<Contract>>, Agent);

struct RuntimeRoad {
    runtime: Runtime,
    consent: Option<Consent>,
    /// The agents of sessions, with the contracts that were active when each was set up.
    agents: Mutex<HashMap<SessionId, SetUp>>,
}

impl RuntimeRoad {
    fn agent(&self, session: &Session) -> Agent {
        self.runtime.parts.shelf.refresh();
        let active = self.runtime.catalogue().active();
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, agent)) = agents.get(session.id())
            && same(agent.session(), session)
            && known.len() == active.len()
            && known.iter().zip(&active).all(|(known, now)| Arc::ptr_eq(known, now))
        {
            return agent.clone();
        }
        if agents.len() >= MAX_AGENTS {
            agents.clear();
        }
        let agent = self.runtime.agent(session);
        agents.insert(session.id().clone(), (active, agent.clone()));
        agent
    }

    fn looks(agent: &Agent, call: &StepCall) -> bool {
        agent.graph().get(&call.capability, call.version.as_ref()).is_some_and(|it| only_looks(it))
    }

    fn action(&self, agent: &Agent, call: &StepCall) -> Action {
        let origin = Origin {
            run_id: Some(call.run_id.clone()),
            step_id: Some(call.step_id.clone()),
            ..Origin::default()
        };
        let action = agent.action(call.capability.clone(), call.input.clone()).with_origin(origin);
        match &call.version {
            Some(version) => action.with_version(version.clone()),
            None => action,
        }
    }

    fn check_pack(&self, call: &StepCall) -> Result<(), ActError> {
        let pack = call.pack.as_ref().filter(|_| call.purpose == Purpose::Step);
        let Some(pack) = pack else { return Ok(()) };
        let denied = |why: String| ActErrorKind::Denied(format!("the pack `{pack}`: {why}"));
        Ok(self.runtime.check_pack_call(pack, &call.capability).map_err(denied)?)
    }

    async fn act_within(&self, call: &StepCall) -> Result<(Done, Vec<Event>), ActError> {
        let agent = self.agent(&call.session);
        // Looked at before every step: a pack that is frozen under a running workflow stops it.
        // What takes back is not stopped.
        self.check_pack(call)?;
        let action = self.action(&agent, call);
        let act = async {
            if call.purpose == Purpose::Step && Self::looks(&agent, call) {
                // Nothing is remembered of it: what it saw is in the run.
                return agent.look(action).await;
            }
            let action = action.with_idempotency_key(call.idempotency_key());
            agent.act(action, self.consent.as_ref()).await.map(|done| (done, Vec::new()))
        };
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

/// Whether whatever a call does, it does not change anything anywhere, by its contract.
fn only_looks(contract: &Contract) -> bool {
    let most = &contract.effects;
    contract.source == "builtin"
        && most.fs.write.is_empty()
        && most.fs.delete.is_empty()
        && most.net.is_empty()
        && most.process.is_empty()
}

/// Whether two sessions can ask for the same, in the same name.
fn same(one: &Session, other: &Session) -> bool {
    one.principal() == other.principal()
        && one.profile() == other.profile()
        && one.budget() == other.budget()
        && one.trace_id() == other.trace_id()
}

fn step_done(done: Done, owed: Vec<Event>) -> StepDone {
    let record = done.record;
    StepDone {
        changed: !record.files.is_empty(),
        undo: record.undo,
        decision: json!(record.decision),
        output: record.output,
        execution_id: Some(record.execution_id),
        owed,
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
        let acted = self.act_within(&call).await;
        acted.map(|(done, owed)| step_done(done, owed)).map_err(|error| step_failure(&error))
    }

    fn only_looks(&self, call: &StepCall) -> bool {
        call.purpose == Purpose::Step && Self::looks(&self.agent(&call.session), call)
    }

    async fn check(&self, call: StepCall) -> Result<Value, StepFailure> {
        self.check_pack(&call).map_err(|error| step_failure(&error))?;
        let agent = self.agent(&call.session);
        let checked = agent.check(self.action(&agent, &call));
        checked.map(|checked| json!(checked.decision)).map_err(|error| step_failure(&error))
    }

    fn outline(
        &self,
        session: &Session,
        capability: &CapabilityId,
        version: Option<&VersionReq>,
    ) -> Option<Outline> {
        let agent = self.agent(session);
        let contract = agent.graph().get(capability, version)?;
        let outside = match &contract.handler {
            HandlerSpec::Command(command) => !command.is_contained(&contract.effects),
            _ => !contract.effects.net.is_empty() || !contract.effects.process.is_empty(),
        };
        let undo = match contract.undo.strategy {
            _ if only_looks(contract) => UndoBy::Nothing,
            UndoStrategy::Automatic if !outside => UndoBy::Automatic,
            UndoStrategy::Compensate => UndoBy::Compensation,
            UndoStrategy::Automatic | UndoStrategy::None => UndoBy::Impossible,
        };
        Some(Outline { risk: contract.risk, undo })
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
            lands: None,
        };
        let action = agent.undo_action(&call.execution_id, OnConflict::Refuse);
        let action = action.map_err(|error| error.to_string())?;
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
            ..Origin::default()
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
                Answer::Cancelled => {
                    let why = known.cancelled().map_or("", |cancelled| &cancelled.reason);
                    return Ok(ApprovalState::Denied { reason: format!("withdrawn: {why}") });
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
        // that changed anything here; what is done elsewhere is on record before it is done.
        let (executions, key) = (self.runtime.executions(), call.idempotency_key());
        match executions.find_in_doubt(key) {
            Ok(None) => {}
            Ok(Some(id)) => {
                let reason = format!("`{id}` was begun, and it is not known what became of it");
                return Recalled::Unknown { reason };
            }
            Err(error) => return Recalled::Unknown { reason: error.to_string() },
        }
        match executions.find_key(key, Timestamp::from_micros(0)) {
            Ok(Some(record)) => Recalled::Done(step_done(Done::before(record), Vec::new())),
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
