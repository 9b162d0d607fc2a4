//! What makes up for a step, for whoever takes it back without driving its run.

use lictor_capability::CapabilityId;
use lictor_context::{Digest, ExecutionId};
use semver::VersionReq;
use serde_json::Value;

use super::documents::Documents;
use super::scope::scope;
use crate::error::EngineError;
use crate::port::{Purpose, StepCall};
use crate::record::{EffectState, RunRecord, StepRecord};
use crate::spec::{Compensation, Work, Workflow};
use crate::state::StepStatus;
use crate::template::{Scope, TemplateError};

/// The call that makes up for a step of a run, as the run's document says.
#[derive(Debug, Clone, PartialEq)]
pub struct StepCompensation {
    /// The step, an item of a list by its own id.
    pub step_id: String,
    /// The capability.
    pub capability: CapabilityId,
    /// Its versions that would do.
    pub version: Option<VersionReq>,
    /// The input, or why it cannot be made of what is known.
    pub input: Result<Value, TemplateError>,
    /// The key of the attempt that the run itself would make next: whoever comes first makes it.
    pub key: Digest,
    /// The executions of the step's attempts.
    pub takes_back: Vec<ExecutionId>,
    /// Whether the run itself has made up for the step.
    pub done: bool,
}

impl RunRecord {
    /// What makes up for the steps that were begun, where the run's document names something.
    ///
    /// # Errors
    /// When the document is not the one that the run began with.
    pub fn compensations(&self) -> Result<Vec<StepCompensation>, EngineError> {
        let workflow = Documents::default().of(self)?;
        let begun = self.steps.iter().enumerate().filter(|(_, step)| !step.attempts.is_empty());
        Ok(begun.filter_map(|(idx, step)| self.compensation(&workflow, idx, step)).collect())
    }

    fn compensation(
        &self,
        workflow: &Workflow,
        idx: usize,
        step: &StepRecord,
    ) -> Option<StepCompensation> {
        let planned = step.item.as_ref().map_or(idx, |item| item.of);
        let position = *workflow.schedule.positions.get(planned)?;
        let Work::Call(call) = &workflow.steps.get(position)?.work else { return None };
        let Compensation { capability, version, with, .. } = call.compensate.as_ref()?;
        let outputs = |_, step: &StepRecord| Scope::value(&step.output);
        let input = Scope::value(&self.input);
        let seen = scope((workflow, self), (Some(idx), Some(&step.output)), input, outputs);
        Some(StepCompensation {
            step_id: step.id.clone(),
            capability: capability.clone(),
            version: version.clone(),
            input: with.value.evaluate(&seen),
            key: StepCall::key_of(&self.run_id, &step.id, Purpose::Compensation, next(step)),
            takes_back: step.attempts.iter().filter_map(|it| it.execution_id.clone()).collect(),
            done: is_made_up_for(step),
        })
    }
}

/// The next attempt of a step's compensation, from 1. One that waits, or whose answer was lost, is made
/// again.
fn next(step: &StepRecord) -> u32 {
    let n_attempts = u32::try_from(step.compensation.len()).unwrap_or(u32::MAX);
    match step.compensation.last() {
        Some(open) if open.ended_at.is_none() => n_attempts,
        _ => n_attempts.saturating_add(1),
    }
}

fn is_made_up_for(step: &StepRecord) -> bool {
    let last = step.compensation.last();
    step.status == StepStatus::Compensated
        || last.is_some_and(|last| matches!(last.effect, EffectState::Done { .. }))
}
