//! One run on its way.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use lictor_context::{DecisionId, Event, EventFacts, EventType, Session};
use minijinja::value::Value as Any;
use serde_json::{Value, json};

use super::Engine;
use super::going::{Ended, Going};
use super::scope::scope;
use super::seat::Seat;
use crate::error::EngineError;
use crate::lease::{LEASE, Lease, Wish};
use crate::port::{FailureKind, Save};
use crate::record::{Failure, RunFailure, RunRecord, StepRecord};
use crate::schema::Schema;
use crate::spec::{Step, Workflow};
use crate::state::{Phase, RunStatus, StepStatus, Transition};
use crate::stopping::Stopping;
use crate::template::Scope;

/// A run while it is being driven. Changes gather in memory, with their events, and
/// [`Driver::flush`] saves them in one.
pub(super) struct Driver<'e> {
    pub(super) engine: &'e Engine,
    pub(super) workflow: Arc<Workflow>,
    pub(super) run: RunRecord,
    pub(super) session: Session,
    pub(super) lease: Lease,
    pub(super) going: Going<'e>,
    pub(super) events: Vec<Event>,
    /// Tells what is under way that the run is being stopped.
    pub(super) stopping: Stopping,
    seat: Arc<Seat>,
    dirty: bool,
    /// The clock when the lease was last renewed.
    renewed: Duration,
    /// The clock when `active_us` was last brought up to date.
    since: Duration,
    input: Any,
    /// Outputs as templates see them, by position in the record.
    outputs: Vec<Option<Any>>,
    /// For each step of the document, its position in the record.
    pub(super) places: Vec<usize>,
    /// The steps that people were asked about since the last time that it was worth looking.
    pub(super) asked: Vec<usize>,
}

/// Why nothing more is begun. The strongest reason counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    Pause,
    Failed,
    Cancel { rollback: bool },
}

impl<'e> Driver<'e> {
    pub(super) fn new(
        engine: &'e Engine,
        workflow: Arc<Workflow>,
        run: RunRecord,
        lease: Lease,
        seat: Arc<Seat>,
        events: Vec<Event>,
    ) -> Self {
        engine.road.takes_up(&run);
        let mut places = vec![0; workflow.steps.len()];
        for (idx, position) in workflow.schedule.positions.iter().enumerate() {
            if let Some(place) = places.get_mut(*position) {
                *place = idx;
            }
        }
        let now = engine.clock.monotonic();
        Self {
            engine,
            session: run.session(),
            lease,
            going: Going::default(),
            events,
            stopping: Stopping::default(),
            seat,
            dirty: false,
            renewed: now,
            since: now,
            input: Scope::value(&run.input),
            outputs: vec![None; run.steps.len()],
            workflow,
            run,
            places,
            asked: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) -> Result<RunRecord, EngineError> {
        loop {
            match self.run.status.phase() {
                Phase::Pending(at) => {
                    if let Err(reason) = self.engine.hooks.pre_execution(&self.run).await {
                        self.refused(reason);
                        self.enter(at.fail());
                    } else {
                        self.enter(at.start());
                    }
                }
                Phase::Running(at) => {
                    let auto = self.workflow.auto_rollback;
                    let transition = match self.forward().await? {
                        None => at.complete(),
                        Some(Stop::Pause) => at.pause(),
                        Some(Stop::Failed) if auto => at.roll_back(),
                        Some(Stop::Cancel { rollback: true }) => at.roll_back(),
                        Some(Stop::Failed | Stop::Cancel { .. }) => at.fail(),
                    };
                    self.enter(transition);
                }
                Phase::RollingBack(at) => {
                    let whole = self.roll_back().await?;
                    self.enter(if whole { at.rolled_back() } else { at.fail() });
                }
                Phase::Paused(_)
                | Phase::Completed(_)
                | Phase::Failed(_)
                | Phase::RolledBack(_) => {
                    self.flush().await?;
                    return Ok(self.run);
                }
            }
        }
    }

    /// Begins what can begin, and waits for what is under way, until there is nothing of either.
    async fn forward(&mut self) -> Result<Option<Stop>, EngineError> {
        let mut stop: Option<Stop> = None;
        loop {
            stop = stop.max(self.wished());
            if stop.is_none() && self.remaining() == Some(Duration::ZERO) {
                self.fail(None, FailureKind::TimedOut, self.too_long());
                stop = Some(Stop::Failed);
            }
            if stop.is_none() {
                stop = self.begin_ready().await?;
            }
            if stop.is_some() {
                self.going.wake_nobody();
            }
            match stop {
                None => {}
                Some(Stop::Pause) => self.stopping.pause(),
                Some(Stop::Failed | Stop::Cancel { .. }) => self.stopping.stop(),
            }
            if self.going.is_empty() {
                return self.at_rest(stop);
            }
            if let Some((idx, ended)) = self.next().await? {
                let failed = self.settle(idx, ended, stop.is_none()).await?;
                stop = stop.max(failed);
            }
        }
    }

    /// Nothing is under way any more.
    fn at_rest(&mut self, stop: Option<Stop>) -> Result<Option<Stop>, EngineError> {
        match stop {
            Some(Stop::Pause) => return Ok(stop),
            Some(Stop::Cancel { .. }) => {
                self.fail(None, FailureKind::Cancelled, "the run was cancelled".to_owned());
                self.interrupt_steps()?;
                return Ok(stop);
            }
            Some(Stop::Failed) => {
                self.interrupt_steps()?;
                return Ok(stop);
            }
            None => {}
        }
        if self.run.steps.iter().any(|step| step.status == StepStatus::Waiting) {
            return Ok(Some(Stop::Pause));
        }
        if let Some(output) = self.workflow.output.clone() {
            match output.value.evaluate(&self.scope(None, None)) {
                Ok(output) => self.run.output = output,
                Err(error) => {
                    let message = format!("the output of the workflow: {error}");
                    self.fail(None, FailureKind::Invalid, message);
                    return Ok(Some(Stop::Failed));
                }
            }
        }
        if let Some(message) = self.unfit_output() {
            self.fail(None, FailureKind::Failed, message);
            return Ok(Some(Stop::Failed));
        }
        Ok(None)
    }

    /// How the output breaks the contract that the run answers for, if it does.
    fn unfit_output(&self) -> Option<String> {
        let schema = self.run.parent.as_ref()?.output.clone();
        let findings = match Schema::compile(schema) {
            Ok(schema) => schema.check(&self.run.output).err()?,
            Err(problem) => return Some(format!("the schema of the output: {problem}")),
        };
        let told: Vec<String> = findings.iter().map(ToString::to_string).collect();
        Some(format!("the output breaks the contract: {}", told.join("; ")))
    }

    fn wished(&mut self) -> Option<Stop> {
        match self.seat.take()? {
            Wish::Look => {
                self.asked.clear();
                None
            }
            Wish::Pause => Some(Stop::Pause),
            Wish::Cancel { rollback } => Some(Stop::Cancel { rollback }),
        }
    }

    /// The next thing that ends; nothing when it is time to look around.
    async fn next(&mut self) -> Result<Option<(usize, Ended)>, EngineError> {
        let seat = Arc::clone(&self.seat);
        let mut called = pin!(seat.called.notified());
        let left = self.remaining();
        let mut over = left.map(|left| self.engine.timer.sleep(left));
        let mut renewal = self.engine.timer.sleep(self.until_renewal());
        let (going, mut renew) = (&mut self.going, false);
        let next = std::future::poll_fn(|context| {
            if let Poll::Ready(next) = going.poll_next(context) {
                return Poll::Ready(Some(next));
            }
            if called.as_mut().poll(context).is_ready()
                || over.as_mut().is_some_and(|over| over.as_mut().poll(context).is_ready())
            {
                return Poll::Ready(None);
            }
            renew = renewal.as_mut().poll(context).is_ready();
            if renew { Poll::Ready(None) } else { Poll::Pending }
        })
        .await;
        if renew {
            self.renew().await?;
        }
        Ok(next)
    }

    /// Waits for something without losing the lease.
    pub(super) async fn attend<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, EngineError> {
        let mut work = pin!(work);
        loop {
            let mut renewal = self.engine.timer.sleep(self.until_renewal());
            let done = std::future::poll_fn(|context| {
                if let Poll::Ready(done) = work.as_mut().poll(context) {
                    return Poll::Ready(Some(done));
                }
                renewal.as_mut().poll(context).map(|()| None)
            })
            .await;
            match done {
                Some(done) => return Ok(done),
                None => self.renew().await?,
            }
        }
    }

    fn until_renewal(&self) -> Duration {
        let since = self.engine.clock.monotonic().saturating_sub(self.renewed);
        (LEASE / 3).saturating_sub(since)
    }

    async fn renew(&mut self) -> Result<(), EngineError> {
        if self.run.revision == 0 {
            // It is nobody's yet: nobody else knows of it.
            self.renewed = self.engine.clock.monotonic();
            return Ok(());
        }
        self.lease.until = self.engine.clock.now().plus(LEASE);
        let wish = self.engine.store.renew(&self.run.run_id, &self.lease).await?;
        self.renewed = self.engine.clock.monotonic();
        if let Some(wish) = wish {
            self.seat.ask(wish);
        }
        Ok(())
    }

    /// The step of the document behind a step of the record.
    pub(super) fn spec(&self, idx: usize) -> Option<&Step> {
        self.spec_in(&self.workflow, idx)
    }

    /// The same, from a workflow that is not borrowed with the driver.
    pub(super) fn spec_in<'w>(&self, workflow: &'w Workflow, idx: usize) -> Option<&'w Step> {
        let planned = self.run.steps.get(idx)?.item.as_ref().map_or(idx, |item| item.of);
        workflow.steps.get(*workflow.schedule.positions.get(planned)?)
    }

    /// What the templates of a step see: nothing of steps that it does not need. Without a step,
    /// all of them.
    pub(super) fn scope(&mut self, idx: Option<usize>, output: Option<&Value>) -> Scope {
        let outputs = &mut self.outputs;
        let seen = |at: usize, record: &StepRecord| match outputs.get_mut(at) {
            Some(cached) => cached.get_or_insert_with(|| Scope::value(&record.output)).clone(),
            None => Scope::value(&record.output),
        };
        scope((&self.workflow, &self.run), (idx, output), self.input.clone(), seen)
    }

    pub(super) fn set_output(&mut self, idx: usize, output: Value) {
        if let Some(cached) = self.outputs.get_mut(idx) {
            *cached = None;
        }
        self.change(idx, |record| record.output = output);
    }

    /// Changes a step's record.
    pub(super) fn change(&mut self, idx: usize, change: impl FnOnce(&mut StepRecord)) {
        if let Some(record) = self.run.steps.get_mut(idx) {
            change(record);
            self.dirty = true;
        }
    }

    /// The record is not what is stored.
    pub(super) fn touched(&mut self) {
        self.dirty = true;
    }

    pub(super) fn add_step(&mut self, record: StepRecord) {
        self.run.steps.push(record);
        self.outputs.push(None);
        self.dirty = true;
    }

    pub(super) fn step_status(&mut self, idx: usize, to: StepStatus) -> Result<(), EngineError> {
        if let Some(record) = self.run.steps.get_mut(idx) {
            record.status = record.status.transition(&record.id, to)?;
            self.dirty = true;
        }
        Ok(())
    }

    pub(super) fn enter(&mut self, transition: Transition) {
        let to = transition.to();
        self.account();
        self.run.status = to;
        self.dirty = true;
        let now = self.engine.clock.now();
        if to == RunStatus::Running && self.run.started_at.is_none() {
            self.run.started_at = Some(now);
        }
        self.run.ended_at = to.is_final().then_some(now);
        for kind in transition.told_by() {
            self.run_event(*kind);
        }
    }

    fn refused(&mut self, reason: String) {
        let message = format!("a hook refused it: {reason}");
        self.fail(None, FailureKind::Denied, message);
    }

    /// Notes why the run fails; the first reason stands.
    pub(super) fn fail(&mut self, step: Option<&str>, kind: FailureKind, message: String) {
        let failure = RunFailure { step: step.map(str::to_owned), kind, message };
        self.run.error.get_or_insert(failure);
        self.dirty = true;
    }

    /// Ends the steps that were under way or waiting when the run was stopped. What they left is
    /// for the rollback to find out.
    pub(super) fn interrupt_steps(&mut self) -> Result<(), EngineError> {
        for idx in 0..self.run.steps.len() {
            let status = self.run.steps.get(idx).map(|record| record.status);
            if matches!(status, Some(StepStatus::Running | StepStatus::Waiting)) {
                let message = "the run was stopped while the step was under way".to_owned();
                self.end_failed(idx, Failure { kind: FailureKind::Cancelled, message })?;
            }
        }
        Ok(())
    }

    pub(super) fn end_failed(&mut self, idx: usize, failure: Failure) -> Result<(), EngineError> {
        self.step_status(idx, StepStatus::Failed)?;
        let now = self.engine.clock.now();
        self.change(idx, |record| {
            record.ended_at = Some(now);
            record.waiting_for = None;
            record.error = Some(failure);
        });
        self.step_event(EventType::StepFailed, idx);
        Ok(())
    }

    /// Saves what has gathered, if anything has.
    pub(super) async fn flush(&mut self) -> Result<(), EngineError> {
        if !self.dirty && self.events.is_empty() {
            return Ok(());
        }
        self.account();
        self.run.revision += 1;
        self.lease.until = self.engine.clock.now().plus(LEASE);
        let events = std::mem::take(&mut self.events);
        let save = Save { run: &self.run, lease: &self.lease, events };
        let wish = self.engine.store.save(save).await?;
        self.renewed = self.engine.clock.monotonic();
        self.dirty = false;
        if let Some(wish) = wish {
            self.seat.ask(wish);
        }
        Ok(())
    }

    fn account(&mut self) {
        let now = self.engine.clock.monotonic();
        if self.run.status == RunStatus::Running {
            let worked = u64::try_from(now.saturating_sub(self.since).as_micros());
            self.run.active_us = self.run.active_us.saturating_add(worked.unwrap_or(u64::MAX));
        }
        self.since = now;
    }

    /// How much longer the run may work.
    pub(super) fn remaining(&mut self) -> Option<Duration> {
        self.account();
        let limit = self.workflow.timeout?.as_duration();
        Some(limit.saturating_sub(Duration::from_micros(self.run.active_us)))
    }

    fn too_long(&self) -> String {
        let limit = self.workflow.timeout.unwrap_or_default();
        format!("the run was not done within {limit}")
    }

    pub(super) fn step_event(&mut self, kind: EventType, idx: usize) {
        let Some(record) = self.run.steps.get(idx) else { return };
        let last = record.attempts.last();
        let decision = last.and_then(|attempt| attempt.decision.get("id"));
        let mut facts = EventFacts {
            run_id: Some(self.run.run_id.clone()),
            step_id: Some(record.id.clone()),
            action_name: self.spec(idx).map(|step| step.work.name().to_owned()),
            execution_id: last.and_then(|attempt| attempt.execution_id.clone()),
            decision_id: decision.and_then(Value::as_str).and_then(|id| DecisionId::parse(id).ok()),
            ..EventFacts::default()
        };
        if kind != EventType::StepStarted {
            facts.success = match kind {
                EventType::StepCompleted => Some(true),
                EventType::StepFailed => Some(false),
                _ => None,
            };
            facts.duration =
                record.ended_at.zip(record.started_at).map(|(ended, started)| ended.since(started));
            if let Some(error) = &record.error {
                facts.error_message = Some(error.message.clone());
                facts.metadata.insert("code".into(), error.kind.as_str().into());
            }
            facts.metadata.insert("attempts".into(), record.attempts.len().into());
        }
        self.events.push(Event::new(&self.session, kind, facts, self.engine.clock.as_ref()));
    }

    fn run_event(&mut self, kind: EventType) {
        let run = &self.run;
        let mut facts = EventFacts {
            run_id: Some(run.run_id.clone()),
            action_name: Some(run.workflow.id.clone()),
            ..EventFacts::default()
        };
        facts.metadata.insert("workflow_version".into(), run.workflow.version.to_string().into());
        if run.status.is_final() {
            facts.success = Some(run.status == RunStatus::Completed);
            facts.duration = Some(Duration::from_micros(run.active_us));
        }
        if matches!(run.status, RunStatus::Failed | RunStatus::RollingBack | RunStatus::RolledBack)
            && let Some(error) = &run.error
        {
            facts.error_message = Some(error.message.clone());
            facts.metadata.insert("code".into(), error.kind.as_str().into());
        }
        if matches!(
            kind,
            EventType::RollbackCompleted
                | EventType::RollbackFailed
                | EventType::WorkflowRolledBack
        ) {
            facts.metadata.insert("rollback".into(), json!(run.rollback));
        }
        if kind == EventType::WorkflowPaused
            && let Some(approval) = run.plan_waits_for()
        {
            facts.requires_approval = Some(true);
            facts.metadata.insert("approval_id".into(), json!(approval));
        } else if kind == EventType::WorkflowPaused
            && let Some(step) = run.steps.iter().find(|step| step.status == StepStatus::Waiting)
        {
            facts.step_id = Some(step.id.clone());
            facts.requires_approval = Some(true);
            facts.metadata.insert("approval_id".into(), json!(step.waiting_for));
        }
        self.events.push(Event::new(&self.session, kind, facts, self.engine.clock.as_ref()));
    }
}
