//! A run has its time, and what passes while a person is asked is not of it. The clock is the test's
//! own: it runs where everything waits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lictor_capability::Effects;
use lictor_executor::{Granted, Handler, HandlerError, Request, RunTime};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower::Service as _;

use crate::support::world;

/// What the contract of these tests gives.
const LIMIT: Duration = Duration::from_secs(5);

/// Works and asks in turns, so many milliseconds each.
#[derive(Clone, Debug)]
struct Asks {
    turns: Vec<(u64, u64)>,
    /// Whether it ends by itself when its time is over.
    keeps_time: bool,
}

#[async_trait]
impl Handler for Asks {
    fn describe(&self, _: Request<'_>) -> Result<Effects, HandlerError> {
        let hosts = vec!["example.com".to_owned()];
        Ok(Effects { hosts, ..Effects::default() })
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        let turns = async {
            for (work, ask) in &self.turns {
                sleep(Duration::from_millis(*work)).await;
                // Two are asked, one of them a little longer: one is enough for it to stand still.
                let (one, other) = (granted.time().hold(), granted.time().hold());
                sleep(Duration::from_millis(*ask / 2)).await;
                drop(one);
                sleep(Duration::from_millis(*ask - *ask / 2)).await;
                drop(other);
            }
        };
        if !self.keeps_time {
            turns.await;
            return Ok(json!({ "ok": true }));
        }
        tokio::select! {
            biased;
            () = turns => Ok(json!({ "ok": true })),
            () = granted.time().over() => Err(HandlerError::failed("its time is over")),
        }
    }

    fn keeps_time(&self) -> bool {
        self.keeps_time
    }
}

/// How a run ended, and after how long.
async fn run(turns: &[(u64, u64)], keeps_time: bool) -> (Result<(), String>, Duration) {
    let world = world();
    let executor = world.executor_with(Arc::new(Asks { turns: turns.to_vec(), keeps_time }));
    let admitted = world.graph.admit(world.action(json!({}))).expect("admitted");
    let described = executor.describe(admitted).expect("described");
    let decision = world.gate.decide(&described);
    let warrant = world.gate.authorize(described, &decision, None).expect("a warrant");
    let began = Instant::now();
    let ended = executor.clone().call(warrant).await;
    let took = began.elapsed();
    (ended.map(drop).map_err(|error| error.to_string()), took)
}

#[tokio::test(start_paused = true)]
async fn a_person_who_thinks_for_long_does_not_end_the_run() {
    for keeps_time in [true, false] {
        let (ended, took) = run(&[(2_000, 120_000), (2_000, 600_000)], keeps_time).await;
        assert_eq!(ended, Ok(()), "keeps_time: {keeps_time}");
        assert_eq!(took.as_secs(), 724);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_run_itself_takes_counts_before_and_after_a_question() {
    let (ended, took) = run(&[(3_000, 120_000), (3_000, 0)], true).await;
    assert!(ended.is_err_and(|why| why.contains("its time is over")));
    assert_eq!(took, Duration::from_secs(120) + LIMIT);
    let (ended, took) = run(&[(3_000, 120_000), (3_000, 0)], false).await;
    assert!(ended.is_err_and(|why| why.contains("within 5000 ms")));
    assert_eq!(took, Duration::from_secs(120) + LIMIT);
}

#[tokio::test(start_paused = true)]
async fn who_asks_without_end_is_ended_all_the_same() {
    let hour = u64::try_from(RunTime::MOST_HELD.as_millis()).expect("it fits");
    for turns in [vec![(0, 2 * hour)], vec![(1, 1_000_000); 10]] {
        let (ended, took) = run(&turns, true).await;
        assert!(ended.is_err_and(|why| why.contains("its time is over")), "{turns:?}");
        assert_eq!(took, RunTime::MOST_HELD + LIMIT, "{turns:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A run ends by the time that it took itself, whatever was asked in between and for how long.
    #[test]
    fn only_what_the_run_itself_takes_counts(
        turns in prop::collection::vec((0..2_500_u64, 0..100_000_u64), 0..6),
        keeps_time: bool,
    ) {
        let worked: u64 = turns.iter().map(|(work, _)| work).sum();
        let asked: u64 = turns.iter().map(|(_, ask)| ask).sum();
        // On the limit itself either end is right.
        prop_assume!(u128::from(worked) != LIMIT.as_millis());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let (ended, took) = runtime.block_on(run(&turns, keeps_time));
        prop_assert_eq!(ended.is_ok(), u128::from(worked) < LIMIT.as_millis(), "{:?}", ended);
        if ended.is_ok() {
            prop_assert_eq!(took, Duration::from_millis(worked + asked));
        }
    }
}
