//! What was done and is not yet settled.

use std::time::Duration;

use lictor_capability::FileChange;
use lictor_context::{Clock, Event, EventType, ExecutionId, Session};
use serde_json::{Map, Value, json};

use crate::check::{CheckPhase, CheckReport};
use crate::error::{ExecuteError, ExecuteErrorKind, Rollback};
use crate::landing::StagedChanges;
use crate::port::{Applied, AtWork, Ledger, LedgerError, Once, RollbackReport, Unsettled};
use crate::record::{ExecutionRecord, ExecutionStatus};

/// The outcome of an execution that did not fail.
#[derive(Debug)]
#[must_use = "an outcome is settled: committed, or rolled back"]
pub enum Outcome {
    /// It was done, and waits to be settled.
    Executed(Executed),
    /// It had been done before under the same idempotency key; nothing was touched.
    Duplicate(Box<ExecutionRecord>),
}

/// An execution whose effects are in place and that is not settled: [`Executed::commit`] lets it
/// stand, [`Executed::roll_back`] takes it back. Dropped, it stays unsettled in the journal, the
/// lock goes, and whoever comes next settles it.
#[must_use = "an execution is settled: committed, or rolled back"]
pub struct Executed {
    record: Box<ExecutionRecord>,
    session: Session,
    applied: Option<Box<dyn Applied>>,
    checks: Vec<CheckReport>,
    /// Its first events, unless they are on record already.
    started: Vec<Event>,
    at_work: Option<AtWork>,
    staged: Option<Box<StagedChanges>>,
    /// Whether it was asked for a change, and found everything as it was asked to be.
    fulfilled: bool,
    /// The intent under which it begins a run, which is begun once.
    once: Option<Once>,
}

/// The end of an execution could not be recorded.
#[derive(Debug, thiserror::Error)]
#[error("the end could not be recorded ({source}), and {}", words(.report))]
pub struct CommitError {
    #[source]
    source: LedgerError,
    report: RollbackReport,
}

impl CommitError {
    /// What was put back, and what not.
    #[must_use]
    pub fn report(&self) -> &RollbackReport {
        &self.report
    }
}

fn words(report: &RollbackReport) -> &'static str {
    if report.is_complete() {
        "everything was put back"
    } else {
        "not everything could be put back"
    }
}

/// A committed execution.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// The record as it stands in the ledger.
    pub record: ExecutionRecord,
    /// The checks that were passed.
    pub checks: Vec<CheckReport>,
    /// What it changed in its staging copy, to be landed.
    pub staged: Option<StagedChanges>,
}

/// What came of letting an execution stand.
#[derive(Debug)]
pub enum Committed {
    /// It stands.
    Stands(Box<Receipt>),
    /// The same stands already, and this one does not.
    Known {
        /// What stands.
        record: Box<ExecutionRecord>,
        /// The events that were to come before those of this one: nobody has recorded them.
        before: Vec<Event>,
    },
}

impl Executed {
    pub(crate) fn new(
        record: Box<ExecutionRecord>,
        session: Session,
        applied: Option<Box<dyn Applied>>,
        checks: Vec<CheckReport>,
        started: Vec<Event>,
    ) -> Self {
        let (at_work, staged, fulfilled, once) = (None, None, false, None);
        Self { record, session, applied, checks, started, at_work, staged, fulfilled, once }
    }

    /// Nothing was done by it; with `fulfilled`, because what it was asked for is so already.
    pub(crate) fn unchanged(
        record: Box<ExecutionRecord>,
        session: Session,
        started: Vec<Event>,
        fulfilled: bool,
    ) -> Self {
        Self { fulfilled, ..Self::new(record, session, None, Vec::new(), started) }
    }

    /// Under an intent that is begun once, if there is one.
    pub(crate) fn once(self, once: Option<Once>) -> Self {
        Self { once, ..self }
    }

    /// Something was done outside of the workspace, and that it was begun is on record.
    pub(crate) fn foreign(
        record: Box<ExecutionRecord>,
        session: Session,
        at_work: AtWork,
        staged: Option<StagedChanges>,
    ) -> Self {
        Self {
            record,
            session,
            applied: None,
            checks: Vec::new(),
            started: Vec::new(),
            at_work: Some(at_work),
            staged: staged.map(Box::new),
            fulfilled: false,
            once: None,
        }
    }

    /// The execution.
    #[must_use]
    pub fn execution_id(&self) -> &ExecutionId {
        &self.record.execution_id
    }

    /// Whether there is something here to put back.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.applied.is_some()
    }

    /// Whether something follows on it: that its changes land, or the run that it began.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.staged.is_some() || self.record.began.is_some()
    }

    /// The output.
    #[must_use]
    pub fn output(&self) -> &Value {
        &self.record.output
    }

    /// What was changed.
    #[must_use]
    pub fn files(&self) -> &[FileChange] {
        &self.record.files
    }

    /// The checks that were passed.
    #[must_use]
    pub fn checks(&self) -> &[CheckReport] {
        &self.checks
    }

    /// Lets it stand: records it with its events, in one and durably, and only then lets the
    /// lock go. `before` are events that belong before those of the execution. Where the same is on record
    /// ([`Executed::commit_once`]), that is what is given.
    ///
    /// # Errors
    /// When it could not be recorded. What is not recorded may not stand: it was rolled back.
    pub async fn commit(
        self,
        ledger: &dyn Ledger,
        clock: &dyn Clock,
        before: Vec<Event>,
    ) -> Result<Receipt, CommitError> {
        match self.commit_once(ledger, clock, before).await? {
            Committed::Stands(receipt) => Ok(*receipt),
            Committed::Known { record, before } => {
                let told = ledger.settle(None, before).await;
                told.map_err(|source| CommitError { source, report: RollbackReport::default() })?;
                Ok(Receipt { record: *record, checks: Vec::new(), staged: None })
            }
        }
    }

    /// As [`commit`](Self::commit), unless it only begins a run, and somebody has begun one for the same
    /// meanwhile: then nothing is recorded, and the events before are handed back.
    ///
    /// # Errors
    /// As there.
    pub async fn commit_once(
        self,
        ledger: &dyn Ledger,
        clock: &dyn Clock,
        before: Vec<Event>,
    ) -> Result<Committed, CommitError> {
        let Self { record, session, applied, checks, started, at_work, staged, fulfilled, once } =
            self;
        let owed = if once.is_some() { before.clone() } else { Vec::new() };
        let mut events = before;
        events.extend(started);
        completion_events(&record, &session, &checks, clock, &mut events);
        // A wish that was fulfilled already is answered as one that was done, so it stands beside
        // those: for its duplicates, and because an undo takes back what it is about.
        let keeps = applied.is_some() || at_work.is_some() || fulfilled || record.began.is_some();
        let kept = keeps.then(|| ExecutionRecord::clone(&record));
        let settled = match (once, kept) {
            (Some(once), Some(kept)) => ledger.settle_once(once, kept, events).await,
            (_, kept) => ledger.settle(kept, events).await.map(|()| None),
        };
        match settled {
            Ok(None) => {}
            Ok(Some(known)) => {
                return Ok(Committed::Known { record: Box::new(known), before: owed });
            }
            Err(source) => {
                let report = match applied {
                    // Not settled: nobody has it on record, so whoever comes next finds and records it.
                    Some(applied) => put_back(applied, "it could not be recorded").await.0,
                    // It stands on record as begun, and stays in doubt: nothing takes it back.
                    None if at_work.is_some() => RollbackReport::unknown(&source),
                    None => RollbackReport::default(),
                };
                return Err(CommitError { source, report });
            }
        }
        if let Some(at_work) = at_work {
            at_work.ended();
        }
        if let Some(applied) = applied
            && let Err(error) = applied.settle()
        {
            // The ledger has it, and the journal says that it is whole: the next start notes it.
            tracing::warn!(%error, execution = %record.execution_id, "settling was left to recovery");
        }
        let staged = staged.map(|staged| *staged);
        Ok(Committed::Stands(Box::new(Receipt { record: *record, checks, staged })))
    }

    /// Takes it back: puts everything as it was, verifies that, and records it.
    ///
    /// # Errors
    /// When the rollback could not be recorded; the report still says what was put back.
    pub async fn roll_back(
        self,
        ledger: &dyn Ledger,
        clock: &dyn Clock,
        before: Vec<Event>,
        reason: &str,
    ) -> Result<RollbackReport, (RollbackReport, LedgerError)> {
        let Self { mut record, session, applied, started, .. } = self;
        let mut events = before;
        events.extend(started);
        let (report, unsettled) = match applied {
            Some(applied) => put_back(applied, reason).await,
            None => (RollbackReport::default(), None),
        };
        let rollback = Rollback::of(report.clone());
        failure_events(&mut record, &session, &rollback, reason, clock, &mut events);
        match ledger.settle(Some(*record), events).await {
            Ok(()) => {
                if let Some(unsettled) = unsettled {
                    unsettled.settle().await;
                }
                Ok(report)
            }
            Err(error) => Err((report, error)),
        }
    }
}

impl std::fmt::Debug for Executed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executed").field("record", &self.record).finish_non_exhaustive()
    }
}

/// The events of an execution that was done: its checks, its end, and what it takes back.
fn completion_events(
    record: &ExecutionRecord,
    session: &Session,
    checks: &[CheckReport],
    clock: &dyn Clock,
    events: &mut Vec<Event>,
) {
    for check in checks {
        let kind = match check.phase {
            CheckPhase::Verification => EventType::VerificationPassed,
            CheckPhase::Health => EventType::HealthPassed,
        };
        let mut facts = record.facts();
        facts.metadata.insert("check".to_owned(), json!(check));
        events.push(Event::new(session, kind, facts, clock));
    }
    let mut done = record.facts();
    done.success = Some(true);
    done.duration = Some(Duration::from_micros(record.duration_us));
    done.metadata = completed_metadata(record);
    events.push(Event::new(session, EventType::ActionCompleted, done, clock));
    if !record.undo_of.is_empty() {
        events.push(record.undo_completed(session, clock));
    }
}

/// The event of an execution of which it is not known whether it happened.
pub(crate) fn unknown_events(
    record: &mut ExecutionRecord,
    session: &Session,
    reason: &str,
    clock: &dyn Clock,
    events: &mut Vec<Event>,
) {
    record.status = ExecutionStatus::Incomplete;
    record.error = Some(reason.to_owned());
    let mut facts = record.facts();
    facts.error_message = Some(reason.to_owned());
    facts.duration = Some(Duration::from_micros(record.duration_us));
    events.push(Event::new(session, EventType::ActionUnknown, facts, clock));
}

/// The events of a failure, and the record's status with them.
pub(crate) fn failure_events(
    record: &mut ExecutionRecord,
    session: &Session,
    rollback: &Rollback,
    reason: &str,
    clock: &dyn Clock,
    events: &mut Vec<Event>,
) {
    let (report, complete) = match rollback {
        Rollback::NotBegun => (None, true),
        Rollback::Complete(report) => (Some(report), true),
        Rollback::Incomplete(report) => (Some(report), false),
    };
    record.status =
        if complete { ExecutionStatus::RolledBack } else { ExecutionStatus::Incomplete };
    record.error = Some(reason.to_owned());
    if let Some(report) = report {
        let mut facts = record.facts();
        facts.error_message = Some(reason.to_owned());
        events.push(Event::new(session, EventType::RollbackStarted, facts, clock));
        let mut facts = record.facts();
        facts.success = Some(complete);
        facts.metadata.insert("rollback".to_owned(), json!(report));
        let kind = if complete { EventType::RollbackCompleted } else { EventType::RollbackFailed };
        events.push(Event::new(session, kind, facts, clock));
    }
    let mut facts = record.facts();
    facts.success = Some(false);
    facts.error_message = Some(reason.to_owned());
    facts.duration = Some(Duration::from_micros(record.duration_us));
    events.push(Event::new(session, EventType::ActionFailed, facts, clock));
}

/// More files than this are counted, not listed, in an event.
const MAX_LISTED: usize = 50;

fn completed_metadata(record: &ExecutionRecord) -> Map<String, Value> {
    let mut metadata = Map::new();
    if !record.files.is_empty() {
        let listed: Vec<&FileChange> = record.files.iter().take(MAX_LISTED).collect();
        metadata.insert("files".to_owned(), json!(listed));
        metadata.insert("files_changed".to_owned(), json!(record.files.len()));
    }
    if let Some(plan) = &record.plan_id {
        metadata.insert("plan_id".to_owned(), json!(plan));
    }
    if let Some(changes) = &record.staged {
        metadata.insert("staged".to_owned(), json!(changes));
    }
    if let Some(execution) = &record.lands {
        metadata.insert("lands".to_owned(), json!(execution));
    }
    if let Some(run) = &record.began {
        metadata.insert("began".to_owned(), json!(run));
    }
    if !record.undo_of.is_empty() {
        metadata.insert("undo_of".to_owned(), json!(record.undo_of));
    }
    metadata
}

/// Puts everything back, on a thread that no dropped future stops. What comes with the report is
/// settled when the ledger has it.
pub(crate) async fn put_back(
    mut applied: Box<dyn Applied>,
    reason: &str,
) -> (RollbackReport, Option<Unsettled>) {
    let reason = reason.to_owned();
    let work = move || (applied.roll_back(&reason), applied);
    match tokio::task::spawn_blocking(work).await {
        Ok((report, applied)) => (report, Some(Unsettled::new(applied))),
        Err(error) => (RollbackReport::unknown(error), None),
    }
}

/// A check was not passed: puts everything back, and says why.
pub(crate) async fn roll_back_failed_check(
    applied: Box<dyn Applied>,
    record: Box<ExecutionRecord>,
    checks: Vec<CheckReport>,
) -> ExecuteError {
    let failed = checks.iter().find(|check| !check.passed);
    let (name, detail) = failed
        .map(|check| (check.name.clone(), check.reason()))
        .unwrap_or_else(|| ("unknown".to_owned(), String::new()));
    let reason = format!("check `{name}` was not passed");
    let (report, unsettled) = put_back(applied, &reason).await;
    let kind = ExecuteErrorKind::Check { name, detail };
    let error = ExecuteError::not_begun(kind).with_record(record).left(Rollback::of(report));
    error.checked(checks).holding(unsettled)
}
