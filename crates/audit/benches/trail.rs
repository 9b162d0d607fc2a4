//! What one event costs, and what a look at all of them.
#![expect(clippy::expect_used, reason = "a benchmark may fail loudly")]

use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use lictor_audit::{AuditLog, AuditOptions, Filter, Redactor, SigningKey, migrations, verify_file};
use lictor_context::{
    ActionId, CapabilityFacts, Clock as _, Event, EventFacts, EventType, ExecutionId, Name,
    Principal, Session, SystemClock,
};
use lictor_store::{Store, StoreOptions};
use serde_json::{Value, json};

const MANY: u64 = 100_000;

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn session() -> Session {
    let principal = Principal { org: name("acme"), user: name("ann"), agent: name("planner") };
    Session::new(principal, &SystemClock)
}

/// About 900 bytes, as a write of a file makes it.
fn event(session: &Session) -> Event {
    let facts = EventFacts {
        action_id: Some(ActionId::generate(&SystemClock)),
        action_name: Some("fs.write".into()),
        action_params: Some(
            json!({ "path": "src/date.rs", "content": { "sealed": "sha256:0000", "bytes": 6 } }),
        ),
        capability: Some(CapabilityFacts {
            kind: "skill".into(),
            source: "builtin".into(),
            version: "1.0.0".into(),
            mcp_server: None,
        }),
        execution_id: Some(ExecutionId::generate(&SystemClock)),
        success: Some(true),
        duration: Some(Duration::from_micros(3120)),
        ..EventFacts::default()
    };
    Event::new(session, EventType::ActionCompleted, facts, &SystemClock)
}

fn memory() -> Store {
    Store::in_memory(StoreOptions::default(), migrations()).expect("a store")
}

fn file(folder: &Path) -> Store {
    let path = folder.join("audit.db");
    Store::open(&path, StoreOptions::default(), migrations()).expect("a store")
}

fn open(store: Store, options: AuditOptions) -> AuditLog {
    AuditLog::open(store, SigningKey::from_seed(&[1; 32]), options).expect("a trail")
}

fn fill(log: &AuditLog, count: u64) {
    let session = session();
    for _ in 0..count / 1000 {
        log.append((0..1000).map(|_| event(&session)).collect()).expect("appends");
    }
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    // The share of the trail in a transaction that is somebody else's: this is CPU time alone.
    group.bench_function("one event inside a transaction", |b| {
        b.iter_custom(|iterations| {
            let store = memory();
            let log = open(store.clone(), AuditOptions::default());
            fill(&log, 10_000);
            let session = session();
            let events: Vec<_> = (0..iterations).map(|_| event(&session)).collect();
            let took = store.write(move |tx| {
                let start = SystemClock.monotonic();
                for event in events {
                    log.append_in(tx, log.prepare(vec![event])?).map(drop)?;
                }
                Ok::<_, lictor_audit::AppendError>(SystemClock.monotonic() - start)
            });
            took.wait().expect("appends")
        });
    });
    let folder = tempfile::tempdir().expect("a folder");
    let guarded = AuditOptions::default().guard_dir(folder.path().join("guard"));
    for (title, store, options) in [
        ("one event, in memory", memory(), AuditOptions::default()),
        ("one event, durable", file(folder.path()), AuditOptions::default()),
        ("one event, durable and guarded", file(folder.path()), guarded),
    ] {
        let log = open(store, options);
        let session = session();
        group.bench_function(title, |b| {
            b.iter(|| log.append(vec![event(&session)]).expect("appends"));
        });
    }
    group.finish();
}

fn verify(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(file(folder.path()), AuditOptions::default());
    fill(&log, MANY);
    let (mut events, mut checkpoint) = (Vec::new(), Vec::new());
    log.export(&name("acme"), &Filter::default(), &mut events, &mut checkpoint).expect("exports");
    let mut group = c.benchmark_group("verify");
    group.sample_size(10).throughput(Throughput::Elements(MANY));
    group.bench_function("100k events in the store", |b| {
        b.iter(|| log.verify_store(&name("acme")).expect("verifies"));
    });
    group.bench_function("100k events of an export", |b| {
        b.iter(|| {
            verify_file(events.as_slice(), checkpoint.as_slice(), &log.public_key(), None)
                .expect("verifies")
        });
    });
    group.finish();
}

/// What a run costs that holds no secret: a look through what it was given and what its steps gave, at
/// each time that it is kept.
fn secrets(c: &mut Criterion) {
    let redactor = Redactor::new(["cus_[0-9]+"], ["a-declared-secret"]).expect("a redactor");
    let mut group = c.benchmark_group("secrets");
    for steps in [4, 100] {
        let output = |n: u64| {
            let digest =
                "sha256:0f343b0931126a20f133d67c2b018a3b5f0d1f2c3a4e5d6c7b8a99887766554433";
            json!({ "path": format!("src/{n}.rs"), "digest": digest, "bytes": 4_711 * n, "lines": n })
        };
        let outputs: Vec<Value> = (0..steps).map(output).collect();
        let run =
            json!({ "input": { "title": "Release notes", "since": "v1.2.0" }, "outputs": outputs });
        // What keeping it costs in any case, before it is written anywhere.
        group.bench_function(format!("writing a run of {steps} steps as JSON"), |b| {
            b.iter(|| serde_json::to_string(&run).expect("JSON"));
        });
        group.bench_function(format!("a look through a run of {steps} steps"), |b| {
            b.iter(|| assert!(!redactor.hides(&run)));
        });
        group.bench_function(format!("by name alone, {steps} steps"), |b| {
            b.iter(|| assert!(redactor.named(&run).is_empty()));
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    append(&mut criterion);
    verify(&mut criterion);
    secrets(&mut criterion);
    criterion.final_summary();
}
