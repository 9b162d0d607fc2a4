//! A workflow that fails everywhere, and leaves nothing behind.

use std::fmt;
use std::sync::Arc;

use lictor_context::{Clock, Name, Principal, RunId, Session};
use lictor_workflow::{
    Engine, EngineError, MemoryRunStore, OnError, Owner, Resume, Road, RollbackStatus, RunRecord,
    RunStatus, RunStore, StepRecord, Work, Workflow,
};
use serde_json::Value;

use crate::clock::TokioClock;
use crate::dying::DyingStore;
use crate::world::{Faults, Script, World, base};

/// A workflow with an input, and what its calls give.
#[derive(Debug)]
pub struct Saga {
    workflow: Workflow,
    input: Value,
    script: Script,
}

/// What was tried; all of it was right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SagaReport {
    /// The saves of a run that completes.
    pub n_saves: usize,
    /// Steps that were made to fail, one at a time.
    pub n_failed_steps: usize,
    /// Undos and compensations that were made to fail, one at a time.
    pub n_failed_backs: usize,
    /// Deaths of the process, on the way forward and on the way back.
    pub n_deaths: usize,
}

/// The first case that came out wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SagaError {
    case: String,
    problem: String,
}

impl SagaError {
    /// What was done.
    #[must_use]
    pub fn case(&self) -> &str {
        &self.case
    }

    /// What came of it.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

impl fmt::Display for SagaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.case, self.problem)
    }
}

impl std::error::Error for SagaError {}

impl Saga {
    /// A saga whose calls give `{}`.
    #[must_use]
    pub fn new(workflow: Workflow, input: Value) -> Self {
        let mut script = Script::default();
        for step in &workflow.steps {
            if let Work::Call(call) = &step.work
                && call.compensate.is_some()
            {
                script.outside.insert(step.id.clone());
            }
        }
        Self { workflow, input, script }
    }

    /// Says what calls of a capability give.
    #[must_use]
    pub fn output(mut self, capability: &str, output: Value) -> Self {
        self.script.outputs.insert(capability.to_owned(), output);
        self
    }

    /// Says that a capability only looks, and leaves nothing.
    #[must_use]
    pub fn looks(mut self, capability: &str) -> Self {
        self.script.looks.insert(capability.to_owned());
        self
    }

    /// Tries everything. To be called outside of any async runtime: it has one of its own.
    ///
    /// # Errors
    /// The first case that came out wrong.
    pub fn check(self) -> Result<SagaReport, SagaError> {
        let fail = |error: std::io::Error| SagaError {
            case: "a runtime for the test".to_owned(),
            problem: error.to_string(),
        };
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(fail)?
            .block_on(self.check_all())
    }

    async fn check_all(self) -> Result<SagaReport, SagaError> {
        let Self { workflow, input, script } = self;
        let trial = Trial { workflow, input, script: Arc::new(script) };
        let mut report = SagaReport::default();
        let good = trial.case("as it is", Faults::default()).await?;
        good.expect(RunStatus::Completed)?;
        good.each_effect_once()?;
        report.n_saves = good.n_saves;
        let called: Vec<String> = good.called();
        for step in &called {
            let faults = Faults { step: Some(step.clone()), back: None };
            let failed = trial.case(&format!("step `{step}` fails"), faults).await?;
            report.n_failed_steps += 1;
            if trial.survives(step) {
                failed.expect(RunStatus::Completed)?;
            } else {
                failed.expect(RunStatus::RolledBack)?;
                failed.nothing_left()?;
            }
        }
        let last = called.iter().rev().find(|step| !trial.survives(step)).cloned();
        let back = Faults { step: last, back: None };
        trial.fail_backs(&good, &back, &mut report).await?;
        trial.die_everywhere(&Faults::default(), RunStatus::Completed, &mut report).await?;
        if back.step.is_some() {
            trial.die_everywhere(&back, RunStatus::RolledBack, &mut report).await?;
        }
        Ok(report)
    }
}

struct Trial {
    workflow: Workflow,
    input: Value,
    script: Arc<Script>,
}

/// A run that has ended, and the world as it left it.
struct Case {
    name: String,
    run: RunRecord,
    world: Arc<World>,
    store: Arc<MemoryRunStore>,
    n_saves: usize,
}

impl Trial {
    fn survives(&self, step: &str) -> bool {
        self.workflow.step(base(step)).is_some_and(|it| it.on_error == OnError::Continue)
    }

    async fn case(&self, name: &str, faults: Faults) -> Result<Case, SagaError> {
        let case = self.dying(name, faults, 0, false).await?;
        case.ok_or_else(|| wrong(name, "it ended before it was saved".to_owned()))
    }

    /// Runs it in a process that dies at a save, and lets another one finish it. Nothing when it
    /// died before anything was kept.
    async fn dying(
        &self,
        name: &str,
        faults: Faults,
        dies_at: usize,
        saves_first: bool,
    ) -> Result<Option<Case>, SagaError> {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
        let world = Arc::new(World::new(Arc::clone(&self.script), Arc::clone(&clock), faults));
        let store = Arc::new(MemoryRunStore::default());
        let dying = Arc::new(DyingStore::new(Arc::clone(&store), dies_at, saves_first));
        let engine = Engine::new(
            Arc::clone(&world) as Arc<dyn Road>,
            Arc::clone(&dying) as Arc<dyn RunStore>,
            Arc::clone(&clock),
        );
        let session = session(&clock).map_err(|problem| wrong(name, problem))?;
        let problem = |error: EngineError| wrong(name, error.to_string());
        let ended = engine.run(&session, &self.workflow, self.input.clone()).await;
        let n_saves = dying.n_saves();
        let run = match ended {
            Ok(run) => run,
            Err(EngineError::Store(_)) if dies_at > 0 => {
                let kept = store.list(2).await;
                let kept = kept.map_err(|error| wrong(name, error.to_string()))?;
                let Some(run) = kept.into_iter().next() else {
                    if world.seen().done.is_empty() {
                        return Ok(None);
                    }
                    return Err(wrong(name, "an effect has no record".to_owned()));
                };
                take_over(&world, &store, &clock, &run.run_id, name).await?
            }
            Err(error) => return Err(problem(error)),
        };
        Ok(Some(Case { name: name.to_owned(), run, world, store, n_saves }))
    }

    async fn fail_backs(
        &self,
        good: &Case,
        faults: &Faults,
        report: &mut SagaReport,
    ) -> Result<(), SagaError> {
        if faults.step.is_none() {
            return Ok(());
        }
        let effects: Vec<String> = good.world.seen().done.keys().cloned().collect();
        for step in effects {
            if faults.step.as_ref() == Some(&step) {
                continue;
            }
            let name = format!("taking back `{step}` fails");
            let faults = Faults { step: faults.step.clone(), back: Some(step.clone()) };
            let mut case = self.case(&name, faults).await?;
            if !case.world.seen().done.contains_key(&step) {
                continue;
            }
            report.n_failed_backs += 1;
            case.expect(RunStatus::Failed)?;
            let stuck: Vec<&str> =
                case.run.rollback.stuck.iter().map(|stuck| stuck.step.as_str()).collect();
            if case.run.rollback.status != RollbackStatus::Partial || stuck != [step.as_str()] {
                return Err(case.wrong(format!("it is stuck, and said is {stuck:?}")));
            }
            let left: Vec<String> = case.left();
            if left != [step.clone()] {
                return Err(case.wrong(format!("left is {left:?}, and not `{step}` alone")));
            }
            case.world.repair();
            let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
            let engine = engine(&case.world, &case.store, &clock, "repairing");
            let run = engine.resume(&case.run.run_id, Resume::RollBack).await;
            case.run = run.map_err(|error| case.wrong(error.to_string()))?;
            case.name.push_str(", and is repaired");
            case.expect(RunStatus::RolledBack)?;
            case.each_taken_back_once()?;
        }
        Ok(())
    }

    /// Dies before and after each save there is.
    async fn die_everywhere(
        &self,
        faults: &Faults,
        status: RunStatus,
        report: &mut SagaReport,
    ) -> Result<(), SagaError> {
        for saves_first in [false, true] {
            let mut dies_at = 1;
            loop {
                let when = if saves_first { "after" } else { "before" };
                let failing = match &faults.step {
                    Some(step) => format!(", with `{step}` failing"),
                    None => String::new(),
                };
                let name = format!("the process dies {when} save {dies_at}{failing}");
                let case = self.dying(&name, faults.clone(), dies_at, saves_first).await?;
                if let Some(case) = case {
                    case.expect(status)?;
                    match status {
                        RunStatus::Completed => case.each_effect_once()?,
                        _ => case.nothing_left()?,
                    }
                    if case.n_saves < dies_at {
                        break;
                    }
                }
                report.n_deaths += 1;
                dies_at += 1;
            }
        }
        Ok(())
    }
}

/// Another process takes the run over, when the lease of the dead one has run out.
async fn take_over(
    world: &Arc<World>,
    store: &Arc<MemoryRunStore>,
    clock: &Arc<dyn Clock>,
    run_id: &RunId,
    name: &str,
) -> Result<RunRecord, SagaError> {
    tokio::time::advance(2 * lictor_workflow::LEASE).await;
    let engine = engine(world, store, clock, "another");
    let taken = engine.recover(1).await.map_err(|error| wrong(name, error.to_string()))?;
    for (_, outcome) in taken {
        outcome.map_err(|error| wrong(name, error.to_string()))?;
    }
    let found = store.load(run_id).await.map_err(|error| wrong(name, error.to_string()))?;
    found.ok_or_else(|| wrong(name, "the run is gone".to_owned()))
}

fn engine(
    world: &Arc<World>,
    store: &Arc<MemoryRunStore>,
    clock: &Arc<dyn Clock>,
    name: &str,
) -> Engine {
    let road = Arc::clone(world) as Arc<dyn Road>;
    let store = Arc::clone(store) as Arc<dyn RunStore>;
    Engine::new(road, store, Arc::clone(clock)).with_owner(Owner(name.to_owned()))
}

fn session(clock: &Arc<dyn Clock>) -> Result<Session, String> {
    let name = |text| Name::parse(text).map_err(|error| error.to_string());
    let principal =
        Principal { org: name("testkit")?, user: name("tester")?, agent: name("saga")? };
    Ok(Session::new(principal, clock.as_ref()))
}

fn wrong(case: &str, problem: String) -> SagaError {
    SagaError { case: case.to_owned(), problem }
}

impl Case {
    fn wrong(&self, problem: String) -> SagaError {
        wrong(&self.name, problem)
    }

    /// The steps that were called, in the order in which they began.
    fn called(&self) -> Vec<String> {
        let mut called: Vec<&StepRecord> =
            self.run.steps.iter().filter(|step| !step.attempts.is_empty()).collect();
        called.sort_by_key(|step| step.start_order);
        called.into_iter().map(|step| step.id.clone()).collect()
    }

    fn expect(&self, status: RunStatus) -> Result<(), SagaError> {
        if self.run.status() == status {
            return Ok(());
        }
        let (found, error, rollback) = (self.run.status(), &self.run.error, &self.run.rollback);
        Err(self.wrong(format!("it is {found} and not {status}: {error:?} {rollback:?}")))
    }

    fn each_effect_once(&self) -> Result<(), SagaError> {
        let seen = self.world.seen();
        match seen.done.iter().find(|(step, n)| **n != 1 || seen.left(step) != 1) {
            None => Ok(()),
            Some((step, n)) => {
                Err(self
                    .wrong(format!("`{step}` happened {n} times, {} are left", seen.left(step))))
            }
        }
    }

    fn left(&self) -> Vec<String> {
        let seen = self.world.seen();
        seen.done.keys().filter(|step| seen.left(step) != 0).cloned().collect()
    }

    fn each_taken_back_once(&self) -> Result<(), SagaError> {
        let left = self.left();
        if !left.is_empty() {
            return Err(self.wrong(format!("left, or taken back twice: {left:?}")));
        }
        let seen = self.world.seen();
        let without = seen.taken_back.keys().find(|step| !seen.done.contains_key(*step));
        match without {
            None => Ok(()),
            Some(step) => Err(self.wrong(format!("`{step}` was taken back and had not happened"))),
        }
    }

    /// All of it was taken back, once, in the reverse of the order in which it began.
    fn nothing_left(&self) -> Result<(), SagaError> {
        self.each_taken_back_once()?;
        let order_of = |id: &str| self.run.step(id).and_then(|step| step.start_order);
        let seen = self.world.seen();
        let began: Vec<Option<u32>> = seen.order.iter().map(|step| order_of(step)).collect();
        if began.is_sorted_by(|earlier, later| earlier > later) {
            return Ok(());
        }
        Err(self.wrong(format!("taken back in the order {:?}", seen.order)))
    }
}
