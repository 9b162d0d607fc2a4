//! Checks: planned before anything is done, made after, and believed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lictor_capability::{Described, Retry, Risk};
use lictor_context::EventType;
use lictor_executor::{
    Attempt, Check, CheckFailure, CheckPhase, CheckRun, CheckSource, ExecuteErrorKind,
    ExecutionStatus, Rollback,
};

use crate::support::{Note, PutBack, World, world_with, writes};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Passes,
    Fails,
    Hangs,
    Panics,
}

#[async_trait]
impl CheckRun for Look {
    async fn run(&self, _: &Attempt) -> Result<String, CheckFailure> {
        match self {
            Self::Passes => Ok("all is well".to_owned()),
            Self::Fails => Err(CheckFailure::new("it is not green")),
            Self::Hangs => std::future::pending().await,
            Self::Panics => panic!("a check that panics"),
        }
    }
}

struct Plan(Result<Vec<Look>, &'static str>);

impl CheckSource for Plan {
    fn checks(&self, _: &Described, _: Risk) -> Result<Vec<Check>, CheckFailure> {
        let looks = self.0.clone().map_err(CheckFailure::new)?;
        let check = |(at, look): (usize, Look)| Check {
            name: format!("check {at}"),
            phase: if at == 0 { CheckPhase::Verification } else { CheckPhase::Health },
            timeout: Duration::from_secs(7),
            retry: Retry::default(),
            staged: None,
            run: Arc::new(look),
        };
        Ok(looks.into_iter().enumerate().map(check).collect())
    }
}

fn world(looks: &[Look]) -> World {
    world_with(Some(Arc::new(Plan(Ok(looks.to_vec())))))
}

#[tokio::test]
async fn checks_are_made_after_the_change_and_noted_before_it_stands() {
    let world = world(&[Look::Passes, Look::Passes]);
    let receipt = world.act(writes(&["a.txt"])).await.expect("done");
    assert!(receipt.checks.iter().all(|check| check.passed && check.detail == "all is well"));
    assert_eq!(receipt.checks.len(), 2);
    assert_eq!(
        world.calls.all(),
        ["run", "apply back_on_crash=true", "verified", "recorded", "settle"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_check_that_is_not_passed_takes_everything_back() {
    for (look, says) in [
        (Look::Fails, "it is not green"),
        (Look::Hangs, "not done within 7s"),
        (Look::Panics, "it panicked"),
    ] {
        let world = world(&[Look::Passes, look, Look::Passes]);
        let error = world.fails(writes(&["a.txt"])).await;
        let ExecuteErrorKind::Check { name, detail } = error.kind() else { panic!("{error}") };
        let says = format!("{says} (it was not passed before the change either)");
        assert_eq!((name.as_str(), detail.as_str()), ("check 1", says.as_str()));
        let Rollback::Complete(report) = error.rollback() else { panic!("{:?}", error.rollback()) };
        assert_eq!(report.restored, ["a.txt"]);
        let passed: Vec<bool> = error.checks().iter().map(|check| check.passed).collect();
        assert_eq!(passed, [true, false], "the third was not made any more");
        assert!(world.calls.has("roll back: check `check 1` was not passed"));
        assert!(!world.calls.has("verified"));
        assert_eq!(world.ledger.records()[0].status, ExecutionStatus::RolledBack);
        world.lock_is_clean();
    }
}

#[tokio::test]
async fn a_check_that_does_not_exist_is_an_error_before_anything_is_done() {
    let unknown = "there is no check `lint`; there are `tests`, `types`";
    let world = world_with(Some(Arc::new(Plan(Err(unknown)))));
    let error = world.fails(writes(&["a.txt"])).await;
    assert!(error.to_string().contains(unknown), "{error}");
    assert_eq!(*error.rollback(), Rollback::NotBegun);
    assert_eq!(world.calls.all(), ["recorded"], "neither run nor applied");
    world.lock_is_clean();
}

#[tokio::test]
async fn a_verification_that_cannot_be_noted_counts_as_failed() {
    let world = world(&[Look::Passes]);
    world.notes(Note::Fails);
    let error = world.fails(writes(&["a.txt"])).await;
    assert!(error.to_string().contains("the journal is full"), "{error}");
    assert!(matches!(error.rollback(), Rollback::Complete(_)));
}

/// `status_never_overstates`: nobody can say whether a crash would find it verified, so it is neither
/// called done nor put back, and whoever comes next looks at it.
#[tokio::test]
async fn what_was_verified_and_is_perhaps_not_durable_is_left_to_a_recovery() {
    let world = world(&[Look::Passes]);
    world.notes(Note::NotDurable);
    let error = world.fails(writes(&["a.txt"])).await;
    assert!(error.to_string().contains("perhaps not durable"), "{error}");
    assert!(matches!(error.rollback(), Rollback::Incomplete(_)), "{:?}", error.rollback());
    assert!(error.checks().iter().all(|check| check.passed), "its checks were passed");
    assert_eq!(world.ledger.records()[0].status, ExecutionStatus::Incomplete);
    let events = world.ledger.events();
    let expected = [
        EventType::LockAcquired,
        EventType::ActionStarted,
        EventType::VerificationPassed,
        EventType::ActionUnknown,
    ];
    assert_eq!(events, expected);
    let calls = world.calls.all();
    assert_eq!(calls, ["run", "apply back_on_crash=true", "verified", "recorded"]);
    world.notes(Note::Works);
    world.act(writes(&["b.txt"])).await.expect("done");
    assert!(world.calls.has("recover"), "{:?}", world.calls.all());
}

#[tokio::test]
async fn a_check_that_fails_and_a_rollback_that_sticks_are_incomplete() {
    for put_back in [PutBack::Sticks, PutBack::Panics] {
        let world = world(&[Look::Fails]);
        world.puts_back(put_back);
        let error = world.fails(writes(&["a.txt"])).await;
        assert!(matches!(error.rollback(), Rollback::Incomplete(_)), "{:?}", error.rollback());
        assert_eq!(world.ledger.records()[0].status, ExecutionStatus::Incomplete);
    }
}
