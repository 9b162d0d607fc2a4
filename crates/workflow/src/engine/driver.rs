//! One run on its way.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use lictor_context::{DecisionId, Event, EventFacts, EventType, Session};
use minijinja::value::Value as Any;
use serde_json::{Value, json};

use super::{Engine, Interrupt, workflow_of};
use crate::error::EngineError;
use crate::port::{FailureKind, Timer};
use crate::record::{Failure, RunFailure, RunRecord, StepRecord};
use crate::spec::{OnError, Step, Workflow};
use crate::state::{RunStatus, StepStatus};
use crate::template::Scope;

/// How long the engine waits for a road that should have stopped a call by itself.
const GRACE: Duration = Duration::from_secs(5);

/// A run while it is being driven. Changes gather in memory, with their events, and
/// [`Driver::flush`] saves them in one.
pub(super) struct Driver<'e> {
    pub(super) engine: &'e Engine,
    pub(super) workflow: Arc<Workflow>,
    pub(super) run: RunRecord,
    pub(super) session: Session,
    events: Vec<Event>,
    dirty: bool,
    /// The clock when `active_us` was last brought up to date.
    since: Duration,
    input: Any,
    /// Outputs as templates see them, by position in the record.
    outputs: Vec<Option<Any>>,
}

/// What comes after a step.
pub(super) enum Next {
    Go,
    Pause,
    Fail,
}

enum Forward {
    Done,
    Paused,
    Failed { rollback: bool },
}

impl<'e> Driver<'e> {
    pub(super) fn new(engine: &'e Engine, run: RunRecord) -> Result<Self, EngineError> {
        let workflow = Arc::new(workflow_of(&run)?);
        Ok(Self {
            engine,
            session: run.session(),
            events: Vec::new(),
            dirty: false,
            since: engine.clock.monotonic(),
            input: Scope::value(&run.input),
            outputs: vec![None; run.steps.len()],
            workflow,
            run,
        })
    }

    pub(super) async fn run(mut self) -> Result<RunRecord, EngineError> {
        loop {
            match self.run.status {
                RunStatus::Pending => self.become_status(RunStatus::Running)?,
                RunStatus::Running => {
                    let to = match self.forward().await? {
                        Forward::Done => RunStatus::Completed,
                        Forward::Paused => RunStatus::Paused,
                        Forward::Failed { rollback: true } => RunStatus::RollingBack,
                        Forward::Failed { rollback: false } => RunStatus::Failed,
                    };
                    self.become_status(to)?;
                    self.flush().await?;
                }
                RunStatus::RollingBack => self.roll_back().await?,
                RunStatus::Paused
                | RunStatus::Completed
                | RunStatus::Failed
                | RunStatus::RolledBack => return Ok(self.run),
            }
        }
    }

    async fn forward(&mut self) -> Result<Forward, EngineError> {
        let auto = self.workflow.auto_rollback;
        for idx in 0..self.run.steps.len() {
            let (Some(record), Some(step)) = (self.run.steps.get(idx), self.spec(idx)) else {
                continue;
            };
            match record.status {
                StepStatus::Pending | StepStatus::Running | StepStatus::Waiting => {}
                StepStatus::Failed if step.on_error == OnError::Fail => {
                    return Ok(Forward::Failed { rollback: auto });
                }
                _ => continue,
            }
            match self.engine.take_interrupt(&self.run.run_id) {
                Some(Interrupt::Pause) => return Ok(Forward::Paused),
                Some(Interrupt::Cancel { rollback }) => {
                    self.fail(None, FailureKind::Cancelled, "the run was cancelled".to_owned());
                    self.interrupt_steps()?;
                    return Ok(Forward::Failed { rollback });
                }
                None => {}
            }
            if self.remaining() == Some(Duration::ZERO) {
                self.fail(None, FailureKind::TimedOut, self.too_long());
                self.interrupt_steps()?;
                return Ok(Forward::Failed { rollback: auto });
            }
            match self.step(idx, &step).await? {
                Next::Go => {}
                Next::Pause => return Ok(Forward::Paused),
                Next::Fail => return Ok(Forward::Failed { rollback: auto }),
            }
        }
        if let Some(output) = self.workflow.output.clone() {
            match output.value.evaluate(&self.scope(None, None)) {
                Ok(output) => self.run.output = output,
                Err(error) => {
                    let message = format!("the output of the workflow: {error}");
                    self.fail(None, FailureKind::Invalid, message);
                    return Ok(Forward::Failed { rollback: auto });
                }
            }
        }
        Ok(Forward::Done)
    }

    /// The step of the document behind a step of the record.
    pub(super) fn spec(&self, idx: usize) -> Option<Step> {
        let position = *self.workflow.schedule.positions.get(idx)?;
        self.workflow.steps.get(position).cloned()
    }

    /// What the templates of a step see: nothing of steps that it does not need. Without a step,
    /// all of them.
    pub(super) fn scope(&mut self, idx: Option<usize>, output: Option<&Value>) -> Scope {
        let position = idx.and_then(|idx| self.workflow.schedule.positions.get(idx).copied());
        let reach = position.and_then(|position| self.workflow.reach.get(position));
        let mut steps: Vec<(String, Any)> = Vec::new();
        let records = self.run.steps.iter().zip(&mut self.outputs);
        for ((record, cached), position) in records.zip(&self.workflow.schedule.positions) {
            if idx.is_some() && !reach.is_some_and(|reach| reach.contains(*position)) {
                continue;
            }
            let output = cached.get_or_insert_with(|| Scope::value(&record.output)).clone();
            let status = Any::from(record.status.as_str());
            let seen = Scope::object([("output", output), ("status", status)]);
            steps.push((record.id.clone(), seen));
        }
        let workflow = Scope::object([
            ("id", Any::from(self.workflow.id.as_str())),
            ("version", Any::from(self.workflow.version.to_string())),
        ]);
        let mut entries = vec![
            ("input", self.input.clone()),
            ("run_id", Any::from(self.run.run_id.as_str())),
            ("workflow", workflow),
            ("steps", Scope::object(steps)),
        ];
        entries.extend(output.map(|output| ("output", Scope::value(output))));
        Scope::new(entries)
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

    pub(super) fn step_status(&mut self, idx: usize, to: StepStatus) -> Result<(), EngineError> {
        if let Some(record) = self.run.steps.get_mut(idx) {
            record.status = record.status.transition(&record.id, to)?;
            self.dirty = true;
        }
        Ok(())
    }

    pub(super) fn become_status(&mut self, to: RunStatus) -> Result<(), EngineError> {
        let told_by = self.run.status.transition(to)?;
        self.account();
        self.run.status = to;
        self.dirty = true;
        let now = self.engine.clock.now();
        if to == RunStatus::Running && self.run.started_at.is_none() {
            self.run.started_at = Some(now);
        }
        self.run.ended_at = to.is_final().then_some(now);
        for kind in told_by {
            self.run_event(*kind);
        }
        Ok(())
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
        let events = std::mem::take(&mut self.events);
        self.engine.store.save(&self.run, events).await?;
        self.dirty = false;
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
            && let Some(step) = run.steps.iter().find(|step| step.status == StepStatus::Waiting)
        {
            facts.step_id = Some(step.id.clone());
            facts.requires_approval = Some(true);
            facts.metadata.insert("approval_id".into(), json!(step.waiting_for));
        }
        self.events.push(Event::new(&self.session, kind, facts, self.engine.clock.as_ref()));
    }

    /// Waits for a call as long as it may take, and the road's own stopping of it.
    pub(super) async fn within<T>(
        &self,
        limit: Option<Duration>,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        match limit {
            None => Some(work.await),
            Some(limit) => {
                race(self.engine.timer.as_ref(), limit.saturating_add(GRACE), work).await
            }
        }
    }
}

async fn race<T>(timer: &dyn Timer, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut alarm = timer.sleep(limit);
    std::future::poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        alarm.as_mut().poll(context).map(|()| None)
    })
    .await
}
