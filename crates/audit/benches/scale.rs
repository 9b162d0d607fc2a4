//! What the trail costs under many hands and at a million events.
//!
//! `LICTOR_TRAIL_EVENTS` makes it another number than a million, for a look whether it works.
#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark may fail loudly, and is told its size by the environment"
)]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use criterion::{Criterion, SamplingMode, Throughput};
use lictor_audit::{
    AuditLog, AuditLogger, AuditOptions, Filter, LoggerOptions, Place, SigningKey, Verdict,
    event_line, migrations,
};
use lictor_context::{
    ActionId, CapabilityFacts, Clock as _, Event, EventFacts, EventSink, EventType, ExecutionId,
    Name, Principal, RecordError, Session, SystemClock, seal_keeping,
};
use lictor_store::{Durability, Store, StoreOptions};
use serde_json::json;

const PRODUCERS: u64 = 64;

/// How many events the large log has.
fn many() -> u64 {
    let wish = std::env::var("LICTOR_TRAIL_EVENTS").ok().and_then(|text| text.parse().ok());
    wish.unwrap_or(1_000_000)
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn session(user: &str) -> Session {
    let principal = Principal { org: name("acme"), user: name(user), agent: name("planner") };
    Session::new(principal, &SystemClock)
}

/// About 900 bytes, as a write of a file makes it.
fn event(session: &Session) -> Event {
    let input = json!({ "path": "src/date.rs", "content": "hello\n" });
    let (params, private) = seal_keeping(&input);
    let facts = EventFacts {
        action_id: Some(ActionId::generate(&SystemClock)),
        action_name: Some("fs.write".into()),
        action_params: Some(params),
        private,
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

fn open(folder: &Path, durability: Durability, options: AuditOptions) -> AuditLog {
    let options_of_store = StoreOptions::default().durability(durability);
    let store = Store::open(&folder.join("audit.db"), options_of_store, migrations());
    AuditLog::open(store.expect("a store"), SigningKey::from_seed(&[1; 32]), options)
        .expect("a trail")
}

fn fill(log: &AuditLog, session: &Session, count: u64) {
    let mut left = count;
    while left > 0 {
        let batch = left.min(1000);
        log.append((0..batch).map(|_| event(session)).collect()).expect("appends");
        left -= batch;
    }
}

/// Takes everything.
struct Nowhere;

#[async_trait]
impl EventSink for Nowhere {
    async fn record(&self, _events: Vec<Event>) -> Result<(), RecordError> {
        Ok(())
    }
}

fn enqueue(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let session = session("ann");
    let queue = 1 << 16;
    c.bench_function("enqueue/one event", |b| {
        b.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            let mut left = iterations;
            while left > 0 {
                let batch = left.min(queue as u64);
                let events: Vec<_> = (0..batch).map(|_| event(&session)).collect();
                let options = LoggerOptions { queue, ..LoggerOptions::default() };
                runtime.block_on(async {
                    let clock = Arc::new(SystemClock);
                    let logger = AuditLogger::start(Arc::new(Nowhere), clock, options);
                    let start = SystemClock.monotonic();
                    for event in events {
                        logger.offer(event).expect("room");
                    }
                    took += SystemClock.monotonic() - start;
                    logger.stop().await;
                });
                left -= batch;
            }
            took
        });
    });
}

fn producers(c: &mut Criterion) {
    let folder = tempfile::Builder::new().prefix("lictor-trail").tempdir_in(".").expect("a folder");
    let session = session("ann");
    let mut group = c.benchmark_group("producers");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    let line = event_line(&event(&session), Place { seq: 0, session_seq: 0 });
    let mut bare = File::create(folder.path().join("bare")).expect("a file");
    group.bench_function("bare append", |b| {
        b.iter(|| {
            bare.write_all(&line).expect("writes");
            bare.sync_data().expect("syncs");
        });
    });
    let log = open(folder.path(), Durability::Full, AuditOptions::default());
    group.bench_function("64", |b| {
        b.iter_custom(|iterations| {
            let next = AtomicU64::new(0);
            let events: Vec<_> = (0..iterations).map(|_| event(&session)).collect();
            let start = SystemClock.monotonic();
            std::thread::scope(|scope| {
                for _ in 0..PRODUCERS.min(iterations) {
                    scope.spawn(|| {
                        while let Some(event) =
                            usize::try_from(next.fetch_add(1, Ordering::Relaxed))
                                .ok()
                                .and_then(|at| events.get(at))
                        {
                            log.append(vec![event.clone()]).expect("appends");
                        }
                    });
                }
            });
            SystemClock.monotonic() - start
        });
    });
    group.finish();
}

fn scale(c: &mut Criterion) {
    let folder = tempfile::Builder::new().prefix("lictor-trail").tempdir_in(".").expect("a folder");
    let log = open(folder.path(), Durability::Normal, AuditOptions::default());
    let (org, many) = (name("acme"), many());
    fill(&log, &session("ann"), many);
    let mut group = c.benchmark_group("scale");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.bench_function("verify", |b| {
        b.iter(|| {
            let found = log.verify_store(&org).expect("verifies");
            assert_eq!((found.verdict, found.events), (Verdict::Complete, many));
        });
    });
    let mut seq = 0;
    group.bench_function("prove", |b| {
        b.iter(|| {
            // Far from the last one, and never the same.
            seq = (seq + 611_953) % many;
            log.prove(&org, seq).expect("proves")
        });
    });
    let last = Filter { after: Some(many - 101), limit: Some(100), ..Filter::default() };
    group.bench_function("page of 100 at the end", |b| {
        b.iter(|| assert_eq!(log.query(&org, &last).expect("a page").len(), 100));
    });
    group.finish();
}

fn erase(c: &mut Criterion) {
    let folder = tempfile::Builder::new().prefix("lictor-trail").tempdir_in(".").expect("a folder");
    let options = AuditOptions::default().subjects_dir(folder.path().join("subjects"));
    let log = open(folder.path(), Durability::Normal, options);
    let officer = session("officer");
    let events = (many() / 10).max(1);
    let mut group = c.benchmark_group("erase");
    // Each erasure needs a person with as many events; a few of them have to do.
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_millis(1));
    let mut persons = 0;
    group.bench_function("a tenth as many", |b| {
        b.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            for _ in 0..iterations {
                persons += 1;
                let person = format!("person-{persons}");
                fill(&log, &session(&person), events);
                let start = SystemClock.monotonic();
                let _erased =
                    log.erase_subject(&officer, &name(&person), &SystemClock).expect("erases");
                took += SystemClock.monotonic() - start;
            }
            took
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    enqueue(&mut criterion);
    producers(&mut criterion);
    scale(&mut criterion);
    erase(&mut criterion);
    criterion.final_summary();
}
