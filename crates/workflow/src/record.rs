//! What is kept of a run. Everything that the engine needs to go on is in it.

use lictor_capability::UndoScope;
use lictor_context::{
    AgentProfile, Budget, Digest, ExecutionId, Principal, RunId, Session, SessionId, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::port::FailureKind;
use crate::state::{RunStatus, StepStatus};

/// One run of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its id.
    pub run_id: RunId,
    /// Counts the saves; a store refuses one that does not follow on what it holds.
    pub revision: u64,
    /// The workflow, in the version that the run started with.
    pub workflow: WorkflowRecord,
    /// The call that it answers for, if it was begun by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentRecord>,
    /// Who submitted it; its effects happen in this name.
    pub session: SessionRecord,
    /// The input.
    pub input: Value,
    pub(crate) status: RunStatus,
    /// The steps, in the order of the plan; after them the items that steps are done for, as they
    /// became known.
    pub steps: Vec<StepRecord>,
    /// The plan that people agreed to, or are asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanRecord>,
    /// The outcome of the rollback, apart from the failure that caused it.
    pub rollback: RollbackRecord,
    /// The output, when the run has completed and its document says what that is.
    #[serde(default)]
    pub output: Value,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunFailure>,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it last came to an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How long it has worked, in microseconds; waiting for people does not count.
    pub active_us: u64,
}

/// Which workflow a run is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowRecord {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: semver::Version,
    /// The digest of its document.
    pub digest: Digest,
    /// What its document is called.
    pub source_name: String,
    /// Its document: a run finishes under the version that it started with.
    pub source: String,
}

/// The call that a run answers for: its output is that of the call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParentRecord {
    /// The capability that was called.
    pub capability: String,
    /// The execution that began the run.
    pub execution_id: ExecutionId,
    /// The run whose step it was, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// The step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<String>,
    /// How many calls stand above it; 1 for one that no workflow made.
    pub depth: u32,
    /// The schema that the output has to fit.
    pub output: Value,
}

/// Who submitted a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The session.
    pub session_id: SessionId,
    /// The principal.
    pub principal: Principal,
    /// What the agent was set up with; it stays in force when the run is resumed.
    pub profile: AgentProfile,
    /// What the session may spend.
    pub budget: Budget,
    /// The trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// How people stand to a run as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// What they agreed to; none while nobody has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Digest>,
    /// The approval by which they were asked last.
    pub approval_id: String,
    /// Whether the run waits for their answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its id.
    pub id: String,
    /// The item that it is done for, if it is one of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<ItemRecord>,
    /// When the wait is over that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wakes_at: Option<Timestamp>,
    /// How it stands.
    pub status: StepStatus,
    /// Which one it was to start, from 1; none when it has not. Rollback goes the other way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_order: Option<u32>,
    /// The attempts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptRecord>,
    /// The output; null unless it was done.
    #[serde(default)]
    pub output: Value,
    /// The digest of its input, so that a repeated attempt is known to be the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_digest: Option<Digest>,
    /// The approval that it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The attempts of its compensation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compensation: Vec<AttemptRecord>,
}

/// An item that a step is done for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemRecord {
    /// The step, by its position in the record.
    pub of: usize,
    /// The position of the item, from 0.
    pub index: usize,
    /// The item.
    pub value: Value,
}

/// One attempt of a step or of its compensation. It is saved before the road is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// What it has left in the world.
    pub effect: EffectState,
    /// The execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<ExecutionId>,
    /// The decision.
    #[serde(default)]
    pub decision: Value,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; none while it runs, or waits for people, or when its answer was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// What an attempt has left in the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectState {
    /// Nothing.
    None,
    /// It failed and its changes were put back; what it did elsewhere, its step's compensation
    /// has to know.
    PutBack,
    /// It was done.
    Done {
        /// Whether files were changed.
        changed: bool,
        /// How much of it undoing the execution takes back.
        undo: UndoScope,
    },
    /// It failed and could not be put back.
    Partial {
        /// What is left.
        stuck: Vec<String>,
    },
    /// It was begun, and its answer is not known.
    Unknown,
    /// It was taken back.
    TakenBack,
}

/// Why a step or an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Why.
    pub kind: FailureKind,
    /// Why, for people.
    pub message: String,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFailure {
    /// The step, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Why.
    pub kind: FailureKind,
    /// Why, for people.
    pub message: String,
}

/// How a rollback went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackStatus {
    /// There was none.
    #[default]
    None,
    /// Everything was taken back, verified.
    Complete,
    /// Something is left.
    Partial,
}

/// The outcome of a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RollbackRecord {
    /// How it went.
    pub status: RollbackStatus,
    /// The steps that were taken back, in that order.
    pub undone: Vec<String>,
    /// The steps that were not.
    pub stuck: Vec<StuckStep>,
}

/// A step that could not be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StuckStep {
    /// The step.
    pub step: String,
    /// Why.
    pub reason: String,
}

impl RunRecord {
    /// How it stands.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        self.status
    }

    /// The step of that id.
    #[must_use]
    pub fn step(&self, id: &str) -> Option<&StepRecord> {
        self.steps.iter().find(|step| step.id == id)
    }

    /// The approval of the run as a whole that it waits for.
    #[must_use]
    pub fn plan_waits_for(&self) -> Option<&str> {
        let plan = self.plan.as_ref().filter(|plan| plan.waits)?;
        Some(&plan.approval_id)
    }

    /// The session that submitted it, rebuilt with everything that narrows it.
    #[must_use]
    pub fn session(&self) -> Session {
        let SessionRecord { session_id, principal, profile, budget, trace_id } = &self.session;
        let session = Session::resume(session_id.clone(), principal.clone())
            .with_profile(profile.clone())
            .with_budget(*budget);
        match trace_id {
            Some(trace_id) => session.with_trace_id(trace_id.clone()),
            None => session,
        }
    }

    /// What the command line prints of a run.
    #[must_use]
    pub fn to_report(&self) -> Value {
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|step| {
                let mut shown =
                    json!({ "id": step.id, "status": step.status, "output": step.output });
                put(&mut shown, "error", step.error.as_ref().map(failure));
                put(&mut shown, "approval_id", step.waiting_for.as_ref().map(|id| json!(id)));
                shown
            })
            .collect();
        let mut report = json!({
            "run_id": self.run_id, "status": self.status, "steps": steps, "output": self.output,
        });
        put(&mut report, "approval_id", self.plan_waits_for().map(|id| json!(id)));
        let rolled = self.rollback.status != RollbackStatus::None;
        put(&mut report, "rollback", rolled.then(|| json!(self.rollback)));
        put(
            &mut report,
            "error",
            self.error.as_ref().map(|error| {
                let mut shown = json!({ "code": error.kind.as_str(), "message": error.message });
                put(&mut shown, "step", error.step.as_ref().map(|step| json!(step)));
                shown
            }),
        );
        report
    }
}

impl SessionRecord {
    pub(crate) fn of(session: &Session) -> Self {
        Self {
            session_id: session.id().clone(),
            principal: session.principal().clone(),
            profile: session.profile().clone(),
            budget: session.budget(),
            trace_id: session.trace_id().map(str::to_owned),
        }
    }
}

impl StepRecord {
    pub(crate) fn new(id: String) -> Self {
        Self {
            id,
            item: None,
            wakes_at: None,
            status: StepStatus::Pending,
            start_order: None,
            attempts: Vec::new(),
            output: Value::Null,
            input_digest: None,
            waiting_for: None,
            error: None,
            started_at: None,
            ended_at: None,
            compensation: Vec::new(),
        }
    }
}

impl AttemptRecord {
    pub(crate) fn begun(started_at: Timestamp) -> Self {
        Self {
            effect: EffectState::Unknown,
            execution_id: None,
            decision: Value::Null,
            started_at,
            ended_at: None,
            error: None,
        }
    }
}

fn failure(failure: &Failure) -> Value {
    json!({ "code": failure.kind.as_str(), "message": failure.message })
}

fn put(object: &mut Value, key: &str, value: Option<Value>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(key.to_owned(), value);
    }
}
