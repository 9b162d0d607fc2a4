//! The ledger: an execution and its events go into one database transaction.

mod once; // what is begun once

use std::sync::Arc;

use async_trait::async_trait;
use lictor_audit::{AppendError, Appended, AuditLog, Gaps, PreparedEvents, Redactor};
use lictor_capability::Described;
use lictor_context::{
    Clock, DecisionId, Digest, Event, EventFacts, EventSink, EventType, ExecutionId, RecordError,
    Timestamp,
};
use lictor_executor::{
    AtWork, Beginning, ExecutionRecord, ExecutionStatus, Ledger, LedgerError, Once, Recovered,
    Recovery,
};
use lictor_governance::Decision;
use lictor_state::{Decisions, Executions, NewDecision, StateError};
use lictor_store::Store;
use lictor_store::rusqlite::Transaction;
use serde_json::json;

use crate::decisions::PendingDecisions;
use crate::later::{Later, PutOff};
use crate::outputs::{seal_output, whole};
use crate::outside::Signs;
use crate::owed::{Debt, Owed};
use crate::run_secrets::RunSecrets;
use crate::sessions::{Sessions, Turned};
use crate::trailing::{Trailing, Underway};

/// Records executions, runs and events in the embedded store.
#[derive(Debug, Clone)]
pub(crate) struct StateLedger {
    store: Store,
    audit: AuditLog,
    executions: Executions,
    clock: Arc<dyn Clock>,
    decisions: Arc<PendingDecisions>,
    signs: Option<Signs>,
    trailing: Arc<Trailing>,
    owed: Arc<Owed>,
    pub(crate) later: Arc<Later>,
    secrets: RunSecrets,
    sessions: Arc<Sessions>,
}

/// What a transaction records beside its work.
struct Recorded {
    n_events: usize,
    /// None where they could not be made ready, and may be missing.
    prepared: Option<PreparedEvents>,
    decisions: Vec<NewDecision>,
    turned: Turned,
    /// What is missing when the trail cannot be written, if it may be.
    gaps: Option<Gaps>,
}

/// What became of the events of a transaction.
enum Fate {
    None,
    Recorded(Appended),
    Dropped,
}

impl StateLedger {
    pub(crate) fn new(store: Store, audit: AuditLog, clock: Arc<dyn Clock>) -> Self {
        let executions = Executions::new(store.clone());
        let decisions = Arc::new(PendingDecisions::default());
        let (trailing, owed, sessions) = (Arc::default(), Arc::default(), Arc::default());
        let later = Arc::default();
        let secrets = RunSecrets::new(audit.clone());
        let signs = None;
        Self {
            store,
            audit,
            executions,
            clock,
            decisions,
            signs,
            trailing,
            owed,
            later,
            secrets,
            sessions,
        }
    }

    /// Puts up a sign for each execution that does something outside of the workspace.
    pub(crate) fn with_signs(mut self, signs: Signs) -> Self {
        self.signs = Some(signs);
        self
    }

    /// Remembers a decision until its event is recorded; gives the digest of what it was made from.
    pub(crate) fn remember(&self, decision: &Decision, described: &Described) -> Option<Digest> {
        let run = described.action().origin().run_id.as_ref();
        let redactors = (&*self.audit.redactor(), &*self.secrets.redactor(run));
        self.decisions.add(decision, described, redactors)
    }

    /// The secrets of the runs that are driven here.
    pub(crate) fn secrets(&self) -> &RunSecrets {
        &self.secrets
    }

    /// The sessions that are served here.
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Owes events before those of the execution that a decision lets happen.
    pub(crate) fn owe(&self, decision: &DecisionId, events: Vec<Event>) -> Debt {
        self.owed.owe(decision, events)
    }

    /// What the policy says of a trail that fails, and what came of it.
    pub(crate) fn trailing(&self) -> &Trailing {
        &self.trailing
    }

    /// Runs `work` and appends `events`, and those that it gives, in one transaction; durable when
    /// it answers `Ok`.
    pub(crate) async fn commit<T: Send + 'static>(
        &self,
        events: Vec<Event>,
        work: impl FnOnce(&Transaction<'_>) -> Result<(Vec<Event>, T), StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        self.catch_up().await?;
        self.commit_or_drop(None, events, work).await
    }

    /// As [`commit`](Self::commit); where the trail fails, the rest is committed with `gaps`.
    async fn commit_or_drop<T: Send + 'static>(
        &self,
        gaps: Option<Gaps>,
        events: Vec<Event>,
        work: impl FnOnce(&Transaction<'_>) -> Result<(Vec<Event>, T), StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let (n_events, decisions) = (events.len(), self.decisions.take(&events));
        let turned = self.sessions.turned(&events);
        // What takes time is done here, and not where everybody else waits for it.
        let prepared = match self.audit.prepare(self.secrets.leave_out(events)) {
            Ok(prepared) => Some(prepared),
            Err(error) if gaps.is_some() && error.is_outage() => None,
            Err(error) => {
                drop(Underway::begin(&self.trailing, n_events));
                return Err(unwritten(error));
            }
        };
        self.record_with(Recorded { n_events, prepared, decisions, turned, gaps }, work).await
    }

    /// Writes what was put off, in one transaction. What cannot be made ready for the trail is a gap in it.
    pub(crate) async fn commit_put_off(&self, put_off: Vec<PutOff>) -> Result<(), StateError> {
        let (mut ready, mut missing) = (Vec::new(), Vec::new());
        let (mut decisions, mut records) = (Vec::new(), Vec::new());
        let mut prepared = None::<PreparedEvents>;
        for one in put_off {
            let seal = |record: ExecutionRecord| {
                let sealed = seal_output(&self.audit, &one.redactor, &record);
                (redacted(&one.redactor, record), sealed)
            };
            records.extend(one.record.map(seal));
            decisions.extend(one.decisions);
            match self.audit.prepare(self.secrets.leave_out(one.events.clone())) {
                Ok(more) => {
                    ready.extend(one.events);
                    match &mut prepared {
                        Some(all) => all.extend(more),
                        none => *none = Some(more),
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "events that were put off cannot be recorded");
                    missing.extend(one.events);
                }
            }
        }
        let (audit, missing) = (self.audit.clone(), Gaps::of(&missing));
        let recorded = Recorded {
            n_events: ready.len(),
            prepared,
            decisions,
            turned: self.sessions.turned(&ready),
            gaps: Some(Gaps::of(&ready)),
        };
        self.record_with(recorded, move |tx| {
            for (record, sealed) in &records {
                Executions::put_sealed_in(tx, record, sealed.as_deref())?;
            }
            if !missing.is_empty() {
                audit.keep_gaps_in(tx, &missing)?;
            }
            Ok((Vec::new(), ()))
        })
        .await
    }

    /// Runs `work` in the transaction that records what stands beside it.
    async fn record_with<T: Send + 'static>(
        &self,
        recorded: Recorded,
        work: impl FnOnce(&Transaction<'_>) -> Result<(Vec<Event>, T), StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let Recorded { n_events, prepared, decisions, turned, gaps } = recorded;
        let underway = Underway::begin(&self.trailing, n_events);
        let recording = Recording {
            audit: self.audit.clone(),
            clock: self.trailing.looks().then(|| Arc::clone(&self.clock)),
            gaps,
        };
        let more_events = underway.more();
        let written = self.store.write(move |tx| {
            for decision in &decisions {
                Decisions::put_in(tx, decision)?;
            }
            let (more, answer) = work(tx)?;
            more_events(more.len());
            Ok((recording.record(tx, prepared, more)?, answer))
        });
        let (fate, answer): (Fate, T) = written.await?;
        turned.recorded();
        match fate {
            Fate::None => {}
            Fate::Recorded(appended) => {
                underway.acknowledged();
                if let Err(error) = self.audit.confirm(&appended) {
                    // The events are durable; only the guard against rolled-back stores lags behind.
                    tracing::warn!(%error, "the rollback guard could not be moved on");
                }
            }
            Fate::Dropped => {
                let events = underway.dropped();
                self.trailing.untold();
                tracing::error!(
                    events,
                    "the trail cannot be written; work goes on, as the policy says"
                );
            }
        }
        Ok(answer)
    }
}

/// How the events of a transaction are recorded.
struct Recording {
    audit: AuditLog,
    /// To tell of gaps with, when there may be some.
    clock: Option<Arc<dyn Clock>>,
    /// What is missing when the trail cannot be written, if it may be.
    gaps: Option<Gaps>,
}

impl Recording {
    fn record(
        &self,
        tx: &Transaction<'_>,
        prepared: Option<PreparedEvents>,
        more: Vec<Event>,
    ) -> Result<Fate, StateError> {
        let Some(mut events) = prepared else { return self.drop_in(tx) };
        events.extend(self.audit.prepare(more).map_err(unwritten)?);
        if events.is_empty() {
            return Ok(Fate::None);
        }
        let appended = match &self.clock {
            Some(clock) => self.audit.append_telling_in(tx, events, clock.as_ref()),
            None => self.audit.append_in(tx, events),
        };
        match appended {
            Ok(appended) => Ok(Fate::Recorded(appended)),
            Err(error) if self.gaps.is_some() && error.is_outage() => self.drop_in(tx),
            Err(error) => Err(unwritten(error)),
        }
    }

    fn drop_in(&self, tx: &Transaction<'_>) -> Result<Fate, StateError> {
        if let Some(gaps) = &self.gaps {
            self.audit.keep_gaps_in(tx, gaps)?;
        }
        Ok(Fate::Dropped)
    }
}

fn unwritten(error: AppendError) -> StateError {
    StateError::Unavailable(error.to_string())
}

#[async_trait]
impl EventSink for StateLedger {
    async fn record(&self, events: Vec<Event>) -> Result<(), RecordError> {
        self.commit(events, |_| Ok((Vec::new(), ()))).await.map_err(RecordError::new)
    }
}

#[async_trait]
impl Ledger for StateLedger {
    async fn find(
        &self,
        key: Digest,
        since: Timestamp,
    ) -> Result<Option<ExecutionRecord>, LedgerError> {
        let found = self.executions.find_key(key, since).map_err(unavailable)?;
        found.map(|record| whole(&self.audit, &self.executions, record)).transpose()
    }

    async fn settle(
        &self,
        record: Option<ExecutionRecord>,
        events: Vec<Event>,
    ) -> Result<(), LedgerError> {
        let first = events.first().and_then(|event| event.facts().decision_id.as_ref());
        let mut owed = self.owed.before(first).await;
        // They stay owed until they are on record.
        let mut all = owed.as_deref().cloned().unwrap_or_default();
        all.extend(events);
        let events = all;
        let run = record.as_ref().and_then(|record| record.run_id.as_ref());
        let redactor = self.secrets.redactor(run);
        if self.trailing.may_wait(record.as_ref(), &events) && self.later.has_room() {
            let decisions = self.decisions.take(&events);
            self.record_later(PutOff { record, events, decisions, redactor });
            owed.iter_mut().for_each(|owed| owed.clear());
            return Ok(());
        }
        self.catch_up().await.map_err(unavailable)?;
        let may_drop = self.trailing.may_drop(record.as_ref(), &events);
        let gaps = may_drop.then(|| Gaps::of(&events));
        let sealed = record.as_ref().and_then(|it| seal_output(&self.audit, &redactor, it));
        self.commit_or_drop(gaps, events, move |tx| {
            if let Some(record) = record {
                let record = redacted(&redactor, record);
                Executions::put_sealed_in(tx, &record, sealed.as_deref())?;
            }
            Ok((Vec::new(), ()))
        })
        .await
        .map_err(unavailable)?;
        if let Some(owed) = &mut owed {
            owed.clear();
        }
        Ok(())
    }

    async fn begin(
        &self,
        record: ExecutionRecord,
        events: Vec<Event>,
    ) -> Result<AtWork, LedgerError> {
        // Where no more may wait, it is refused before it is done, and not behind it.
        if self.trailing.may_wait(Some(&record), &events) && self.later.has_room() {
            let first = events.first().and_then(|event| event.facts().decision_id.as_ref());
            if let Some(mut owed) = self.owed.before(first).await
                && self.trailing.may_wait(None, &owed)
            {
                // It is recorded with its end.
                owed.extend(events);
                return Ok(AtWork::default());
            }
        }
        let at_work = self.sign(&record)?;
        self.settle(Some(record), events).await.map(|()| at_work)
    }

    async fn settle_once(
        &self,
        once: Once,
        record: ExecutionRecord,
        events: Vec<Event>,
    ) -> Result<Option<ExecutionRecord>, LedgerError> {
        self.settle_unless_known(once, record, events).await
    }

    async fn begin_once(
        &self,
        once: Once,
        record: ExecutionRecord,
        events: Vec<Event>,
    ) -> Result<Beginning, LedgerError> {
        self.begin_unless_known(once, record, events).await
    }

    async fn in_doubt(&self, key: Digest) -> Result<Option<ExecutionId>, LedgerError> {
        self.executions.find_in_doubt(key).map_err(unavailable)
    }

    async fn recovered(&self, recovered: Vec<Recovered>) -> Result<(), LedgerError> {
        let (clock, redactor) = (Arc::clone(&self.clock), self.audit.redactor());
        self.commit(Vec::new(), move |tx| {
            let mut events = Vec::new();
            for one in &recovered {
                record_recovered(tx, one, &redactor, clock.as_ref(), &mut events)?;
            }
            Ok((events, ()))
        })
        .await
        .map_err(unavailable)
    }
}

/// What is left out of events is left out of the record as well.
pub(crate) fn redacted(redactor: &Redactor, mut record: ExecutionRecord) -> ExecutionRecord {
    redactor.clean(&mut record.params);
    redactor.clean(&mut record.output);
    let texts = [&mut record.intent, &mut record.error];
    texts.into_iter().flatten().for_each(|text| redactor.clean_text(text));
    record
}

fn unavailable(error: StateError) -> LedgerError {
    LedgerError(error.to_string())
}

/// A crashed execution owes its events: those of its end, unless they were recorded before the
/// crash, and one that says how it was settled.
fn record_recovered(
    tx: &Transaction<'_>,
    recovered: &Recovered,
    redactor: &Redactor,
    clock: &dyn Clock,
    events: &mut Vec<Event>,
) -> Result<(), StateError> {
    let Some(record) = &recovered.record else { return Ok(()) };
    let session = record.session();
    // Journals of older versions hold what was not left out yet.
    let mut record = redacted(redactor, record.clone());
    let known = Executions::status_in(tx, &record.execution_id)?;
    let (status, end) = match recovered.recovery {
        Recovery::Finished => (ExecutionStatus::Applied, EventType::ActionCompleted),
        Recovery::PutBack | Recovery::Discarded => {
            (ExecutionStatus::RolledBack, EventType::ActionFailed)
        }
        Recovery::Incomplete => (ExecutionStatus::Incomplete, EventType::ActionUnknown),
    };
    // What is on record as standing was begun: a person has since taken away what it had made.
    let stood = matches!(known, Some(ExecutionStatus::Applied | ExecutionStatus::Undone))
        && recovered.recovery == Recovery::Discarded;
    if stood || (known == Some(status) && status != ExecutionStatus::Applied) {
        // Only the closing of its journal was cut short, or it is as stuck as it was before.
        return Ok(());
    }
    record.status = status;
    let said = record.facts();
    let facts = |success: Option<bool>| {
        let mut facts = EventFacts { success, ..said.clone() };
        facts.metadata.insert("recovery".to_owned(), json!(recovered.recovery));
        if !recovered.stuck.is_empty() {
            facts.metadata.insert("stuck".to_owned(), json!(recovered.stuck));
        }
        facts
    };
    if known.is_none() || status != ExecutionStatus::Applied {
        events.extend(record.begin_events(&session, facts(None), clock));
        if status == ExecutionStatus::RolledBack {
            let kind = EventType::RollbackCompleted;
            events.push(Event::new(&session, kind, facts(Some(true)), clock));
        }
        let success = match status {
            ExecutionStatus::Applied => Some(true),
            ExecutionStatus::RolledBack => Some(false),
            ExecutionStatus::Undone | ExecutionStatus::Incomplete => None,
        };
        let mut end_facts = facts(success);
        if status != ExecutionStatus::Applied {
            end_facts.error_message = Some("the process ended before it was done".to_owned());
            record.error.clone_from(&end_facts.error_message);
        }
        events.push(Event::new(&session, end, end_facts, clock));
    }
    let settled = recovered.stuck.is_empty();
    events.push(Event::new(&session, EventType::RecoveryCompleted, facts(Some(settled)), clock));
    Executions::put_in(tx, &record)
}
