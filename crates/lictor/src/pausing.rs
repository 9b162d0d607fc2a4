//! Letting runs wait, with the runs that their steps have begun.

use lictor_context::{BoxFuture, RunId, Timestamp};
use lictor_workflow::{EngineError, Purpose, RunRecord, RunStatus, StepCall, StepStatus};

use crate::runtime::Runtime;

impl Runtime {
    /// Lets a run wait until it is resumed, and with it the runs that its steps have begun: each of
    /// them begins no more steps. Whoever drives them tells them; of one that nobody drives any more
    /// it is done here.
    ///
    /// # Errors
    /// When it is not there, or is not under way.
    pub fn pause_run<'a>(
        &'a self,
        run_id: &'a RunId,
    ) -> BoxFuture<'a, Result<RunRecord, EngineError>> {
        Box::pin(async move {
            let run = self.engine(None).pause(run_id).await?;
            if run.status() != RunStatus::Paused {
                return Ok(run);
            }
            for begun in self.begun_by(&run)? {
                match self.pause_run(&begun).await {
                    // It was never begun, has ended, or goes back.
                    Ok(_) | Err(EngineError::NotFound(_) | EngineError::NotResumable { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(run)
        })
    }

    /// The runs that steps of a run have begun, and that have not come to their ends.
    fn begun_by(&self, run: &RunRecord) -> Result<Vec<RunId>, EngineError> {
        let under_way = run
            .steps
            .iter()
            .filter(|step| matches!(step.status, StepStatus::Running | StepStatus::Waiting));
        let mut begun = Vec::new();
        for step in under_way {
            let attempt = u32::try_from(step.attempts.len()).unwrap_or(u32::MAX);
            let key = StepCall::key_of(&run.run_id, &step.id, Purpose::Step, attempt);
            let found = self.executions().find_key(key, Timestamp::from_micros(0));
            let found = found.map_err(|error| {
                EngineError::Store(lictor_workflow::StoreError::Unavailable(error.to_string()))
            })?;
            begun.extend(found.and_then(|record| record.began));
        }
        Ok(begun)
    }
}
