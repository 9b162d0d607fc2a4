//! A small world: one capability that does what its input says, an applier and a ledger that
//! write down what they are asked for, and a real lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use lictor_capability::{
    Action, Body, CapabilityGraph, CapabilityId, Change, ChangeKind, Conflict, ConflictReason,
    Contract, Described, Effects, Entry, EntryKind, FileChange, FileMode, Item, Listed, Plan,
    State, ViewError, ViewErrorKind, WorkspaceView,
};
use lictor_context::{
    Digest, ManualClock, Name, PlanId, Principal, Session, Timestamp, WorkspacePath,
};
use lictor_document::Source;
use lictor_executor::{
    Applied, ApplyError, ChangeApplier, CheckSource, ExecuteError, Executor, ExecutorBuilder,
    Granted, GrantedChanges, Handler, HandlerError, Handlers, Ledger as _, LockSettings,
    NotApplied, Outcome, Receipt, RecoverError, Recovered, Request, RollbackReport, Stuck,
    TimeLimits,
};
use lictor_governance::{PolicySet, Warrant, WriteGate};
use lictor_lock::{CancelFlag, Claim, Lease, WorkspaceLock};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::Service as _;

use crate::memory_ledger::MemoryLedger;

const CONTRACT: &str = r#"
id: test.act
version: 1.0.0
title: Act
description: Does what its input says.
kind: skill
source: builtin
input: {type: object}
output: {type: object, properties: {ok: {type: boolean}}, required: [ok]}
risk: low
effects:
  fs: {read: ["**"], write: ["**"], delete: ["**"]}
  net: ["**"]
timeout: 5s
handler: {builtin: script}
"#;

/// What was asked of anybody, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calls {
    calls: Arc<Mutex<Vec<String>>>,
    changed: Arc<Notify>,
}

impl Calls {
    pub(crate) fn note(&self, call: impl Into<String>) {
        self.calls.lock().expect("calls").push(call.into());
        self.changed.notify_waiters();
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.calls.lock().expect("calls").clone()
    }

    pub(crate) fn has(&self, call: &str) -> bool {
        self.all().iter().any(|noted| noted == call)
    }

    pub(crate) async fn until(&self, call: &str) {
        let noted = tokio::time::timeout(Duration::from_secs(20), self.noted(call)).await;
        assert!(noted.is_ok(), "nobody came to `{call}`: {:?}", self.all());
    }

    async fn noted(&self, call: &str) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.has(call) {
                return;
            }
            changed.await;
        }
    }
}

/// What the handler does when it runs.
#[derive(Debug, Clone, Default)]
pub(crate) enum Run {
    #[default]
    Done,
    Answers(Value),
    Fails,
    Panics,
    Hangs,
    /// Waits to be let on.
    Waits(Arc<Notify>),
    /// Looks at paths through its grant, and answers with what became of each.
    Looks(Vec<&'static str>),
    /// Changed a file in a copy.
    Stages(&'static str),
}

struct Script {
    run: Arc<Mutex<Run>>,
    calls: Calls,
}

fn texts<'a>(input: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    input[key].as_array().into_iter().flatten().filter_map(Value::as_str)
}

pub(crate) fn path(text: &str) -> WorkspacePath {
    WorkspacePath::parse(text).expect("a path")
}

#[async_trait]
impl Handler for Script {
    fn describe(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let input = request.input();
        let mut effects = Effects::default();
        effects.reads.extend(texts(input, "read").map(path));
        effects.reads_root = input["read_root"] == true;
        effects.hosts.extend(texts(input, "hosts").map(str::to_owned));
        effects.changes.items.extend(texts(input, "write").map(created));
        effects.conflicts.extend(texts(input, "conflicts").map(conflict));
        if input["fails"] == true {
            return Err(HandlerError::input("it makes no sense"));
        }
        Ok(effects)
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        self.calls.note("run");
        let run = self.run.lock().expect("run").clone();
        match run {
            Run::Done => Ok(json!({ "ok": true })),
            Run::Answers(output) => Ok(output),
            Run::Fails => Err(HandlerError::failed("the disk is on fire")),
            Run::Panics => panic!("a handler that panics"),
            Run::Hangs => std::future::pending().await,
            Run::Waits(go) => {
                go.notified().await;
                Ok(json!({ "ok": true }))
            }
            Run::Looks(paths) => {
                let seen: BTreeMap<&str, String> = paths
                    .into_iter()
                    .map(|text| {
                        let seen = match text {
                            "." => granted.view().list(None).map(|_| ()),
                            text => granted.view().read(&path(text), 100).map(|_| ()),
                        };
                        (text, seen.map_or_else(|error| error.to_string(), |()| "seen".to_owned()))
                    })
                    .collect();
                Ok(json!({ "ok": true, "seen": seen }))
            }
            Run::Stages(text) => {
                let (before, content) = (Digest::of(text.as_bytes()), Body::new(*b"staged"));
                let path = path(text);
                granted.stage(vec![Change::Modify { path, before, content, mode: None }]);
                Ok(json!({ "ok": true }))
            }
        }
    }
}

fn created(text: &str) -> Item {
    let digest = Digest::of(b"after");
    Item {
        kind: ChangeKind::Create,
        from: None,
        to: Some(path(text)),
        before: None,
        after: Some(State::File { digest, mode: FileMode::FILE, bytes: 5 }),
        content: None,
        implicit: false,
    }
}

pub(crate) fn conflict(text: &str) -> Conflict {
    Conflict {
        path: text.to_owned(),
        reason: ConflictReason::ContentDiffers,
        expected: None,
        found: None,
        restores: None,
    }
}

/// Every file holds its own name.
pub(crate) struct Files;

impl WorkspaceView for Files {
    fn entry(&self, _: &WorkspacePath) -> Result<Option<Entry>, ViewError> {
        Ok(Some(Entry { kind: EntryKind::File, mode: 0o644, size: 1, links: 1 }))
    }

    fn digest(&self, path: &WorkspacePath) -> Result<Digest, ViewError> {
        Ok(Digest::of(path.as_str().as_bytes()))
    }

    fn read(&self, path: &WorkspacePath, _: u64) -> Result<Vec<u8>, ViewError> {
        Ok(path.as_str().as_bytes().to_vec())
    }

    fn read_link(&self, path: &WorkspacePath) -> Result<String, ViewError> {
        Err(ViewError::new(path.as_str(), ViewErrorKind::NotFound))
    }

    fn list(&self, _: Option<&WorkspacePath>) -> Result<Vec<Listed>, ViewError> {
        Ok(Vec::new())
    }
}

/// How applying goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Apply {
    #[default]
    Works,
    Conflicts,
    RollsBack,
    InDoubt,
    NotDurable,
    Panics,
}

/// How noting goes that all checks were passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Note {
    #[default]
    Works,
    Fails,
    NotDurable,
}

/// How putting back goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum PutBack {
    #[default]
    Works,
    Sticks,
    Panics,
}

/// Changes nothing and writes down that it was asked to.
pub(crate) struct FakeApplier {
    pub(crate) apply: Mutex<Apply>,
    pub(crate) put_back: Mutex<PutBack>,
    pub(crate) note: Mutex<Note>,
    pub(crate) recover_fails: AtomicBool,
    pub(crate) left: Mutex<Vec<Recovered>>,
    calls: Calls,
}

struct FakeApplied {
    lease: Lease,
    files: Vec<FileChange>,
    put_back: PutBack,
    note: Note,
    calls: Calls,
}

fn stuck() -> Stuck {
    Stuck { path: "a.txt".to_owned(), reason: "somebody holds it".to_owned() }
}

fn not_durable() -> ApplyError {
    let report = RollbackReport { restored: Vec::new(), stuck: vec![stuck()] };
    ApplyError::NotDurable { reason: "the disk is gone".to_owned(), report }
}

impl ChangeApplier for FakeApplier {
    fn apply(&self, granted: GrantedChanges) -> Result<Box<dyn Applied>, NotApplied> {
        self.calls.note(format!("apply back_on_crash={}", granted.back_on_crash()));
        granted.lease().check().expect("the lock is held");
        let files = granted.changes().files();
        let report = RollbackReport { restored: vec!["a.txt".to_owned()], stuck: Vec::new() };
        let reason = "the disk is full".to_owned();
        match *self.apply.lock().expect("apply") {
            Apply::Works => {}
            Apply::Conflicts => return Err(ApplyError::Conflict(vec![conflict("a.txt")]).into()),
            Apply::RollsBack => {
                let conflicts = Vec::new();
                return Err(ApplyError::RolledBack { reason, report, conflicts }.into());
            }
            Apply::InDoubt => {
                let report = RollbackReport::default();
                return Err(ApplyError::Incomplete { reason, report }.into());
            }
            Apply::NotDurable => return Err(not_durable().into()),
            Apply::Panics => panic!("an applier that panics"),
        }
        Ok(Box::new(FakeApplied {
            lease: granted.into_lease(),
            files,
            put_back: *self.put_back.lock().expect("put back"),
            note: *self.note.lock().expect("note"),
            calls: self.calls.clone(),
        }))
    }

    fn recover(&self, lease: &Lease) -> Result<Vec<Recovered>, RecoverError> {
        self.calls.note("recover");
        lease.check().expect("the lock is held");
        if self.recover_fails.load(Ordering::SeqCst) {
            return Err(RecoverError("the journal is not readable".to_owned()));
        }
        Ok(self.left.lock().expect("left").clone())
    }

    fn close(&self, lease: &Lease, recovered: &[Recovered]) -> Result<(), RecoverError> {
        self.calls.note(format!("close {}", recovered.len()));
        lease.check().expect("the lock is held");
        self.left.lock().expect("left").retain(|one| !one.is_settled());
        Ok(())
    }
}

impl Applied for FakeApplied {
    fn files(&self) -> Vec<FileChange> {
        self.files.clone()
    }

    fn verified(&mut self) -> Result<(), ApplyError> {
        self.calls.note("verified");
        match self.note {
            Note::Works => Ok(()),
            Note::Fails => Err(ApplyError::Prepare("the journal is full".to_owned())),
            Note::NotDurable => Err(not_durable()),
        }
    }

    fn settle(self: Box<Self>) -> Result<(), ApplyError> {
        if self.note == Note::NotDurable {
            // It stays open, and the lock goes as that of somebody who crashed.
            return Ok(());
        }
        let released = self.lease.release();
        self.calls.note("settle");
        released.map_err(|error| ApplyError::Prepare(error.to_string()))
    }

    fn roll_back(&mut self, reason: &str) -> RollbackReport {
        self.calls.note(format!("roll back: {reason}"));
        let stuck = match self.put_back {
            PutBack::Works => Vec::new(),
            PutBack::Sticks => vec![stuck()],
            PutBack::Panics => panic!("a rollback that panics"),
        };
        self.lease.check().expect("the lock is ours");
        let restored = self.files.iter().map(|file| file.path.clone()).collect();
        RollbackReport { restored, stuck }
    }
}

/// Everything together.
pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) gate: WriteGate,
    pub(crate) session: Session,
    pub(crate) graph: CapabilityGraph,
    pub(crate) calls: Calls,
    pub(crate) run: Arc<Mutex<Run>>,
    pub(crate) applier: Arc<FakeApplier>,
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) lock: WorkspaceLock,
    pub(crate) executor: Executor,
    _dir: tempfile::TempDir,
}

pub(crate) fn world() -> World {
    world_with(None)
}

/// A world in which somebody holds the lock all along, and is not waited for.
pub(crate) fn impatient_world() -> World {
    world_waiting(None, TimeLimits::default(), Duration::from_millis(20))
}

/// A world in which whoever waits is told something after so long, whatever else takes its time.
pub(crate) fn world_that_answers_within(limit: Duration) -> World {
    world_of(None, TimeLimits { answer: Some(limit), ..TimeLimits::default() })
}

/// A world with checks. Nobody was there before, and left in good order.
pub(crate) fn world_with(checks: Option<Arc<dyn CheckSource>>) -> World {
    world_of(checks, TimeLimits::default())
}

pub(crate) fn world_of(checks: Option<Arc<dyn CheckSource>>, limits: TimeLimits) -> World {
    world_waiting(checks, limits, PATIENT)
}

/// For the lock of a test, which is given back in a moment: on a machine that has much else to do
/// such a moment is long.
const PATIENT: Duration = Duration::from_secs(600);

fn world_waiting(
    checks: Option<Arc<dyn CheckSource>>,
    limits: TimeLimits,
    patience: Duration,
) -> World {
    let dir = tempfile::tempdir().expect("a directory");
    let lock = WorkspaceLock::new(dir.path().join("lock"));
    lock.try_acquire(Claim::new("nobody", "exe_0")).expect("a lease").release().expect("released");
    let start = Timestamp::parse("2026-11-20T10:00:00Z").expect("a time");
    let clock = Arc::new(ManualClock::new(start));
    let name = |text| Name::parse(text).expect("a name");
    let principal = Principal { org: name("acme"), user: name("ann"), agent: name("planner") };
    let session = Session::new(principal, clock.as_ref());
    let contract = Contract::from_yaml(&Source::new("act.yaml", CONTRACT.as_bytes()));
    let contract = Arc::new(contract.expect("a contract"));
    let graph = CapabilityGraph::build(&session, [&contract]);
    let policy = Source::new("policy.yaml", b"version: 1\ndefault: allow\n");
    let policies = PolicySet::workspace(&policy).expect("a policy");
    let gate = WriteGate::new(Arc::new(policies), clock.clone());
    let calls = Calls::default();
    let run = Arc::new(Mutex::new(Run::Done));
    let applier = Arc::new(FakeApplier {
        apply: Mutex::default(),
        put_back: Mutex::default(),
        note: Mutex::default(),
        recover_fails: AtomicBool::new(false),
        left: Mutex::default(),
        calls: calls.clone(),
    });
    let ledger = Arc::new(MemoryLedger {
        find_fails: AtomicBool::new(false),
        settle_fails: AtomicBool::new(false),
        records: Mutex::default(),
        events: Mutex::default(),
        recovered: Mutex::default(),
        calls: calls.clone(),
    });
    let script = Script { run: run.clone(), calls: calls.clone() };
    let shared = (&gate, &clock, (&lock, patience));
    let mut builder = builder(shared, &applier, &ledger, Arc::new(script));
    if let Some(checks) = checks {
        builder = builder.checks(checks);
    }
    let executor = builder.time_limits(limits).build();
    World { clock, gate, session, graph, calls, run, applier, ledger, lock, executor, _dir: dir }
}

/// An executor whose one handler is this one.
fn builder(
    (gate, clock, (lock, timeout)): (&WriteGate, &Arc<ManualClock>, (&WorkspaceLock, Duration)),
    applier: &Arc<FakeApplier>,
    ledger: &Arc<MemoryLedger>,
    handler: Arc<dyn Handler>,
) -> ExecutorBuilder {
    Executor::builder(
        gate.identity(),
        clock.clone(),
        Handlers::default().with("script", handler),
        Arc::new(Files),
        applier.clone(),
        ledger.clone(),
        LockSettings { lock: lock.clone(), timeout, holder: "test".to_owned() },
    )
}

/// An input that writes these files.
pub(crate) fn writes(files: &[&str]) -> Value {
    json!({ "write": files })
}

impl World {
    /// An executor of this world with another handler.
    pub(crate) fn executor_with(&self, handler: Arc<dyn Handler>) -> Executor {
        let shared = (&self.gate, &self.clock, (&self.lock, PATIENT));
        builder(shared, &self.applier, &self.ledger, handler).build()
    }

    pub(crate) fn runs(&self, run: Run) {
        *self.run.lock().expect("run") = run;
    }

    pub(crate) fn applies(&self, apply: Apply) {
        *self.applier.apply.lock().expect("apply") = apply;
    }

    pub(crate) fn notes(&self, note: Note) {
        *self.applier.note.lock().expect("note") = note;
    }

    pub(crate) fn puts_back(&self, put_back: PutBack) {
        *self.applier.put_back.lock().expect("put back") = put_back;
    }

    pub(crate) fn action(&self, input: Value) -> Action {
        let id = CapabilityId::parse("test.act").expect("an id");
        Action::new(&self.session, id, input, self.clock.as_ref())
    }

    pub(crate) fn described(&self, action: Action) -> Described {
        let admitted = self.graph.admit(action).expect("admitted");
        self.executor.describe(admitted).expect("described")
    }

    pub(crate) fn warrant_for(&self, action: Action) -> Warrant {
        let described = self.described(action);
        let decision = self.gate.decide(&described);
        self.gate.authorize(described, &decision, None).expect("a warrant")
    }

    pub(crate) fn warrant(&self, input: Value) -> Warrant {
        self.warrant_for(self.action(input))
    }

    pub(crate) async fn execute(&self, input: Value) -> Result<Outcome, ExecuteError> {
        self.executor.clone().call(self.warrant(input)).await
    }

    /// Down the whole road; failures are recorded as whoever walks it owes.
    pub(crate) async fn act(&self, input: Value) -> Result<Receipt, ExecuteError> {
        match self.execute(input).await {
            Ok(Outcome::Executed(executed)) => {
                let ledger = self.ledger.as_ref();
                let receipt = executed.commit(ledger, self.clock.as_ref(), Vec::new()).await;
                Ok(receipt.expect("committed"))
            }
            Ok(Outcome::Duplicate(_)) => panic!("a duplicate"),
            Err(mut error) => {
                let mut events = Vec::new();
                let record = error.record_failure(&self.session, self.clock.as_ref(), &mut events);
                self.ledger.settle(record, events).await.expect("recorded");
                if let Some(unsettled) = error.take_unsettled() {
                    unsettled.settle().await;
                }
                Err(error)
            }
        }
    }

    pub(crate) async fn fails(&self, input: Value) -> ExecuteError {
        self.act(input).await.expect_err("it fails")
    }

    /// Somebody takes the lock and ends without giving it back.
    pub(crate) fn crash(&self) {
        drop(self.lock.try_acquire(Claim::new("bob", "exe_9")).expect("a lease"));
    }

    /// The lock is free, or becomes free by itself (it goes after the outcome was recorded, on a
    /// thread of its own), and was given back in good order.
    #[track_caller]
    pub(crate) fn lock_is_clean(&self) {
        let claim = Claim::new("test", "exe_8");
        let lease = self.lock.acquire(claim, PATIENT, &CancelFlag::new(), &mut |_| {});
        let lease = lease.unwrap_or_else(|error| panic!("the lock is not free: {error}"));
        let predecessor = lease.predecessor().expect("somebody was there");
        assert!(!predecessor.needs_recovery(), "{predecessor:?}");
        lease.release().expect("released");
    }
}

/// A plan with nothing but its id.
pub(crate) fn plan() -> Plan {
    Plan::bare(PlanId::parse("pln_1").expect("an id"))
}
