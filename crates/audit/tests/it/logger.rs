//! The logger: everything submitted is accounted for.

use std::sync::Arc;
use std::time::Duration;

use lictor_audit::{AuditLogger, Filter, LogError, LoggerOptions, LoggerStats, OnFailure, Verdict};
use lictor_context::{Event, EventFacts, EventType, Severity, SystemClock};
use proptest::prelude::*;

use crate::rig::{Rig, check, name, session};
use crate::sink::{Sink, start};

fn event(kind: EventType) -> Event {
    Event::new(&session("acme", "ses_1"), kind, EventFacts::default(), &SystemClock)
}

fn options(on_failure: OnFailure) -> LoggerOptions {
    LoggerOptions { batch_size: 4, queue: 8, on_failure, ..LoggerOptions::default() }
}

#[track_caller]
fn accounted(stats: LoggerStats) {
    let LoggerStats { submitted, acknowledged, rejected, dropped } = stats;
    assert_eq!(submitted, acknowledged + rejected + dropped, "{stats:?}");
}

#[tokio::test]
async fn batches_are_never_larger_than_asked_and_a_stop_loses_nothing() {
    let sink = Arc::new(Sink::default());
    sink.hold(true);
    let logger = start(&sink, options(OnFailure::Block));
    for _ in 0..8 {
        logger.offer(event(EventType::StepStarted)).unwrap();
    }
    sink.hold(false);
    logger.stop().await;
    assert!(sink.batches.lock().unwrap().iter().all(|batch| batch.len() <= 4));
    assert_eq!(sink.events().len(), 8);
    assert_eq!(logger.stats().acknowledged, 8);
    let late = logger.log(event(EventType::StepStarted)).await;
    assert!(matches!(late, Err(LogError::Stopped)));
    assert!(matches!(logger.offer(event(EventType::StepStarted)), Err(LogError::Stopped)));
    accounted(logger.stats());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_not_full_goes_when_its_time_is_up() {
    let sink = Arc::new(Sink::default());
    let slow = LoggerOptions {
        batch_size: 1000,
        flush_interval: Duration::from_secs(3600),
        ..LoggerOptions::default()
    };
    let logger = start(&sink, slow);
    logger.log(event(EventType::StepStarted)).await.unwrap();
    assert_eq!(sink.events().len(), 1);
    // And at once when somebody wants it settled: no time passes here.
    let before = tokio::time::Instant::now();
    logger.offer(event(EventType::StepStarted)).unwrap();
    logger.flush().await;
    assert_eq!(tokio::time::Instant::now(), before);
    assert_eq!(sink.events().len(), 2);
}

#[tokio::test]
async fn no_record_no_effect() {
    let sink = Arc::new(Sink::default());
    sink.fail(true);
    for mode in [OnFailure::Block, OnFailure::Continue] {
        let logger = start(&sink, options(mode));
        let refused = logger.log(event(EventType::ActionRejected)).await;
        assert!(matches!(refused, Err(LogError::NotRecorded(_))), "{mode:?}");
        let small = logger.log(event(EventType::StepStarted)).await;
        assert_eq!(small.is_ok(), mode == OnFailure::Continue);
        logger.stop().await;
        accounted(logger.stats());
    }
}

#[tokio::test]
async fn what_is_dropped_is_told_in_the_trail() {
    let sink = Arc::new(Sink::default());
    let logger = start(&sink, options(OnFailure::Continue));
    sink.fail(true);
    for _ in 0..5 {
        logger.log(event(EventType::StepStarted)).await.unwrap();
    }
    assert!(logger.log(event(EventType::ActionUnknown)).await.is_err());
    assert_eq!(logger.stats().dropped, 5);
    sink.fail(false);
    logger.log(event(EventType::StepStarted)).await.unwrap();
    let gaps = sink.of(EventType::AuditGap);
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].facts().metadata["dropped"], 5);
    assert_eq!(gaps[0].org(), &name("acme"));
    assert_eq!(gaps[0].severity(), Severity::Critical);
    // It stands before what came after.
    assert_eq!(sink.events()[0].event_type(), EventType::AuditGap);
    logger.stop().await;
    accounted(logger.stats());
}

#[tokio::test]
async fn a_full_queue_holds_up_who_waits_and_refuses_who_does_not() {
    let sink = Arc::new(Sink::default());
    sink.hold(true);
    let logger = start(&sink, options(OnFailure::Block));
    let mut full = 0;
    for _ in 0..64 {
        full += u64::from(logger.offer(event(EventType::StepStarted)).is_err());
        tokio::task::yield_now().await;
    }
    // Eight wait, and four are with the sink.
    assert!((64 - 8 - 4..=64 - 8).contains(&full), "{full}");
    let waiting = {
        let logger = logger.clone();
        tokio::spawn(async move { logger.log(event(EventType::StepStarted)).await })
    };
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    sink.hold(false);
    waiting.await.unwrap().unwrap();
    logger.stop().await;
    accounted(logger.stats());
    assert_eq!(logger.stats().rejected, full);
}

#[tokio::test]
async fn a_log_that_was_written_by_a_logger_verifies() {
    let rig = Rig::new();
    let log = rig.open_guarded();
    let logger =
        AuditLogger::start(Arc::new(log.clone()), Arc::new(SystemClock), LoggerOptions::default());
    for n in 0..50 {
        logger.offer(rig.event(&session("acme", "ses_1"), n)).unwrap();
    }
    logger.stop().await;
    assert_eq!(log.count(&name("acme"), &Filter::default()).unwrap(), 50);
    check(&log.verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever fails, is held up, dropped or refused: everything is accounted for, and the trail
    /// tells of every event that is missing in it.
    #[test]
    fn submitted_is_acknowledged_and_rejected_and_dropped(
        steps in prop::collection::vec(0..6_u8, 1..60),
        go_on: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let sink = Arc::new(Sink::default());
            let mode = if go_on { OnFailure::Continue } else { OnFailure::Block };
            let logger = start(&sink, options(mode));
            for step in steps {
                match step {
                    0 => sink.fail(true),
                    1 => sink.fail(false),
                    2 => drop(logger.offer(event(EventType::ActionRejected))),
                    3 => drop(logger.offer(event(EventType::StepStarted))),
                    4 => drop(logger.log(event(EventType::StepCompleted)).await),
                    _ => logger.flush().await,
                }
            }
            sink.fail(false);
            logger.stop().await;
            let stats = logger.stats();
            accounted(stats);
            assert_eq!(sink.told(), stats.dropped);
            let recorded = sink.events().len() - sink.of(EventType::AuditGap).len();
            assert_eq!(recorded as u64, stats.acknowledged);
        });
    }
}
