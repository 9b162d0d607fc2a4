//! `no_effect_without_warrant`, `warrant_fits_one_action`: of this gate, of this minute, for
//! something that fits.

use std::time::Duration;

use lictor_executor::{DescribeError, ExecuteErrorKind, Outcome, Rollback};
use serde_json::json;
use tower::Service as _;

use crate::support::{world, writes};

#[tokio::test]
async fn a_warrant_of_another_gate_is_refused() {
    let (ours, theirs) = (world(), world());
    let warrant = theirs.warrant(writes(&["a.txt"]));
    let error = ours.executor.clone().call(warrant).await.expect_err("refused");
    assert!(matches!(error.kind(), ExecuteErrorKind::ForeignWarrant), "{error}");
    assert_eq!(*error.rollback(), Rollback::NotBegun);
    assert_eq!(ours.calls.all(), [""; 0]);
}

#[tokio::test]
async fn an_expired_warrant_is_refused() {
    let world = world();
    for (age, refused) in [(59, false), (60, true), (3600, true)] {
        let warrant = world.warrant(json!({}));
        world.clock.advance(Duration::from_secs(age));
        let outcome = world.executor.clone().call(warrant).await;
        match outcome {
            Ok(_) => assert!(!refused, "{age} s old"),
            Err(error) => {
                assert!(refused && matches!(error.kind(), ExecuteErrorKind::ExpiredWarrant));
                assert!(error.record().is_none(), "there was no execution");
            }
        }
    }
    assert_eq!(world.calls.all(), ["run"], "only the young one ran");
}

#[tokio::test]
async fn what_conflicts_is_not_begun() {
    let world = world();
    let input = json!({ "write": ["a.txt"], "conflicts": ["a.txt"] });
    let error = world.execute(input).await.expect_err("refused");
    assert!(matches!(error.kind(), ExecuteErrorKind::Conflict(_)), "{error}");
    assert_eq!(error.conflicts().len(), 1);
    assert_eq!(world.calls.all(), [""; 0]);
    world.lock_is_clean();
}

#[tokio::test]
async fn what_was_judged_is_what_runs() {
    let world = world();
    let outcome = world.execute(writes(&["a.txt", "b.txt"])).await.expect("done");
    let Outcome::Executed(executed) = outcome else { panic!("a duplicate") };
    let paths: Vec<&str> = executed.files().iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["a.txt", "b.txt"]);
    let ledger = world.ledger.as_ref();
    executed.commit(ledger, world.clock.as_ref(), Vec::new()).await.expect("committed");
    assert_eq!(world.ledger.records()[0].params, writes(&["a.txt", "b.txt"]));
}

#[test]
fn describing_does_nothing() {
    let world = world();
    let described = world.described(world.action(writes(&["a.txt"])));
    assert_eq!(described.effects().changes.count(), 1);
    let admitted = world.graph.admit(world.action(json!({ "fails": true }))).expect("admitted");
    let error = world.executor.describe(admitted).expect_err("it cannot say");
    assert!(matches!(error, DescribeError::Handler(_)), "{error}");
    assert_eq!(world.calls.all(), [""; 0]);
}
