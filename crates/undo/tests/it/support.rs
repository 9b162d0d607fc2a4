//! A small and real road: a workspace on a disk, a gate that allows everything, an executor over
//! the transactions under test, and a ledger that only remembers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use lictor_capability::{
    Action, CapabilityGraph, CapabilityId, Change, ChangeSet, Conflict, Content, ContentSource,
    Contract, Described, Effects, Plan, Resolved, Risk, State, resolve,
};
use lictor_context::{
    ChangeSetId, Clock, Digest, Event, ExecutionId, Name, PlanId, Principal, Session, SystemClock,
    Timestamp,
};
use lictor_document::Source;
use lictor_executor::{
    Check, CheckFailure, CheckPhase, CheckRun, CheckSource, CommitError, DescribeError,
    ExecuteError, Executed, ExecutionRecord, Executor, Granted, Handler, HandlerError, Handlers,
    Ledger, LedgerError, LockSettings, Outcome, Recovered, Recovery, Request, Rollback,
    RollbackReport, Staged,
};
use lictor_governance::{PolicySet, WriteGate};
use lictor_lock::WorkspaceLock;
use lictor_undo::{Durability, Transactions, UNDO_CAPABILITY, UndoHandler, undo_contract};
use lictor_workspace::Workspace;
use serde_json::{Value, json};
use tower::Service as _;

const APPLY: &str = r#"
id: test.apply
version: 1.0.0
title: Apply
description: Applies the change set that comes with the action.
kind: skill
source: builtin
input: {type: object}
output: {type: object}
risk: low
effects:
  fs: {read: ["**"], write: ["**"], delete: ["**"]}
timeout: 5m
handler: {builtin: test.apply}
"#;

const POLICY: &[u8] = b"version: 1\ndefault: allow\n";

/// What somebody does between the judgement and the change.
type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A content that is not in the change set, for the first thing in it.
type Streamed = Arc<Mutex<Option<(Arc<dyn ContentSource>, State)>>>;

/// Does what `change.apply` does.
struct Apply {
    meanwhile: Meanwhile,
    streamed: Streamed,
}

#[async_trait]
impl Handler for Apply {
    fn describe(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let changes = request.action.change_set().expect("a change set").changes();
        let Resolved { mut changes, conflicts, violations } = resolve(changes, request.view)?;
        if let Some((source, after)) = self.streamed.lock().expect("a source").clone() {
            changes.items[0].content = Some(Content::Streamed(source));
            changes.items[0].after = Some(after);
        }
        Ok(Effects { changes, conflicts, violations, ..Effects::default() })
    }

    async fn run(&self, _: Granted<'_>) -> Result<Value, HandlerError> {
        if let Some(act) = self.meanwhile.lock().expect("an act").take() {
            act();
        }
        Ok(json!({}))
    }
}

/// Remembers what was settled and what was recovered.
#[derive(Default)]
pub(crate) struct MemoryLedger {
    pub(crate) records: Mutex<Vec<ExecutionRecord>>,
    pub(crate) recovered: Mutex<Vec<Recovered>>,
    pub(crate) refuses: Mutex<bool>,
    /// For whoever comes after this process: the last word on each execution.
    file: PathBuf,
}

impl MemoryLedger {
    fn write_down(&self, execution: &ExecutionId, status: &str) -> Result<(), LedgerError> {
        use std::io::Write as _;
        let opened = fs::OpenOptions::new().create(true).append(true).open(&self.file);
        let written = opened.and_then(|mut file| writeln!(file, "{execution} {status}"));
        written.map_err(|error| LedgerError(error.to_string()))
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn find(&self, _: Digest, _: Timestamp) -> Result<Option<ExecutionRecord>, LedgerError> {
        Ok(None)
    }

    async fn settle(
        &self,
        record: Option<ExecutionRecord>,
        _: Vec<Event>,
    ) -> Result<(), LedgerError> {
        if *self.refuses.lock().expect("the switch") {
            return Err(LedgerError("it is full".to_owned()));
        }
        if let Some(record) = &record {
            self.write_down(&record.execution_id, &format!("{:?}", record.status))?;
        }
        self.records.lock().expect("the records").extend(record);
        Ok(())
    }

    async fn recovered(&self, recovered: Vec<Recovered>) -> Result<(), LedgerError> {
        if *self.refuses.lock().expect("the switch") {
            return Err(LedgerError("it is full".to_owned()));
        }
        for one in recovered.iter().filter(|one| one.record.is_some()) {
            let status = match one.recovery {
                Recovery::Finished => "Applied",
                Recovery::PutBack | Recovery::Discarded => "RolledBack",
                Recovery::Incomplete => "Incomplete",
            };
            self.write_down(&one.execution_id, status)?;
        }
        self.recovered.lock().expect("the recovered").extend(recovered);
        Ok(())
    }
}

/// One check, which answers what it is told to.
#[derive(Clone)]
struct OneCheck(bool);

#[async_trait]
impl CheckRun for OneCheck {
    async fn run(&self, _: &lictor_executor::Attempt) -> Result<String, CheckFailure> {
        if self.0 { Ok("fine".to_owned()) } else { Err(CheckFailure::new("not fine")) }
    }
}

/// What looks at a staged tree.
type Looks = Arc<dyn Fn(&Path) -> bool + Send + Sync>;

/// One check of the staged tree.
#[derive(Clone)]
struct StagedCheck {
    looks: Looks,
    staged: Staged,
}

#[async_trait]
impl CheckRun for StagedCheck {
    async fn run(&self, attempt: &lictor_executor::Attempt) -> Result<String, CheckFailure> {
        let tree = attempt.tree().expect("a staged tree");
        if (self.looks)(tree) { Ok("fine".to_owned()) } else { Err(CheckFailure::new("not fine")) }
    }
}

impl CheckSource for StagedCheck {
    fn checks(&self, _: &Described, _: Risk) -> Result<Vec<Check>, CheckFailure> {
        Ok(vec![one_check(Some(self.staged.clone()), Arc::new(self.clone()))])
    }
}

fn one_check(staged: Option<Staged>, run: Arc<dyn CheckRun>) -> Check {
    Check {
        name: "one".to_owned(),
        phase: CheckPhase::Verification,
        timeout: Duration::from_secs(5),
        retry: lictor_capability::Retry::default(),
        staged,
        run,
    }
}

impl CheckSource for OneCheck {
    fn checks(&self, _: &Described, _: Risk) -> Result<Vec<Check>, CheckFailure> {
        Ok(vec![one_check(None, Arc::new(self.clone()))])
    }
}

/// Why something was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    Described(DescribeError),
    Denied(String),
    Executed(ExecuteError),
    Commit(CommitError),
}

impl Failure {
    pub(crate) fn conflicts(&self) -> Vec<Conflict> {
        match self {
            Self::Executed(error) => error.conflicts().to_vec(),
            Self::Described(_) | Self::Denied(_) | Self::Commit(_) => Vec::new(),
        }
    }

    /// All that is known of it.
    pub(crate) fn why(&self) -> String {
        match self {
            Self::Described(error) => error.to_string(),
            Self::Denied(why) => why.clone(),
            Self::Executed(error) => format!("{error} {:?}", error.rollback()),
            Self::Commit(error) => format!("{error} {:?}", error.report()),
        }
    }

    /// In a word: nothing begun, everything put back, or something left.
    pub(crate) fn left(&self) -> &'static str {
        let of = |report: &RollbackReport| {
            if report.is_complete() { "rolled back" } else { "incomplete" }
        };
        match self {
            Self::Described(_) | Self::Denied(_) => "not begun",
            Self::Commit(error) => of(error.report()),
            Self::Executed(error) => match error.rollback() {
                Rollback::NotBegun => "not begun",
                Rollback::Complete(_) => "rolled back",
                Rollback::Incomplete(_) => "incomplete",
            },
        }
    }
}

/// A workspace with everything that it takes to change it.
pub(crate) struct World {
    pub(crate) root: PathBuf,
    pub(crate) transactions: Transactions,
    pub(crate) lock: WorkspaceLock,
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) executor: Executor,
    meanwhile: Meanwhile,
    streamed: Streamed,
    gate: WriteGate,
    graph: CapabilityGraph,
    session: Session,
    runtime: tokio::runtime::Runtime,
}

/// A workspace that goes away with its test.
pub(crate) struct Temp {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) world: World,
}

impl std::ops::Deref for Temp {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// A fresh workspace.
pub(crate) fn world() -> Temp {
    within(tempfile::tempdir())
}

/// A fresh workspace where a flush costs nothing, if there is such a place.
pub(crate) fn world_in_memory() -> Temp {
    let memory = Path::new("/dev/shm");
    within(if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() })
}

fn within(dir: std::io::Result<tempfile::TempDir>) -> Temp {
    let dir = dir.expect("a directory");
    let root = dir.path().join("ws");
    fs::create_dir(&root).expect("a workspace");
    Temp { world: World::at(&root), dir }
}

impl World {
    /// Over a directory that is there.
    pub(crate) fn at(root: &Path) -> Self {
        Self::with_checks(root, None)
    }

    /// Acknowledges behind the first barrier.
    pub(crate) fn lazy(root: &Path) -> Self {
        Self::with(root, None, Durability::Lazy)
    }

    /// With one check after each change, that is passed or not.
    pub(crate) fn checked(root: &Path, passes: bool) -> Self {
        Self::with_checks(root, Some(Arc::new(OneCheck(passes))))
    }

    /// The same, acknowledged behind the first barrier.
    pub(crate) fn checked_lazily(root: &Path) -> Self {
        Self::with(root, Some(Arc::new(OneCheck(true))), Durability::Lazy)
    }

    /// With one check of the staged tree before each change.
    pub(crate) fn staged(
        root: &Path,
        leave_out: &[&str],
        looks: impl Fn(&Path) -> bool + Send + Sync + 'static,
    ) -> Self {
        let leave_out = leave_out.iter().map(|path| crate::tree::path(path)).collect();
        let check = StagedCheck { looks: Arc::new(looks), staged: Staged { leave_out } };
        Self::with_checks(root, Some(Arc::new(check)))
    }

    fn with_checks(root: &Path, checks: Option<Arc<dyn CheckSource>>) -> Self {
        Self::with(root, checks, Durability::Strict)
    }

    fn with(root: &Path, checks: Option<Arc<dyn CheckSource>>, durability: Durability) -> Self {
        fs::create_dir_all(root.join(".lictor")).expect("a folder for state");
        let workspace = Arc::new(Workspace::open(root).expect("a workspace"));
        let transactions = Transactions::new(Arc::clone(&workspace)).durability(durability);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let policies = PolicySet::workspace(&Source::new("policy.yaml", POLICY));
        let gate = WriteGate::new(Arc::new(policies.expect("a policy")), Arc::clone(&clock));
        let name = |text| Name::parse(text).expect("a name");
        let principal = Principal { org: name("acme"), user: name("ann"), agent: name("planner") };
        let session = Session::new(principal, &SystemClock);
        let apply = Contract::from_yaml_lazily(&Source::new("apply.yaml", APPLY.as_bytes()));
        let contracts =
            [Arc::new(apply.expect("a contract")), undo_contract().expect("the undo's contract")];
        let graph = CapabilityGraph::build(&session, &contracts);
        let file = root.join(".lictor/ledger");
        let ledger = Arc::new(MemoryLedger { file, ..MemoryLedger::default() });
        let lock = WorkspaceLock::new(root.join(".lictor/lock"));
        let (meanwhile, streamed) = (Meanwhile::default(), Streamed::default());
        let apply = Apply { meanwhile: Arc::clone(&meanwhile), streamed: Arc::clone(&streamed) };
        let handlers = Handlers::default()
            .with("test.apply", Arc::new(apply))
            .with(UNDO_CAPABILITY, Arc::new(UndoHandler::new(transactions.clone())));
        let mut builder = Executor::builder(
            gate.identity(),
            clock,
            handlers,
            workspace,
            Arc::new(transactions.clone()),
            Arc::<MemoryLedger>::clone(&ledger),
            LockSettings {
                lock: lock.clone(),
                timeout: Duration::from_secs(20),
                holder: "test".to_owned(),
            },
        );
        if let Some(checks) = checks {
            builder = builder.checks(checks);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        Self {
            root: root.to_owned(),
            transactions,
            lock,
            ledger,
            executor: builder.build(),
            meanwhile,
            streamed,
            gate,
            graph,
            session,
            runtime: runtime.expect("a runtime"),
        }
    }

    /// Takes changes down the road as far as they are done and not settled.
    pub(crate) fn execute(&self, changes: Vec<Change>) -> Result<Executed, Failure> {
        let plan = PlanId::parse("plan-1").expect("an id");
        let set = ChangeSetId::parse("set-1").expect("an id");
        let set = ChangeSet::seal(set, plan.clone(), changes).expect("changes");
        let action = self.action("test.apply", json!({})).with_change_set(Plan::bare(plan), set);
        self.act(action)
    }

    fn action(&self, capability: &str, input: Value) -> Action {
        let id = CapabilityId::parse(capability).expect("an id");
        Action::new(&self.session, id, input, &SystemClock)
    }

    fn act(&self, action: Action) -> Result<Executed, Failure> {
        let admitted = self.graph.admit(action).expect("admitted");
        let described = self.executor.describe(admitted).map_err(Failure::Described)?;
        let decision = self.gate.decide(&described);
        let explained = decision.explain();
        let warrant = self
            .gate
            .authorize(described, &decision, None)
            .map_err(|error| Failure::Denied(format!("{error}: {explained}")))?;
        let outcome = self.runtime.block_on(self.executor.clone().call(warrant));
        match outcome.map_err(|error| self.record_failed(error))? {
            Outcome::Executed(executed) => Ok(executed),
            Outcome::Duplicate(_) => panic!("nothing here has a key"),
        }
    }

    /// Records a failure and settles what it left, as the road does.
    fn record_failed(&self, mut error: ExecuteError) -> Failure {
        let mut events = Vec::new();
        let record = error.record_failure(&self.session, &SystemClock, &mut events);
        let record = record.filter(|_| !matches!(error.rollback(), Rollback::NotBegun));
        let recorded = self.runtime.block_on(self.ledger.settle(record, events));
        if let Some(unsettled) = error.take_unsettled()
            && recorded.is_ok()
        {
            self.runtime.block_on(unsettled.settle());
        }
        Failure::Executed(error)
    }

    /// Settles what was done.
    pub(crate) fn commit(&self, executed: Executed) -> Result<ExecutionId, Failure> {
        let committed = executed.commit(self.ledger.as_ref(), &SystemClock, Vec::new());
        let receipt = self.runtime.block_on(committed).map_err(Failure::Commit)?;
        Ok(receipt.record.execution_id)
    }

    /// Takes back what was done.
    pub(crate) fn roll_back(&self, executed: Executed) -> RollbackReport {
        let ledger = self.ledger.as_ref();
        let report = executed.roll_back(ledger, &SystemClock, Vec::new(), "the test wants it");
        self.runtime.block_on(report).expect("a rollback that is recorded")
    }

    pub(crate) fn try_apply(&self, changes: Vec<Change>) -> Result<ExecutionId, Failure> {
        self.commit(self.execute(changes)?)
    }

    #[track_caller]
    pub(crate) fn apply(&self, changes: Vec<Change>) -> ExecutionId {
        match self.try_apply(changes) {
            Ok(id) => id,
            Err(failure) => panic!("{}", failure.why()),
        }
    }

    /// The first thing of every change set gets this content instead.
    pub(crate) fn streams(&self, source: impl ContentSource + 'static, after: State) {
        *self.streamed.lock().expect("a source") = Some((Arc::new(source), after));
    }

    /// Somebody acts after the next apply was judged, and before it begins.
    pub(crate) fn meanwhile(&self, act: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock().expect("an act") = Some(Box::new(act));
    }

    pub(crate) fn try_undo(&self, execution: &ExecutionId) -> Result<ExecutionId, Failure> {
        self.try_undo_or(execution, "refuse")
    }

    /// Undoes with something else to do about conflicts than to refuse.
    pub(crate) fn try_undo_or(
        &self,
        execution: &ExecutionId,
        on_conflict: &str,
    ) -> Result<ExecutionId, Failure> {
        let input = json!({ "execution": execution, "on_conflict": on_conflict });
        self.commit(self.act(self.action(UNDO_CAPABILITY, input))?)
    }

    #[track_caller]
    pub(crate) fn undo_or(&self, execution: &ExecutionId, on_conflict: &str) -> ExecutionId {
        match self.try_undo_or(execution, on_conflict) {
            Ok(id) => id,
            Err(failure) => panic!("{} {:#?}", failure.why(), failure.conflicts()),
        }
    }

    #[track_caller]
    pub(crate) fn undo(&self, execution: &ExecutionId) -> ExecutionId {
        match self.try_undo(execution) {
            Ok(id) => id,
            Err(failure) => panic!("{}", failure.why()),
        }
    }

    pub(crate) fn try_recover(&self) -> Result<Vec<Recovered>, ExecuteError> {
        self.runtime.block_on(self.executor.recover())
    }

    #[track_caller]
    pub(crate) fn recover(&self) -> Vec<Recovered> {
        self.try_recover().expect("a recovery")
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub(crate) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, bytes).expect("a file");
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).expect("a text")
    }

    pub(crate) fn chmod(&self, path: &str, mode: u32) {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).expect("a mode");
    }

    /// The last word of the ledger on an execution.
    pub(crate) fn recorded(&self, execution: &str) -> Option<String> {
        let text = fs::read_to_string(self.path(".lictor/ledger")).unwrap_or_default();
        let mut words = text.lines().filter_map(|line| line.split_once(' '));
        words.rfind(|(id, _)| *id == execution).map(|(_, status)| status.to_owned())
    }

    /// The folders of transactions.
    pub(crate) fn folders(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(".lictor/tx")) else { return Vec::new() };
        let names = entries.map(|e| e.expect("an entry").file_name().into_string().expect("text"));
        let mut names: Vec<String> =
            names.filter(|name| name != ".gitignore" && name != ".behind").collect();
        names.sort();
        names
    }

    /// The transactions that nobody has settled.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        let open = |name: &String| {
            let journal = self.path(".lictor/tx").join(name).join("journal");
            !fs::read_to_string(journal).is_ok_and(|text| text.contains("{\"done\":true}\n"))
        };
        self.folders().into_iter().filter(open).collect()
    }
}
