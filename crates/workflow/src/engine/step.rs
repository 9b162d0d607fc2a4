//! One step: its condition, its input, its attempts.

use lictor_context::{Digest, EventType, Timestamp};
use serde_json::{Map, Value, json};

use super::driver::{Driver, Next};
use crate::error::EngineError;
use crate::port::{
    ApprovalCall, ApprovalState, FailureKind, Purpose, StepCall, StepDone, StepFailure,
};
use crate::record::{AttemptRecord, EffectState, Failure, StepRecord};
use crate::spec::{ApprovalStep, Call, OnError, Step, When, Work};
use crate::state::StepStatus;

impl Driver<'_> {
    pub(super) async fn step(&mut self, idx: usize, step: &Step) -> Result<Next, EngineError> {
        let fresh = self.run.steps.get(idx).is_some_and(|it| it.status == StepStatus::Pending);
        if fresh && let Some(when) = &step.when {
            match self.wanted(idx, when) {
                Ok(true) => {}
                Ok(false) => {
                    self.step_status(idx, StepStatus::Skipped)?;
                    self.step_event(EventType::StepSkipped, idx);
                    return Ok(Next::Go);
                }
                Err(message) => return self.failed(idx, step, invalid(message)),
            }
        }
        match &step.work {
            Work::Call(call) => self.call(idx, step, call).await,
            Work::Approval(approval) => self.approval(idx, step, approval).await,
        }
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

    async fn call(&mut self, idx: usize, step: &Step, call: &Call) -> Result<Next, EngineError> {
        let input = match self.input(idx, call) {
            Ok(input) => input,
            Err(message) => return self.failed(idx, step, invalid(message)),
        };
        let digest = match Digest::of_json(&input) {
            Ok(digest) => digest,
            Err(error) => return self.failed(idx, step, invalid(error.to_string())),
        };
        let known = self.run.steps.get(idx).and_then(|record| record.input_digest);
        if known.is_some_and(|known| known != digest) {
            let message = "the input is not the one that the step began with".to_owned();
            return self.failed(idx, step, Failure { kind: FailureKind::Integrity, message });
        }
        self.begin(idx);
        loop {
            let now = self.engine.clock.now();
            let mut n_attempts = 0;
            self.change(idx, |record| {
                record.input_digest = Some(digest);
                record.waiting_for = None;
                match record.attempts.last_mut() {
                    // Its answer was lost, or it waited for people: the same intent, once more.
                    Some(open) if open.ended_at.is_none() => open.effect = EffectState::Unknown,
                    _ => record.attempts.push(AttemptRecord::begun(now)),
                }
                n_attempts = record.attempts.len();
            });
            self.step_status(idx, StepStatus::Running)?;
            let attempt = u32::try_from(n_attempts).unwrap_or(u32::MAX);
            let own = call.timeout.map(|limit| limit.as_duration());
            let limit = [own, self.remaining()].into_iter().flatten().min();
            let wanted = StepCall {
                session: self.session.clone(),
                run_id: self.run.run_id.clone(),
                step_id: step.id.clone(),
                purpose: Purpose::Step,
                attempt,
                capability: call.capability.clone(),
                version: call.version.clone(),
                input: input.clone(),
                timeout: limit,
                takes_back: Vec::new(),
            };
            // INVARIANT: the intent is durable before the effect.
            self.flush().await?;
            let answer = self.within(limit, self.engine.road.act(wanted)).await;
            let in_doubt = answer.is_none();
            let failure = match answer.unwrap_or_else(|| Err(unanswered())) {
                Ok(done) => {
                    self.done(idx, done)?;
                    return Ok(Next::Go);
                }
                Err(failure) => failure,
            };
            if let FailureKind::NeedsApproval { approval_id } = &failure.kind {
                self.step_status(idx, StepStatus::Waiting)?;
                self.change(idx, |record| {
                    record.waiting_for = Some(approval_id.clone());
                    if let Some(attempt) = record.attempts.last_mut() {
                        attempt.effect = EffectState::None;
                        attempt.decision = failure.decision;
                    }
                });
                return Ok(Next::Pause);
            }
            let again = may_help(&failure) && attempt < call.retry.attempts;
            let pause = call.retry.pause(attempt);
            let reason = Failure { kind: failure.kind.clone(), message: failure.message.clone() };
            let now = self.engine.clock.now();
            self.change(idx, |record| {
                if let Some(attempt) = record.attempts.last_mut() {
                    end_attempt(attempt, failure, in_doubt, now);
                }
            });
            let time_left = self.remaining().is_none_or(|left| left > pause);
            if !(again && time_left) {
                return self.failed(idx, step, reason);
            }
            self.flush().await?;
            self.engine.timer.sleep(pause).await;
        }
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

    fn done(&mut self, idx: usize, done: StepDone) -> Result<(), EngineError> {
        self.step_status(idx, StepStatus::Completed)?;
        let now = self.engine.clock.now();
        let StepDone { execution_id, output, changed, undo, decision } = done;
        self.set_output(idx, output);
        self.change(idx, |record| {
            record.ended_at = Some(now);
            if let Some(attempt) = record.attempts.last_mut() {
                attempt.effect = EffectState::Done { changed, undo };
                attempt.execution_id = execution_id;
                attempt.decision = decision;
                attempt.ended_at = Some(now);
            }
        });
        self.step_event(EventType::StepCompleted, idx);
        Ok(())
    }

    async fn approval(
        &mut self,
        idx: usize,
        step: &Step,
        approval: &ApprovalStep,
    ) -> Result<Next, EngineError> {
        let call = match self.approval_call(idx, step, approval) {
            Ok(call) => call,
            Err(message) => return self.failed(idx, step, invalid(message)),
        };
        self.begin(idx);
        let waits = self.run.steps.get(idx).is_some_and(|it| it.status == StepStatus::Waiting);
        if !waits {
            self.step_status(idx, StepStatus::Running)?;
        }
        self.flush().await?;
        let denied = |message: String| Failure { kind: FailureKind::Denied, message };
        match self.engine.road.request_approval(call).await {
            Ok(ApprovalState::Granted) => {
                self.step_status(idx, StepStatus::Completed)?;
                let now = self.engine.clock.now();
                self.set_output(idx, json!({ "approved": true }));
                self.change(idx, |record| {
                    record.waiting_for = None;
                    record.ended_at = Some(now);
                });
                self.step_event(EventType::StepCompleted, idx);
                Ok(Next::Go)
            }
            Ok(ApprovalState::Pending { approval_id }) => {
                self.step_status(idx, StepStatus::Waiting)?;
                self.change(idx, |record| record.waiting_for = Some(approval_id));
                Ok(Next::Pause)
            }
            Ok(ApprovalState::Denied { reason }) => {
                self.failed(idx, step, denied(format!("not approved: {reason}")))
            }
            Err(reason) => {
                self.failed(idx, step, denied(format!("nobody could be asked: {reason}")))
            }
        }
    }

    fn approval_call(
        &mut self,
        idx: usize,
        step: &Step,
        approval: &ApprovalStep,
    ) -> Result<ApprovalCall, String> {
        let scope = self.scope(Some(idx), None);
        let message = match approval.message.evaluate(&scope) {
            Ok(Value::String(message)) => message,
            Ok(other) => other.to_string(),
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

    /// Whether a paused run waits for an approval step that nobody has decided yet: then there is
    /// nothing to resume.
    pub(super) async fn still_waits(&mut self) -> bool {
        let waiting = |it: &StepRecord| it.status == StepStatus::Waiting;
        let Some(idx) = self.run.steps.iter().position(waiting) else { return false };
        let Some(step) = self.spec(idx) else { return false };
        let Work::Approval(approval) = &step.work else { return false };
        let Ok(call) = self.approval_call(idx, &step, approval) else { return false };
        let state = self.engine.road.request_approval(call).await;
        matches!(state, Ok(ApprovalState::Pending { .. }))
    }

    /// Notes that a step began, the first time that it does.
    fn begin(&mut self, idx: usize) {
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

    fn failed(&mut self, idx: usize, step: &Step, failure: Failure) -> Result<Next, EngineError> {
        let Failure { kind, message } = failure.clone();
        self.end_failed(idx, failure)?;
        if step.on_error == OnError::Continue {
            return Ok(Next::Go);
        }
        self.fail(Some(&step.id), kind, format!("step `{}`: {message}", step.id));
        Ok(Next::Fail)
    }
}

fn invalid(message: String) -> Failure {
    Failure { kind: FailureKind::Invalid, message }
}

/// Only what may be different the next time is tried again.
pub(super) fn may_help(failure: &StepFailure) -> bool {
    failure.retryable
        && matches!(
            failure.kind,
            FailureKind::Failed | FailureKind::TimedOut | FailureKind::Busy | FailureKind::Conflict
        )
}

/// The road did not answer in time, nor some seconds after it.
pub(super) fn unanswered() -> StepFailure {
    StepFailure {
        kind: FailureKind::TimedOut,
        message: "no answer in time; whether it happened is not known".to_owned(),
        retryable: false,
        execution_id: None,
        decision: Value::Null,
    }
}

/// Notes the end of an attempt that failed. One that is in doubt stays so: the rollback will ask
/// what became of it.
pub(super) fn end_attempt(
    attempt: &mut AttemptRecord,
    failure: StepFailure,
    in_doubt: bool,
    now: Timestamp,
) {
    let StepFailure { kind, message, execution_id, decision, retryable: _ } = failure;
    attempt.effect = match &kind {
        _ if in_doubt => EffectState::Unknown,
        FailureKind::Denied
        | FailureKind::NeedsApproval { .. }
        | FailureKind::Invalid
        | FailureKind::Conflict
        | FailureKind::Busy
        | FailureKind::Cancelled => EffectState::None,
        FailureKind::Failed | FailureKind::TimedOut | FailureKind::Integrity => {
            EffectState::PutBack
        }
        FailureKind::Incomplete { stuck } => EffectState::Partial { stuck: stuck.clone() },
    };
    attempt.execution_id = execution_id;
    attempt.decision = decision;
    attempt.ended_at = Some(now);
    attempt.error = Some(Failure { kind, message });
}
