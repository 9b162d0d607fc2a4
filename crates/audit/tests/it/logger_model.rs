//! The logger against a model: whatever comes, in whichever batches, while the clock goes on, the sink
//! hangs, fails or dies, each event that was submitted is acknowledged, rejected or dropped, once, and
//! what the logger says of it is so.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lictor_audit::{AuditLogger, Filter, LogError, LoggerOptions, LoggerStats, OnFailure, Verdict};
use lictor_context::{Event, EventFacts, EventType, SystemClock};
use proptest::prelude::*;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::rig::{Rig, name, session};
use crate::sink::{Sink, start};

/// The numbers of the events that were recorded, in order.
fn recorded(sink: &Sink) -> Vec<u64> {
    sink.events().iter().filter_map(number).collect()
}

fn number(event: &Event) -> Option<u64> {
    event.facts().metadata.get("n")?.as_u64()
}

fn event(n: u64, matters: bool) -> Event {
    let kind = if matters { EventType::ActionRejected } else { EventType::StepStarted };
    let mut facts = EventFacts::default();
    facts.metadata.insert("n".to_owned(), n.into());
    Event::new(&session("acme", "ses_1"), kind, facts, &SystemClock)
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Events are offered, so many.
    Offer {
        count: u8,
        matters: bool,
    },
    /// Somebody submits an event and waits.
    Log {
        matters: bool,
    },
    /// The clock goes on, by this many hundredths of the interval.
    Pass(u8),
    Hold(bool),
    Fail(bool),
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..7_u8, any::<bool>()).prop_map(|(count, matters)| Step::Offer { count, matters }),
        3 => any::<bool>().prop_map(|matters| Step::Log { matters }),
        3 => (1..250_u8).prop_map(Step::Pass),
        2 => any::<bool>().prop_map(Step::Hold),
        2 => any::<bool>().prop_map(Step::Fail),
        1 => Just(Step::Flush),
    ];
    prop::collection::vec(step, 1..60)
}

/// What is known of an event from outside.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Known {
    /// It was taken, and nothing more is known.
    Taken,
    /// Whoever submitted it was told that it is not recorded.
    Refused,
    /// It was dropped at once: there was no room.
    Dropped,
}

struct Model {
    options: LoggerOptions,
    events: BTreeMap<u64, (bool, Known)>,
    waiting: Vec<(u64, JoinHandle<Result<(), LogError>>)>,
    flushes: Vec<JoinHandle<()>>,
}

impl Model {
    fn may_drop(&self, matters: bool) -> bool {
        self.options.on_failure == OnFailure::Continue && !matters
    }

    fn offer(&mut self, logger: &AuditLogger, matters: bool) {
        let n = self.events.len() as u64;
        let before = logger.stats();
        let under_way = under_way(before);
        let answer = logger.offer(event(n, matters));
        let dropped = logger.stats().dropped > before.dropped;
        let known = match (&answer, dropped) {
            (Ok(()), false) => {
                // One is with the sink, or gathered for it, and the queue holds the others.
                let room = self.options.queue + self.options.batch_size + self.waiting.len();
                assert!(under_way < room as u64, "{under_way} are under way");
                Known::Taken
            }
            (Ok(()), true) => {
                assert!(self.may_drop(matters), "what matters was dropped");
                Known::Dropped
            }
            (Err(LogError::Full { queue }), false) => {
                assert!(!self.may_drop(matters), "what may be dropped was refused");
                assert_eq!(*queue, self.options.queue);
                Known::Refused
            }
            other => unreachable!("{other:?}"),
        };
        if known != Known::Taken {
            // Who wants everything settled stands in the queue as well.
            let flushes = self.flushes.iter().filter(|flush| !flush.is_finished()).count() as u64;
            let full = under_way + flushes >= self.options.queue as u64;
            assert!(full, "there was room: {under_way}, {flushes}");
        }
        self.events.insert(n, (matters, known));
    }

    fn log(&mut self, logger: &AuditLogger, matters: bool) {
        let n = self.events.len() as u64;
        let (logger, event) = (logger.clone(), event(n, matters));
        self.waiting.push((n, tokio::spawn(async move { logger.log(event).await })));
        self.events.insert(n, (matters, Known::Taken));
    }

    /// Nothing is under way any more: everything has one end, and it is the one that was told.
    async fn check(mut self, sink: &Sink, stats: LoggerStats) {
        let recorded = recorded(sink);
        let once: BTreeSet<u64> = recorded.iter().copied().collect();
        assert_eq!(once.len(), recorded.len(), "an event was recorded twice: {recorded:?}");
        for (n, answer) in std::mem::take(&mut self.waiting) {
            let (matters, _) = self.events[&n];
            match answer.await.unwrap() {
                Ok(()) if once.contains(&n) => {}
                Ok(()) => assert!(self.may_drop(matters), "{n} is said to be recorded"),
                Err(_) => {
                    assert!(!once.contains(&n), "{n} is said to be not recorded");
                    self.events.insert(n, (matters, Known::Refused));
                }
            }
        }
        let (mut rejected, mut dropped) = (0, 0);
        for (n, (matters, known)) in &self.events {
            match (known, once.contains(n)) {
                (Known::Taken, true) => {}
                (Known::Refused, false) => rejected += 1,
                (Known::Dropped, false) => dropped += 1,
                // Nobody waited for it when the sink failed.
                (Known::Taken, false) if self.may_drop(*matters) => dropped += 1,
                (Known::Taken, false) => rejected += 1,
                (_, true) => unreachable!("{n} was {known:?}, and is recorded"),
            }
        }
        let submitted = self.events.len() as u64;
        let acknowledged = recorded.len() as u64;
        assert_eq!(stats, LoggerStats { submitted, acknowledged, rejected, dropped });
        assert_eq!(submitted, acknowledged + rejected + dropped);
        assert_eq!(sink.told(), dropped, "the trail tells of what is missing in it");
        let batches = sink.batches.lock().unwrap();
        let most =
            batches.iter().map(|batch| batch.iter().filter(|it| number(it).is_some()).count());
        assert!(most.max().unwrap_or(0) <= self.options.batch_size, "a batch is too large");
    }
}

fn under_way(stats: LoggerStats) -> u64 {
    stats.submitted - stats.acknowledged - stats.rejected - stats.dropped
}

/// Lets everything go on that can go on without time passing.
async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

async fn drive(steps: &[Step], options: LoggerOptions) {
    let sink = Arc::new(Sink::default());
    let interval = options.flush_interval;
    let logger = start(&sink, options.clone());
    let mut model =
        Model { options, events: BTreeMap::new(), waiting: Vec::new(), flushes: Vec::new() };
    for step in steps {
        match *step {
            Step::Offer { count, matters } => {
                (0..count).for_each(|_| model.offer(&logger, matters));
            }
            Step::Log { matters } => model.log(&logger, matters),
            Step::Pass(hundredths) => {
                tokio::time::advance(interval * u32::from(hundredths) / 100).await;
            }
            Step::Hold(held) => sink.hold(held),
            Step::Fail(failing) => sink.fail(failing),
            Step::Flush => {
                let logger = logger.clone();
                model.flushes.push(tokio::spawn(async move { logger.flush().await }));
            }
        }
        settle().await;
        let stats = logger.stats();
        assert!(
            stats.submitted >= stats.acknowledged + stats.rejected + stats.dropped,
            "{stats:?}"
        );
        if let Step::Pass(100..) = step
            && !sink.is_held()
        {
            // Each batch waits for the others no longer than the interval; so many may follow.
            while under_way(logger.stats()) > 0 {
                let before = under_way(logger.stats());
                tokio::time::advance(interval).await;
                settle().await;
                assert!(under_way(logger.stats()) < before, "an interval passed, and nothing went");
            }
        }
    }
    sink.fail(false);
    sink.hold(false);
    logger.stop().await;
    for flush in std::mem::take(&mut model.flushes) {
        flush.await.unwrap();
    }
    settle().await;
    let late = logger.offer(event(u64::MAX, false));
    assert!(matches!(late, Err(LogError::Stopped)));
    let mut stats = logger.stats();
    (stats.submitted, stats.rejected) = (stats.submitted - 1, stats.rejected - 1);
    model.check(&sink, stats).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_submitted_event_has_the_one_end_that_was_told(
        steps in steps(),
        batch_size in 1..9_usize,
        queue in 1..12_usize,
        interval_ms in 1..5_000_u64,
        go_on: bool,
    ) {
        let options = LoggerOptions {
            batch_size,
            queue,
            flush_interval: Duration::from_millis(interval_ms),
            on_failure: if go_on { OnFailure::Continue } else { OnFailure::Block },
            ..LoggerOptions::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(drive(&steps, options));
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_does_not_go_before_its_time_unless_it_is_full() {
    let sink = Arc::new(Sink::default());
    let options = LoggerOptions {
        batch_size: 3,
        flush_interval: Duration::from_millis(100),
        ..LoggerOptions::default()
    };
    let logger = start(&sink, options);
    for n in 0..2 {
        logger.offer(event(n, false)).unwrap();
    }
    settle().await;
    tokio::time::advance(Duration::from_millis(99)).await;
    settle().await;
    assert!(recorded(&sink).is_empty());
    logger.offer(event(2, false)).unwrap();
    settle().await;
    assert_eq!(recorded(&sink), [0, 1, 2], "it is full");
    logger.offer(event(3, false)).unwrap();
    settle().await;
    tokio::time::advance(Duration::from_millis(99)).await;
    settle().await;
    assert_eq!(recorded(&sink).len(), 3);
    tokio::time::advance(Duration::from_millis(2)).await;
    settle().await;
    assert_eq!(recorded(&sink), [0, 1, 2, 3]);
    logger.stop().await;
}

const CHILD: &str = "LICTOR_AUDIT_LOGGER_CHILD";

/// Not a test of its own: the process that is killed. It says what it submits and what it was told of it.
#[test]
fn a_process_that_logs_until_it_is_killed() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let log = crate::rig::open_in(
            std::path::Path::new(&folder),
            lictor_audit::AuditOptions::default(),
        );
        let options = LoggerOptions { batch_size: 7, queue: 16, ..LoggerOptions::default() };
        let logger = AuditLogger::start(Arc::new(log), Arc::new(SystemClock), options);
        let hands = (0..4_u64).map(|hand| {
            let logger = logger.clone();
            tokio::spawn(async move {
                for n in (hand..).step_by(4) {
                    println!("submitted {n}");
                    logger.log(event(n, false)).await.unwrap();
                    println!("recorded {n}");
                }
            })
        });
        for hand in hands.collect::<Vec<_>>() {
            hand.await.unwrap();
        }
    });
}

#[test]
fn what_was_acknowledged_before_a_kill_is_in_the_trail_once_and_nothing_is_that_was_not_submitted()
{
    for after in [1, 13, 40, 111] {
        let rig = Rig::new();
        drop(rig.open());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "logger_model::a_process_that_logs_until_it_is_killed",
                "--nocapture",
            ])
            .env(CHILD, rig.folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut submitted, mut recorded) = (BTreeSet::new(), BTreeSet::new());
        let mut note = |line: &str| {
            // The harness says something before it, on the same line.
            for (word, found) in [("submitted ", &mut submitted), ("recorded ", &mut recorded)] {
                if let Some((_, n)) = line.split_once(word) {
                    found.extend(n.trim().parse::<u64>());
                }
            }
            recorded.len()
        };
        while note(&lines.next().unwrap().unwrap()) < after {}
        child.kill().unwrap();
        // What it had said by then.
        lines.map_while(Result::ok).for_each(|line| _ = note(&line));
        child.wait().unwrap();
        let log = rig.open();
        assert_eq!(log.verify_store(&name("acme")).unwrap().verdict, Verdict::Complete);
        let trail = log.query(&name("acme"), &Filter::default()).unwrap();
        let trail: Vec<u64> = trail
            .iter()
            .map(|event| serde_json::from_slice::<Value>(&event.bytes).unwrap())
            .map(|event| event["metadata"]["n"].as_u64().unwrap())
            .collect();
        let there: BTreeSet<u64> = trail.iter().copied().collect();
        assert_eq!(there.len(), trail.len(), "an event is there twice");
        assert!(recorded.is_subset(&there), "{:?} are missing", recorded.difference(&there));
        assert!(there.is_subset(&submitted), "{:?}", there.difference(&submitted));
    }
}
