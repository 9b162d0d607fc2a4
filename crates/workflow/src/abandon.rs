//! The end of a run that can neither go on nor be taken back, because what it needs for that is
//! gone: not a failure of a step, and no rollback that could be promised.

use lictor_context::{Clock, Event, EventFacts, EventType};

use crate::port::FailureKind;
use crate::record::{Failure, RunFailure, RunRecord};
use crate::state::{Phase, StepStatus};

impl RunRecord {
    /// Ends the run as failed, with the events that tell it, for whoever holds its lease to save.
    /// What its steps did stands; nothing is said to have been taken back. `None` when it has come to an
    /// end already.
    #[must_use]
    pub fn abandoned(mut self, reason: &str, clock: &dyn Clock) -> Option<(Self, Vec<Event>)> {
        let transition = match self.status().phase() {
            Phase::Pending(at) => at.fail(),
            Phase::Running(at) => at.fail(),
            Phase::Paused(at) => at.fail(),
            Phase::RollingBack(at) => at.fail(),
            Phase::Completed(_) | Phase::Failed(_) | Phase::RolledBack(_) => return None,
        };
        let now = clock.now();
        let mut ended = Vec::new();
        for step in &mut self.steps {
            if !matches!(step.status, StepStatus::Running | StepStatus::Waiting) {
                continue;
            }
            if let Ok(failed) = step.status.transition(&step.id, StepStatus::Failed) {
                step.status = failed;
                step.ended_at = Some(now);
                step.waiting_for = None;
                let message = "the run was given up while the step was under way".to_owned();
                step.error = Some(Failure { kind: FailureKind::Cancelled, message });
                ended.push(step.id.clone());
            }
        }
        self.status = transition.to();
        self.ended_at = Some(now);
        self.revision += 1;
        let message = reason.to_owned();
        let failure = RunFailure { step: None, kind: FailureKind::Failed, message };
        let code = self.error.get_or_insert(failure).kind.as_str();
        let session = self.session();
        let event = |kind: EventType, step_id: Option<String>| {
            let mut facts = EventFacts {
                run_id: Some(self.run_id.clone()),
                action_name: Some(self.workflow.id.clone()).filter(|_| step_id.is_none()),
                step_id,
                success: Some(false),
                error_message: Some(reason.to_owned()),
                ..EventFacts::default()
            };
            facts.metadata.insert("code".into(), code.into());
            Event::new(&session, kind, facts, clock)
        };
        let steps = ended.into_iter().map(|step| event(EventType::StepFailed, Some(step)));
        let run = transition.told_by().iter().map(|kind| event(*kind, None));
        let told = steps.chain(run).collect();
        Some((self, told))
    }
}
