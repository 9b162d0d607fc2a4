//! What came of a step.

use std::sync::Arc;
use std::time::Duration;

use lictor_capability::{Backoff, Retry};
use lictor_context::{Digest, EventType, RunId, Timestamp};
use serde_json::{Value, json};

use super::driver::{Driver, Stop};
use super::going::{Ended, Launch};
use crate::error::EngineError;
use crate::port::{ApprovalState, FailureKind, StepDone, StepFailure};
use crate::record::{AttemptRecord, EffectState, Failure};
use crate::spec::{OnError, Step, Work};
use crate::state::StepStatus;

impl Driver<'_> {
    /// Notes how something ended; nothing is tried again when the run is stopping.
    pub(super) async fn settle(
        &mut self,
        idx: usize,
        ended: Ended,
        goes_on: bool,
    ) -> Result<Option<Stop>, EngineError> {
        let workflow = Arc::clone(&self.workflow);
        let Some(step) = self.spec_in(&workflow, idx) else { return Ok(None) };
        match ended {
            Ended::Call(Some(Ok(done))) => {
                self.done(idx, done)?;
                Ok(None)
            }
            Ended::Call(answer) => {
                let in_doubt = answer.is_none();
                let failure = answer.and_then(Result::err).unwrap_or_else(unanswered);
                self.call_failed(idx, step, failure, in_doubt, goes_on).await
            }
            Ended::Asked(answer) => self.answered(idx, step, answer),
            Ended::Woken => {
                // Of a call it was the pause before its next attempt.
                if matches!(step.work, Work::Wait(_)) {
                    self.complete(idx, Value::Null)?;
                }
                Ok(None)
            }
        }
    }

    fn done(&mut self, idx: usize, done: StepDone) -> Result<(), EngineError> {
        let now = self.engine.clock.now();
        let StepDone { execution_id, output, changed, undo, decision, owed } = done;
        self.events.extend(owed);
        self.change(idx, |record| {
            if let Some(attempt) = record.attempts.last_mut() {
                attempt.effect = EffectState::Done { changed, undo };
                attempt.execution_id = execution_id;
                attempt.decision = decision;
                attempt.ended_at = Some(now);
            }
        });
        self.complete(idx, output)
    }

    fn complete(&mut self, idx: usize, output: Value) -> Result<(), EngineError> {
        self.step_status(idx, StepStatus::Completed)?;
        let now = self.engine.clock.now();
        self.set_output(idx, output);
        self.change(idx, |record| {
            record.waiting_for = None;
            record.ended_at = Some(now);
        });
        self.step_event(EventType::StepCompleted, idx);
        Ok(())
    }

    async fn call_failed(
        &mut self,
        idx: usize,
        step: &Step,
        failure: StepFailure,
        in_doubt: bool,
        goes_on: bool,
    ) -> Result<Option<Stop>, EngineError> {
        if let FailureKind::NeedsApproval { approval_id } = &failure.kind {
            self.step_status(idx, StepStatus::Waiting)?;
            self.asked.push(idx);
            self.change(idx, |record| {
                record.waiting_for = Some(approval_id.clone());
                if let Some(attempt) = record.attempts.last_mut() {
                    // Something of it was begun, and waits: what it has done is known when it ends.
                    let begun = failure.execution_id.is_some();
                    attempt.effect = if begun { EffectState::Unknown } else { EffectState::None };
                    attempt.execution_id = failure.execution_id;
                    attempt.decision = failure.decision;
                }
            });
            return Ok(None);
        }
        let Work::Call(call) = &step.work else { return Ok(None) };
        let attempt = self.run.steps.get(idx).map_or(0, |record| record.attempts.len());
        let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
        let again = may_help(&failure) && attempt < call.retry.attempts;
        let reason = Failure { kind: failure.kind.clone(), message: failure.message.clone() };
        let now = self.engine.clock.now();
        self.change(idx, |record| {
            if let Some(attempt) = record.attempts.last_mut() {
                end_attempt(attempt, failure, in_doubt, now);
            }
        });
        let pause = pause(&call.retry, &self.run.run_id, &step.id, attempt);
        let time_left = self.remaining().is_none_or(|left| left > pause);
        if !(again && time_left) {
            return self.failed(idx, step, reason);
        }
        if goes_on {
            self.flush().await?;
            let engine = self.engine;
            let work = Box::pin(async move {
                engine.timer.sleep(pause).await;
                Ended::Woken
            });
            self.going.add(vec![Launch { idx, sleeps: true, intent: false, work }]);
        }
        Ok(None)
    }

    fn answered(
        &mut self,
        idx: usize,
        step: &Step,
        answer: Result<ApprovalState, String>,
    ) -> Result<Option<Stop>, EngineError> {
        let denied = |message: String| Failure { kind: FailureKind::Denied, message };
        match answer {
            Ok(ApprovalState::Granted) => {
                self.complete(idx, json!({ "approved": true }))?;
                Ok(None)
            }
            Ok(ApprovalState::Pending { approval_id }) => {
                self.step_status(idx, StepStatus::Waiting)?;
                self.change(idx, |record| record.waiting_for = Some(approval_id));
                Ok(None)
            }
            Ok(ApprovalState::Denied { reason }) => {
                self.failed(idx, step, denied(format!("not approved: {reason}")))
            }
            Err(reason) => {
                self.failed(idx, step, denied(format!("nobody could be asked: {reason}")))
            }
        }
    }

    pub(super) fn failed(
        &mut self,
        idx: usize,
        step: &Step,
        failure: Failure,
    ) -> Result<Option<Stop>, EngineError> {
        let Failure { kind, message } = failure.clone();
        self.end_failed(idx, failure)?;
        if step.on_error == OnError::Continue {
            return Ok(None);
        }
        let id = self.run.steps.get(idx).map_or_else(String::new, |record| record.id.clone());
        self.fail(Some(&id), kind, format!("step `{id}`: {message}"));
        Ok(Some(Stop::Failed))
    }
}

/// The pause after an attempt, counted from 1. One that grows is shortened by up to half, by a
/// share that depends on run, step and attempt alone: many runs that fail together do not come
/// back together.
pub(super) fn pause(retry: &Retry, run_id: &RunId, step: &str, attempt: u32) -> Duration {
    let pause = retry.pause(attempt);
    match retry.backoff {
        Backoff::Constant => pause,
        Backoff::Exponential => {
            let drawn = Digest::of(format!("{run_id}/{step}/{attempt}").as_bytes());
            let share = drawn.as_bytes().first().copied().unwrap_or_default();
            pause.mul_f64(1.0 - f64::from(share) / 512.0)
        }
    }
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
