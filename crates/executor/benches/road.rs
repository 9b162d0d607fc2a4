//! What the road costs without a disk: a read-only skill from the contract to the ledger.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot set itself up may stop"
)]

use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use criterion::{Criterion, criterion_group, criterion_main};
use lictor_capability::{
    Action, CapabilityGraph, CapabilityId, Contract, Described, Effects, Entry, Listed, ViewError,
    ViewErrorKind, WorkspaceView,
};
use lictor_context::{
    Digest, Event, Name, Principal, Session, SystemClock, Timestamp, WorkspacePath,
};
use lictor_document::Source;
use lictor_executor::{
    Applied, ApplyError, ChangeApplier, ExecutionRecord, Executor, Granted, GrantedChanges,
    Handler, HandlerError, Handlers, Ledger, LedgerError, LockSettings, NotApplied, Outcome,
    RecoverError, Recovered, Request,
};
use lictor_governance::{PolicySet, WriteGate};
use lictor_lock::{Lease, WorkspaceLock};
use serde_json::{Value, json};
use tower::Service as _;

const CONTRACT: &str = r#"
id: note.read
version: 1.0.0
title: Read a note
description: Gives the text of a note.
kind: skill
source: builtin
input:
  type: object
  required: [path]
  additionalProperties: false
  properties:
    path: {type: string, minLength: 1, maxLength: 200}
    max_bytes: {type: integer, minimum: 1, maximum: 1048576}
output:
  type: object
  required: [text, bytes]
  additionalProperties: false
  properties: {text: {type: string}, bytes: {type: integer, minimum: 0}}
risk: low
effects: {fs: {read: ["notes/**"]}}
handler: {builtin: note_read}
"#;

const POLICY: &str = r#"
version: 1
default: deny
paths:
  forbidden: ["**/.env", "**/*.pem"]
  protected: ["docs/**"]
  allowed: ["notes/**", "src/**"]
risk: {low: allow, medium: allow, high: need_approval}
rules:
  - {name: no-deletes, when: {effect: fs.delete}, verdict: need_approval}
"#;

struct NoteRead;

#[async_trait]
impl Handler for NoteRead {
    fn describe(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let path = request.input().get("path").and_then(Value::as_str).unwrap_or_default();
        let path =
            WorkspacePath::parse(path).map_err(|error| HandlerError::input(error.to_string()))?;
        Ok(Effects { reads: vec![path], ..Effects::default() })
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        let mut text = String::new();
        for path in &granted.described().effects().reads {
            text = String::from_utf8(granted.view().read(path, 1 << 20)?)
                .map_err(HandlerError::failed)?;
        }
        Ok(json!({ "bytes": text.len(), "text": text }))
    }
}

struct OneNote;

impl OneNote {
    fn none<T>(path: &WorkspacePath) -> Result<T, ViewError> {
        Err(ViewError::new(path.as_str(), ViewErrorKind::NotFound))
    }
}

impl WorkspaceView for OneNote {
    fn entry(&self, _: &WorkspacePath) -> Result<Option<Entry>, ViewError> {
        Ok(None)
    }
    fn digest(&self, path: &WorkspacePath) -> Result<Digest, ViewError> {
        Self::none(path)
    }
    fn read(&self, _: &WorkspacePath, _: u64) -> Result<Vec<u8>, ViewError> {
        Ok(b"buy milk".to_vec())
    }
    fn read_link(&self, path: &WorkspacePath) -> Result<String, ViewError> {
        Self::none(path)
    }
    fn list(&self, _: Option<&WorkspacePath>) -> Result<Vec<Listed>, ViewError> {
        Ok(Vec::new())
    }
}

struct NoApplier;

impl ChangeApplier for NoApplier {
    fn apply(&self, _: GrantedChanges) -> Result<Box<dyn Applied>, NotApplied> {
        Err(ApplyError::Prepare("this is a bench of reading".to_owned()).into())
    }
    fn recover(&self, _: &Lease) -> Result<Vec<Recovered>, RecoverError> {
        Ok(Vec::new())
    }
    fn close(&self, _: &Lease, _: &[Recovered]) -> Result<(), RecoverError> {
        Ok(())
    }
}

/// Keeps the last events, so that nothing grows.
#[derive(Default)]
struct LastEvents(Mutex<Vec<Event>>);

#[async_trait]
impl Ledger for LastEvents {
    async fn find(&self, _: Digest, _: Timestamp) -> Result<Option<ExecutionRecord>, LedgerError> {
        Ok(None)
    }
    async fn settle(
        &self,
        _: Option<ExecutionRecord>,
        events: Vec<Event>,
    ) -> Result<(), LedgerError> {
        *self.0.lock().expect("events") = events;
        Ok(())
    }
    async fn recovered(&self, _: Vec<Recovered>) -> Result<(), LedgerError> {
        Ok(())
    }
}

struct Road {
    session: Session,
    capability: CapabilityId,
    graph: CapabilityGraph,
    gate: WriteGate,
    executor: Executor,
    ledger: LastEvents,
}

impl Road {
    fn new() -> Self {
        let name = |text| Name::parse(text).expect("a name");
        let principal = Principal { org: name("acme"), user: name("ann"), agent: name("planner") };
        let session = Session::new(principal, &SystemClock);
        let contract = Contract::from_yaml(&Source::new("note.yaml", CONTRACT.as_bytes()));
        let contract = Arc::new(contract.expect("a contract"));
        let graph = CapabilityGraph::build(&session, [&contract]);
        let policies = PolicySet::workspace(&Source::new("policy.yaml", POLICY.as_bytes()));
        let gate = WriteGate::new(Arc::new(policies.expect("a policy")), Arc::new(SystemClock));
        let executor = Executor::builder(
            gate.identity(),
            Arc::new(SystemClock),
            Handlers::default().with("note_read", Arc::new(NoteRead)),
            Arc::new(OneNote),
            Arc::new(NoApplier),
            Arc::new(LastEvents::default()),
            LockSettings {
                lock: WorkspaceLock::new("lock-that-reading-never-takes"),
                timeout: Duration::ZERO,
                holder: "bench".to_owned(),
            },
        )
        .build();
        let capability = CapabilityId::parse("note.read").expect("an id");
        Self { session, capability, graph, gate, executor, ledger: LastEvents::default() }
    }

    fn action(&self) -> Action {
        let input = json!({ "path": "notes/today.md" });
        Action::new(&self.session, self.capability.clone(), input, &SystemClock)
    }

    fn described(&self) -> Described {
        let admitted = self.graph.admit(self.action()).expect("admitted");
        self.executor.describe(admitted).expect("described")
    }

    async fn walk(&self) -> ExecutionRecord {
        let described = self.described();
        let decision = self.gate.decide(&described);
        let warrant = self.gate.authorize(described, &decision, None).expect("a warrant");
        self.finish(warrant).await
    }

    async fn finish(&self, warrant: lictor_governance::Warrant) -> ExecutionRecord {
        let outcome = self.executor.clone().call(warrant).await.expect("done");
        let Outcome::Executed(executed) = outcome else { panic!("a duplicate") };
        let receipt = executed.commit(&self.ledger, &SystemClock, Vec::new()).await;
        receipt.expect("committed").record
    }
}

fn road(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let road = Road::new();
    let mut group = c.benchmark_group("road");
    group.bench_function("whole", |b| {
        b.iter(|| runtime.block_on(async { black_box(road.walk().await) }));
    });
    group.bench_function("1 action", |b| b.iter(|| road.action()));
    group.bench_function("2 admit", |b| {
        b.iter_batched(
            || road.action(),
            |action| road.graph.admit(action),
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function("3 describe", |b| {
        b.iter_batched(
            || road.graph.admit(road.action()).expect("admitted"),
            |admitted| road.executor.describe(admitted),
            criterion::BatchSize::SmallInput,
        );
    });
    let described = road.described();
    group.bench_function("4 decide", |b| b.iter(|| road.gate.decide(&described)));
    group.bench_function("5 authorize", |b| {
        b.iter_batched(
            || (described.clone(), road.gate.decide(&described)),
            |(described, decision)| road.gate.authorize(described, &decision, None),
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function("6 execute and commit", |b| {
        b.iter_batched(
            || {
                let decision = road.gate.decide(&described);
                road.gate.authorize(described.clone(), &decision, None).expect("a warrant")
            },
            |warrant| runtime.block_on(road.finish(warrant)),
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, road);
criterion_main!(benches);
