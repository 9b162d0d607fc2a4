//! What a door is told when something is not done; each reason has one code and one exit code.

use lictor_capability::{AdmitError, AdmitErrorKind, Conflict};
use lictor_context::ExecutionId;
use lictor_executor::{
    ApplyError, CheckReport, DescribeError, ExecuteError, ExecuteErrorKind, HandlerErrorKind,
    Rollback, RollbackReport, Stuck,
};
use lictor_governance::{
    Approval, DecisionRecord, Halt, Halted, NotAuthorized, NotAuthorizedKind, Withheld,
};
use lictor_workflow::{EngineError, StoreError};
use serde::Serialize;
use serde_json::{Value, json};

use crate::subruns::{CallRefusal, RunEnded, RunWaits};
use crate::undo::UndoStopped;

/// Why something was not done, as every door says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// It ran and failed; everything it did was rolled back, and that was verified.
    Failed,
    /// The call itself is wrong.
    Usage,
    /// The input, a document or a configuration is wrong; nothing was done.
    InvalidInput,
    /// Policy says no; nothing was done.
    Denied,
    /// People have to agree first; nothing was done yet.
    ApprovalRequired,
    /// The workspace holds something else than expected; nothing was done.
    Conflict,
    /// A checksum, a digest, a binding or the trail does not hold.
    Integrity,
    /// The lock was not had in time.
    Busy,
    /// Something could not be undone, or its outcome is unknown.
    Incomplete,
    /// There is no such thing.
    NotFound,
}

impl ErrorCode {
    /// The exit code of the command.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage | Self::InvalidInput | Self::NotFound => 2,
            Self::Denied => 3,
            Self::ApprovalRequired => 4,
            Self::Conflict => 5,
            Self::Integrity => 6,
            Self::Busy => 7,
            Self::Incomplete => 8,
        }
    }

    /// Of what kept a run from being looked at, begun or driven.
    #[must_use]
    pub const fn of_engine(error: &EngineError) -> Self {
        match error {
            EngineError::Input { .. } | EngineError::NotResumable { .. } => Self::InvalidInput,
            EngineError::NotFound(_) => Self::NotFound,
            EngineError::Busy(_)
            | EngineError::Store(StoreError::Stale { .. } | StoreError::Fenced { .. }) => {
                Self::Busy
            }
            // What is kept of the run is not what the engine has kept.
            EngineError::Document { .. } | EngineError::Transition(_) => Self::Integrity,
            // What it did stands, and nobody can take it back any more.
            EngineError::Store(StoreError::Gone { .. }) => Self::Incomplete,
            EngineError::Store(StoreError::Unavailable(_)) => Self::Failed,
        }
    }

    /// The word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::InvalidInput => "invalid_input",
            Self::Denied => "denied",
            Self::ApprovalRequired => "approval_required",
            Self::Conflict => "conflict",
            Self::Integrity => "integrity",
            Self::Busy => "busy",
            Self::Incomplete => "incomplete",
            Self::NotFound => "not_found",
        }
    }
}

/// An action was not done.
#[derive(Debug, thiserror::Error)]
#[error("{}{kind}", after_a_run(.ran.as_deref()))]
pub struct ActError {
    kind: ActErrorKind,
    /// The command that ran, and whose changes did not land.
    ran: Option<Box<ExecutionId>>,
    decision: Option<Box<DecisionRecord>>,
    execution_id: Option<ExecutionId>,
}

/// Why an action was not done.
#[derive(Debug, thiserror::Error)]
pub enum ActErrorKind {
    /// The capability does not exist for the session, or the input does not fit.
    #[error(transparent)]
    NotAdmitted(AdmitError),
    /// There is such a capability, and it may not be used.
    #[error(transparent)]
    Withheld(Box<Withheld>),
    /// It could not be worked out what it would do.
    #[error(transparent)]
    NotDescribed(DescribeError),
    /// The gate said no.
    #[error("{0}")]
    Denied(String),
    /// Nothing new may begin.
    #[error("nothing new may begin: {0}")]
    Halted(Halted),
    /// People have to agree.
    #[error("approval `{}` is pending: {} of {} given", .0.id(), .0.granted_by().len(), .0.needed())]
    ApprovalRequired(Box<Approval>),
    /// The one who was to approve may not, or what they approve is something else.
    #[error("the approval does not count: {0}")]
    ApprovalRefused(String),
    /// What is kept of an approval is not what was judged.
    #[error("the approval does not hold: {0}")]
    ApprovalBroken(String),
    /// The workspace holds something else.
    #[error("{}", conflicts(.0))]
    Conflict(Vec<Conflict>),
    /// Something was exchanged between judging and doing.
    #[error(transparent)]
    NotAuthorized(NotAuthorized),
    /// It was begun, or could not be.
    #[error(transparent)]
    Execution(Box<ExecuteError>),
    /// It took longer than whoever asked for it waits, and was taken back.
    #[error("it was not done within {limit_ms} ms")]
    TimedOut {
        /// How long that is.
        limit_ms: u128,
    },
    /// It cannot be recorded, so it may not happen.
    #[error("it cannot be recorded, so it was not done: {0}")]
    NotRecorded(String),
    /// It was done, could not be recorded, and could not be taken back.
    #[error("it could not be recorded and not be taken back; what is left: {}", left(.0))]
    LeftUnrecorded(RollbackReport),
    /// There is no such execution, approval, or run.
    #[error("{0}")]
    NotFound(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The workflow behind it cannot be called.
    #[error(transparent)]
    NotCallable(Box<CallRefusal>),
    /// The run that it began waits for somebody.
    #[error("it began the run `{}`, which waits{}", .0.run_id, waits_for(.0))]
    RunWaits(Box<RunWaits>),
    /// The run that it began did not come to its end.
    #[error("it began the run `{}`, which failed: {}", .0.run_id, .0.message)]
    RunEnded(Box<RunEnded>),
    /// Several were to be undone, and it stopped on the way.
    #[error("undone are {}; then it stopped: {}", ids(&.0.undone), .0.error)]
    UndoStopped(Box<UndoStopped>),
}

fn ids(executions: &[ExecutionId]) -> String {
    let ids: Vec<String> = executions.iter().map(|id| format!("`{id}`")).collect();
    ids.join(", ")
}

fn waits_for(waits: &RunWaits) -> String {
    waits.approval_id.as_ref().map_or_else(String::new, |id| format!(" for approval `{id}`"))
}

fn after_a_run(execution: Option<&ExecutionId>) -> String {
    execution.map_or_else(String::new, |id| {
        format!("the command ran as `{id}`, and nothing of what it changed is in place: ")
    })
}

fn conflicts(all: &[Conflict]) -> String {
    let shown: Vec<String> = all.iter().take(20).map(ToString::to_string).collect();
    let more = all.len().saturating_sub(shown.len());
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    format!("{}{more}", shown.join("; "))
}

impl From<ActErrorKind> for ActError {
    fn from(kind: ActErrorKind) -> Self {
        let execution_id = match &kind {
            ActErrorKind::Execution(error) => error.execution_id().cloned(),
            ActErrorKind::RunWaits(waits) => Some(waits.execution_id.clone()),
            ActErrorKind::RunEnded(ended) => Some(ended.execution_id.clone()),
            _ => None,
        };
        Self { kind, ran: None, decision: None, execution_id }
    }
}

impl ActError {
    pub(crate) fn with_decision(mut self, decision: &DecisionRecord) -> Self {
        self.decision = Some(Box::new(decision.clone()));
        self
    }

    /// Said of the changes of a command that ran.
    pub(crate) fn after(mut self, ran: ExecutionId) -> Self {
        self.execution_id.get_or_insert_with(|| ran.clone());
        self.ran = Some(Box::new(ran));
        self
    }

    /// The command that ran before this, and whose changes did not land.
    #[must_use]
    pub fn ran(&self) -> Option<&ExecutionId> {
        self.ran.as_deref()
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> &ActErrorKind {
        &self.kind
    }

    /// What the gate said, when it was asked.
    #[must_use]
    pub fn decision(&self) -> Option<&DecisionRecord> {
        self.decision.as_deref()
    }

    /// The execution, when there was one.
    #[must_use]
    pub fn execution_id(&self) -> Option<&ExecutionId> {
        self.execution_id.as_ref()
    }

    /// The code that every door gives.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match &self.kind {
            ActErrorKind::NotAdmitted(error) => match error.kind() {
                AdmitErrorKind::Unknown { .. } | AdmitErrorKind::NoSuchVersion { .. } => {
                    ErrorCode::NotFound
                }
                AdmitErrorKind::Input { .. } => ErrorCode::InvalidInput,
            },
            ActErrorKind::Withheld(withheld) => withheld_code(withheld),
            ActErrorKind::NotDescribed(error) => describe_code(error),
            ActErrorKind::Denied(_)
            | ActErrorKind::ApprovalRefused(_)
            | ActErrorKind::Halted(_) => ErrorCode::Denied,
            ActErrorKind::ApprovalRequired(_) | ActErrorKind::RunWaits(_) => {
                ErrorCode::ApprovalRequired
            }
            ActErrorKind::NotCallable(refusal) => match refusal.as_ref() {
                CallRefusal::Changed { .. } => ErrorCode::Integrity,
                CallRefusal::NoDocument(_)
                | CallRefusal::Unfit { .. }
                | CallRefusal::Cycle(_)
                | CallRefusal::TooDeep(_) => ErrorCode::InvalidInput,
            },
            ActErrorKind::RunEnded(ended) => ended.code,
            // What was undone stays so, whatever is to come.
            ActErrorKind::UndoStopped(stopped) => match stopped.error.code() {
                ErrorCode::ApprovalRequired => ErrorCode::ApprovalRequired,
                _ => ErrorCode::Incomplete,
            },
            ActErrorKind::ApprovalBroken(_) => ErrorCode::Integrity,
            ActErrorKind::Conflict(_) => ErrorCode::Conflict,
            ActErrorKind::NotAuthorized(error) if error.is_integrity() => ErrorCode::Integrity,
            ActErrorKind::NotAuthorized(_) => ErrorCode::Denied,
            ActErrorKind::Execution(error) => execute_code(error),
            ActErrorKind::LeftUnrecorded(_) => ErrorCode::Incomplete,
            ActErrorKind::NotRecorded(_) | ActErrorKind::TimedOut { .. } => ErrorCode::Failed,
            ActErrorKind::NotFound(_) => ErrorCode::NotFound,
            ActErrorKind::Invalid(_) => ErrorCode::InvalidInput,
        }
    }

    /// Where the workspace held something else, if that is why.
    #[must_use]
    pub fn conflicts(&self) -> &[Conflict] {
        match &self.kind {
            ActErrorKind::Conflict(conflicts) => conflicts,
            ActErrorKind::Execution(error) => error.conflicts(),
            _ => &[],
        }
    }

    /// What could not be put back.
    #[must_use]
    pub fn stuck(&self) -> &[Stuck] {
        match &self.kind {
            ActErrorKind::LeftUnrecorded(report) => &report.stuck,
            ActErrorKind::Execution(error) => match error.rollback() {
                Rollback::Incomplete(report) => &report.stuck,
                Rollback::NotBegun | Rollback::Complete(_) => &[],
            },
            _ => &[],
        }
    }

    /// The halt that stands against it, if that is why.
    #[must_use]
    pub fn halt(&self) -> Option<&Halt> {
        let halted = match &self.kind {
            ActErrorKind::Halted(halted) => halted,
            ActErrorKind::NotAuthorized(error) => match error.kind() {
                NotAuthorizedKind::Halted(halted) => halted,
                _ => return None,
            },
            ActErrorKind::Execution(error) => match error.kind() {
                ExecuteErrorKind::Halted(halted) => halted,
                _ => return None,
            },
            _ => return None,
        };
        match halted {
            Halted::By(halt) => Some(halt),
            Halted::Unknown(_) => None,
        }
    }

    /// What is known, for `details` of the JSON answer.
    #[must_use]
    pub fn details(&self) -> Value {
        if let Some(halt) = self.halt() {
            return json!({ "halt": halt });
        }
        match &self.kind {
            ActErrorKind::NotAdmitted(error) => match error.kind() {
                AdmitErrorKind::Unknown { nearest } => json!({ "did_you_mean": nearest }),
                AdmitErrorKind::NoSuchVersion { available } => json!({ "available": available }),
                AdmitErrorKind::Input { findings } => json!({ "findings": findings }),
            },
            ActErrorKind::ApprovalRequired(approval) => json!({
                "approval_id": approval.id(), "needed": approval.needed(),
                "given": approval.granted_by().len(), "expires_at": approval.expires_at(),
            }),
            ActErrorKind::RunWaits(waits) => {
                json!({ "run_id": waits.run_id, "approval_id": waits.approval_id })
            }
            ActErrorKind::RunEnded(ended) => json!({ "run_id": ended.run_id }),
            ActErrorKind::UndoStopped(stopped) => {
                let UndoStopped { undone, left, error } = &**stopped;
                json!({ "undone": undone, "left": left, "because": error.details() })
            }
            ActErrorKind::Conflict(conflicts) => json!({ "conflicts": conflicts }),
            ActErrorKind::Execution(error) => {
                let (rollback, report): (&str, Option<&RollbackReport>) = match error.rollback() {
                    Rollback::NotBegun => ("not_begun", None),
                    Rollback::Complete(report) => ("complete", Some(report)),
                    Rollback::Incomplete(report) => ("incomplete", Some(report)),
                };
                let checks: &[CheckReport] = error.checks();
                json!({
                    "rollback": { "status": rollback, "report": report },
                    "conflicts": error.conflicts(), "checks": checks,
                })
            }
            _ => json!({}),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn next_steps(&self) -> Vec<String> {
        if let Some(halt) = self.halt() {
            return vec![format!("a person lifts it: lictor resume {}", halt.id)];
        }
        let mut steps = match &self.kind {
            ActErrorKind::NotAdmitted(_) => vec!["lictor capability list".to_owned()],
            ActErrorKind::Withheld(withheld) => {
                vec![format!("lictor capability show {}", withheld.id())]
            }
            ActErrorKind::ApprovalRequired(approval) => vec![
                format!("a person looks at it: lictor approvals show {}", approval.id()),
                format!("and agrees: lictor approvals approve {}", approval.id()),
                match &self.ran {
                    // The same call again would run it again.
                    Some(execution) => format!("then: lictor land {execution}"),
                    None => "then repeat the same call".to_owned(),
                },
            ],
            ActErrorKind::RunWaits(waits) => {
                let ask = waits.approval_id.as_ref();
                let ask = ask.map(|id| format!("a person agrees: lictor approvals approve {id}"));
                let go_on = format!("then: lictor workflow resume {}", waits.run_id);
                ask.into_iter().chain([go_on]).collect()
            }
            ActErrorKind::RunEnded(ended) if ended.code == ErrorCode::Incomplete => {
                vec![format!("lictor workflow resume {} --rollback", ended.run_id)]
            }
            ActErrorKind::UndoStopped(stopped) => {
                let again = "then the same undo again: it goes on with what is left".to_owned();
                stopped.error.next_steps().into_iter().chain([again]).collect()
            }
            ActErrorKind::Denied(_) => vec![
                "lictor policy show".to_owned(),
                "ask whoever keeps .lictor/policy.yaml, or change the action".to_owned(),
            ],
            ActErrorKind::Conflict(_) => vec![
                "look at the files again and make the change from what they hold now".to_owned(),
            ],
            ActErrorKind::Execution(error) => match error.kind() {
                ExecuteErrorKind::Busy(_) => vec!["lictor lock status".to_owned()],
                ExecuteErrorKind::Apply(
                    ApplyError::Incomplete { .. } | ApplyError::NotDurable { .. },
                ) => vec!["lictor recover".to_owned()],
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        if let Some(decision) = &self.decision {
            steps.extend(decision.required_actions.iter().cloned());
        }
        steps
    }
}

fn left(report: &RollbackReport) -> String {
    let stuck = report.stuck.iter().map(|one| format!("`{}` ({})", one.path, one.reason));
    stuck.collect::<Vec<_>>().join(", ")
}

fn describe_code(error: &DescribeError) -> ErrorCode {
    match error {
        DescribeError::NoHandler(_) => ErrorCode::NotFound,
        DescribeError::Beyond(_) => ErrorCode::Denied,
        DescribeError::NotStaged(_) => ErrorCode::Integrity,
        DescribeError::Withheld(withheld) => withheld_code(withheld),
        DescribeError::Handler(error) => match error.kind() {
            HandlerErrorKind::Input(_)
            | HandlerErrorKind::View(_)
            | HandlerErrorKind::Changes(_) => ErrorCode::InvalidInput,
            HandlerErrorKind::Changed(_) => ErrorCode::Integrity,
            HandlerErrorKind::Failed(_) => ErrorCode::Failed,
            HandlerErrorKind::Unknown(_) => ErrorCode::Incomplete,
        },
    }
}

fn withheld_code(withheld: &Withheld) -> ErrorCode {
    if withheld.is_integrity() { ErrorCode::Integrity } else { ErrorCode::Denied }
}

fn execute_code(error: &ExecuteError) -> ErrorCode {
    if matches!(error.rollback(), Rollback::Incomplete(_)) {
        return ErrorCode::Incomplete;
    }
    match error.kind() {
        ExecuteErrorKind::ForeignWarrant => ErrorCode::Integrity,
        ExecuteErrorKind::ExpiredWarrant | ExecuteErrorKind::Halted(_) => ErrorCode::Denied,
        ExecuteErrorKind::Withheld(withheld) => withheld_code(withheld),
        ExecuteErrorKind::NoHandler(_) => ErrorCode::NotFound,
        ExecuteErrorKind::Busy(_) => ErrorCode::Busy,
        ExecuteErrorKind::Conflict(_) => ErrorCode::Conflict,
        ExecuteErrorKind::Apply(_) if !error.conflicts().is_empty() => ErrorCode::Conflict,
        ExecuteErrorKind::Apply(ApplyError::Kept(_)) => ErrorCode::Integrity,
        ExecuteErrorKind::Unknown(_) | ExecuteErrorKind::InDoubt(_) => ErrorCode::Incomplete,
        ExecuteErrorKind::Recover(_) | ExecuteErrorKind::Stuck(_) => ErrorCode::Incomplete,
        ExecuteErrorKind::Handler(error) => match error.kind() {
            HandlerErrorKind::Input(_) => ErrorCode::InvalidInput,
            HandlerErrorKind::Changed(_) => ErrorCode::Integrity,
            HandlerErrorKind::View(_)
            | HandlerErrorKind::Changes(_)
            | HandlerErrorKind::Failed(_)
            | HandlerErrorKind::Unknown(_) => ErrorCode::Failed,
        },
        ExecuteErrorKind::Lock(_)
        | ExecuteErrorKind::Ledger(_)
        | ExecuteErrorKind::TimedOut { .. }
        | ExecuteErrorKind::Unwanted
        | ExecuteErrorKind::Output(_)
        | ExecuteErrorKind::Apply(_)
        | ExecuteErrorKind::Check { .. }
        | ExecuteErrorKind::NoAnswer { .. }
        | ExecuteErrorKind::Stopped(_) => ErrorCode::Failed,
    }
}
