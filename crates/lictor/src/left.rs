//! What a run that failed has left. As long as there is something, another one is not begun in its
//! place: it would be done a second time.

use std::collections::HashSet;

use lictor_capability::UndoScope;
use lictor_context::{ExecutionId, RunId};
use lictor_executor::{ExecutionRecord, ExecutionStatus};
use lictor_state::ExecutionFilter;
use lictor_workflow::{EffectState, RunRecord, StepRecord};

use crate::agent::Agent;
use crate::error::ActError;
use crate::undo::unreadable;

impl Agent {
    /// What a run at its end has left, and what may be done about it, for people; `None` when nothing of
    /// it stands, nothing is in doubt and nothing waits.
    pub(crate) fn left_by(&self, run: &RunRecord) -> Result<Option<String>, ActError> {
        let filter =
            ExecutionFilter { run: Some(run.run_id.clone()), ..ExecutionFilter::default() };
        let found = self.runtime().executions().list(&filter).map_err(unreadable)?;
        let own: HashSet<ExecutionId> =
            found.iter().map(|stored| stored.record.execution_id.clone()).collect();
        for stored in &found {
            let left = self.left_by_execution(&run.run_id, &stored.record, &own)?;
            if left.is_some() {
                return Ok(left);
            }
        }
        if let Some(left) = run.steps.iter().find_map(|step| untold(&run.run_id, step, &own)) {
            return Ok(Some(left));
        }
        self.not_made_up_for(run)
    }

    fn left_by_execution(
        &self,
        run: &RunId,
        record: &ExecutionRecord,
        own: &HashSet<ExecutionId>,
    ) -> Result<Option<String>, ActError> {
        let (id, capability) = (&record.execution_id, &record.capability);
        match (record.status, &record.began) {
            (ExecutionStatus::Undone | ExecutionStatus::RolledBack, _) => Ok(None),
            (ExecutionStatus::Incomplete, _) => Ok(Some(format!(
                "`{id}` (`{capability}`) was begun, and it is not known what became of it"
            ))),
            (ExecutionStatus::Applied, _) if record.changed_nothing() => Ok(None),
            // What it has taken back of the run itself is no effect of that.
            (ExecutionStatus::Applied, _)
                if !record.undo_of.is_empty()
                    && record.undo_of.iter().all(|it| own.contains(it)) =>
            {
                Ok(None)
            }
            (ExecutionStatus::Applied, Some(called)) => self.left_by_called(called),
            (ExecutionStatus::Applied, None) => Ok(Some(format!(
                "`{id}` (`{capability}`) stands; `lictor undo {run}` takes back what can be"
            ))),
        }
    }

    /// The same of a run that a step of it began.
    fn left_by_called(&self, run_id: &RunId) -> Result<Option<String>, ActError> {
        match self.runtime().run_record(run_id) {
            // It was begun on record, and nothing of it was ever done.
            Ok(None) => Ok(None),
            Ok(Some(run)) if run.status().is_final() => self.left_by(&run),
            Ok(Some(run)) => Ok(Some(format!(
                "the run `{run_id}` that it called is {}; `lictor workflow cancel {run_id}` ends it",
                run.status()
            ))),
            Err(error) => {
                Ok(Some(format!("it is not known what the run `{run_id}` has left: {error}")))
            }
        }
    }

    /// A step that failed may have left what only its compensation knows of.
    fn not_made_up_for(&self, run: &RunRecord) -> Result<Option<String>, ActError> {
        let failed = |step: &StepRecord| {
            step.attempts.iter().any(|attempt| attempt.effect == EffectState::PutBack)
        };
        if !run.steps.iter().any(failed) {
            return Ok(None);
        }
        let compensations = match run.compensations() {
            Ok(compensations) => compensations,
            Err(error) => {
                return Ok(Some(format!("it is not known what makes up for it: {error}")));
            }
        };
        for one in compensations.iter().filter(|one| !one.done) {
            if run.step(&one.step_id).is_some_and(failed) && !self.is_done(one.key)? {
                let (step, run) = (&one.step_id, &run.run_id);
                return Ok(Some(format!(
                    "its step `{step}` failed and has not been made up for; \
                     `lictor workflow resume {run} --rollback` does that"
                )));
            }
        }
        Ok(None)
    }
}

/// What the executions on record do not tell of a step.
fn untold(run: &RunId, step: &StepRecord, known: &HashSet<ExecutionId>) -> Option<String> {
    let on_record = |id: &Option<ExecutionId>| id.as_ref().is_some_and(|id| known.contains(id));
    let id = &step.id;
    if step.attempts.iter().chain(&step.compensation).any(|it| it.effect == EffectState::Unknown) {
        return Some(format!(
            "of its step `{id}` it is not known what became; `lictor workflow resume {run} \
             --rollback` finds out"
        ));
    }
    let stands = step.attempts.iter().any(|attempt| match &attempt.effect {
        EffectState::Done { changed, undo } => {
            (*changed || *undo != UndoScope::Full) && !on_record(&attempt.execution_id)
        }
        EffectState::Partial { .. } => !on_record(&attempt.execution_id),
        EffectState::None
        | EffectState::PutBack
        | EffectState::Unknown
        | EffectState::TakenBack => false,
    });
    stands.then(|| format!("what its step `{id}` did is not on record any more"))
}
