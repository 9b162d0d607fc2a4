//! Workflows on this runtime: their road is ours, their runs are kept in our store.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use lictor_capability::{
    Action, CapabilityId, Contract, ContractError, Effects, HandlerSpec, Origin, UndoScope,
    UndoStrategy,
};
use lictor_context::{ApprovalId, Event, Session, SessionId, Timestamp};
use lictor_document::Source;
use lictor_executor::{
    ExecuteErrorKind, ExecutionRecord, ExecutionStatus, Granted, Handler, HandlerError, Request,
};
use lictor_governance::{ApprovalState as Answer, Consented};
use lictor_workflow::{
    ApprovalCall, ApprovalState, Engine, FailureKind, Outline, PlanCall, PlanState, Purpose,
    Recalled, Road, RunRecord, RunStatus, RunStore, StepCall, StepDone, StepFailure, UndoBy,
    UndoCall, UndoFailure, Workflow, WorkflowError,
};
use semver::VersionReq;
use serde_json::{Value, json};

use crate::agent::{Agent, Done};
use crate::consent::{Consent, Seen};
use crate::error::{ActError, ActErrorKind, ErrorCode};
use crate::outputs::{Kept, output_of};
use crate::runs::RuntimeRuns;
use crate::runtime::Runtime;
use crate::subruns::{Bounds, CallRefusal, Way};

/// The capability behind approval steps.
pub(crate) const APPROVAL_CAPABILITY: &str = "workflow.approval";

/// What asks people: about a step, and about a run as a whole.
pub(crate) fn approval_contracts() -> Result<Vec<Arc<Contract>>, ContractError> {
    let read =
        |name, text: &[u8]| Contract::from_yaml_lazily(&Source::new(name, text)).map(Arc::new);
    Ok(vec![
        read(
            "workflow.approval.yaml",
            include_bytes!("../contracts/workflow.approval.yaml").as_slice(),
        )?,
        read("workflow.plan.yaml", include_bytes!("../contracts/workflow.plan.yaml").as_slice())?,
    ])
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
    /// approved at once by somebody who proved who they are, as far as it is what they looked at.
    #[must_use]
    pub fn engine(&self, consent: Option<Consent>) -> Engine {
        self.engine_below(consent.map(Arc::new), Way::default())
    }

    /// The same for a run that a step of another one begins.
    pub(crate) fn engine_below(&self, consent: Option<Arc<Consent>>, way: Way) -> Engine {
        let road = RuntimeRoad { way, ..RuntimeRoad::new(self.clone(), consent) };
        let store = RuntimeRuns::new(self.clone());
        Engine::new(Arc::new(road), Arc::new(store), Arc::clone(self.clock()))
            .with_owner(self.parts.owners.next())
    }

    /// The runs of this workspace, as the engine keeps them.
    #[must_use]
    pub fn run_store(&self) -> Arc<dyn RunStore> {
        Arc::new(RuntimeRuns::new(self.clone()))
    }

    /// Checks a workflow against what a session can ask for, and the workflows that it calls.
    ///
    /// # Errors
    /// When it names what does not exist, gives an input that a contract refuses, or calls a
    /// workflow that cannot be called.
    pub fn validate_workflow(
        &self,
        session: &Session,
        workflow: &Workflow,
    ) -> Result<(), WorkflowRefusal> {
        let agent = self.agent(session);
        workflow.validate_against(agent.graph()).map_err(WorkflowRefusal::Document)?;
        self.check_calls(agent.graph(), workflow, &[]).map_err(WorkflowRefusal::Calls)
    }
}

/// A workflow cannot be run by a session.
#[derive(Debug, thiserror::Error)]
pub enum WorkflowRefusal {
    /// Its document does not fit what the session can ask for.
    #[error(transparent)]
    Document(WorkflowError),
    /// It calls a workflow that cannot be called.
    #[error(transparent)]
    Calls(CallRefusal),
}

/// More sessions than this are set up anew when one of them comes back.
const MAX_AGENTS: usize = 256;

type SetUp = (Vec<Arc<Contract>>, Agent);

/// What came of asking people.
pub(crate) enum Asked {
    /// They agreed, by this approval.
    Granted(Option<ApprovalId>),
    /// Nobody has decided yet.
    Pending(ApprovalId),
    /// Somebody refused, or time ran out.
    Denied(String),
}

pub(crate) struct RuntimeRoad {
    pub(crate) runtime: Runtime,
    consent: Option<Arc<Consent>>,
    pub(crate) way: Way,
    /// Whether a run turned out not to be the one that `consent` is about.
    other: AtomicBool,
    /// The agents of sessions, with the contracts that were active when each was set up.
    agents: Mutex<HashMap<SessionId, SetUp>>,
}

impl RuntimeRoad {
    pub(crate) fn new(runtime: Runtime, consent: Option<Arc<Consent>>) -> Self {
        let (way, other, agents) = (Way::default(), AtomicBool::new(false), Mutex::default());
        Self { runtime, consent, way, other, agents }
    }

    /// Agreement at once, as long as it is about what is done here.
    fn consent(&self) -> Option<&Arc<Consent>> {
        self.consent.as_ref().filter(|_| !self.other.load(Ordering::Relaxed))
    }

    fn agreeing(&self) -> Option<&Consent> {
        self.consent().map(AsRef::as_ref)
    }

    /// What a call goes by that begins a run. Nobody agrees at once to what is done inside of what takes
    /// back.
    fn bounds_of(&self, call: &StepCall) -> Bounds {
        let forward = call.purpose == Purpose::Step;
        Bounds {
            stopping: call.stopping.clone(),
            limit: call.timeout,
            consent: self.consent().filter(|_| forward).map(Arc::clone),
            way: Way {
                steps: self.way.steps.clone(),
                above: self.agreed(call).filter(|_| forward),
            },
        }
    }

    /// Holds a run against the one that was looked at.
    pub(crate) fn hold_against_consent(&self, agent: &Agent, call: &PlanCall) {
        if let Some(consent) = self.consent()
            && let Seen::Run(seen) = &consent.seen
            && !self.plan_of(agent, call).is_ok_and(|plan| seen.is_about(&plan, &self.way.steps))
        {
            self.other.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn agent(&self, session: &Session) -> Agent {
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

    /// The agent of a session for what is asked on behalf of the run that is driven here.
    pub(crate) fn agent_here(&self, session: &Session) -> Agent {
        let agent = self.agent(session);
        if self.way.steps.is_empty() {
            return agent;
        }
        agent.within(Bounds { way: self.way.clone(), ..Bounds::default() })
    }

    /// The agent of a session as it was set up last: for what builtin contracts say, which never
    /// change, and whose ids nothing else can have.
    fn agent_for_builtins(&self, session: &Session) -> Agent {
        let agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let known = agents.get(session.id()).filter(|(_, agent)| same(agent.session(), session));
        let known = known.map(|(_, agent)| agent.clone());
        drop(agents);
        known.unwrap_or_else(|| self.agent(session))
    }

    fn looks(agent: &Agent, call: &StepCall) -> bool {
        agent.graph().get(&call.capability, call.version.as_ref()).is_some_and(|it| only_looks(it))
    }

    fn action(&self, agent: &Agent, call: &StepCall) -> Result<Action, ActError> {
        let origin = Origin {
            run_id: Some(call.run_id.clone()),
            step_id: Some(call.step_id.clone()),
            compensates: self.runtime.settled_by(&call.takes_back)?,
            ..Origin::default()
        };
        let action = agent.action(call.capability.clone(), call.input.clone()).with_origin(origin);
        Ok(match &call.version {
            Some(version) => action.with_version(version.clone()),
            None => action,
        })
    }

    fn check_pack(&self, call: &StepCall) -> Result<(), ActError> {
        let pack = call.pack.as_ref().filter(|_| call.purpose == Purpose::Step);
        let Some(pack) = pack else { return Ok(()) };
        let denied = |why: String| ActErrorKind::Denied(format!("the pack `{pack}`: {why}"));
        Ok(self.runtime.check_pack_call(pack, &call.capability).map_err(denied)?)
    }

    async fn act_within(&self, call: &StepCall) -> Result<(Done, Vec<Event>), ActError> {
        let agent = self.agent_here(&call.session);
        // Looked at before every step: a pack that is frozen under a running workflow stops it.
        // What takes back is not stopped.
        self.check_pack(call)?;
        let action = self.action(&agent, call)?;
        let agent = match self.cover(&agent, call) {
            None => agent,
            Some(cover) => agent.covered_by(cover),
        };
        let contract = agent.graph().get(&call.capability, call.version.as_ref());
        if contract.and_then(|it| it.calls_workflow()).is_some() {
            // It ends by itself when it is not wanted any more, and says what it left.
            let action = action.with_idempotency_key(call.idempotency_key());
            let done = agent.within(self.bounds_of(call)).act(action, self.agreeing()).await;
            return done.map(|done| (done, Vec::new()));
        }
        let act = async {
            if call.purpose == Purpose::Step && Self::looks(&agent, call) {
                // Nothing is remembered of it: what it saw is in the run.
                return agent.look(action).await;
            }
            let action = action.with_idempotency_key(call.idempotency_key());
            agent.act(action, self.agreeing()).await.map(|done| (done, Vec::new()))
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

fn step_done(runtime: &Runtime, done: Done, owed: Vec<Event>) -> StepDone {
    let record = done.record;
    // What its contract makes up for is taken back by asking for that.
    let made_up_for = runtime.is_made_up_for(&record);
    StepDone {
        changed: made_up_for || !record.files.is_empty() || record.began.is_some(),
        undo: if made_up_for { UndoScope::Full } else { record.undo },
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
            // Of a run that somebody paused, the run itself is what is waited for.
            ActErrorKind::RunWaits(waits) => FailureKind::NeedsApproval {
                approval_id: match &waits.approval_id {
                    Some(approval) => approval.to_string(),
                    None => waits.run_id.to_string(),
                },
            },
            _ => FailureKind::Denied,
        },
        ErrorCode::Usage | ErrorCode::InvalidInput | ErrorCode::NotFound => FailureKind::Invalid,
        ErrorCode::Conflict => FailureKind::Conflict,
        ErrorCode::Integrity => FailureKind::Integrity,
        ErrorCode::Busy => FailureKind::Busy,
        ErrorCode::Incomplete => FailureKind::Incomplete {
            stuck: match error.kind() {
                ActErrorKind::RunEnded(ended) => vec![ended.message.clone()],
                _ => error
                    .stuck()
                    .iter()
                    .map(|one| format!("{}: {}", one.path, one.reason))
                    .collect(),
            },
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
    fn takes_up(&self, run: &RunRecord) {
        self.runtime.parts.ledger.secrets().take_up(run);
    }

    async fn act(&self, call: StepCall) -> Result<StepDone, StepFailure> {
        let secrets = self.runtime.parts.ledger.secrets();
        secrets.learn(&call.run_id, [&call.input]);
        let acted = self.act_within(&call).await;
        if let Ok((done, _)) = &acted {
            // The next steps may come before the run is kept.
            secrets.learn(&call.run_id, [&done.record.output]);
        }
        acted
            .map(|(done, owed)| step_done(&self.runtime, done, owed))
            .map_err(|error| step_failure(&error))
    }

    fn looks_at_runs(&self) -> bool {
        self.consent.is_some()
    }

    fn only_looks(&self, call: &StepCall) -> bool {
        call.purpose == Purpose::Step && Self::looks(&self.agent_for_builtins(&call.session), call)
    }

    async fn check(&self, call: StepCall) -> Result<Value, StepFailure> {
        self.check_pack(&call).map_err(|error| step_failure(&error))?;
        let agent = self.agent(&call.session);
        let checked = self.action(&agent, &call).and_then(|action| agent.check(action));
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

    async fn undo(&self, call: UndoCall) -> Result<(), UndoFailure> {
        let stored = self.runtime.executions().get(&call.execution_id);
        let stored =
            stored.map_err(|error| UndoFailure { reason: error.to_string(), retryable: true })?;
        let Some(stored) = stored else {
            return Err(UndoFailure::lasting("there is no record of it"));
        };
        match (stored.record.status, &stored.record.began) {
            (ExecutionStatus::Undone | ExecutionStatus::RolledBack, _) => Ok(()),
            // Its steps have their own attempts.
            (ExecutionStatus::Applied, Some(run)) => {
                self.runtime.take_back_run(run).await.map_err(UndoFailure::lasting)
            }
            (ExecutionStatus::Applied, None) => {
                self.agent(&call.session).take_back(&stored.record, &call).await
            }
            (ExecutionStatus::Incomplete, _) => {
                let reason = "it is not settled; `lictor recover` comes first";
                Err(UndoFailure::lasting(reason))
            }
        }
    }

    async fn request_approval(&self, call: ApprovalCall) -> Result<ApprovalState, String> {
        let agent = self.agent_here(&call.session);
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
        Ok(match self.ask(&agent, action).await? {
            Asked::Granted(_) => ApprovalState::Granted,
            Asked::Pending(id) => ApprovalState::Pending { approval_id: id.to_string() },
            Asked::Denied(reason) => ApprovalState::Denied { reason },
        })
    }

    async fn request_plan(&self, call: PlanCall) -> Result<PlanState, String> {
        self.run_plan(&call).await
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
            Ok(Some(mut record)) => {
                match output_of(self.runtime.audit(), executions, &record) {
                    Ok(Kept::InClear) => {}
                    Ok(Kept::Output(output)) => record.output = output,
                    Ok(Kept::Gone) => {
                        let reason = "what it answered held secrets, which are not kept any more";
                        return Recalled::Unknown { reason: reason.to_owned() };
                    }
                    Err(error) => return Recalled::Unknown { reason: error.to_string() },
                }
                self.recalled(Done::before(record)).await
            }
            Ok(None) => Recalled::NothingDone,
            Err(error) => Recalled::Unknown { reason: error.to_string() },
        }
    }
}

impl RuntimeRoad {
    /// Asks people about an action that does nothing else, or finds out how they answered.
    pub(crate) async fn ask(&self, agent: &Agent, action: Action) -> Result<Asked, String> {
        let digest = agent.check(action.clone()).map_err(|error| error.to_string())?;
        let digest = digest.decision.action_digest;
        // An answer that was a refusal stays one; asking again would only ask until it pleases.
        let all = self.runtime.approvals().list(false).map_err(|error| error.to_string())?;
        if let Some(known) = all.iter().find(|one| one.action_digest() == digest) {
            match known.state_at(self.runtime.clock().now()) {
                Answer::Denied => {
                    let denial = known.denial();
                    return Ok(Asked::Denied(denial.map_or_else(String::new, |denial| {
                        format!("{} refused: {}", denial.approver, denial.reason)
                    })));
                }
                Answer::Expired => return Ok(Asked::Denied("time ran out".to_owned())),
                Answer::Cancelled => {
                    let why = known.cancelled().map_or("", |cancelled| &cancelled.reason);
                    return Ok(Asked::Denied(format!("withdrawn: {why}")));
                }
                Answer::Spent => return Ok(Asked::Granted(Some(known.id().clone()))),
                Answer::Pending | Answer::Granted => {}
            }
        }
        match agent.act(action, self.agreeing()).await {
            Ok(done) => {
                Ok(Asked::Granted(done.record.agreement.and_then(|agreed| match agreed.by {
                    Consented::Approval(id) => Some(id),
                    Consented::Grant(_) | Consented::Plan(_) => None,
                })))
            }
            Err(error) => match error.kind() {
                ActErrorKind::ApprovalRequired(approval) => {
                    Ok(Asked::Pending(approval.id().clone()))
                }
                _ => Ok(Asked::Denied(error.to_string())),
            },
        }
    }

    /// What is known of a call that is on record as done.
    async fn recalled(&self, done: Done) -> Recalled {
        let Some(run) = done.record.began.clone() else {
            return Recalled::Done(step_done(&self.runtime, done, Vec::new()));
        };
        match self.runtime.run_store().load(&run).await {
            // It was to be begun, and was not; or everything of it was taken back.
            Ok(None) => Recalled::NothingDone,
            Ok(Some(run)) if run.status() == RunStatus::RolledBack => Recalled::NothingDone,
            Ok(Some(run)) => {
                let record = ExecutionRecord { output: run.output, ..done.record };
                Recalled::Done(step_done(&self.runtime, Done::before(record), Vec::new()))
            }
            Err(error) => Recalled::Unknown { reason: error.to_string() },
        }
    }
}
