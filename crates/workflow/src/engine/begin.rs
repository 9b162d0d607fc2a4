//! What can begin.

use std::sync::Arc;

use lictor_context::{Digest, EventType};
use lictor_document::HumanDuration;
use serde_json::{Map, Value, json};

use super::driver::{Driver, Stop};
use super::going::{Ended, Launch};
use crate::error::EngineError;
use crate::port::{ApprovalCall, ApprovalState, FailureKind, Purpose, StepCall};
use crate::record::{AttemptRecord, EffectState, Failure, ItemRecord, StepRecord};
use crate::spec::{ApprovalStep, Call, Foreach, MAX_ITEMS, OnError, Step, When, Work};
use crate::state::StepStatus;

/// What looking at a step came to.
pub(super) enum Begun<'e> {
    /// It is to be launched.
    Launch(Launch<'e>),
    /// It has ended, or others may begin because of it.
    Moved,
    /// It failed, and the run with it.
    Failed,
}

impl<'e> Driver<'e> {
    /// Begins every step that can begin, as far as there is room. What has effects is saved before
    /// the first of them begins, in one.
    pub(super) async fn begin_ready(&mut self) -> Result<Option<Stop>, EngineError> {
        if (0..self.run.steps.len()).any(|idx| self.can_begin(idx))
            && let Some(stop) = self.agreed().await?
        {
            return Ok(Some(stop));
        }
        let mut launches: Vec<Launch<'e>> = Vec::new();
        let mut stop = None;
        // Steps stand behind those that they need; items stand behind all steps, so what ends
        // with the last of them is found in another round.
        let mut moved = true;
        while std::mem::take(&mut moved) && stop.is_none() {
            for idx in 0..self.run.steps.len() {
                if launches.iter().any(|one| one.idx == idx) || !self.can_begin(idx) {
                    continue;
                }
                if self.going.n_awake() + launches.len() >= self.engine.limits.per_run {
                    break;
                }
                match self.begin_step(idx)? {
                    Begun::Launch(launch) => launches.push(launch),
                    Begun::Moved => moved = true,
                    Begun::Failed => {
                        stop = Some(Stop::Failed);
                        break;
                    }
                }
            }
        }
        if launches.iter().any(|one| one.intent) {
            // INVARIANT: the intent is durable before the effect.
            self.flush().await?;
        }
        self.going.add(launches);
        Ok(stop)
    }

    /// Whether it is the step's turn.
    pub(super) fn can_begin(&self, idx: usize) -> bool {
        let (Some(record), Some(step)) = (self.run.steps.get(idx), self.spec(idx)) else {
            return false;
        };
        if self.going.has(idx) {
            return false;
        }
        let several = step.foreach.is_some() && record.item.is_none();
        match record.status {
            StepStatus::Pending => match &record.item {
                Some(item) => self.has_room(item, step),
                None => step.needs.iter().all(|need| self.has_ended(*need)),
            },
            // Its items are what goes on; the last of them ends it.
            StepStatus::Running if several => self.items(idx).all(is_over),
            StepStatus::Running => true,
            StepStatus::Waiting => !self.asked.contains(&idx),
            StepStatus::Failed => step.on_error == OnError::Fail,
            _ => false,
        }
    }

    fn has_ended(&self, position: usize) -> bool {
        let record = self.places.get(position).and_then(|idx| self.run.steps.get(*idx));
        record.is_some_and(is_over)
    }

    fn has_room(&self, item: &ItemRecord, step: &Step) -> bool {
        let Some(parallel) = step.foreach.as_ref().and_then(|foreach| foreach.parallel) else {
            return true;
        };
        let under_way =
            |it: &&StepRecord| matches!(it.status, StepStatus::Running | StepStatus::Waiting);
        self.items(item.of).filter(under_way).count() < parallel as usize
    }

    fn items(&self, of: usize) -> impl Iterator<Item = &StepRecord> {
        let is_item = move |it: &&StepRecord| it.item.as_ref().is_some_and(|item| item.of == of);
        self.run.steps.iter().filter(is_item)
    }

    fn begin_step(&mut self, idx: usize) -> Result<Begun<'e>, EngineError> {
        let workflow = Arc::clone(&self.workflow);
        let Some(step) = self.spec_in(&workflow, idx) else { return Ok(Begun::Moved) };
        let Some(record) = self.run.steps.get(idx) else { return Ok(Begun::Moved) };
        if record.status == StepStatus::Failed {
            return Ok(Begun::Failed);
        }
        let is_item = record.item.is_some();
        if record.status == StepStatus::Pending
            && !is_item
            && let Some(when) = &step.when
        {
            match self.wanted(idx, when) {
                Ok(true) => {}
                Ok(false) => {
                    self.step_status(idx, StepStatus::Skipped)?;
                    self.step_event(EventType::StepSkipped, idx);
                    return Ok(Begun::Moved);
                }
                Err(message) => return self.did_not_begin(idx, step, invalid(message)),
            }
        }
        if let Some(foreach) = &step.foreach
            && !is_item
        {
            return self.each(idx, step, foreach);
        }
        match &step.work {
            Work::Call(call) => self.begin_call(idx, step, call),
            Work::Approval(approval) => self.begin_question(idx, step, approval),
            Work::Wait(wait) => self.begin_wait(idx, *wait),
        }
    }

    fn did_not_begin(
        &mut self,
        idx: usize,
        step: &Step,
        failure: Failure,
    ) -> Result<Begun<'e>, EngineError> {
        Ok(match self.failed(idx, step, failure)? {
            None => Begun::Moved,
            Some(_) => Begun::Failed,
        })
    }

    fn wanted(&mut self, idx: usize, when: &When) -> Result<bool, String> {
        let template = match when {
            When::Constant(wanted) => return Ok(*wanted),
            When::Expression(template) => template,
        };
        match template.evaluate(&self.scope(Some(idx), None)) {
            Ok(Value::Bool(wanted)) => Ok(wanted),
            Ok(Value::Null) => Ok(false),
            Ok(_) => Err(format!(
                "`when`: `{template}` gives neither true nor false; compare it with something"
            )),
            Err(error) => Err(format!("`when`: {error}")),
        }
    }

    /// Makes a step of each item; ends the step when they have all ended.
    fn each(
        &mut self,
        idx: usize,
        step: &Step,
        foreach: &Foreach,
    ) -> Result<Begun<'e>, EngineError> {
        if self.run.steps.get(idx).is_some_and(|it| it.status == StepStatus::Pending) {
            let list = match foreach.list.evaluate(&self.scope(Some(idx), None)) {
                Ok(Value::Array(list)) if list.len() <= MAX_ITEMS => list,
                Ok(Value::Array(list)) => {
                    let message =
                        format!("`foreach` gives {} items; at most {MAX_ITEMS} go", list.len());
                    return self.did_not_begin(idx, step, invalid(message));
                }
                Ok(_) => {
                    let message = "`foreach` does not give a list".to_owned();
                    return self.did_not_begin(idx, step, invalid(message));
                }
                Err(error) => {
                    return self.did_not_begin(idx, step, invalid(format!("`foreach`: {error}")));
                }
            };
            self.step_status(idx, StepStatus::Running)?;
            let now = self.engine.clock.now();
            self.change(idx, |record| record.started_at = Some(now));
            self.step_event(EventType::StepStarted, idx);
            for (index, value) in list.into_iter().enumerate() {
                let mut item = StepRecord::new(format!("{}[{index}]", step.id));
                item.item = Some(ItemRecord { of: idx, index, value });
                self.add_step(item);
            }
        }
        if self.items(idx).all(is_over) {
            let output = self.items(idx).map(|item| item.output.clone()).collect();
            self.step_status(idx, StepStatus::Completed)?;
            let now = self.engine.clock.now();
            self.set_output(idx, Value::Array(output));
            self.change(idx, |record| record.ended_at = Some(now));
            self.step_event(EventType::StepCompleted, idx);
        }
        Ok(Begun::Moved)
    }

    fn begin_call(
        &mut self,
        idx: usize,
        step: &Step,
        call: &Call,
    ) -> Result<Begun<'e>, EngineError> {
        let input = match self.input(idx, call) {
            Ok(input) => input,
            Err(message) => return self.did_not_begin(idx, step, invalid(message)),
        };
        let digest = match Digest::of_json(&input) {
            Ok(digest) => digest,
            Err(error) => return self.did_not_begin(idx, step, invalid(error.to_string())),
        };
        let known = self.run.steps.get(idx).and_then(|record| record.input_digest);
        if known.is_some_and(|known| known != digest) {
            let message = "the input is not the one that the step began with".to_owned();
            let failure = Failure { kind: FailureKind::Integrity, message };
            return self.did_not_begin(idx, step, failure);
        }
        self.note_start(idx);
        let now = self.engine.clock.now();
        let mut n_attempts = 0;
        let mut id = String::new();
        self.change(idx, |record| {
            record.input_digest = Some(digest);
            record.waiting_for = None;
            match record.attempts.last_mut() {
                // Its answer was lost, or it waited for people: the same intent, once more.
                Some(open) if open.ended_at.is_none() => open.effect = EffectState::Unknown,
                _ => record.attempts.push(AttemptRecord::begun(now)),
            }
            n_attempts = record.attempts.len();
            id.clone_from(&record.id);
        });
        self.step_status(idx, StepStatus::Running)?;
        let own = call.timeout.map(|limit| limit.as_duration());
        let call = StepCall {
            session: self.session.clone(),
            run_id: self.run.run_id.clone(),
            pack: self.workflow.pack.clone(),
            step_id: id,
            purpose: Purpose::Step,
            attempt: u32::try_from(n_attempts).unwrap_or(u32::MAX),
            capability: call.capability.clone(),
            version: call.version.clone(),
            input,
            timeout: [own, self.remaining()].into_iter().flatten().min(),
            takes_back: Vec::new(),
            plan: self.agreed_plan(),
            stopping: self.stopping.clone(),
        };
        let engine = self.engine;
        let intent = !engine.road.only_looks(&call);
        let work = Box::pin(async move { Ended::Call(engine.perform(call).await) });
        Ok(Begun::Launch(Launch { idx, sleeps: false, intent, work }))
    }

    /// The input of a call.
    pub(super) fn input(&mut self, idx: usize, call: &Call) -> Result<Value, String> {
        let scope = self.scope(Some(idx), None);
        match call.with.value.evaluate(&scope) {
            Ok(input) if input.is_object() => Ok(input),
            Ok(_) => Err("`with` does not give a mapping".to_owned()),
            Err(error) => Err(format!("`with`: {error}")),
        }
    }

    fn begin_wait(&mut self, idx: usize, wait: HumanDuration) -> Result<Begun<'e>, EngineError> {
        self.note_start(idx);
        self.step_status(idx, StepStatus::Running)?;
        let now = self.engine.clock.now();
        let mut left = wait.as_duration();
        self.change(idx, |record| {
            let wakes_at = *record.wakes_at.get_or_insert(now.plus(left));
            left = wakes_at.since(now);
        });
        let engine = self.engine;
        let work = Box::pin(async move {
            engine.timer.sleep(left).await;
            Ended::Woken
        });
        Ok(Begun::Launch(Launch { idx, sleeps: true, intent: true, work }))
    }

    fn begin_question(
        &mut self,
        idx: usize,
        step: &Step,
        approval: &ApprovalStep,
    ) -> Result<Begun<'e>, EngineError> {
        let call = match self.approval_call(idx, step, approval) {
            Ok(call) => call,
            Err(message) => return self.did_not_begin(idx, step, invalid(message)),
        };
        self.note_start(idx);
        self.step_status(idx, StepStatus::Running)?;
        self.asked.push(idx);
        let engine = self.engine;
        let work = Box::pin(async move { Ended::Asked(engine.road.request_approval(call).await) });
        Ok(Begun::Launch(Launch { idx, sleeps: false, intent: true, work }))
    }

    fn approval_call(
        &mut self,
        idx: usize,
        step: &Step,
        approval: &ApprovalStep,
    ) -> Result<ApprovalCall, String> {
        let scope = self.scope(Some(idx), None);
        let message = match approval.message.evaluate(&scope) {
            Ok(message) => asked(message),
            Err(error) => return Err(format!("`message`: {error}")),
        };
        let positions = &self.workflow.schedule.positions;
        let reach = positions.get(idx).and_then(|position| self.workflow.reach.get(*position));
        let seen: Map<String, Value> = self
            .run
            .steps
            .iter()
            .zip(positions)
            .filter(|(_, position)| reach.is_some_and(|reach| reach.contains(**position)))
            .map(|(record, _)| (record.id.clone(), record.output.clone()))
            .collect();
        let bound = json!({
            "run_id": self.run.run_id, "workflow": self.run.workflow.digest, "step": step.id,
            "message": message, "risk": approval.risk, "approvals": approval.approvals,
            "input": self.run.input, "steps": seen,
        });
        let digest = Digest::of_json(&bound).map_err(|error| error.to_string())?;
        Ok(ApprovalCall {
            session: self.session.clone(),
            run_id: self.run.run_id.clone(),
            step_id: step.id.clone(),
            message,
            risk: approval.risk,
            approvals: approval.approvals,
            timeout: approval.timeout,
            digest,
        })
    }

    /// Whether a paused run has nothing to go on with: all that it waits for are questions that
    /// nobody has answered yet.
    pub(super) async fn still_waits(&mut self) -> bool {
        if self.plan_still_waits().await {
            return true;
        }
        let workflow = Arc::clone(&self.workflow);
        let mut waits = false;
        for idx in 0..self.run.steps.len() {
            if !self.can_begin(idx) {
                continue;
            }
            let waiting =
                self.run.steps.get(idx).is_some_and(|it| it.status == StepStatus::Waiting);
            let Some(step) = self.spec_in(&workflow, idx) else { return false };
            let (true, Work::Approval(approval)) = (waiting, &step.work) else { return false };
            let Ok(call) = self.approval_call(idx, step, approval) else { return false };
            let state = self.engine.road.request_approval(call).await;
            if !matches!(state, Ok(ApprovalState::Pending { .. })) {
                return false;
            }
            waits = true;
        }
        waits
    }

    /// Notes that a step began, the first time that it does.
    fn note_start(&mut self, idx: usize) {
        let last = self.run.steps.iter().filter_map(|record| record.start_order).max();
        let now = self.engine.clock.now();
        let mut began = false;
        self.change(idx, |record| {
            if record.start_order.is_none() {
                record.start_order = Some(last.map_or(1, |last| last + 1));
                record.started_at = Some(now);
                began = true;
            }
        });
        if began {
            self.step_event(EventType::StepStarted, idx);
        }
    }
}

fn is_over(record: &StepRecord) -> bool {
    matches!(record.status, StepStatus::Completed | StepStatus::Skipped | StepStatus::Failed)
}

fn invalid(message: String) -> Failure {
    Failure { kind: FailureKind::Invalid, message }
}

/// A question as people read it.
pub(super) fn asked(message: Value) -> String {
    match message {
        Value::String(message) => message,
        other => other.to_string(),
    }
}
