//! What the engine needs from others: a road on which calls are governed and done, a store that
//! keeps runs, and somebody who waits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lictor_capability::{CapabilityId, Risk, UndoScope};
use lictor_context::{Digest, Event, ExecutionId, Name, RunId, Session, Timestamp};
use lictor_document::HumanDuration;
use semver::VersionReq;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::StoreError;
use crate::lease::{Claimed, Lease, Owner, Wish};
use crate::record::RunRecord;
use crate::spec::Workflow;
use crate::stopping::Stopping;

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To do a step.
    Step,
    /// To take back what a step did.
    Compensation,
}

/// One attempt of a step, or of its compensation.
#[derive(Debug, Clone)]
pub struct StepCall {
    /// Who asks: the session that submitted the run, whoever resumed it.
    pub session: Session,
    /// The run.
    pub run_id: RunId,
    /// The pack that the run's workflow names: the road looks at it for every call.
    pub pack: Option<Name>,
    /// The step.
    pub step_id: String,
    /// What the call is for.
    pub purpose: Purpose,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// The capability.
    pub capability: CapabilityId,
    /// Its versions that would do.
    pub version: Option<VersionReq>,
    /// The input. A `{secret: NAME}` in it is still one.
    pub input: Value,
    /// How long it may take, where that is less than the contract says. The road stops it then
    /// and says what is left; the engine itself gives up only some seconds later, not knowing.
    pub timeout: Option<Duration>,
    /// For a compensation: the executions that it takes back.
    pub takes_back: Vec<ExecutionId>,
    /// The plan that people agreed to, where the workflow asks for that: it may answer for them.
    pub plan: Option<Arc<AgreedPlan>>,
    /// Whether the run is being stopped.
    pub stopping: Stopping,
}

impl StepCall {
    /// One intent, one key: the same for the same attempt of the same step of the same run,
    /// whenever it is asked for.
    #[must_use]
    pub fn idempotency_key(&self) -> Digest {
        Self::key_of(&self.run_id, &self.step_id, self.purpose, self.attempt)
    }

    /// The key of an attempt, counted from 1.
    #[must_use]
    pub fn key_of(run_id: &RunId, step_id: &str, purpose: Purpose, attempt: u32) -> Digest {
        let key = json!([run_id, step_id, purpose, attempt]);
        Digest::of(key.to_string().as_bytes())
    }
}

/// A call was done.
#[derive(Debug, Clone)]
pub struct StepDone {
    /// The execution, if there was one.
    pub execution_id: Option<ExecutionId>,
    /// The output.
    pub output: Value,
    /// Whether files were changed.
    pub changed: bool,
    /// How much of it could be taken back by undoing the execution.
    pub undo: UndoScope,
    /// The decision that let it happen.
    pub decision: Value,
    /// Events that the road has not recorded: of a call that only looked ([`Road::only_looks`]),
    /// they are recorded with the next save of the run.
    pub owed: Vec<Event>,
}

/// A call was not done.
#[derive(Debug, Clone, PartialEq)]
pub struct StepFailure {
    /// Why.
    pub kind: FailureKind,
    /// Why, for people.
    pub message: String,
    /// Whether another attempt may help.
    pub retryable: bool,
    /// The execution, if one had begun.
    pub execution_id: Option<ExecutionId>,
    /// The decision, if there was one.
    pub decision: Value,
}

/// Why a call was not done, and so what it left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Refused; nothing was done.
    Denied,
    /// People have to agree first; nothing was done yet. The same call, asked again, finds out
    /// whether they did.
    NeedsApproval {
        /// What they are asked.
        approval_id: String,
    },
    /// The input is not accepted; nothing was done.
    Invalid,
    /// The workspace holds something else than expected; nothing was done.
    Conflict,
    /// It failed, and what it changed was put back, verified.
    Failed,
    /// It took too long, and what it changed was put back, verified.
    TimedOut,
    /// The workspace was not had in time; nothing was done.
    Busy,
    /// A digest, an approval or a record does not hold; what was changed was put back.
    Integrity,
    /// Something is left that could not be put back.
    Incomplete {
        /// What.
        stuck: Vec<String>,
    },
    /// The run was stopped from outside; nothing was done.
    Cancelled,
}

impl FailureKind {
    /// The word that records and messages use; the codes of the command line, where those have
    /// one.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::NeedsApproval { .. } => "approval_required",
            Self::Invalid => "invalid_input",
            Self::Conflict => "conflict",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Busy => "busy",
            Self::Integrity => "integrity",
            Self::Incomplete { .. } => "incomplete",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What is known of a capability before the input of a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// How much is at stake at least.
    pub risk: Risk,
    /// How a call is taken back.
    pub undo: UndoBy,
}

/// How what a step did would be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoBy {
    /// There is nothing to take back: it only looks.
    Nothing,
    /// By the undo of its file changes.
    Automatic,
    /// By a compensation.
    Compensation,
    /// Not at all, or not all of it.
    Impossible,
}

/// What became of a call whose answer was lost.
#[derive(Debug, Clone)]
pub enum Recalled {
    /// It had not begun, or everything was put back, verified.
    NothingDone,
    /// It was done.
    Done(StepDone),
    /// Nobody can say.
    Unknown {
        /// Why not.
        reason: String,
    },
}

/// An execution of a step that is to be taken back.
#[derive(Debug, Clone)]
pub struct UndoCall {
    /// The session that submitted the run.
    pub session: Session,
    /// The run.
    pub run_id: RunId,
    /// The step.
    pub step_id: String,
    /// The execution.
    pub execution_id: ExecutionId,
    /// Whether the step has a compensation of its own, which was called before this: what the
    /// contract says of making up for it does not count then.
    pub compensated: bool,
}

/// An execution was not taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoFailure {
    /// Why, for people.
    pub reason: String,
    /// Whether another attempt may help.
    pub retryable: bool,
}

impl UndoFailure {
    /// Asking once more does not help.
    #[must_use]
    pub fn lasting(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retryable: false }
    }
}

/// A question to people.
#[derive(Debug, Clone)]
pub struct ApprovalCall {
    /// The session that submitted the run.
    pub session: Session,
    /// The run.
    pub run_id: RunId,
    /// The step.
    pub step_id: String,
    /// What they are asked.
    pub message: String,
    /// How much is at stake.
    pub risk: Risk,
    /// How many people have to agree.
    pub approvals: u32,
    /// How long they have.
    pub timeout: Option<HumanDuration>,
    /// What the approval is bound to: the run, its document, the step, the question, the input
    /// of the run and everything that the steps before it gave.
    pub digest: Digest,
}

/// How an approval stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApprovalState {
    /// Nobody has decided yet.
    Pending {
        /// The approval.
        approval_id: String,
    },
    /// Enough people agreed.
    Granted,
    /// Somebody refused, or time ran out.
    Denied {
        /// Why.
        reason: String,
    },
}

/// A whole run that people may have to agree to before it does anything.
#[derive(Debug, Clone)]
pub struct PlanCall {
    /// The session that submitted the run.
    pub session: Session,
    /// The run.
    pub run_id: RunId,
    /// Its workflow.
    pub workflow: Arc<Workflow>,
    /// Its input.
    pub input: Value,
    /// The plan that was agreed to, if one was.
    pub granted: Option<Digest>,
}

/// A run that people agreed to as a whole.
#[derive(Debug, Clone)]
pub struct AgreedPlan {
    /// The approval.
    pub approval_id: String,
    /// The run, as they would be asked about it now.
    pub call: PlanCall,
}

/// Whether a run may go on with its steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanState {
    /// Nobody has to agree to it as a whole.
    NotNeeded,
    /// People agreed to it.
    Granted {
        /// The plan, as it is now.
        digest: Digest,
        /// The approval, where this call found it; the one that is known when `None`.
        approval_id: Option<String>,
    },
    /// Nobody has decided yet.
    Pending {
        /// The approval.
        approval_id: String,
    },
    /// It may not run.
    Denied {
        /// Why.
        reason: String,
    },
}

/// The road that every call goes down: contract, policy, warrant, execution, record.
#[async_trait]
pub trait Road: Send + Sync {
    /// Does a call. The same attempt asked for again is the same intent
    /// ([`StepCall::idempotency_key`]): what was done is not done twice, and its first result is
    /// given again.
    ///
    /// # Errors
    /// When it was not done; the failure says what is left of it.
    async fn act(&self, call: StepCall) -> Result<StepDone, StepFailure>;

    /// A run is about to be driven, a new one or one that is taken up again: for what a road has to
    /// know of all of it before its steps.
    fn takes_up(&self, _run: &RunRecord) {}

    /// Whether a call only looks and leaves nothing, so that doing it again after a crash is as
    /// good as the first time. No intent is saved before it, and its result is saved with
    /// whatever comes next. False is always right.
    fn only_looks(&self, _call: &StepCall) -> bool {
        false
    }

    /// Whether every run is put to [`Road::request_plan`] before its steps begin, and not only those
    /// whose document asks for that or that belong to a pack.
    fn looks_at_runs(&self) -> bool {
        false
    }

    /// Only decides, for dry runs: the decision.
    ///
    /// # Errors
    /// When the call would not be judged at all.
    async fn check(&self, call: StepCall) -> Result<Value, StepFailure>;

    /// What is known of a capability by its contract, for dry runs. A road that does not override
    /// this says nothing.
    fn outline(
        &self,
        _session: &Session,
        _capability: &CapabilityId,
        _version: Option<&VersionReq>,
    ) -> Option<Outline> {
        None
    }

    /// Takes back what an execution did, as far as its undo reaches, and verifies that; where its
    /// contract says what makes up for the rest, that is done. Asked
    /// again for an execution that is taken back already, it agrees.
    ///
    /// # Errors
    /// Why it could not.
    async fn undo(&self, call: UndoCall) -> Result<(), UndoFailure>;

    /// Asks people, or says how the question that was asked stands: the same digest is the same
    /// question.
    ///
    /// # Errors
    /// When they cannot be asked; that is taken for a denial.
    async fn request_approval(&self, call: ApprovalCall) -> Result<ApprovalState, String>;

    /// Whether people have to agree to a run as a whole, and whether they did. It is asked before
    /// steps begin, each time: what was agreed to may have become something else, and then it has to
    /// be agreed to again. A road that does not override this lets no run through whose workflow wants
    /// to be agreed to, or names a pack that might.
    ///
    /// # Errors
    /// When it cannot be found out; that is taken for a denial.
    async fn request_plan(&self, _call: PlanCall) -> Result<PlanState, String> {
        Err("this road asks nobody about whole runs".to_owned())
    }

    /// Finds out what became of a call that was begun and whose answer was lost. It does
    /// nothing. A road that does not override this cannot say, and a run with such a call is not
    /// called rolled back.
    async fn recall(&self, _call: &StepCall) -> Recalled {
        Recalled::Unknown { reason: "whether it happened is not known".to_owned() }
    }
}

/// What is saved in one.
#[derive(Debug)]
pub struct Save<'r> {
    /// The run. Its revision is one above what is stored, or 1 for a new run.
    pub run: &'r RunRecord,
    /// The lease under which it is driven. It is renewed to what stands here, and given back when
    /// the run is at rest ([`RunStatus::is_at_rest`](crate::RunStatus::is_at_rest)). A run that is
    /// new and has none belongs to nobody.
    pub lease: &'r Lease,
    /// The events that are owed.
    pub events: Vec<Event>,
}

/// Keeps runs. [`lictor_testkit`](https://docs.rs/lictor-testkit) has a suite that every
/// implementation has to pass.
#[async_trait]
pub trait RunStore: Send + Sync {
    /// Keeps a new run that nobody drives yet, with its events, durably.
    ///
    /// # Errors
    /// When neither is kept; [`StoreError::Stale`] when there is such a run.
    async fn create(&self, run: &RunRecord, events: Vec<Event>) -> Result<(), StoreError>;

    /// Keeps a run with its events and its lease, in one, durably. Answers with what somebody
    /// wished of the run meanwhile, once.
    ///
    /// A new run may be saved under a lease at once; its token is 1.
    ///
    /// # Errors
    /// When nothing is kept: [`StoreError::Fenced`] when the lease is not the one that is stored,
    /// [`StoreError::Stale`] when the revision does not follow on the one that is stored.
    async fn save(&self, save: Save<'_>) -> Result<Option<Wish>, StoreError>;

    /// Takes a run to drive it, when nobody else does: its lease was given back, is over at `now`,
    /// is the asker's own, or its owner is known to be gone. The new token is higher than every one before it.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    async fn claim(
        &self,
        run_id: &RunId,
        owner: &Owner,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Claimed<RunRecord>, StoreError>;

    /// Makes a lease last until what stands in it, and answers with what somebody wished of the
    /// run meanwhile, once.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the lease is not the one that is stored.
    async fn renew(&self, run_id: &RunId, lease: &Lease) -> Result<Option<Wish>, StoreError>;

    /// Gives a lease back without saving anything; nothing happens when it is not the one that is
    /// stored.
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn release(&self, run_id: &RunId, lease: &Lease) -> Result<(), StoreError>;

    /// Leaves a wish for whoever drives the run. A cancellation is never replaced by a pause.
    ///
    /// # Errors
    /// When it is not kept.
    async fn ask(&self, run_id: &RunId, wish: Wish) -> Result<(), StoreError>;

    /// The runs that have something to do and that nobody drives: those that were accepted and
    /// not begun, and those whose driver is gone; the oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    async fn orphans(&self, now: Timestamp, limit: usize) -> Result<Vec<RunId>, StoreError>;

    /// The run of that id, as last saved.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn load(&self, run_id: &RunId) -> Result<Option<RunRecord>, StoreError>;

    /// The newest runs.
    ///
    /// # Errors
    /// When they cannot be read.
    async fn list(&self, limit: usize) -> Result<Vec<RunRecord>, StoreError>;
}

/// Looks at runs as they go. What is refused before something happens does not happen; what comes
/// after it can only take note.
#[async_trait]
pub trait Hooks: Send + Sync {
    /// Before a run begins.
    ///
    /// # Errors
    /// Why it may not; the run fails.
    async fn pre_execution(&self, _run: &RunRecord) -> Result<(), String> {
        Ok(())
    }

    /// Before an attempt of a step or of a compensation.
    ///
    /// # Errors
    /// Why it may not; the step is denied.
    async fn pre_step(&self, _call: &StepCall) -> Result<(), String> {
        Ok(())
    }

    /// After an attempt.
    async fn post_step(&self, _call: &StepCall, _answer: &Result<StepDone, StepFailure>) {}

    /// After a run has completed; it is recorded by then.
    async fn post_execution(&self, _run: &RunRecord) {}

    /// After a run has stopped anywhere else: paused, failed or rolled back.
    async fn on_halt(&self, _run: &RunRecord) {}
}

/// Nobody looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {}

/// Waits.
#[async_trait]
pub trait Timer: Send + Sync {
    /// Comes back after so long.
    async fn sleep(&self, duration: Duration);
}

/// Waits by tokio's clock; wants a tokio runtime with time.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioTimer;

#[async_trait]
impl Timer for TokioTimer {
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
