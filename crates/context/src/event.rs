//! Events: what happened, said once, by the session that it happened in.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::{Clock, Timestamp};
use crate::id::{ActionId, DecisionId, EventId, ExecutionId, Name, RunId};
use crate::quote::Quote;
use crate::sealing::Private;
use crate::session::Session;

macro_rules! event_types {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $severity:ident;)+) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum EventType {$(
            $(#[$doc])*
            $variant,
        )+}

        impl EventType {
            /// Every type there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name that stands in the trail.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {$(Self::$variant => $name,)+}
            }

            /// How much it matters, unless the event says otherwise.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self {$(Self::$variant => Severity::$severity,)+}
            }
        }
    };
}

event_types! {
    /// An action was let through and begins.
    ActionStarted = "action_started", Info;
    /// An action was done.
    ActionCompleted = "action_completed", Info;
    /// An action failed; what it did was put back.
    ActionFailed = "action_failed", Error;
    /// An action was refused.
    ActionRejected = "action_rejected", Warning;
    /// An action may or may not have happened.
    ActionUnknown = "action_unknown", Critical;
    /// A person is asked.
    ApprovalRequested = "approval_requested", Info;
    /// Too many wrong PINs of an approver were tried.
    ApproverLocked = "approver_locked", Critical;
    /// A request was put to people elsewhere; whether they were reached stands in the event.
    ApprovalDelivered = "approval_delivered", Info;
    /// A server of somebody else asked a client something; what it asked, and not what was answered,
    /// stands in the event.
    QuestionRelayed = "question_relayed", Info;
    /// A person agreed.
    ApprovalGranted = "approval_granted", Info;
    /// A person refused, or time ran out.
    ApprovalDenied = "approval_denied", Warning;
    /// A request was withdrawn before it was answered or used.
    ApprovalCancelled = "approval_cancelled", Info;
    /// A person agreed in advance to what fits a pattern.
    GrantCreated = "grant_created", Warning;
    /// A grant was taken back.
    GrantRevoked = "grant_revoked", Info;
    /// The kill switch was thrown: nothing new happens.
    Halted = "halted", Critical;
    /// A person lifted a halt.
    Resumed = "resumed", Warning;
    /// The gate decided.
    DecisionMade = "decision_made", Info;
    /// The same execution was asked for again, and its first result given.
    ExecutionDuplicate = "execution_duplicate", Info;
    /// A verification command succeeded.
    VerificationPassed = "verification_passed", Info;
    /// A verification command failed.
    VerificationFailed = "verification_failed", Error;
    /// A health check succeeded.
    HealthPassed = "health_passed", Info;
    /// A health check failed.
    HealthFailed = "health_failed", Error;
    /// What was done is being put back.
    RollbackStarted = "rollback_started", Warning;
    /// Everything was put back, and that was verified.
    RollbackCompleted = "rollback_completed", Warning;
    /// Something could not be put back.
    RollbackFailed = "rollback_failed", Critical;
    /// An execution was undone.
    UndoCompleted = "undo_completed", Info;
    /// An undo was refused, because somebody changed the files since.
    UndoConflict = "undo_conflict", Warning;
    /// A workflow was accepted.
    WorkflowSubmitted = "workflow_submitted", Info;
    /// A workflow began.
    WorkflowStarted = "workflow_started", Info;
    /// A workflow waits.
    WorkflowPaused = "workflow_paused", Info;
    /// A workflow goes on.
    WorkflowResumed = "workflow_resumed", Info;
    /// A workflow came to its end.
    WorkflowCompleted = "workflow_completed", Info;
    /// A workflow failed.
    WorkflowFailed = "workflow_failed", Error;
    /// A workflow failed and everything it did was taken back.
    WorkflowRolledBack = "workflow_rolled_back", Warning;
    /// A step began.
    StepStarted = "step_started", Info;
    /// A step was done.
    StepCompleted = "step_completed", Info;
    /// A step failed.
    StepFailed = "step_failed", Error;
    /// A step was left out, because its `when` was false or what it needs did not run.
    StepSkipped = "step_skipped", Info;
    /// A capability was proposed.
    CapabilityProposed = "capability_proposed", Info;
    /// A capability was approved.
    CapabilityApproved = "capability_approved", Info;
    /// A capability was rejected.
    CapabilityRejected = "capability_rejected", Warning;
    /// A capability was frozen.
    CapabilityFrozen = "capability_frozen", Warning;
    /// A capability was deprecated.
    CapabilityDeprecated = "capability_deprecated", Info;
    /// A policy was read and is in force.
    PolicyLoaded = "policy_loaded", Info;
    /// The workspace lock was taken.
    LockAcquired = "lock_acquired", Info;
    /// The lock of a dead or unwilling holder was broken.
    LockBroken = "lock_broken", Warning;
    /// A session began.
    SessionStarted = "session_started", Info;
    /// A session ended.
    SessionEnded = "session_ended", Info;
    /// What a crash left was settled.
    RecoveryCompleted = "recovery_completed", Warning;
    /// Events were lost; how many is known.
    AuditGap = "audit_gap", Critical;
    /// Another key signs from now on.
    KeyRotated = "key_rotated", Warning;
    /// Nothing of the trail may be removed from now on.
    HoldPlaced = "hold_placed", Warning;
    /// Old events may be removed again.
    HoldReleased = "hold_released", Warning;
    /// Old events were archived and removed.
    AuditPruned = "audit_pruned", Warning;
    /// A person's sealed data was erased.
    SubjectErased = "subject_erased", Warning;
}

/// A text that should have been an event type is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not an event type; for example `action_completed` is")]
pub struct UnknownEventType(Quote);

impl TryFrom<String> for EventType {
    type Error = UnknownEventType;
    fn try_from(text: String) -> Result<Self, UnknownEventType> {
        text.parse()
    }
}

impl std::str::FromStr for EventType {
    type Err = UnknownEventType;
    fn from_str(text: &str) -> Result<Self, UnknownEventType> {
        let found = Self::ALL.iter().find(|kind| kind.as_str() == text);
        found.copied().ok_or_else(|| UnknownEventType(Quote::of(text)))
    }
}

impl From<EventType> for String {
    fn from(kind: EventType) -> String {
        kind.as_str().to_owned()
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Info,
    /// Worth a look.
    Warning,
    /// Something did not work.
    Error,
    /// Somebody has to do something.
    Critical,
}

/// Which capability an action used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityFacts {
    /// `skill`, `tool`, `mcp` or `workflow`.
    pub kind: String,
    /// Where it comes from, for example `builtin`.
    pub source: String,
    /// Its version.
    pub version: String,
    /// The MCP server that offers it.
    pub mcp_server: Option<String>,
}

/// What an event says beside its type, its time and its session. Everything is optional.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventFacts {
    /// The action it belongs to.
    pub action_id: Option<ActionId>,
    /// The capability's id, or what else names the action.
    pub action_name: Option<String>,
    /// Parameters, already sealed (see [`crate::seal`]).
    pub action_params: Option<Value>,
    /// What was left out of the parameters, for a sink that keeps it encrypted.
    pub private: Vec<Private>,
    /// The capability that was used.
    pub capability: Option<CapabilityFacts>,
    /// The execution.
    pub execution_id: Option<ExecutionId>,
    /// The decision.
    pub decision_id: Option<DecisionId>,
    /// The workflow run.
    pub run_id: Option<RunId>,
    /// The step of the run.
    pub step_id: Option<String>,
    /// Whether the decision asked for approval.
    pub requires_approval: Option<bool>,
    /// Whether approval was given.
    pub approval_granted: Option<bool>,
    /// Whether it worked.
    pub success: Option<bool>,
    /// How long it took.
    pub duration: Option<Duration>,
    /// Why it did not work.
    pub error_message: Option<String>,
    /// Anything else.
    pub metadata: Map<String, Value>,
}

/// One thing that happened. Who it happened to is taken from a session and cannot be set: no
/// event can be written in another organisation's name.
#[derive(Debug, Clone)]
pub struct Event {
    id: EventId,
    event_type: EventType,
    severity: Severity,
    timestamp: Timestamp,
    session: Session,
    facts: EventFacts,
}

impl Event {
    /// An event of this session, now.
    #[must_use]
    pub fn new(
        session: &Session,
        event_type: EventType,
        facts: EventFacts,
        clock: &dyn Clock,
    ) -> Self {
        Self {
            id: EventId::generate(clock),
            event_type,
            severity: event_type.severity(),
            timestamp: clock.now(),
            session: session.clone(),
            facts,
        }
    }

    /// The same event with another severity.
    #[must_use]
    pub fn with_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// What else it says, to be changed: for whoever leaves more out of it than [`crate::seal`]
    /// does. What it is of, and when it was, stays.
    pub fn facts_mut(&mut self) -> &mut EventFacts {
        &mut self.facts
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &EventId {
        &self.id
    }

    /// What happened.
    #[must_use]
    pub fn event_type(&self) -> EventType {
        self.event_type
    }

    /// How much it matters.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// When it happened.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The session it happened in.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The organisation whose trail it stands in.
    #[must_use]
    pub fn org(&self) -> &Name {
        &self.session.principal().org
    }

    /// What else it says.
    #[must_use]
    pub fn facts(&self) -> &EventFacts {
        &self.facts
    }
}
