//! What a handler changed in a copy of the workspace is done by nothing but a landing that was judged.

use lictor_capability::{ChangeSet, UndoScope};
use lictor_context::{ChangeSetId, ExecutionId};
use lictor_executor::{DescribeError, ExecuteErrorKind, Kept, Outcome, Receipt, StagedChanges};
use serde_json::{Value, json};
use tower::Service as _;

use crate::support::{Run, World, world, writes};

fn elsewhere() -> Value {
    json!({ "hosts": ["example.com"] })
}

async fn staged(world: &World) -> (Receipt, StagedChanges) {
    world.runs(Run::Stages("made.txt"));
    let mut receipt = world.act(elsewhere()).await.expect("executed");
    let staged = receipt.staged.take().expect("it staged something");
    (receipt, staged)
}

#[tokio::test]
async fn staging_changes_does_none_of_them() {
    let world = world();
    let (receipt, staged) = staged(&world).await;
    assert_eq!(world.calls.all(), ["begun", "run", "recorded"], "nothing was applied");
    assert_eq!(receipt.record.files, []);
    assert_eq!(receipt.record.staged, Some(staged.changes().checksum()));
    assert_eq!(staged.changes().changes().len(), 1);
}

#[tokio::test]
async fn a_landing_is_judged_by_the_changes_and_runs_nothing_again() {
    let world = world();
    let (receipt, staged) = staged(&world).await;
    let action = world.action(elsewhere());
    let described = world.described(staged.landing(&action, world.clock.as_ref()));
    let effects = described.effects();
    assert_eq!(effects.changes.items.len(), 1);
    assert!(effects.hosts.is_empty() && effects.programs.is_empty());
    assert_eq!(effects.undo, UndoScope::Partial, "what was done elsewhere stays done");
    let decision = world.gate.decide(&described);
    let warrant = world.gate.authorize(described, &decision, None).expect("a warrant");
    let Ok(Outcome::Executed(landed)) = world.executor.clone().call(warrant).await else {
        panic!("it lands");
    };
    let landed = landed.commit(world.ledger.as_ref(), world.clock.as_ref(), Vec::new()).await;
    let landed = landed.expect("committed");
    assert_eq!(landed.record.lands.as_ref(), Some(&receipt.record.execution_id));
    assert_eq!(landed.record.output, json!({ "ok": true }));
    assert_eq!(world.calls.all().iter().filter(|call| *call == "run").count(), 1);
}

#[tokio::test]
async fn only_what_was_staged_lands_and_only_for_what_staged_it() {
    let world = world();
    let (_, staged) = staged(&world).await;
    let clock = world.clock.as_ref();
    let refused = |action| {
        let admitted = world.graph.admit(action).expect("admitted");
        let error = world.executor.describe(admitted).expect_err("refused");
        assert!(matches!(error, DescribeError::NotStaged(_)), "{error}");
    };
    let action = world.action(elsewhere());
    let other = world.action(json!({ "hosts": ["example.org"] }));
    refused(staged.landing(&other, clock));
    let (plan, changes) = (staged.plan().clone(), staged.changes().clone());
    let never = ExecutionId::generate(clock);
    refused(action.landing(never, plan.clone(), changes.clone(), clock));
    let none = changes.changes()[..1].iter().chain(changes.changes()).cloned().collect();
    let id = ChangeSetId::generate(clock);
    let forged = ChangeSet::seal(id, plan.id.clone(), none).expect("sealed");
    refused(action.landing(staged.execution_id().clone(), plan, forged, clock));
    world.executor.forget(&staged);
    refused(staged.landing(&action, clock));
}

#[tokio::test]
async fn what_was_kept_is_taken_up_again_only_as_the_record_has_it() {
    let world = world();
    let (receipt, staged) = staged(&world).await;
    world.executor.forget(&staged);
    let admitted = world.graph.admit(world.action(elsewhere())).expect("admitted");
    let document = |changes: &ChangeSet| {
        let (plan, changes) = (staged.plan().clone(), changes.changes().to_vec());
        lictor_capability::ChangeDocument::seal(Some(plan), changes).expect("sealed")
    };
    let salt = staged.salt().to_owned();
    let kept =
        |record, document| Kept { admitted: &admitted, record, document, salt: salt.clone() };
    let mut other = receipt.record.clone();
    other.staged = Some(lictor_context::Digest::of(b"something else"));
    world.executor.recall(kept(&other, document(staged.changes()))).expect_err("another digest");
    let different = world.graph.admit(world.action(json!({ "hosts": ["example.org"] })));
    let different = different.expect("admitted");
    let good = || kept(&receipt.record, document(staged.changes()));
    world.executor.recall(Kept { admitted: &different, ..good() }).expect_err("another input");
    world.executor.recall(Kept { salt: "0".repeat(32), ..good() }).expect_err("another salt");
    let mut other = receipt.record.clone();
    other.staged_for = None;
    world.executor.recall(kept(&other, document(staged.changes()))).expect_err("no input");
    // What the record leaves out of the input makes no difference.
    let mut other = receipt.record.clone();
    other.params = json!({ "redacted": true });
    let good = kept(&other, document(staged.changes()));
    let recalled = world.executor.recall(good).expect("taken up again");
    let landing = recalled.landing(&world.action(elsewhere()), world.clock.as_ref());
    assert_eq!(world.described(landing).effects().changes.items.len(), 1);
}

#[tokio::test]
async fn what_starts_nothing_has_nothing_to_stage() {
    for input in [json!({}), writes(&["a.txt"])] {
        let world = world();
        world.runs(Run::Stages("made.txt"));
        let error = world.fails(input).await;
        assert!(matches!(error.kind(), ExecuteErrorKind::Handler(_)), "{error}");
        assert!(!world.calls.has("apply"), "{:?}", world.calls.all());
    }
}
