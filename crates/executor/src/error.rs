//! What can go wrong with an execution, and what that left behind.

use lictor_capability::{Conflict, SchemaFinding};
use lictor_context::{Clock, Event, EventType, ExecutionId, Session};
use lictor_governance::{Halted, Withheld};

use crate::check::{CheckPhase, CheckReport};
use crate::executed::{failure_events, unknown_events};
use crate::handler::HandlerError;
use crate::port::{
    ApplyError, AtWork, LedgerError, NotApplied, RecoverError, Recovered, RollbackReport, Unsettled,
};
use crate::record::ExecutionRecord;

/// An execution did not come to its end. It says what is left: nothing, or what.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct ExecuteError {
    kind: Box<ExecuteErrorKind>,
    record: Option<Box<ExecutionRecord>>,
    rollback: Rollback,
    checks: Vec<CheckReport>,
    unsettled: Option<Unsettled>,
    at_work: Option<Box<AtWork>>,
}

/// What a failed execution left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rollback {
    /// It had not begun.
    NotBegun,
    /// It had begun, and everything was put back, verified.
    Complete(RollbackReport),
    /// It had begun, and something is left.
    Incomplete(RollbackReport),
}

impl Rollback {
    pub(crate) fn of(report: RollbackReport) -> Self {
        if report.is_complete() { Self::Complete(report) } else { Self::Incomplete(report) }
    }
}

/// Why an execution failed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteErrorKind {
    /// The warrant was made by another gate.
    #[error("the warrant is not from this runtime's gate")]
    ForeignWarrant,
    /// The warrant is too old.
    #[error("the warrant has expired")]
    ExpiredWarrant,
    /// Nothing new may begin.
    #[error("{0}")]
    Halted(Halted),
    /// No handler does it.
    #[error("no handler here does `{0}`")]
    NoHandler(String),
    /// The contract is not one that may be used any more, or not the one that was let in.
    #[error(transparent)]
    Withheld(Withheld),
    /// The lock was not had in time.
    #[error("the workspace is busy: {0}")]
    Busy(String),
    /// The lock cannot be used.
    #[error("the workspace lock is not usable: {0}")]
    Lock(String),
    /// A recovery had to come first and was not possible.
    #[error(transparent)]
    Recover(RecoverError),
    /// What a crash left could not be settled, so nothing new is begun.
    #[error("{}", stuck(.0))]
    Stuck(Vec<Recovered>),
    /// The ledger could not be asked.
    #[error(transparent)]
    Ledger(LedgerError),
    /// The workspace holds something else than was judged.
    #[error("the workspace holds something else than the change expects: {}", list(.0))]
    Conflict(Vec<Conflict>),
    /// The handler failed.
    #[error("{0}")]
    Handler(#[source] HandlerError),
    /// The handler, or the whole execution, took too long.
    #[error("`{capability}` was not done within {limit_ms} ms")]
    TimedOut {
        /// The capability.
        capability: String,
        /// How long it was given.
        limit_ms: u128,
    },
    /// Whoever asked for it stopped waiting, and so it was stopped.
    #[error("whoever asked for it stopped waiting")]
    Unwanted,
    /// The output breaks the contract.
    #[error("the output does not fit the contract: {}", list(.0))]
    Output(Vec<SchemaFinding>),
    /// It was begun outside of the workspace, and it is not known what became of it.
    #[error("it may or may not have happened: {0}")]
    Unknown(String),
    /// The same was begun before, and it is not known what became of that.
    #[error("the same was begun by `{0}`, of which it is not known what became; look there first")]
    InDoubt(ExecutionId),
    /// The changes were not applied.
    #[error(transparent)]
    Apply(ApplyError),
    /// A check was not passed.
    #[error("check `{name}` was not passed: {detail}")]
    Check {
        /// Its name.
        name: String,
        /// What was seen.
        detail: String,
    },
    /// No limit of its own ended it; whoever waits is told that its outcome is not known yet.
    #[error("there was no answer within {limit_ms} ms")]
    NoAnswer {
        /// How long was waited.
        limit_ms: u128,
    },
    /// The runtime is shutting down, or a task of it died.
    #[error("the executor stopped: {0}")]
    Stopped(String),
}

impl ExecuteError {
    pub(crate) fn not_begun(kind: ExecuteErrorKind) -> Self {
        let kind = Box::new(kind);
        let (rollback, checks) = (Rollback::NotBegun, Vec::new());
        Self { kind, record: None, rollback, checks, unsettled: None, at_work: None }
    }

    pub(crate) fn not_applied(
        NotApplied { error, unsettled }: NotApplied,
        record: impl Into<Box<ExecutionRecord>>,
    ) -> Self {
        let rollback = match &error {
            ApplyError::Conflict(_) | ApplyError::Prepare(_) | ApplyError::Kept(_) => {
                Rollback::NotBegun
            }
            ApplyError::RolledBack { report, .. } => Rollback::Complete(report.clone()),
            ApplyError::Incomplete { report, .. } | ApplyError::NotDurable { report, .. } => {
                Rollback::Incomplete(report.clone())
            }
        };
        let error = Self::not_begun(ExecuteErrorKind::Apply(error)).with_record(record);
        error.left(rollback).holding(unsettled)
    }

    pub(crate) fn with_record(mut self, record: impl Into<Box<ExecutionRecord>>) -> Self {
        self.record = Some(record.into());
        self
    }

    /// It had begun, and nobody came back to say what became of it.
    pub(crate) fn in_doubt(mut self, record: impl Into<Box<ExecutionRecord>>) -> Self {
        let report = RollbackReport::unknown(&self.kind);
        self.rollback = Rollback::Incomplete(report);
        self.with_record(record)
    }

    pub(crate) fn left(mut self, rollback: Rollback) -> Self {
        self.rollback = rollback;
        self
    }

    pub(crate) fn checked(mut self, checks: Vec<CheckReport>) -> Self {
        self.checks = checks;
        self
    }

    pub(crate) fn holding(mut self, unsettled: Option<Unsettled>) -> Self {
        self.unsettled = unsettled;
        self
    }

    /// It was begun outside of the workspace, and that is on record.
    pub(crate) fn begun(mut self, at_work: AtWork) -> Self {
        self.at_work = Some(Box::new(at_work));
        self
    }

    /// Whether it is on record already that it was begun: then its end is recorded as well,
    /// whatever that is.
    #[must_use]
    pub fn is_on_record(&self) -> bool {
        self.at_work.is_some()
    }

    /// Takes out the sign of work, to be ended when the failure is on record.
    pub fn take_at_work(&mut self) -> Option<AtWork> {
        self.at_work.take().map(|at_work| *at_work)
    }

    /// Takes out what still holds the lock: to be settled when the failure is on record, or
    /// dropped when it could not be recorded, so that the next recovery does.
    pub fn take_unsettled(&mut self) -> Option<Unsettled> {
        self.unsettled.take()
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> &ExecuteErrorKind {
        &self.kind
    }

    /// What is left.
    #[must_use]
    pub fn rollback(&self) -> &Rollback {
        &self.rollback
    }

    /// The checks that were made.
    #[must_use]
    pub fn checks(&self) -> &[CheckReport] {
        &self.checks
    }

    /// What is known of the execution.
    #[must_use]
    pub fn record(&self) -> Option<&ExecutionRecord> {
        self.record.as_deref()
    }

    /// The execution.
    #[must_use]
    pub fn execution_id(&self) -> Option<&ExecutionId> {
        self.record.as_ref().map(|record| &record.execution_id)
    }

    /// Adds the events that the failure owes, and gives the record as it is to be kept; `None`
    /// when there was no execution, and so nothing to say but that the action was refused.
    pub fn record_failure(
        &self,
        session: &Session,
        clock: &dyn Clock,
        events: &mut Vec<Event>,
    ) -> Option<ExecutionRecord> {
        let mut record = self.record()?.clone();
        let reason = self.kind.to_string();
        if !self.is_on_record() {
            events.extend(record.begin_events(session, record.facts(), clock));
        }
        for check in &self.checks {
            let kind = match (check.phase, check.passed) {
                (CheckPhase::Verification, true) => EventType::VerificationPassed,
                (CheckPhase::Verification, false) => EventType::VerificationFailed,
                (CheckPhase::Health, true) => EventType::HealthPassed,
                (CheckPhase::Health, false) => EventType::HealthFailed,
            };
            let mut facts = record.facts();
            facts.success = Some(check.passed);
            facts.metadata.insert("check".to_owned(), serde_json::json!(check));
            events.push(Event::new(session, kind, facts, clock));
        }
        match *self.kind {
            ExecuteErrorKind::Unknown(_)
            | ExecuteErrorKind::Apply(ApplyError::NotDurable { .. }) => {
                unknown_events(&mut record, session, &reason, clock, events);
            }
            _ => failure_events(&mut record, session, &self.rollback, &reason, clock, events),
        }
        Some(record)
    }

    /// Where the workspace held something else, if that is why.
    #[must_use]
    pub fn conflicts(&self) -> &[Conflict] {
        match self.kind.as_ref() {
            ExecuteErrorKind::Conflict(conflicts)
            | ExecuteErrorKind::Apply(
                ApplyError::Conflict(conflicts) | ApplyError::RolledBack { conflicts, .. },
            ) => conflicts,
            _ => &[],
        }
    }
}

/// Middleware such as tower's timeout boxes errors; this takes ours out again.
impl TryFrom<tower::BoxError> for ExecuteError {
    type Error = tower::BoxError;

    fn try_from(error: tower::BoxError) -> Result<Self, Self::Error> {
        error.downcast::<Self>().map(|error| *error)
    }
}

/// What stops all work in a workspace, and the ways on.
fn stuck(recovered: &[Recovered]) -> String {
    let mut text = String::from("the workspace holds what a crash left and could not be settled: ");
    let places = recovered.iter().flat_map(|one| &one.stuck);
    let places: Vec<String> =
        places.map(|stuck| format!("`{}`: {}", stuck.path, stuck.reason)).collect();
    text.push_str(&list(&places));
    let folders = recovered.iter().map(|one| format!("`.lictor/tx/{}`", one.execution_id));
    let folders = folders.collect::<Vec<_>>().join(", ");
    text.push_str("; put right what stands in the way (what was set aside lies in ");
    text.push_str(&folders);
    text.push_str(
        ") and run `lictor recover`, or move that folder away to go on with what is there",
    );
    text
}

fn list<T: ToString>(items: &[T]) -> String {
    let shown: Vec<String> = items.iter().take(5).map(ToString::to_string).collect();
    let more = items.len().saturating_sub(shown.len());
    let list = shown.join("; ");
    if more == 0 { list } else { format!("{list}; and {more} more") }
}
