//! Running a handler: for what it finds out, and for what it does outside of the workspace.

use std::sync::Arc;
use std::time::Duration;

use lictor_capability::Described;
use lictor_context::Timestamp;

use crate::caught::{Caught, Panicked};
use crate::error::{ExecuteError, ExecuteErrorKind};
use crate::executed::{Executed, Outcome};
use crate::grant::Granted;
use crate::handler::{Handler, HandlerError, HandlerErrorKind};
use crate::landing::{Kept, NotStaged, Ran, StagedChanges, Staging, ToFollow};
use crate::port::{Beginning, Once};
use crate::prepared::Ready;
use crate::record::{ExecutionRecord, ExecutionStatus};
use crate::service::{Executor, micros, micros_i64};
use crate::unwanted::Asker;

/// How much longer a handler that ends by itself, when its time is over or when nobody waits for it
/// any more, may take to say what became of it.
const GRACE: Duration = Duration::from_secs(5);

impl Executor {
    /// An action that changes nothing here.
    pub(crate) async fn call_handler(
        &self,
        described: Described,
        mut record: Box<ExecutionRecord>,
        asker: &Asker,
    ) -> Result<Outcome, ExecuteError> {
        let effects = described.effects();
        if !effects.is_read_only() {
            return self.call_outside(described, record, asker).await;
        }
        let fulfilled = !effects.unchanged.is_empty() || !record.undo_of.is_empty();
        let clock = self.parts.clock.as_ref();
        let session = described.action().session().clone();
        let started = record.begin_events(&session, record.facts(), clock);
        let began = clock.monotonic();
        let ran = self.run_handler(&described, asker).await.and_then(Ran::without_changes);
        record.duration_us = micros(clock.monotonic().saturating_sub(began));
        match ran {
            Ok(ran) => {
                record.output = ran.output;
                record.began = ran.run;
                if record.began.is_some() {
                    // Nothing is made up for by a run that is only begun.
                    record.undo_of.clear();
                }
                let once = self.once(&described).filter(|_| record.began.is_some());
                let executed = Executed::unchanged(record, session, started, fulfilled);
                Ok(Outcome::Executed(executed.once(once)))
            }
            Err(kind) => Err(ExecuteError::not_begun(kind).with_record(record)),
        }
    }

    /// An action that changes something elsewhere, which nobody here can put back. That it begins is
    /// durable before it does, and so a crash leaves a record that says: it may have happened.
    async fn call_outside(
        &self,
        described: Described,
        mut record: Box<ExecutionRecord>,
        asker: &Asker,
    ) -> Result<Outcome, ExecuteError> {
        let (clock, ledger) = (self.parts.clock.as_ref(), self.parts.ledger.as_ref());
        let session = described.action().session().clone();
        let started = record.begin_events(&session, record.facts(), clock);
        let mut begun = ExecutionRecord::clone(&record);
        begun.status = ExecutionStatus::Incomplete;
        begun.error = Some("it was begun, and its end is not on record".to_owned());
        // What may have happened is not done again, unless doing it again does no harm.
        let beginning = match self.once(&described).filter(|_| !described.contract().idempotent) {
            Some(once) => ledger.begin_once(once, begun, started).await,
            None => ledger.begin(begun, started).await.map(Beginning::Begun),
        };
        let beginning = beginning.map_err(|error| {
            ExecuteError::not_begun(ExecuteErrorKind::Ledger(error)).with_record(record.clone())
        })?;
        let at_work = match beginning {
            Beginning::Begun(at_work) => at_work,
            Beginning::Done(done) => return Ok(Outcome::Duplicate(done)),
            Beginning::InDoubt(id) => {
                let kind = ExecuteErrorKind::InDoubt(id);
                return Err(ExecuteError::not_begun(kind).with_record(record));
            }
        };
        let began = clock.monotonic();
        let ran = self.run_handler(&described, asker).await;
        record.duration_us = micros(clock.monotonic().saturating_sub(began));
        let ran = ran.and_then(|ran| self.staged(&described, &mut record, ran));
        let kind = match ran {
            Ok(staged) => {
                let executed = Executed::foreign(record, session, at_work, staged);
                return Ok(Outcome::Executed(executed));
            }
            // What was killed in a copy of the workspace has left nothing, whatever it was about.
            Err(kind) if described.effects().contained => kind,
            Err(kind) => in_doubt(kind),
        };
        let unknown = matches!(kind, ExecuteErrorKind::Unknown(_));
        let error = ExecuteError::not_begun(kind).begun(at_work);
        Err(if unknown { error.in_doubt(record) } else { error.with_record(record) })
    }

    /// What an action is meant to be done once under, if it is.
    pub(crate) fn once(&self, described: &Described) -> Option<Once> {
        let key = described.action().idempotency_key()?;
        // A step of a run is done once for as long as the run lasts, and something is made up for once.
        let origin = described.action().origin();
        let since = if origin.run_id.is_some() || !origin.compensates.is_empty() {
            0
        } else {
            let ttl = micros_i64(self.parts.idempotency_ttl);
            self.parts.clock.now().as_micros().saturating_sub(ttl)
        };
        Some(Once { key, since: Timestamp::from_micros(since) })
    }

    /// Keeps what a handler changed in a copy of the workspace for being landed.
    fn staged(
        &self,
        described: &Described,
        record: &mut ExecutionRecord,
        ran: Ran,
    ) -> Result<Option<StagedChanges>, ExecuteErrorKind> {
        record.output = ran.output;
        record.began = ran.run;
        if ran.changes.is_empty() {
            return Ok(None);
        }
        let clock = self.parts.clock.as_ref();
        let staged = StagedChanges::new(described, record, ran.changes, clock);
        let staged = staged.map_err(ExecuteErrorKind::Handler)?;
        let (changes, input) = staged.digests().map_err(ExecuteErrorKind::Handler)?;
        (record.staged, record.staged_for) = (Some(changes), Some(input));
        // Nor is anything made up for before they have landed.
        record.undo_of.clear();
        // Its intent is fulfilled by the landing, and so it is that which the key answers with.
        record.idempotency_key = None;
        self.parts.landings.keep(staged.clone());
        Ok(Some(staged))
    }

    /// Gives up changes that were staged: they are landed, or nobody wants them.
    pub fn forget(&self, staged: &StagedChanges) {
        self.parts.landings.forget(staged.execution_id());
    }

    /// Takes up again changes that were kept until people had agreed to them.
    ///
    /// # Errors
    /// When they are not what the record says.
    pub fn recall(&self, kept: Kept<'_>) -> Result<StagedChanges, NotStaged> {
        let staged = kept.into_staged()?;
        self.parts.landings.keep(staged.clone());
        Ok(staged)
    }

    pub(crate) async fn run_handler(
        &self,
        described: &Described,
        asker: &Asker,
    ) -> Result<Ran, ExecuteErrorKind> {
        self.not_halted(described)?;
        let contract = described.contract();
        self.parts.guard.check(contract).map_err(ExecuteErrorKind::Withheld)?;
        if let Some(execution) = &described.action().origin().lands {
            // It ran; its changes are what is left to be done.
            let output = self.parts.landings.output(execution);
            let gone = || ExecuteErrorKind::Stopped(format!("nothing of `{execution}` is kept"));
            let output = output.ok_or_else(gone)?;
            return Ok(Ran { output, changes: Vec::new(), run: None });
        }
        let Some(handler) = self.parts.handlers.of(contract) else {
            return Err(ExecuteErrorKind::NoHandler(contract.id.to_string()));
        };
        if handler.blocks() {
            return self.run_aside(handler, described, asker).await;
        }
        self.run_here(handler, described, asker).await
    }

    /// Runs a handler on this thread, within its time.
    pub(crate) async fn run_here(
        &self,
        handler: Arc<dyn Handler>,
        described: &Described,
        asker: &Asker,
    ) -> Result<Ran, ExecuteErrorKind> {
        let contract = described.contract();
        let view = self.parts.run_view.as_ref().unwrap_or(&self.parts.view);
        let limits = self.parts.limits;
        let limit = [limits.step, limits.execution]
            .into_iter()
            .flatten()
            .fold(contract.timeout.as_duration(), Duration::min);
        let clock = &self.parts.clock;
        let began = clock.monotonic();
        let staging = Staging::new(asker.unwanted.clone(), limit);
        let grace = if handler.keeps_time() { GRACE } else { Duration::ZERO };
        let run = async {
            let ready = Ready::of(self.prepare_aside(&handler, described, asker, limit).await?);
            // What getting ready took is not there any more.
            let left = limit.saturating_sub(clock.monotonic().saturating_sub(began));
            let around = (left, &staging, &ready);
            let granted = Granted::new(described, view.as_ref(), &asker.meter, around);
            Caught(handler.run(granted)).await.unwrap_or_else(|Panicked| Err(panicked()))
        };
        let over = staging.time().over_and(grace);
        let unwanted = async {
            if !handler.stops() {
                std::future::pending::<()>().await;
            }
            asker.unwanted.told().await;
            tokio::time::sleep(GRACE).await;
        };
        let output = tokio::select! {
            biased;
            output = run => output.map_err(ExecuteErrorKind::Handler)?,
            () = over => {
                let capability = contract.id.to_string();
                return Err(ExecuteErrorKind::TimedOut { capability, limit_ms: limit.as_millis() });
            }
            () = unwanted => return Err(ExecuteErrorKind::Unwanted),
        };
        let ToFollow { changes, run } = staging.take();
        // Of a run that is only begun the output is not known yet.
        if run.is_none() {
            contract.check_output(&output).map_err(ExecuteErrorKind::Output)?;
        }
        Ok(Ran { output, changes, run })
    }
}

fn panicked() -> HandlerError {
    HandlerError::unknown("the handler panicked")
}

/// What a failure outside of the workspace leaves unknown.
fn in_doubt(kind: ExecuteErrorKind) -> ExecuteErrorKind {
    match &kind {
        ExecuteErrorKind::Handler(error) => match error.kind() {
            HandlerErrorKind::Unknown(why) => ExecuteErrorKind::Unknown(why.clone()),
            HandlerErrorKind::Input(_)
            | HandlerErrorKind::View(_)
            | HandlerErrorKind::Changes(_)
            | HandlerErrorKind::Changed(_)
            | HandlerErrorKind::Failed(_) => kind,
        },
        ExecuteErrorKind::TimedOut { .. } | ExecuteErrorKind::Unwanted => {
            ExecuteErrorKind::Unknown(kind.to_string())
        }
        // It happened, and nothing here takes it back.
        ExecuteErrorKind::Output(_) => {
            ExecuteErrorKind::Unknown(format!("it was done, and {kind}"))
        }
        _ => kind,
    }
}
