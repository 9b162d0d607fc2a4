//! How often a check is made, what it showed before, and when its time and the execution's is over.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use lictor_capability::{Backoff, Described, Retry, Risk};
use lictor_context::ManualClock;
use lictor_document::HumanDuration;
use lictor_executor::{
    Attempt, Check, CheckFailure, CheckPhase, CheckRun, CheckSource, ExecuteErrorKind,
    ExecutionStatus, Rollback, Shown, TimeLimits,
};

use crate::support::{Run, World, world_of, writes};

/// What a check does, call by call; the last answer stays.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Passes,
    Transient,
    Stands,
    /// Prints more than is kept, and hangs.
    Chatters,
    /// Passes, and took so long.
    Takes(Duration),
}

struct Scripted {
    answers: Vec<Answer>,
    asked: AtomicU32,
    left: Mutex<Vec<Duration>>,
    clock: Arc<OnceLock<Arc<ManualClock>>>,
}

#[async_trait]
impl CheckRun for Scripted {
    async fn run(&self, attempt: &Attempt) -> Result<String, CheckFailure> {
        let nth = self.asked.fetch_add(1, Ordering::SeqCst) as usize;
        self.left.lock().expect("left").push(attempt.time_left());
        match self.answers[nth.min(self.answers.len() - 1)] {
            Answer::Passes => Ok("all is well".to_owned()),
            Answer::Transient => Err(CheckFailure::transient("not yet")),
            Answer::Stands => Err(CheckFailure::new("it is not green")),
            Answer::Chatters => {
                attempt.say("é".repeat(100_000).as_bytes());
                attempt.say(b" the end \n");
                std::future::pending().await
            }
            Answer::Takes(long) => {
                self.clock.get().expect("a clock").advance(long);
                Ok("all is well".to_owned())
            }
        }
    }
}

struct One {
    phase: CheckPhase,
    retry: Retry,
    run: Arc<Scripted>,
}

impl CheckSource for One {
    fn checks(&self, _: &Described, _: Risk) -> Result<Vec<Check>, CheckFailure> {
        Ok(vec![Check {
            name: "one".to_owned(),
            phase: self.phase,
            timeout: Duration::from_secs(7),
            retry: self.retry.clone(),
            staged: None,
            run: self.run.clone(),
        }])
    }
}

fn retry(attempts: u32, backoff: Backoff, initial: u64) -> Retry {
    let initial = HumanDuration::from_secs(initial);
    Retry { attempts, backoff, initial, ..Retry::default() }
}

/// A world with this check and this limit of an execution, and the check.
fn world(
    phase: CheckPhase,
    retry: Retry,
    answers: &[Answer],
    execution: Option<Duration>,
) -> (World, Arc<Scripted>) {
    let clock = Arc::new(OnceLock::new());
    let run = Arc::new(Scripted {
        answers: answers.to_vec(),
        asked: AtomicU32::new(0),
        left: Mutex::default(),
        clock: clock.clone(),
    });
    let limits = TimeLimits { execution, ..TimeLimits::default() };
    let world = world_of(Some(Arc::new(One { phase, retry, run: run.clone() })), limits);
    clock.set(world.clock.clone()).expect("set once");
    (world, run)
}

#[tokio::test(start_paused = true)]
async fn a_transient_failure_is_tried_again_within_the_time_of_the_check() {
    let answers = [Answer::Transient, Answer::Transient, Answer::Passes];
    let retry = retry(3, Backoff::Exponential, 1);
    let (world, run) = world(CheckPhase::Verification, retry, &answers, None);
    let receipt = world.act(writes(&["a.txt"])).await.expect("done");
    let check = &receipt.checks[0];
    assert_eq!((check.attempts, check.passed), (3, true));
    assert_eq!((check.before, check.after), (Shown::NotMade, Shown::Passed));
    assert!((3000..3100).contains(&check.duration_ms), "1 s and 2 s of pauses: {check:?}");
    let left = run.left.lock().expect("left").clone();
    assert_eq!(left[0], Duration::from_secs(7));
    assert!(left[2] <= Duration::from_secs(4), "later attempts have less time: {left:?}");
}

#[tokio::test(start_paused = true)]
async fn no_attempt_is_made_for_what_stands_or_when_the_time_would_be_over() {
    for (answer, retry, attempts) in [
        (Answer::Stands, retry(9, Backoff::Constant, 1), 1),
        (Answer::Transient, Retry::default(), 1),
        (Answer::Transient, retry(3, Backoff::Constant, 1), 3),
        (Answer::Transient, retry(99, Backoff::Constant, 2), 4),
    ] {
        let (world, run) = world(CheckPhase::Verification, retry, &[answer], None);
        let error = world.fails(writes(&["a.txt"])).await;
        assert_eq!(error.checks()[0].attempts, attempts);
        assert_eq!(run.asked.load(Ordering::SeqCst), attempts);
        assert!(matches!(error.rollback(), Rollback::Complete(_)), "{:?}", error.rollback());
        let said = error.to_string().contains(&format!("({attempts} attempts)"));
        assert_eq!(said, attempts > 1, "{error}");
    }
}

#[tokio::test]
async fn what_was_ill_before_the_change_is_told_apart() {
    use Answer::{Passes, Stands};
    for (answers, before, after) in [
        ([Passes, Passes], Shown::Passed, Shown::Passed),
        ([Stands, Passes], Shown::Failed, Shown::Passed),
    ] {
        let (world, _) = world(CheckPhase::Health, Retry::default(), &answers, None);
        let receipt = world.act(writes(&["a.txt"])).await.expect("done");
        assert_eq!((receipt.checks[0].before, receipt.checks[0].after), (before, after));
    }
    for (answers, before) in [([Passes, Stands], Shown::Passed), ([Stands, Stands], Shown::Failed)]
    {
        let (world, run) = world(CheckPhase::Health, Retry::default(), &answers, None);
        let error = world.fails(writes(&["a.txt"])).await;
        assert_eq!((error.checks()[0].before, error.checks()[0].after), (before, Shown::Failed));
        let said = error.to_string().contains("not passed before the change either");
        assert_eq!(said, before == Shown::Failed, "{error}");
        assert!(matches!(error.rollback(), Rollback::Complete(_)));
        assert_eq!(run.asked.load(Ordering::SeqCst), 2, "before, and after");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_output_is_kept_also_when_the_time_is_over() {
    let (world, _) = world(CheckPhase::Verification, Retry::default(), &[Answer::Chatters], None);
    let error = world.fails(writes(&["a.txt"])).await;
    let check = &error.checks()[0];
    assert_eq!(check.detail, "not done within 7s");
    assert_eq!(check.output.chars().count(), 2000);
    assert!(check.output.ends_with("é the end"), "{}", check.output);
    assert!(error.to_string().contains("the end"), "a person reads it: {error}");
}

#[tokio::test]
async fn an_execution_that_took_too_long_is_taken_back_though_its_checks_were_passed() {
    let limit = Duration::from_secs(60);
    let long = Answer::Takes(limit);
    let (world, _) = world(CheckPhase::Verification, Retry::default(), &[long], Some(limit));
    let error = world.fails(writes(&["a.txt"])).await;
    assert_eq!(error.to_string(), "`test.act` was not done within 60000 ms");
    let Rollback::Complete(report) = error.rollback() else { panic!("{:?}", error.rollback()) };
    assert_eq!(report.restored, ["a.txt"]);
    assert!(error.checks()[0].passed);
    assert_eq!(world.ledger.records()[0].status, ExecutionStatus::RolledBack);
    world.lock_is_clean();
}

#[tokio::test]
async fn an_execution_whose_time_is_over_before_anything_is_published_never_begins() {
    let limit = Duration::from_secs(60);
    // The look before the change takes all the time.
    let (world, _) =
        world(CheckPhase::Health, Retry::default(), &[Answer::Takes(limit)], Some(limit));
    let error = world.fails(writes(&["a.txt"])).await;
    assert!(matches!(error.kind(), ExecuteErrorKind::TimedOut { .. }), "{error}");
    assert_eq!(*error.rollback(), Rollback::NotBegun);
    assert_eq!(world.calls.all(), ["run", "recorded"], "nothing was applied");
    world.lock_is_clean();
}

#[tokio::test(start_paused = true)]
async fn a_step_that_takes_too_long_leaves_nothing() {
    let limits = TimeLimits { step: Some(Duration::from_secs(2)), ..TimeLimits::default() };
    let world = world_of(None, limits);
    world.runs(Run::Hangs);
    let error = world.fails(writes(&["a.txt"])).await;
    assert_eq!(error.to_string(), "`test.act` was not done within 2000 ms");
    assert_eq!(*error.rollback(), Rollback::NotBegun);
    world.lock_is_clean();
}
