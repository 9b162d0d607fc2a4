//! The way back: in reverse start order, each step by its compensation and by the undo of its
//! executions. What fails does not stop the rest, and is said.

use std::sync::Arc;

use lictor_capability::UndoScope;
use serde_json::Value;

use super::driver::Driver;
use super::settle::{end_attempt, may_help, pause, unanswered};
use crate::error::EngineError;
use crate::port::{FailureKind, Purpose, Recalled, StepCall, UndoCall, UndoFailure};
use crate::record::{AttemptRecord, EffectState, RollbackStatus, StepRecord, StuckStep};
use crate::spec::{Call, Compensation, UndoTerms, Work};
use crate::state::StepStatus;
use crate::stopping::Stopping;

/// What taking a step back came to.
#[derive(Default)]
struct TakenBack {
    compensated: bool,
    undone: bool,
    problems: Vec<String>,
}

impl Driver<'_> {
    /// Takes back what every step has left that began and is not taken back already. Says whether
    /// nothing is left.
    pub(super) async fn roll_back(&mut self) -> Result<bool, EngineError> {
        let workflow = Arc::clone(&self.workflow);
        self.interrupt_steps()?;
        self.run.rollback.stuck.clear();
        let mut begun: Vec<(u32, usize)> = self
            .run
            .steps
            .iter()
            .enumerate()
            .filter_map(|(idx, record)| record.start_order.map(|order| (order, idx)))
            .collect();
        begun.sort_unstable_by(|a, b| b.cmp(a));
        for (_, idx) in begun {
            let Some(step) = self.spec_in(&workflow, idx) else { continue };
            let Work::Call(call) = &step.work else { continue };
            let status = self.run.steps.get(idx).map(|record| record.status);
            if matches!(status, None | Some(StepStatus::Undone | StepStatus::Compensated)) {
                continue;
            }
            let id = self.run.steps.get(idx).map_or_else(String::new, |record| record.id.clone());
            let back = self.take_back(idx, &id, call).await?;
            if !back.problems.is_empty() {
                self.step_status(idx, StepStatus::Stuck)?;
                let reason = back.problems.join("; ");
                self.run.rollback.stuck.push(StuckStep { step: id, reason });
            } else if back.compensated || back.undone || status == Some(StepStatus::Stuck) {
                let to =
                    if back.compensated { StepStatus::Compensated } else { StepStatus::Undone };
                self.step_status(idx, to)?;
                self.run.rollback.undone.push(id);
            }
        }
        let whole = self.run.rollback.stuck.is_empty();
        self.run.rollback.status =
            if whole { RollbackStatus::Complete } else { RollbackStatus::Partial };
        self.end_parents()?;
        Ok(whole)
    }

    /// A step that was done for a list stands as its items do.
    fn end_parents(&mut self) -> Result<(), EngineError> {
        for idx in 0..self.run.steps.len() {
            let of = |it: &&StepRecord| it.item.as_ref().is_some_and(|item| item.of == idx);
            let items: Vec<StepStatus> =
                self.run.steps.iter().filter(of).map(|item| item.status).collect();
            let back = |status: &StepStatus| {
                matches!(status, StepStatus::Undone | StepStatus::Compensated)
            };
            let standing = self.run.steps.get(idx).map(|record| record.status);
            let ended = matches!(
                standing,
                Some(StepStatus::Completed | StepStatus::Failed | StepStatus::Stuck)
            );
            if !ended {
                continue;
            }
            if items.contains(&StepStatus::Stuck) {
                self.step_status(idx, StepStatus::Stuck)?;
            } else if items.iter().any(back) {
                self.step_status(idx, StepStatus::Undone)?;
            }
        }
        Ok(())
    }

    async fn take_back(
        &mut self,
        idx: usize,
        step: &str,
        call: &Call,
    ) -> Result<TakenBack, EngineError> {
        let mut back = TakenBack::default();
        self.recall(idx, step, call, &mut back).await;
        if let Some(compensation) = &call.compensate
            && self.attempts(idx).iter().any(|attempt| attempt.effect != EffectState::None)
        {
            match self.compensate(idx, step, call, compensation).await? {
                Ok(()) => back.compensated = true,
                Err(problem) => back.problems.push(problem),
            }
        }
        for (n, attempt) in self.attempts(idx).into_iter().enumerate().rev() {
            self.undo(idx, (n, attempt), step, call, &mut back).await?;
        }
        // Also what was undone before a crash cut the rollback short.
        let undone = |attempt: &AttemptRecord| attempt.effect == EffectState::TakenBack;
        back.undone |= self.attempts(idx).iter().any(undone);
        Ok(back)
    }

    /// Finds out what became of attempts whose answers were lost.
    async fn recall(&mut self, idx: usize, step: &str, call: &Call, back: &mut TakenBack) {
        for (n, attempt) in self.attempts(idx).into_iter().enumerate() {
            if attempt.effect != EffectState::Unknown {
                continue;
            }
            let input = self.input(idx, call).unwrap_or_default();
            let asked = StepCall {
                session: self.session.clone(),
                run_id: self.run.run_id.clone(),
                pack: self.workflow.pack.clone(),
                step_id: step.to_owned(),
                purpose: Purpose::Step,
                attempt: u32::try_from(n + 1).unwrap_or(u32::MAX),
                capability: call.capability.clone(),
                version: call.version.clone(),
                input,
                timeout: None,
                takes_back: Vec::new(),
                plan: self.agreed_plan(),
                stopping: Stopping::default(),
            };
            let (effect, execution_id) = match self.engine.road.recall(&asked).await {
                Recalled::NothingDone => (EffectState::None, None),
                Recalled::Done(done) => {
                    self.set_output(idx, done.output);
                    let effect = EffectState::Done { changed: done.changed, undo: done.undo };
                    (effect, done.execution_id)
                }
                Recalled::Unknown { reason } => {
                    back.problems.push(format!("attempt {}: {reason}", n + 1));
                    continue;
                }
            };
            self.change(idx, |record| {
                if let Some(attempt) = record.attempts.get_mut(n) {
                    attempt.effect = effect;
                    attempt.execution_id = execution_id.or(attempt.execution_id.take());
                }
            });
        }
    }

    /// Calls a step's compensation, unless that is done already.
    async fn compensate(
        &mut self,
        idx: usize,
        step: &str,
        call: &Call,
        compensation: &Compensation,
    ) -> Result<Result<(), String>, EngineError> {
        let record = self.run.steps.get(idx);
        let earlier = record.and_then(|record| record.compensation.last());
        if earlier.is_some_and(|last| matches!(last.effect, EffectState::Done { .. })) {
            return Ok(Ok(()));
        }
        let output = record.map_or(Value::Null, |record| record.output.clone());
        let scope = self.scope(Some(idx), Some(&output));
        let input = match compensation.with.value.evaluate(&scope) {
            Ok(input) => input,
            Err(error) => return Ok(Err(format!("`compensate.with`: {error}"))),
        };
        let takes_back = self.attempts(idx).into_iter().filter_map(|it| it.execution_id).collect();
        let mut asked = StepCall {
            session: self.session.clone(),
            run_id: self.run.run_id.clone(),
            pack: self.workflow.pack.clone(),
            step_id: step.to_owned(),
            purpose: Purpose::Compensation,
            attempt: 0,
            capability: compensation.capability.clone(),
            version: compensation.version.clone(),
            input,
            timeout: compensation.timeout.or(call.timeout).map(|limit| limit.as_duration()),
            takes_back,
            plan: self.agreed_plan(),
            stopping: Stopping::default(),
        };
        let retry = compensation.retry.as_ref().unwrap_or(&call.retry);
        let mut tries = 0;
        loop {
            tries += 1;
            let now = self.engine.clock.now();
            let mut n_attempts = 0;
            self.change(idx, |record| {
                match record.compensation.last_mut() {
                    Some(open) if open.ended_at.is_none() => open.effect = EffectState::Unknown,
                    _ => record.compensation.push(AttemptRecord::begun(now)),
                }
                n_attempts = record.compensation.len();
            });
            asked.attempt = u32::try_from(n_attempts).unwrap_or(u32::MAX);
            // INVARIANT: the intent is durable before the effect.
            self.flush().await?;
            let engine = self.engine;
            let answer = self.attend(engine.perform(asked.clone())).await?;
            let now = self.engine.clock.now();
            let in_doubt = answer.is_none();
            let failure = match answer.unwrap_or_else(|| Err(unanswered())) {
                Ok(done) => {
                    self.events.extend(done.owed);
                    self.change(idx, |record| {
                        if let Some(attempt) = record.compensation.last_mut() {
                            let (changed, undo) = (done.changed, done.undo);
                            attempt.effect = EffectState::Done { changed, undo };
                            attempt.execution_id = done.execution_id;
                            attempt.decision = done.decision;
                            attempt.ended_at = Some(now);
                        }
                    });
                    return Ok(Ok(()));
                }
                Err(failure) => failure,
            };
            let problem = match &failure.kind {
                FailureKind::NeedsApproval { approval_id } => {
                    format!("the compensation waits for approval `{approval_id}`")
                }
                kind => format!("the compensation failed ({}): {}", kind.as_str(), failure.message),
            };
            let waits = matches!(failure.kind, FailureKind::NeedsApproval { .. });
            let again = may_help(&failure) && tries < retry.attempts;
            self.change(idx, |record| {
                if let Some(attempt) = record.compensation.last_mut() {
                    end_attempt(attempt, failure, in_doubt, now);
                    if waits || in_doubt {
                        // The same attempt is asked for again when the rollback is taken up.
                        attempt.ended_at = None;
                    }
                }
            });
            if !again {
                return Ok(Err(problem));
            }
            self.flush().await?;
            let pause = pause(retry, &self.run.run_id, step, tries);
            self.attend(engine.timer.sleep(pause)).await?;
        }
    }

    /// Takes back the file changes of one attempt, and says what that does not reach.
    async fn undo(
        &mut self,
        idx: usize,
        (n, attempt): (usize, AttemptRecord),
        step: &str,
        call: &Call,
        back: &mut TakenBack,
    ) -> Result<(), EngineError> {
        let (scope, wanted) = match &attempt.effect {
            EffectState::None
            | EffectState::PutBack
            | EffectState::TakenBack
            // What is unknown has been said already.
            | EffectState::Unknown => return Ok(()),
            EffectState::Done { changed, undo } => (*undo, *changed && *undo != UndoScope::None),
            EffectState::Partial { .. } => (UndoScope::Full, true),
        };
        if wanted {
            let Some(execution_id) = attempt.execution_id else {
                let left = match attempt.effect {
                    EffectState::Partial { stuck } if !stuck.is_empty() => stuck.join(", "),
                    _ => "its file changes".to_owned(),
                };
                back.problems.push(format!("there is no execution to undo; left is: {left}"));
                return Ok(());
            };
            let asked = UndoCall {
                session: self.session.clone(),
                run_id: self.run.run_id.clone(),
                step_id: step.to_owned(),
                execution_id,
                compensated: call.compensate.is_some(),
            };
            self.flush().await?;
            if let Err(problem) = self.try_undo(asked, &call.undo).await? {
                back.problems.push(problem);
                return Ok(());
            }
            back.undone = true;
            self.change(idx, |record| {
                if let Some(attempt) = record.attempts.get_mut(n) {
                    attempt.effect = if scope == UndoScope::Full {
                        EffectState::TakenBack
                    } else {
                        EffectState::Done { changed: false, undo: scope }
                    };
                }
            });
        }
        if scope != UndoScope::Full && call.compensate.is_none() {
            back.problems.push(
                "what it did outside of the workspace cannot be undone, and it has no `compensate`"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Undoes an execution, as often as that may help. One that is undone already agrees, so an
    /// attempt whose answer was lost is no harm.
    async fn try_undo(
        &mut self,
        asked: UndoCall,
        terms: &UndoTerms,
    ) -> Result<Result<(), String>, EngineError> {
        let engine = self.engine;
        let limit = terms.timeout.map(|limit| limit.as_duration());
        let mut tries = 0;
        loop {
            tries += 1;
            let undo = engine.within(limit, engine.road.undo(asked.clone()));
            let failure = match self.attend(undo).await? {
                Some(Ok(())) => return Ok(Ok(())),
                Some(Err(failure)) => failure,
                None => UndoFailure { reason: "it gave no answer in time".into(), retryable: true },
            };
            if !failure.retryable || tries >= terms.retry.attempts {
                let after = if tries > 1 { format!(" {tries} times") } else { String::new() };
                return Ok(Err(format!("the undo failed{after}: {}", failure.reason)));
            }
            let pause = pause(&terms.retry, &self.run.run_id, &asked.step_id, tries);
            self.attend(engine.timer.sleep(pause)).await?;
        }
    }

    fn attempts(&self, idx: usize) -> Vec<AttemptRecord> {
        self.run.steps.get(idx).map(|record| record.attempts.clone()).unwrap_or_default()
    }
}
