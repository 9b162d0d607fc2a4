//! Workflows that are called like any capability.
//!
//! One call, two parts, as with commands: first the call itself is judged, and recorded as having
//! begun a run under an id; then the run is driven, each of its steps judged by itself, and what
//! comes of it is what comes of the call. The record of the first part is what makes the second
//! happen once: whoever asks again under the same key takes up the same run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lictor_capability::{Action, CapabilityGraph, Contract, Effects};
use lictor_context::{ApprovalId, Clock, Digest, ExecutionId, RunId, Timestamp};
use lictor_document::Source;
use lictor_executor::{ExecutionRecord, Granted, Handler, HandlerError, HandlerFactory, Request};
use lictor_workflow::{
    Engine, EngineError, ParentRecord, Resume, RollbackStatus, RunRecord, RunStatus, Stopping,
    SubRun, Work, Workflow,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::agent::{Agent, Done};
use crate::consent::Consent;
use crate::error::{ActError, ActErrorKind, ErrorCode};
use crate::plans::{Above, planned_step};
use crate::runtime::Runtime;

/// So many workflows may call one another, the first one counted.
const MAX_DEPTH: usize = 8;
/// How often it is looked at a run that somebody else drives.
const LOOK: Duration = Duration::from_millis(100);

/// Makes handlers of contracts whose handler is `workflow`.
#[derive(Debug)]
pub(crate) struct WorkflowHandlers {
    pub(crate) clock: Arc<dyn Clock>,
}

impl HandlerFactory for WorkflowHandlers {
    fn handler(&self, contract: &Contract) -> Option<Arc<dyn Handler>> {
        contract.calls_workflow()?;
        Some(Arc::new(Begins { clock: Arc::clone(&self.clock) }))
    }
}

/// Begins a run. What the run does is judged step by step, and so this does nothing.
struct Begins {
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Handler for Begins {
    fn describe(&self, _: Request<'_>) -> Result<Effects, HandlerError> {
        Ok(Effects::default())
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        let run = RunId::generate(self.clock.as_ref());
        granted.begin_run(run.clone());
        Ok(json!({ "run_id": run }))
    }
}

/// What an action of a run goes by, and the run that it begins.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bounds {
    /// Whether the run that asked is being stopped, or is to wait.
    pub(crate) stopping: Stopping,
    /// How long what it begins may take.
    pub(crate) limit: Option<Duration>,
    /// Who agrees at once to what that does.
    pub(crate) consent: Option<Arc<Consent>>,
    /// From where the run is driven that it is of.
    pub(crate) way: Way,
}

/// From where a run is driven that a step of another one began.
#[derive(Debug, Clone, Default)]
pub(crate) struct Way {
    /// The steps that lead to it from the run that is driven for itself, the outermost first.
    pub(crate) steps: Vec<String>,
    /// What people agreed to as a whole.
    pub(crate) above: Option<Above>,
}

impl Way {
    /// The same for the run that an action begins.
    fn on(mut self, action: &Action) -> Self {
        if let Some(step_id) = &action.origin().step_id {
            self.steps.push(planned_step(step_id).0.to_owned());
            self.above = self.above.map(|above| above.then(step_id));
        }
        self
    }
}

/// Why a workflow cannot be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallRefusal {
    /// Nobody has found out which document its contract means.
    #[error(
        "which document `{0}` calls was not found out: contracts of workflows lie in the catalogue"
    )]
    NoDocument(String),
    /// Its file is not the document that the contract was let in over.
    #[error("`{file}` is not the workflow that was let in: that is {pinned}, found {found}")]
    Changed {
        /// The file.
        file: String,
        /// What was let in.
        pinned: Digest,
        /// What the file holds.
        found: Digest,
    },
    /// Its file cannot be read, or is no workflow that can run here.
    #[error("the workflow `{file}`: {why}")]
    Unfit {
        /// The file.
        file: String,
        /// Why.
        why: String,
    },
    /// It would call itself in the end.
    #[error("the workflows call each other: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// It calls one that calls one, and so on.
    #[error("workflows call one another {MAX_DEPTH} deep at most: {}", .0.join(" -> "))]
    TooDeep(Vec<String>),
}

impl Runtime {
    /// The workflow behind a contract, with everything that it calls held against the session's
    /// graph; `callers` are the capabilities on the way to it, itself the last.
    pub(crate) fn called_workflow(
        &self,
        graph: &CapabilityGraph,
        contract: &Contract,
        callers: &[String],
    ) -> Result<Workflow, CallRefusal> {
        let Some(document) = contract.workflow_document() else {
            // Only the catalogue finds documents; a contract from elsewhere has none.
            return Err(CallRefusal::NoDocument(contract.id.to_string()));
        };
        let name = document.file.as_str();
        let unfit = |why: String| CallRefusal::Unfit { file: name.to_owned(), why };
        let bytes = self.parts.shelf.read_workflow(document);
        let bytes = bytes.map_err(|error| unfit(error.to_string()))?;
        let found = Digest::of(&bytes);
        if found != document.digest {
            let (file, pinned) = (name.to_owned(), document.digest);
            return Err(CallRefusal::Changed { file, pinned, found });
        }
        let workflow = Workflow::from_yaml(&Source::new(name, &bytes));
        let workflow = workflow.map_err(|error| unfit(error.to_string()))?;
        workflow.validate_against(graph).map_err(|error| unfit(error.to_string()))?;
        self.check_calls(graph, &workflow, callers)?;
        Ok(workflow)
    }

    /// Holds the workflows that a workflow calls against the same graph, and these theirs.
    pub(crate) fn check_calls(
        &self,
        graph: &CapabilityGraph,
        workflow: &Workflow,
        callers: &[String],
    ) -> Result<(), CallRefusal> {
        for step in &workflow.steps {
            let Work::Call(call) = &step.work else { continue };
            let back = call.compensate.as_ref();
            let calls = [(&call.capability, call.version.as_ref())]
                .into_iter()
                .chain(back.map(|back| (&back.capability, back.version.as_ref())));
            for (id, version) in calls {
                let Some(contract) = graph.get(id, version) else { continue };
                if contract.calls_workflow().is_none() {
                    continue;
                }
                let mut way = callers.to_vec();
                way.push(id.to_string());
                if callers.iter().any(|caller| caller == id.as_str()) {
                    return Err(CallRefusal::Cycle(way));
                }
                if way.len() > MAX_DEPTH {
                    return Err(CallRefusal::TooDeep(way));
                }
                self.called_workflow(graph, contract, &way)?;
            }
        }
        Ok(())
    }
}

impl Agent {
    /// Whether an action that calls a workflow can begin one; anything else can.
    pub(crate) fn can_begin(
        &self,
        action: &Action,
        contract: &Contract,
    ) -> Result<(), ActErrorKind> {
        if contract.calls_workflow().is_none() {
            return Ok(());
        }
        let way = [contract.id.to_string()];
        let workflow = self.runtime().called_workflow(self.graph(), contract, &way);
        let workflow = workflow.map_err(|why| ActErrorKind::NotCallable(Box::new(why)))?;
        if let Err(findings) = workflow.check_input(action.input()) {
            let told: Vec<String> = findings.iter().map(ToString::to_string).collect();
            let why = format!("the workflow does not take this input: {}", told.join("; "));
            return Err(ActErrorKind::Invalid(why));
        }
        let refused = |refusal: crate::PackRefusal| ActErrorKind::Denied(refusal.to_string());
        self.runtime().check_pack(&workflow).map_err(refused)
    }

    /// The run that an action began when it was asked for before: it is the same intent, however
    /// long ago.
    pub(crate) fn begun(&self, action: &Action) -> Result<Option<ExecutionRecord>, ActError> {
        let Some(key) = action.idempotency_key() else { return Ok(None) };
        let contract = self.graph().get(action.capability(), action.version());
        if contract.and_then(|it| it.calls_workflow()).is_none() {
            return Ok(None);
        }
        // A step of a run is one intent for as long as the run lasts, and so is making up for something;
        // for others the policy says.
        let origin = action.origin();
        if origin.run_id.is_none() && origin.compensates.is_empty() {
            return Ok(None);
        }
        let found = self.runtime().executions().find_key(key, Timestamp::from_micros(0));
        let found = found.map_err(|error| ActErrorKind::NotRecorded(error.to_string()))?;
        Ok(found.filter(|record| record.began.is_some()))
    }

    /// Takes the run that an action began to its end, or to a pause, and makes what came of it what
    /// came of the action.
    pub(crate) async fn go_on(&self, action: &Action, done: Done) -> Result<Done, ActError> {
        let Some(run_id) = done.record.began.clone() else { return Ok(done) };
        let run = self.sub_run(action, &done.record, &run_id).await?;
        let ended = run.status().is_final();
        let contract = self.graph().get(action.capability(), action.version());
        let most = contract.map(|contract| contract.timeout.as_duration());
        let bounds = self.bounds();
        let limit = [most, bounds.limit].into_iter().flatten().min();
        let bounds = Bounds { limit, ..bounds };
        let run = match ended {
            true => run,
            false => {
                let way = bounds.way.clone().on(action);
                self.driven(&run_id, Bounds { way, ..bounds }).await?
            }
        };
        let decision = done.record.decision.clone();
        let execution = done.record.execution_id.clone();
        let mut outcome = self.outcome(&run, &execution);
        if !action.origin().compensates.is_empty() {
            let made_up = self.settle_compensation(action, done.record.clone(), &run).await?;
            outcome = outcome.map_err(|kind| made_up.told(kind));
        }
        let output = outcome.map_err(|kind| ActError::from(kind).with_decision(&decision))?;
        let duplicate = done.duplicate && ended;
        let record = ExecutionRecord { output, ..done.record };
        Ok(Done { record, duplicate, ..done })
    }

    /// The run, submitted if it is not there yet: a crash may have come between.
    async fn sub_run(
        &self,
        action: &Action,
        record: &ExecutionRecord,
        run_id: &RunId,
    ) -> Result<RunRecord, ActError> {
        let store = self.runtime().run_store();
        let unreadable =
            |error: lictor_workflow::StoreError| ActErrorKind::NotRecorded(error.to_string());
        if let Some(run) = store.load(run_id).await.map_err(unreadable)? {
            return Ok(run);
        }
        let gone =
            || ActErrorKind::NotFound(format!("there is no `{}` any more", action.capability()));
        let contract = self.graph().get(action.capability(), action.version()).ok_or_else(gone)?;
        let way = [contract.id.to_string()];
        let workflow = self.runtime().called_workflow(self.graph(), contract, &way);
        let workflow = workflow.map_err(|why| ActErrorKind::NotCallable(Box::new(why)))?;
        let above = match &action.origin().run_id {
            None => None,
            Some(above) => store.load(above).await.map_err(unreadable)?,
        };
        let depth = above.and_then(|run| run.parent).map_or(0, |parent| parent.depth);
        if depth as usize >= MAX_DEPTH {
            let refusal = CallRefusal::TooDeep(vec![contract.id.to_string()]);
            return Err(ActErrorKind::NotCallable(Box::new(refusal)).into());
        }
        let parent = ParentRecord {
            capability: contract.id.to_string(),
            execution_id: record.execution_id.clone(),
            run_id: action.origin().run_id.clone(),
            step_id: action.origin().step_id.clone(),
            depth: depth + 1,
            output: contract.output_schema().clone(),
        };
        let sub_run = SubRun { run_id: run_id.clone(), parent };
        let engine = self.runtime().engine(None);
        let submitted =
            engine.submit_for(self.session(), &workflow, action.input().clone(), sub_run).await;
        match submitted {
            Ok(run) => Ok(run),
            // Somebody else was quicker.
            Err(EngineError::Store(_)) => match store.load(run_id).await.map_err(unreadable)? {
                Some(run) => Ok(run),
                None => Err(ActErrorKind::NotRecorded(format!("the run `{run_id}`")).into()),
            },
            Err(error) => Err(ActErrorKind::Invalid(error.to_string()).into()),
        }
    }

    /// The workflow that an action calls; `None` when it calls none.
    ///
    /// # Errors
    /// When it cannot be called.
    pub fn workflow_of(&self, action: &Action) -> Result<Option<Workflow>, CallRefusal> {
        let contract = self.graph().get(action.capability(), action.version());
        let Some(contract) = contract.filter(|it| it.calls_workflow().is_some()) else {
            return Ok(None);
        };
        let way = [contract.id.to_string()];
        self.runtime().called_workflow(self.graph(), contract, &way).map(Some)
    }

    /// The same session, with somebody who agrees at once to what a workflow does that it calls: they
    /// looked at it as at a run ([`Runtime::look_at_run`]).
    #[must_use]
    pub fn agreeing(mut self, consent: Consent) -> Self {
        self.bounds.consent = Some(Arc::new(consent));
        self
    }

    /// Drives a run until it rests, here or by whoever has it. When it is to wait, it waits from its
    /// next step on; when it is not wanted any more it is cancelled, and what it did is taken back,
    /// before this comes back; also when nobody waits.
    async fn driven(&self, run_id: &RunId, bounds: Bounds) -> Result<RunRecord, ActError> {
        let (wanted, gone) = oneshot::channel::<()>();
        let engine = self.runtime().engine_below(bounds.consent.clone(), bounds.way.clone());
        let run_id = run_id.clone();
        let driving =
            tokio::spawn(async move { Driven { engine, run_id }.until(&bounds, gone).await });
        let outcome = driving.await;
        drop(wanted);
        match outcome {
            Ok(Ok(run)) => Ok(run),
            Ok(Err(error)) => Err(ActErrorKind::NotRecorded(error.to_string()).into()),
            Err(error) => Err(ActErrorKind::NotRecorded(error.to_string()).into()),
        }
    }

    /// What a run that rests came to, for the call that began it.
    fn outcome(&self, run: &RunRecord, execution: &ExecutionId) -> Result<Value, ActErrorKind> {
        let run_id = run.run_id.clone();
        let message = run.error.as_ref().map_or_else(String::new, |error| error.message.clone());
        let ended = |code, message: String| {
            let execution_id = execution.clone();
            Err(ActErrorKind::RunEnded(Box::new(RunEnded {
                run_id: run_id.clone(),
                execution_id,
                code,
                message,
            })))
        };
        match run.status() {
            RunStatus::Completed => Ok(run.output.clone()),
            // One that was to wait before it had begun waits as well.
            RunStatus::Paused | RunStatus::Pending => {
                let waits = run.steps.iter().find_map(|step| step.waiting_for.as_deref());
                let approval_id = run.plan_waits_for().or(waits);
                let approval_id = approval_id.and_then(|id| ApprovalId::parse(id).ok());
                let execution_id = execution.clone();
                Err(ActErrorKind::RunWaits(Box::new(RunWaits {
                    run_id,
                    execution_id,
                    approval_id,
                })))
            }
            RunStatus::RolledBack => ended(ErrorCode::Failed, message),
            RunStatus::Failed if run.rollback.status == RollbackStatus::Partial => {
                let stuck: Vec<String> = run
                    .rollback
                    .stuck
                    .iter()
                    .map(|stuck| format!("{}: {}", stuck.step, stuck.reason))
                    .collect();
                ended(ErrorCode::Incomplete, format!("{message}; stuck: {}", stuck.join("; ")))
            }
            RunStatus::Failed if run.steps.iter().all(|step| step.start_order.is_none()) => {
                ended(ErrorCode::Failed, message)
            }
            RunStatus::Failed | RunStatus::Running | RunStatus::RollingBack => {
                ended(ErrorCode::Incomplete, message)
            }
        }
    }
}

impl Runtime {
    /// Takes back what a run did that answered for a call, whoever drives it.
    pub(crate) async fn take_back_run(&self, run_id: &RunId) -> Result<(), String> {
        let engine = self.engine(None);
        loop {
            let run = match engine.take_back(run_id).await {
                Ok(run) => run,
                // It was begun on record, and nothing of it was ever done.
                Err(EngineError::NotFound(_)) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            match run.status() {
                RunStatus::RolledBack => return Ok(()),
                RunStatus::Failed if run.rollback.status == RollbackStatus::None => return Ok(()),
                RunStatus::Failed => {
                    let stuck = run.rollback.stuck.iter();
                    let told: Vec<String> =
                        stuck.map(|one| format!("{}: {}", one.step, one.reason)).collect();
                    return Err(format!("the run `{run_id}`: {}", told.join("; ")));
                }
                // Somebody else drives it, and was told.
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

/// A run on behalf of a call.
struct Driven {
    engine: Engine,
    run_id: RunId,
}

impl Driven {
    /// Drives it until it rests, as long as it is wanted.
    async fn until(
        &self,
        bounds: &Bounds,
        gone: oneshot::Receiver<()>,
    ) -> Result<RunRecord, EngineError> {
        let unwanted = async {
            let over = async {
                match bounds.limit {
                    Some(limit) => tokio::time::sleep(limit).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = bounds.stopping.stopped() => {}
                () = over => {}
                _ = gone => {}
            }
        };
        let waits = AtomicBool::new(false);
        let rested = self.rested(&waits);
        tokio::pin!(rested, unwanted);
        tokio::select! {
            run = &mut rested => return run,
            () = &mut unwanted => {}
            () = bounds.stopping.pausing() => {
                waits.store(true, Ordering::Release);
                // Asked of whoever drives it, which may be the other future here.
                match self.engine.pause(&self.run_id).await {
                    Ok(_) | Err(EngineError::NotResumable { .. }) => {}
                    Err(error) => return Err(error),
                }
                tokio::select! {
                    run = &mut rested => return run,
                    () = &mut unwanted => {}
                }
            }
        }
        match self.engine.cancel(&self.run_id, true).await {
            Ok(_) | Err(EngineError::NotResumable { .. }) => rested.await,
            Err(error) => Err(error),
        }
    }

    /// Drives it until it rests, or waits until whoever drives it has. One that is to wait is not
    /// taken up again by this.
    async fn rested(&self, waits: &AtomicBool) -> Result<RunRecord, EngineError> {
        let Self { engine, run_id } = self;
        loop {
            let outcome = match waits.load(Ordering::Acquire) {
                false => engine.resume(run_id, Resume::Continue).await,
                true => engine.pause(run_id).await,
            };
            match outcome {
                Ok(run) if run.status().is_at_rest() => return Ok(run),
                // It has ended, or has not begun; which of it its record says.
                Err(EngineError::NotResumable { .. }) => {
                    let run = engine.record(run_id).await?;
                    if run.status() != RunStatus::RollingBack {
                        return Ok(run);
                    }
                }
                Ok(_) | Err(EngineError::Busy(_)) => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A call began a run, and the run waits for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunWaits {
    /// The run.
    pub run_id: RunId,
    /// The execution that began it.
    pub execution_id: ExecutionId,
    /// The approval that it waits for; none when somebody paused it.
    pub approval_id: Option<ApprovalId>,
}

/// A call began a run, and the run did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnded {
    /// The run.
    pub run_id: RunId,
    /// The execution that began it.
    pub execution_id: ExecutionId,
    /// What is left of it, by the code of that.
    pub code: ErrorCode,
    /// Why, for people.
    pub message: String,
}
