//! A world in memory, a road over it that can be told to fail, and a timer that does not wait.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use lictor_capability::UndoScope;
use lictor_context::{
    Clock, Digest, Event, ExecutionId, Name, Principal, RunId, Session, Timestamp,
};
use lictor_document::Source;
use lictor_workflow::{
    ApprovalCall, ApprovalState, Claimed, EffectState, Engine, FailureKind, Lease, MemoryRunStore,
    Owner, PlanCall, PlanState, Purpose, Recalled, Road, RunRecord, RunStatus, RunStore, Save,
    StepCall, StepDone, StepFailure, StepRecord, StepStatus, StoreError, UndoCall, UndoFailure,
    Wish, Workflow,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct World {
    pub(crate) files: BTreeMap<String, String>,
    /// Effects outside of the workspace.
    pub(crate) notes: Vec<String>,
    /// What the road was asked, in order.
    pub(crate) log: Vec<String>,
    /// What goes wrong with a step, attempt by attempt.
    pub(crate) faults: HashMap<String, VecDeque<StepFailure>>,
    pub(crate) undo_fails: HashSet<String>,
    /// What goes wrong with the undo of a step, attempt by attempt: whether another may help.
    pub(crate) undo_faults: HashMap<String, VecDeque<bool>>,
    /// Steps whose undo never answers.
    pub(crate) undo_hangs: HashSet<String>,
    pub(crate) compensation_fails: HashSet<String>,
    /// Steps whose calls never answer; whether the effect happens all the same.
    pub(crate) hangs: HashMap<String, bool>,
    /// Steps whose next call waits until it is let go.
    pub(crate) held: HashMap<String, Arc<Notify>>,
    /// Steps that the gate wants people to agree to.
    pub(crate) gated: HashMap<String, ApprovalState>,
    /// How a run stands with people as a whole; nothing about that when `None`.
    pub(crate) plan: Option<PlanState>,
    /// Whether nobody can be asked about runs as a whole.
    pub(crate) plan_fails: bool,
    /// The plans that were asked about, as they were granted by then.
    pub(crate) plans: Vec<Option<Digest>>,
    /// How approval steps are answered.
    pub(crate) answer: Option<ApprovalState>,
    pub(crate) questions: Vec<(String, Digest)>,
    pub(crate) violations: Vec<String>,
    /// Steps whose calls only look.
    pub(crate) looks: HashSet<String>,
    /// How long a call takes.
    pub(crate) takes: Duration,
    n_at_once: usize,
    pub(crate) most_at_once: usize,
    pub(crate) inputs: BTreeMap<String, Value>,
    executions: HashMap<String, (String, Option<String>, bool)>,
    ledger: HashMap<Digest, StepDone>,
}

pub(crate) struct FakeRoad {
    world: Mutex<World>,
    store: Arc<MemoryRunStore>,
    clock: Arc<TokioClock>,
}

pub(crate) fn failure(kind: FailureKind, retryable: bool) -> StepFailure {
    let message = format!("told to fail ({})", kind.as_str());
    StepFailure { kind, message, retryable, execution_id: None, decision: Value::Null }
}

impl FakeRoad {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panics while it holds the world")
    }

    /// What is on record of the call before it happens.
    async fn recorded(&self, call: &StepCall) -> Result<(), String> {
        let run = self.store.load(&call.run_id).await.expect("memory").ok_or("no run")?;
        let step = run.step(&call.step_id).ok_or("no step")?;
        let (attempts, status) = match call.purpose {
            Purpose::Step => (&step.attempts, RunStatus::Running),
            Purpose::Compensation => (&step.compensation, RunStatus::RollingBack),
        };
        if run.status() != status {
            return Err(format!("the run is {}", run.status()));
        }
        if call.purpose == Purpose::Step && step.status != StepStatus::Running {
            return Err(format!("the step is {}", step.status));
        }
        let last = attempts.last().ok_or("no attempt")?;
        let same = attempts.len() == call.attempt as usize && last.effect == EffectState::Unknown;
        if same { Ok(()) } else { Err(format!("attempt {}: {last:?}", call.attempt)) }
    }

    fn perform(&self, call: &StepCall) -> StepDone {
        let mut world = self.world();
        let key = call.idempotency_key();
        if let Some(done) = world.ledger.get(&key) {
            return done.clone();
        }
        let text = |key: &str| call.input[key].as_str().unwrap_or_default().to_owned();
        let mut done = StepDone {
            execution_id: None,
            output: json!({ "echo": call.input, "step": call.step_id }),
            changed: false,
            undo: UndoScope::Full,
            decision: json!({ "verdict": "allow" }),
            owed: Vec::new(),
        };
        match call.capability.as_str() {
            "fs.write" => {
                let id = ExecutionId::generate(self.clock.as_ref());
                let before = world.files.insert(text("path"), text("content"));
                world.executions.insert(id.to_string(), (text("path"), before, false));
                done.execution_id = Some(id);
                done.changed = true;
                done.output = json!({ "path": text("path"), "id": text("path") });
            }
            "notify.send" => {
                world.notes.push(text("text"));
                done.undo = UndoScope::None;
                done.output = json!({ "id": text("text") });
            }
            "notify.retract" => {
                let id = text("id");
                world.notes.retain(|note| *note != id);
            }
            "time.now" => done.output = json!({ "time": "12:00" }),
            "text.render" => {
                let mut out = text("template");
                for (name, value) in call.input["variables"].as_object().into_iter().flatten() {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    out = out.replace(&format!("{{{{ {name} }}}}"), &value);
                }
                done.output = json!({ "text": out });
            }
            _ => {}
        }
        world.inputs.insert(call.step_id.clone(), call.input.clone());
        world.ledger.insert(key, done.clone());
        done
    }
}

#[async_trait]
impl Road for FakeRoad {
    async fn act(&self, call: StepCall) -> Result<StepDone, StepFailure> {
        let recorded = if self.only_looks(&call) { Ok(()) } else { self.recorded(&call).await };
        let takes = {
            let mut world = self.world();
            world.n_at_once += 1;
            world.most_at_once = world.most_at_once.max(world.n_at_once);
            world.takes
        };
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        self.world().n_at_once -= 1;
        let held = self.world().held.remove(&call.step_id);
        if let Some(held) = held {
            held.notified().await;
        }
        let hangs = {
            let mut world = self.world();
            if let Err(problem) = recorded {
                world.violations.push(format!("{}: {problem}", call.step_id));
            }
            let back = call.purpose == Purpose::Compensation;
            let what = if back { "compensate" } else { "act" };
            world.log.push(format!("{what} {} {}", call.step_id, call.attempt));
            if back && world.compensation_fails.contains(&call.step_id) {
                return Err(failure(FailureKind::Failed, false));
            }
            if !back {
                match world.gated.get(&call.step_id) {
                    Some(ApprovalState::Pending { approval_id }) => {
                        let approval_id = approval_id.clone();
                        return Err(failure(FailureKind::NeedsApproval { approval_id }, false));
                    }
                    Some(ApprovalState::Denied { .. }) => {
                        return Err(failure(FailureKind::Denied, false));
                    }
                    Some(ApprovalState::Granted) | None => {}
                }
                let fault = world.faults.get_mut(&call.step_id).and_then(VecDeque::pop_front);
                if let Some(fault) = fault {
                    return Err(fault);
                }
            }
            if back { None } else { world.hangs.get(&call.step_id).copied() }
        };
        if hangs != Some(false) {
            let done = self.perform(&call);
            if hangs.is_none() {
                return Ok(done);
            }
        }
        std::future::pending().await
    }

    fn only_looks(&self, call: &StepCall) -> bool {
        self.world().looks.contains(&call.step_id)
    }

    async fn request_plan(&self, call: PlanCall) -> Result<PlanState, String> {
        let mut world = self.world();
        world.plans.push(call.granted);
        world.log.push("plan".to_owned());
        if world.plan_fails {
            return Err("nobody is there".to_owned());
        }
        Ok(world.plan.clone().unwrap_or(PlanState::NotNeeded))
    }

    async fn check(&self, call: StepCall) -> Result<Value, StepFailure> {
        self.world().log.push(format!("check {}", call.step_id));
        Ok(json!({ "verdict": "allow", "input": call.input }))
    }

    async fn undo(&self, call: UndoCall) -> Result<(), UndoFailure> {
        let run = self.store.load(&call.run_id).await.expect("memory").expect("the run");
        let hangs = self.world().undo_hangs.contains(&call.step_id);
        if hangs {
            self.world().log.push(format!("undo {}", call.step_id));
            return std::future::pending().await;
        }
        let mut world = self.world();
        if run.status() != RunStatus::RollingBack {
            world.violations.push(format!("undo while {}", run.status()));
        }
        // What was done before it is on record.
        let open = |step: &StepRecord| step.compensation.iter().any(|it| it.ended_at.is_none());
        if run.steps.iter().any(open) {
            world.violations.push(format!("undo {} over an open compensation", call.step_id));
        }
        world.log.push(format!("undo {}", call.step_id));
        if world.undo_fails.contains(&call.step_id) {
            return Err(UndoFailure::lasting("told to fail"));
        }
        let fault = world.undo_faults.get_mut(&call.step_id).and_then(VecDeque::pop_front);
        if let Some(retryable) = fault {
            return Err(UndoFailure { reason: "told to fail".to_owned(), retryable });
        }
        let id = call.execution_id.as_str();
        let (path, before, undone) = world
            .executions
            .get(id)
            .cloned()
            .ok_or_else(|| UndoFailure::lasting("no execution"))?;
        if !undone {
            match &before {
                Some(text) => world.files.insert(path.clone(), text.clone()),
                None => world.files.remove(&path),
            };
            world.executions.insert(id.to_owned(), (path, before, true));
        }
        Ok(())
    }

    async fn request_approval(&self, call: ApprovalCall) -> Result<ApprovalState, String> {
        let mut world = self.world();
        world.log.push(format!("ask {}", call.step_id));
        world.questions.push((call.message, call.digest));
        world.answer.clone().ok_or_else(|| "nobody is there".to_owned())
    }

    async fn recall(&self, call: &StepCall) -> Recalled {
        let world = self.world();
        match world.ledger.get(&call.idempotency_key()) {
            Some(done) => Recalled::Done(done.clone()),
            None => Recalled::NothingDone,
        }
    }
}

/// The clock of a paused tokio: it stands still while anything can go on, and then moves to the
/// next moment that somebody waits for.
#[derive(Debug)]
pub(crate) struct TokioClock {
    start: tokio::time::Instant,
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000).plus(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Fails one save, counted from 1; saves it first or not.
pub(crate) struct FailingStore {
    inner: Arc<MemoryRunStore>,
    fails_at: usize,
    saves_first: bool,
    n_saves: AtomicUsize,
}

impl FailingStore {
    pub(crate) fn n_saves(&self) -> usize {
        self.n_saves.load(Ordering::SeqCst)
    }
}

impl FailingStore {
    /// What may happen at a save: nothing, or it fails before or after it.
    async fn saving<T>(
        &self,
        save: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let n = self.n_saves.fetch_add(1, Ordering::SeqCst) + 1;
        if n != self.fails_at {
            return save.await;
        }
        if self.saves_first {
            save.await?;
        }
        Err(StoreError::Unavailable("told to fail".to_owned()))
    }
}

#[async_trait]
impl RunStore for FailingStore {
    async fn create(&self, run: &RunRecord, events: Vec<Event>) -> Result<(), StoreError> {
        self.saving(self.inner.create(run, events)).await
    }

    async fn save(&self, save: Save<'_>) -> Result<Option<Wish>, StoreError> {
        self.saving(self.inner.save(save)).await
    }

    async fn claim(
        &self,
        run_id: &RunId,
        owner: &Owner,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Claimed<RunRecord>, StoreError> {
        self.inner.claim(run_id, owner, now, until).await
    }

    async fn renew(&self, run_id: &RunId, lease: &Lease) -> Result<Option<Wish>, StoreError> {
        self.inner.renew(run_id, lease).await
    }

    async fn release(&self, run_id: &RunId, lease: &Lease) -> Result<(), StoreError> {
        self.inner.release(run_id, lease).await
    }

    async fn ask(&self, run_id: &RunId, wish: Wish) -> Result<(), StoreError> {
        self.inner.ask(run_id, wish).await
    }

    async fn orphans(&self, now: Timestamp, limit: usize) -> Result<Vec<RunId>, StoreError> {
        self.inner.orphans(now, limit).await
    }

    async fn load(&self, run_id: &RunId) -> Result<Option<RunRecord>, StoreError> {
        self.inner.load(run_id).await
    }

    async fn list(&self, limit: usize) -> Result<Vec<RunRecord>, StoreError> {
        self.inner.list(limit).await
    }
}

pub(crate) struct Rig {
    pub(crate) road: Arc<FakeRoad>,
    pub(crate) store: Arc<MemoryRunStore>,
    pub(crate) failing: Arc<FailingStore>,
    clock: Arc<TokioClock>,
    pub(crate) engine: Engine,
    pub(crate) session: Session,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::failing_at(0, false)
    }

    pub(crate) fn failing_at(fails_at: usize, saves_first: bool) -> Self {
        let clock = Arc::new(TokioClock { start: tokio::time::Instant::now() });
        let store = Arc::new(MemoryRunStore::default());
        let road = Arc::new(FakeRoad {
            world: Mutex::default(),
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
        });
        let failing = Arc::new(FailingStore {
            inner: Arc::clone(&store),
            fails_at,
            saves_first,
            n_saves: AtomicUsize::new(0),
        });
        let engine = Engine::new(
            Arc::clone(&road) as Arc<dyn Road>,
            Arc::clone(&failing) as Arc<dyn RunStore>,
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        let name = |text| Name::parse(text).expect("a name");
        let principal = Principal { org: name("acme"), user: name("ann"), agent: name("planner") };
        let session = Session::new(principal, clock.as_ref());
        Self { road, store, failing, clock, engine, session }
    }

    /// An engine of another process over the same store.
    pub(crate) fn another_engine(&self, name: &str) -> Engine {
        let engine = Engine::new(
            Arc::clone(&self.road) as Arc<dyn Road>,
            Arc::clone(&self.store) as Arc<dyn RunStore>,
            Arc::clone(&self.clock) as Arc<dyn Clock>,
        );
        engine.with_owner(Owner(name.to_owned()))
    }

    /// Changes the stored run, as nobody may.
    pub(crate) async fn overwrite(&self, mut run: RunRecord) {
        let owner = Owner("meddler".to_owned());
        let now = self.clock.now();
        let claimed = self.store.claim(&run.run_id, &owner, now, now).await.unwrap();
        let Claimed::Had(_, lease) = claimed else { panic!("{claimed:?}") };
        run.revision += 1;
        self.store.save(Save { run: &run, lease: &lease, events: Vec::new() }).await.unwrap();
    }

    /// Ends the lease of whoever drives the run.
    pub(crate) async fn expire(&self, run_id: &RunId) {
        let later = self.clock.now().plus(2 * lictor_workflow::LEASE);
        let owner = Owner("expirer".to_owned());
        let claimed = self.store.claim(run_id, &owner, later, self.clock.now()).await.unwrap();
        assert!(matches!(claimed, Claimed::Had(..)), "{claimed:?}");
    }

    pub(crate) async fn submit(&self, text: &str, input: Value) -> RunRecord {
        self.engine.submit(&self.session, &workflow(text), input).await.expect("submitted")
    }

    pub(crate) async fn run(&self, text: &str, input: Value) -> RunRecord {
        let run = self.submit(text, input).await;
        let run = self.engine.drive(&run.run_id).await.expect("driven");
        self.assert_no_violations();
        run
    }

    #[track_caller]
    pub(crate) fn assert_no_violations(&self) {
        assert_eq!(self.road.world().violations, Vec::<String>::new());
    }

    pub(crate) fn fault(&self, step: &str, faults: impl IntoIterator<Item = StepFailure>) {
        self.road.world().faults.insert(step.to_owned(), faults.into_iter().collect());
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.road.world().log.clone()
    }

    pub(crate) fn events(&self) -> Vec<String> {
        let name = |event: &Event| match &event.facts().step_id {
            Some(step) => format!("{} {step}", event.event_type()),
            None => event.event_type().to_string(),
        };
        self.store.drain_events().iter().map(name).collect()
    }
}

#[track_caller]
pub(crate) fn workflow(text: &str) -> Workflow {
    match Workflow::from_yaml(&Source::new("test.workflow.yaml", text.as_bytes())) {
        Ok(workflow) => workflow,
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn statuses(run: &RunRecord) -> Vec<String> {
    run.steps.iter().map(|step| format!("{} {}", step.id, step.status)).collect()
}

/// A chain that writes files and sends notes.
pub(crate) const CHAIN: &str = r#"
id: chain
version: 1.0.0
steps:
  - { id: one, use: fs.write, with: { path: a, content: "1" } }
  - id: two
    use: notify.send
    needs: [one]
    with: { text: "about {{ steps.one.output.path }}" }
    compensate: { use: notify.retract, with: { id: "{{ output.id if output else 'about a' }}" } }
  - { id: three, use: fs.write, needs: [two], with: { path: b, content: "2" } }
  - id: four
    use: fs.write
    needs: [three]
    with: { path: a, content: "3" }
    compensate: { use: notify.retract, with: { id: "{{ steps.two.output.id }}" } }
"#;
