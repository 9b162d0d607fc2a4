//! What can be asked of an engine about runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;

use lictor_context::{BoxFuture, Event, EventFacts, EventType, RunId, Session, seal};
use serde_json::Value;

use super::Engine;
use super::driver::Driver;
use super::seat::{Driving, Seat};
use crate::control::Control;
use crate::error::EngineError;
use crate::lease::{Claimed, LEASE, Lease, Wish};
use crate::port::FailureKind;
use crate::record::{
    ParentRecord, RollbackRecord, RunRecord, SessionRecord, StepRecord, WorkflowRecord,
};
use crate::spec::Workflow;
use crate::state::{Phase, RunStatus};

/// How a run is taken up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// Goes on where it stopped: after a pause, or after the process that drove it died.
    Continue,
    /// Takes back what a failed run has left: what was stuck, or all of it.
    RollBack,
}

/// What came of each run that was taken up.
pub type TakenUp = Vec<(RunId, Result<RunRecord, EngineError>)>;

/// What a run that answers for a call is known by.
#[derive(Debug, Clone, PartialEq)]
pub struct SubRun {
    /// Its id.
    pub run_id: RunId,
    /// The call.
    pub parent: ParentRecord,
}

impl Engine {
    /// Accepts a run: it is checked against the workflow's schema and saved, and not begun. The
    /// caller has held the workflow against the session's graph
    /// ([`Workflow::validate_against`]).
    ///
    /// # Errors
    /// When the input does not fit, or the run is not saved.
    pub fn submit<'a>(
        &'a self,
        session: &'a Session,
        workflow: &'a Workflow,
        input: Value,
    ) -> BoxFuture<'a, Result<RunRecord, EngineError>> {
        Box::pin(async move {
            let mut run = self.accept(session, workflow, input)?;
            run.revision = 1;
            let event = self.submitted(session, &run);
            self.store.create(&run, vec![event]).await?;
            Ok(run)
        })
    }

    /// Accepts a run that answers for a call, under the id that the call has on record.
    ///
    /// # Errors
    /// As [`Engine::submit`]; and when there is such a run already.
    pub fn submit_for<'a>(
        &'a self,
        session: &'a Session,
        workflow: &'a Workflow,
        input: Value,
        sub_run: SubRun,
    ) -> BoxFuture<'a, Result<RunRecord, EngineError>> {
        Box::pin(async move {
            let mut run = self.accept(session, workflow, input)?;
            run.run_id = sub_run.run_id;
            run.parent = Some(sub_run.parent);
            run.revision = 1;
            let event = self.submitted(session, &run);
            self.store.create(&run, vec![event]).await?;
            Ok(run)
        })
    }

    /// Takes back what a run did, wherever it stands: what it answered for is not wanted any more.
    /// A run that somebody drives at the moment is cancelled, and its record is returned as it is
    /// until then.
    ///
    /// # Errors
    /// When it is not there, or cannot be taken further.
    pub fn take_back<'a>(
        &'a self,
        run_id: &'a RunId,
    ) -> BoxFuture<'a, Result<RunRecord, EngineError>> {
        Box::pin(async move {
            let (mut driver, driving) = match self.take(run_id).await {
                Ok(taken) => taken,
                Err(EngineError::Busy(_)) => {
                    self.wish(run_id, Wish::Cancel { rollback: true }).await?;
                    return self.load(run_id).await;
                }
                Err(error) => return Err(error),
            };
            let transition = match driver.run.status.phase() {
                Phase::Pending(at) => at.fail(),
                Phase::Running(at) => at.roll_back(),
                Phase::Paused(at) => at.roll_back(),
                Phase::Completed(at) => at.take_back(),
                Phase::Failed(at) => at.roll_back(),
                Phase::RollingBack(_) => return self.finish(driver, driving).await,
                Phase::RolledBack(_) => return self.give_back(driver).await,
            };
            let message = "what it was for was taken back".to_owned();
            driver.fail(None, FailureKind::Cancelled, message);
            driver.interrupt_steps()?;
            driver.enter(transition);
            driver.flush().await?;
            self.finish(driver, driving).await
        })
    }

    /// Accepts a run and drives it to its end or to a pause. It is saved first before its first
    /// effect, or at its end: a process that dies before has done nothing, and there is no such
    /// run.
    ///
    /// # Errors
    /// When the input does not fit, or the run cannot be taken further.
    pub fn run<'a>(
        &'a self,
        session: &'a Session,
        workflow: &'a Workflow,
        input: Value,
    ) -> BoxFuture<'a, Result<RunRecord, EngineError>> {
        Box::pin(async move {
            let run = self.accept(session, workflow, input)?;
            let driving = self.sit(&run.run_id)?;
            let event = self.submitted(session, &run);
            let until = self.clock.now().plus(LEASE);
            let lease = Lease { owner: self.owner.clone(), token: 1, until };
            let document = self.documents.keep(workflow);
            let driver =
                Driver::new(self, document, run, lease, Arc::clone(&driving.seat), vec![event]);
            self.finish(driver, driving).await
        })
    }

    fn accept(
        &self,
        session: &Session,
        workflow: &Workflow,
        input: Value,
    ) -> Result<RunRecord, EngineError> {
        if let Err(findings) = workflow.check_input(&input) {
            return Err(EngineError::Input { workflow: workflow.id.to_string(), findings });
        }
        Ok(RunRecord {
            run_id: RunId::generate(self.clock.as_ref()),
            revision: 0,
            workflow: WorkflowRecord {
                id: workflow.id.to_string(),
                version: workflow.version.clone(),
                digest: workflow.digest(),
                source_name: workflow.source_name().to_owned(),
                source: workflow.source().to_owned(),
            },
            parent: None,
            session: SessionRecord::of(session),
            input,
            status: RunStatus::Pending,
            steps: workflow.plan().order.iter().cloned().map(StepRecord::new).collect(),
            plan: None,
            rollback: RollbackRecord::default(),
            output: Value::Null,
            error: None,
            created_at: self.clock.now(),
            started_at: None,
            ended_at: None,
            active_us: 0,
        })
    }

    fn submitted(&self, session: &Session, run: &RunRecord) -> Event {
        let mut facts = EventFacts {
            action_name: Some(run.workflow.id.clone()),
            action_params: Some(seal(&run.input)),
            run_id: Some(run.run_id.clone()),
            ..EventFacts::default()
        };
        facts.metadata.insert("workflow_version".into(), run.workflow.version.to_string().into());
        facts.metadata.insert("workflow_digest".into(), run.workflow.digest.to_string().into());
        Event::new(session, EventType::WorkflowSubmitted, facts, self.clock.as_ref())
    }

    /// Drives a run to its end or to a pause; also one whose driver died. Dropping the future
    /// leaves the run where its record says it is.
    ///
    /// # Errors
    /// When the run is not there, is driven by somebody else, or cannot be taken further. What a
    /// step failed with is in the record.
    pub fn drive<'a>(&'a self, run_id: &'a RunId) -> BoxFuture<'a, Result<RunRecord, EngineError>> {
        Box::pin(async move {
            let (driver, driving) = self.take(run_id).await?;
            self.finish(driver, driving).await
        })
    }

    /// Takes up a run by its id. Of one that somebody alive drives, it is looked at again whether
    /// what it waits for was answered, and its record is returned as it is until then.
    ///
    /// # Errors
    /// When it is not there, or has nothing left to do in this way.
    pub fn resume<'a>(
        &'a self,
        run_id: &'a RunId,
        how: Resume,
    ) -> BoxFuture<'a, Result<RunRecord, EngineError>> {
        Box::pin(async move {
            let (mut driver, driving) = match self.take(run_id).await {
                Ok(taken) => taken,
                Err(EngineError::Busy(_)) if how == Resume::Continue => {
                    self.wish(run_id, Wish::Look).await?;
                    return self.load(run_id).await;
                }
                Err(error) => return Err(error),
            };
            if let Some(reason) = Control::Resume(how).refusal(driver.run.status()) {
                return self.refuse(driver, reason).await;
            }
            match driver.run.status.phase() {
            Phase::Paused(at) => {
                if driver.still_waits().await {
                    return self.give_back(driver).await;
                }
                driver.enter(at.resume());
            }
            Phase::Failed(at) => driver.enter(at.roll_back()),
            Phase::Pending(_)
            | Phase::Running(_)
            | Phase::RollingBack(_)
            // These are refused above.
            | Phase::Completed(_)
            | Phase::RolledBack(_) => {}
        }
            self.finish(driver, driving).await
        })
    }

    /// Stops a run and, with `rollback`, takes back what it did. A run that somebody drives at the
    /// moment stops when the steps that are under way have ended; its record is returned as it is
    /// until then.
    ///
    /// # Errors
    /// When it is not there, or has ended.
    pub fn cancel<'a>(
        &'a self,
        run_id: &'a RunId,
        rollback: bool,
    ) -> BoxFuture<'a, Result<RunRecord, EngineError>> {
        Box::pin(async move {
            let (mut driver, driving) = match self.take(run_id).await {
                Ok(taken) => taken,
                Err(EngineError::Busy(_)) => {
                    self.wish(run_id, Wish::Cancel { rollback }).await?;
                    return self.load(run_id).await;
                }
                Err(error) => return Err(error),
            };
            if let Some(reason) = Control::Cancel.refusal(driver.run.status()) {
                return self.refuse(driver, reason).await;
            }
            let transition = match driver.run.status.phase() {
                Phase::Pending(at) => at.fail(),
                Phase::Running(at) if rollback => at.roll_back(),
                Phase::Running(at) => at.fail(),
                Phase::Paused(at) if rollback => at.roll_back(),
                Phase::Paused(at) => at.fail(),
                // These are refused above.
                Phase::RollingBack(_)
                | Phase::Completed(_)
                | Phase::Failed(_)
                | Phase::RolledBack(_) => return self.give_back(driver).await,
            };
            driver.fail(None, FailureKind::Cancelled, "the run was cancelled".to_owned());
            driver.interrupt_steps()?;
            driver.enter(transition);
            driver.flush().await?;
            self.finish(driver, driving).await
        })
    }

    /// Lets a run wait until it is resumed. A run that somebody drives at the moment stops when
    /// the steps that are under way have ended; its record is returned as it is until then.
    ///
    /// # Errors
    /// When it is not there, or is not under way.
    pub fn pause<'a>(&'a self, run_id: &'a RunId) -> BoxFuture<'a, Result<RunRecord, EngineError>> {
        Box::pin(async move {
            let (mut driver, _driving) = match self.take(run_id).await {
                Ok(taken) => taken,
                Err(EngineError::Busy(_)) => {
                    self.wish(run_id, Wish::Pause).await?;
                    return self.load(run_id).await;
                }
                Err(error) => return Err(error),
            };
            if let Some(reason) = Control::Pause.refusal(driver.run.status()) {
                return self.refuse(driver, reason).await;
            }
            let Phase::Running(at) = driver.run.status.phase() else {
                return self.give_back(driver).await;
            };
            driver.enter(at.pause());
            driver.flush().await?;
            Ok(driver.run)
        })
    }

    /// A run as it stands, where it would do what is wanted of it; nothing is done to it.
    ///
    /// # Errors
    /// When it is not there, cannot be read, or would refuse.
    pub fn would<'a>(
        &'a self,
        run_id: &'a RunId,
        control: Control,
    ) -> BoxFuture<'a, Result<RunRecord, EngineError>> {
        Box::pin(async move {
            let run = self.load(run_id).await?;
            match control.refusal(run.status()) {
                None => Ok(run),
                Some(reason) => Err(refused(run, reason)),
            }
        })
    }

    /// Takes up every run that has something to do and that nobody drives, `at_once` at a time,
    /// the oldest first. What keeps one from going on does not keep the others.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn recover(&self, at_once: usize) -> BoxFuture<'_, Result<TakenUp, EngineError>> {
        Box::pin(async move {
            let orphans = self.store.orphans(self.clock.now(), usize::MAX).await?;
            let mut waiting = VecDeque::from(orphans);
            let mut going = Vec::new();
            let mut ended = Vec::new();
            std::future::poll_fn(|context| {
                loop {
                    while going.len() < at_once.max(1)
                        && let Some(run_id) = waiting.pop_front()
                    {
                        let of = run_id.clone();
                        going.push((run_id, Box::pin(async move { self.drive(&of).await })));
                    }
                    let mut n = 0;
                    let before = ended.len();
                    while let Some((run_id, work)) = going.get_mut(n) {
                        if let Poll::Ready(outcome) = work.as_mut().poll(context) {
                            ended.push((run_id.clone(), outcome));
                            drop(going.swap_remove(n));
                        } else {
                            n += 1;
                        }
                    }
                    if going.is_empty() && waiting.is_empty() {
                        return Poll::Ready(());
                    }
                    if ended.len() == before || waiting.is_empty() {
                        return Poll::Pending;
                    }
                }
            })
            .await;
            // Somebody else may have been quicker.
            ended.retain(|(_, outcome)| !matches!(outcome, Err(EngineError::Busy(_))));
            Ok(ended)
        })
    }

    /// A run, as it was last saved.
    ///
    /// # Errors
    /// When it is not there, or cannot be read.
    pub fn record<'a>(
        &'a self,
        run_id: &'a RunId,
    ) -> BoxFuture<'a, Result<RunRecord, EngineError>> {
        Box::pin(self.load(run_id))
    }

    async fn load(&self, run_id: &RunId) -> Result<RunRecord, EngineError> {
        let found = self.store.load(run_id).await?;
        found.ok_or_else(|| EngineError::NotFound(run_id.clone()))
    }

    fn sit(&self, run_id: &RunId) -> Result<Driving<'_>, EngineError> {
        let mut seats = self.seats();
        if seats.contains_key(run_id) {
            return Err(EngineError::Busy(run_id.clone()));
        }
        let seat = Arc::<Seat>::default();
        seats.insert(run_id.clone(), Arc::clone(&seat));
        drop(seats);
        Ok(Driving::new(self, run_id.clone(), seat))
    }

    async fn take(&self, run_id: &RunId) -> Result<(Driver<'_>, Driving<'_>), EngineError> {
        let driving = self.sit(run_id)?;
        let now = self.clock.now();
        match self.store.claim(run_id, &self.owner, now, now.plus(LEASE)).await? {
            Claimed::Missing => Err(EngineError::NotFound(run_id.clone())),
            Claimed::Held { .. } => Err(EngineError::Busy(run_id.clone())),
            Claimed::Had(run, lease) => {
                let document = match self.documents.of(&run) {
                    Ok(document) => document,
                    Err(error) => {
                        self.store.release(run_id, &lease).await?;
                        return Err(error);
                    }
                };
                let seat = Arc::clone(&driving.seat);
                Ok((Driver::new(self, document, *run, lease, seat, Vec::new()), driving))
            }
        }
    }

    /// Drives to the end or to a pause, and tells whoever looks.
    async fn finish(
        &self,
        driver: Driver<'_>,
        driving: Driving<'_>,
    ) -> Result<RunRecord, EngineError> {
        let run = driver.run().await?;
        let late = driving.seat.take();
        drop(driving);
        if run.status() == RunStatus::Paused
            && let Some(Wish::Cancel { rollback }) = late
        {
            // It came while the run was on its way to a pause.
            return self.cancel(&run.run_id, rollback).await;
        }
        if run.status() == RunStatus::Completed {
            self.hooks.post_execution(&run).await;
        } else {
            self.hooks.on_halt(&run).await;
        }
        Ok(run)
    }

    async fn give_back(&self, driver: Driver<'_>) -> Result<RunRecord, EngineError> {
        let Driver { run, lease, .. } = driver;
        self.store.release(&run.run_id, &lease).await?;
        Ok(run)
    }

    async fn refuse(
        &self,
        driver: Driver<'_>,
        reason: &'static str,
    ) -> Result<RunRecord, EngineError> {
        let run = self.give_back(driver).await?;
        Err(refused(run, reason))
    }

    /// Tells whoever drives a run, here or elsewhere.
    async fn wish(&self, run_id: &RunId, wish: Wish) -> Result<(), EngineError> {
        let seat = self.seats().get(run_id).cloned();
        match seat {
            Some(seat) => seat.ask(wish),
            None => self.store.ask(run_id, wish).await?,
        }
        Ok(())
    }
}

fn refused(run: RunRecord, reason: &'static str) -> EngineError {
    let status = run.status();
    EngineError::NotResumable { run_id: run.run_id, status, reason }
}
