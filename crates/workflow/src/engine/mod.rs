//! The engine: takes runs from submission to their end, one save before every effect.

mod driver; // one run on its way
mod preview; // dry runs
mod rollback; // and back
mod step; // one step

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lictor_context::{Clock, Event, EventFacts, EventType, RunId, Session, seal};
use lictor_document::Source;
use serde_json::Value;

use crate::error::EngineError;
use crate::port::{FailureKind, Road, RunStore, Timer, TokioTimer};
use crate::record::{RollbackRecord, RunRecord, SessionRecord, StepRecord, WorkflowRecord};
use crate::spec::Workflow;
use crate::state::RunStatus;
use driver::Driver;
pub use preview::Preview;

/// Runs workflows. It has no state of its own that matters: what counts is in the store.
pub struct Engine {
    road: Arc<dyn Road>,
    store: Arc<dyn RunStore>,
    clock: Arc<dyn Clock>,
    timer: Arc<dyn Timer>,
    driving: Mutex<HashMap<RunId, Option<Interrupt>>>,
}

/// How a run is taken up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// Goes on where it stopped: after a pause, or after the process that drove it died.
    Continue,
    /// Takes back what a failed run has left: what was stuck, or all of it.
    RollBack,
}

/// What a run that is being driven is asked to do before its next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interrupt {
    Pause,
    Cancel { rollback: bool },
}

/// Holds a run against being driven twice.
struct Driving<'e> {
    engine: &'e Engine,
    run_id: RunId,
}

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        self.engine.driving().remove(&self.run_id);
    }
}

impl Engine {
    /// An engine that waits by tokio's clock.
    #[must_use]
    pub fn new(road: Arc<dyn Road>, store: Arc<dyn RunStore>, clock: Arc<dyn Clock>) -> Self {
        let timer = Arc::new(TokioTimer);
        Self { road, store, clock, timer, driving: Mutex::default() }
    }

    /// The same engine with another timer.
    #[must_use]
    pub fn with_timer(mut self, timer: Arc<dyn Timer>) -> Self {
        self.timer = timer;
        self
    }

    /// Accepts a run: it is checked against the workflow's schema and saved, and not begun. The
    /// caller has held the workflow against the session's graph
    /// ([`Workflow::validate_against`]).
    ///
    /// # Errors
    /// When the input does not fit, or the run is not saved.
    pub async fn submit(
        &self,
        session: &Session,
        workflow: &Workflow,
        input: Value,
    ) -> Result<RunRecord, EngineError> {
        if let Err(findings) = workflow.check_input(&input) {
            return Err(EngineError::Input { workflow: workflow.id.to_string(), findings });
        }
        let run = RunRecord {
            run_id: RunId::generate(self.clock.as_ref()),
            revision: 1,
            workflow: WorkflowRecord {
                id: workflow.id.to_string(),
                version: workflow.version.clone(),
                digest: workflow.digest(),
                source_name: workflow.source_name().to_owned(),
                source: workflow.source().to_owned(),
            },
            session: SessionRecord::of(session),
            input,
            status: RunStatus::Pending,
            steps: workflow.plan().order.iter().cloned().map(StepRecord::new).collect(),
            rollback: RollbackRecord::default(),
            output: Value::Null,
            error: None,
            created_at: self.clock.now(),
            started_at: None,
            ended_at: None,
            active_us: 0,
        };
        let mut facts = EventFacts {
            action_name: Some(run.workflow.id.clone()),
            action_params: Some(seal(&run.input)),
            run_id: Some(run.run_id.clone()),
            ..EventFacts::default()
        };
        facts.metadata.insert("workflow_version".into(), run.workflow.version.to_string().into());
        facts.metadata.insert("workflow_digest".into(), run.workflow.digest.to_string().into());
        let kind = EventType::WorkflowSubmitted;
        let event = Event::new(session, kind, facts, self.clock.as_ref());
        self.store.save(&run, vec![event]).await?;
        Ok(run)
    }

    /// Drives a run to its end or to a pause; also one whose driver died. Dropping the future
    /// leaves the run where its record says it is.
    ///
    /// # Errors
    /// When the run cannot be taken further. What a step failed with is in the record.
    pub async fn drive(&self, run: RunRecord) -> Result<RunRecord, EngineError> {
        let _driving = self.hold(&run.run_id)?;
        Driver::new(self, run)?.run().await
    }

    /// Takes up a run by its id.
    ///
    /// # Errors
    /// When it is not there, or has nothing left to do in this way.
    pub async fn resume(&self, run_id: &RunId, how: Resume) -> Result<RunRecord, EngineError> {
        let _driving = self.hold(run_id)?;
        let run = self.load(run_id).await?;
        let refuse = |status, reason| {
            Err(EngineError::NotResumable { run_id: run_id.clone(), status, reason })
        };
        let mut driver = Driver::new(self, run)?;
        match (driver.run.status, how) {
            (RunStatus::Paused, Resume::Continue) => {
                if driver.still_waits().await {
                    return Ok(driver.run);
                }
                driver.become_status(RunStatus::Running)?;
            }
            (RunStatus::Pending | RunStatus::Running | RunStatus::RollingBack, _) => {}
            (RunStatus::Failed, Resume::RollBack) => {
                driver.become_status(RunStatus::RollingBack)?;
                driver.flush().await?;
            }
            (status @ RunStatus::Paused, Resume::RollBack) => {
                return refuse(status, "cancel it with rollback instead");
            }
            (status @ RunStatus::Failed, Resume::Continue) => {
                return refuse(status, "it has failed; its rollback can be taken up");
            }
            (status @ (RunStatus::Completed | RunStatus::RolledBack), _) => {
                return refuse(status, "it has ended");
            }
        }
        driver.run().await
    }

    /// Stops a run and, with `rollback`, takes back what it did. A run that this engine drives
    /// at the moment stops before its next step; its record is returned as it is until then.
    ///
    /// # Errors
    /// When it is not there, or has ended.
    pub async fn cancel(&self, run_id: &RunId, rollback: bool) -> Result<RunRecord, EngineError> {
        if self.interrupt(run_id, Interrupt::Cancel { rollback }) {
            return self.load(run_id).await;
        }
        let _driving = self.hold(run_id)?;
        let run = self.load(run_id).await?;
        let refuse = |status, reason| {
            Err(EngineError::NotResumable { run_id: run_id.clone(), status, reason })
        };
        match run.status {
            RunStatus::Pending | RunStatus::Running | RunStatus::Paused => {}
            status @ RunStatus::RollingBack => return refuse(status, "it is being taken back"),
            status => return refuse(status, "it has ended"),
        }
        let begun = run.status != RunStatus::Pending;
        let mut driver = Driver::new(self, run)?;
        driver.fail(None, FailureKind::Cancelled, "the run was cancelled".to_owned());
        let to = if rollback && begun { RunStatus::RollingBack } else { RunStatus::Failed };
        driver.interrupt_steps()?;
        driver.become_status(to)?;
        driver.flush().await?;
        driver.run().await
    }

    /// Asks a run that this engine drives to pause before its next step. Says whether it does
    /// drive it.
    pub fn pause(&self, run_id: &RunId) -> bool {
        self.interrupt(run_id, Interrupt::Pause)
    }

    async fn load(&self, run_id: &RunId) -> Result<RunRecord, EngineError> {
        let found = self.store.load(run_id).await?;
        found.ok_or_else(|| EngineError::NotFound(run_id.clone()))
    }

    fn hold(&self, run_id: &RunId) -> Result<Driving<'_>, EngineError> {
        let mut driving = self.driving();
        if driving.contains_key(run_id) {
            return Err(EngineError::Busy(run_id.clone()));
        }
        driving.insert(run_id.clone(), None);
        Ok(Driving { engine: self, run_id: run_id.clone() })
    }

    /// A cancellation is never replaced by a pause.
    fn interrupt(&self, run_id: &RunId, interrupt: Interrupt) -> bool {
        let mut driving = self.driving();
        let Some(slot) = driving.get_mut(run_id) else { return false };
        if interrupt != Interrupt::Pause || slot.is_none() {
            *slot = Some(interrupt);
        }
        true
    }

    fn take_interrupt(&self, run_id: &RunId) -> Option<Interrupt> {
        self.driving().get_mut(run_id).and_then(Option::take)
    }

    fn driving(&self) -> MutexGuard<'_, HashMap<RunId, Option<Interrupt>>> {
        self.driving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("driving", &self.driving().len()).finish_non_exhaustive()
    }
}

/// The workflow that a run started with.
fn workflow_of(run: &RunRecord) -> Result<Workflow, EngineError> {
    let refuse = |reason: String| EngineError::Document { run_id: run.run_id.clone(), reason };
    let source = Source::new(&run.workflow.source_name, run.workflow.source.as_bytes());
    let workflow = Workflow::from_yaml(&source).map_err(|error| refuse(error.to_string()))?;
    if workflow.digest() != run.workflow.digest {
        return Err(refuse("its digest is another one".to_owned()));
    }
    let same = run.steps.len() == workflow.steps.len()
        && run.steps.iter().map(|step| &step.id).eq(&workflow.plan().order);
    if same { Ok(workflow) } else { Err(refuse("its steps are other ones".to_owned())) }
}
