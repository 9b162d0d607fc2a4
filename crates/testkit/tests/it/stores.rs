//! Stores of runs.

use std::sync::Arc;

use lictor_context::{Clock, ManualClock, Name, Principal, RunId, Session, Timestamp};
use lictor_document::Source;
use lictor_testkit::{DyingStore, run_store};
use lictor_workflow::{Engine, MemoryRunStore, RunRecord, RunStore, Workflow};
use serde_json::json;

/// A pending run to make others of.
async fn pattern(clock: &ManualClock) -> RunRecord {
    let text = b"id: w\nversion: 1.0.0\nsteps:\n  - { id: a, wait: 1s }\n";
    let workflow = Workflow::from_yaml(&Source::new("w.workflow.yaml", text)).unwrap();
    let name = |text| Name::parse(text).unwrap();
    let principal = Principal { org: name("o"), user: name("u"), agent: name("a") };
    let session = Session::new(principal, clock);
    struct NoRoad;
    #[async_trait::async_trait]
    impl lictor_workflow::Road for NoRoad {
        async fn act(
            &self,
            _: lictor_workflow::StepCall,
        ) -> Result<lictor_workflow::StepDone, lictor_workflow::StepFailure> {
            panic!("nothing is called")
        }
        async fn check(
            &self,
            _: lictor_workflow::StepCall,
        ) -> Result<serde_json::Value, lictor_workflow::StepFailure> {
            panic!("nothing is called")
        }
        async fn undo(
            &self,
            _: lictor_workflow::UndoCall,
        ) -> Result<(), lictor_workflow::UndoFailure> {
            panic!("nothing is called")
        }
        async fn request_approval(
            &self,
            _: lictor_workflow::ApprovalCall,
        ) -> Result<lictor_workflow::ApprovalState, String> {
            panic!("nothing is called")
        }
    }
    let clock = Arc::new(ManualClock::new(clock.now()));
    let engine = Engine::new(Arc::new(NoRoad), Arc::new(MemoryRunStore::default()), clock);
    engine.submit(&session, &workflow, json!({})).await.unwrap()
}

async fn check(store: Arc<dyn RunStore>) -> Result<(), lictor_testkit::Broken> {
    let clock = ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000));
    let pattern = pattern(&clock).await;
    let another = || {
        let mut run = pattern.clone();
        (run.run_id, run.created_at) = (RunId::generate(&clock), clock.now());
        run
    };
    run_store(store, &clock, another).await
}

#[tokio::test]
async fn the_store_in_memory_does_what_every_store_has_to() {
    check(Arc::new(MemoryRunStore::default())).await.unwrap();
}

#[tokio::test]
async fn the_suite_sees_a_store_that_does_not() {
    let dying = DyingStore::new(Arc::new(MemoryRunStore::default()), 3, true);
    assert!(check(Arc::new(dying)).await.is_err());
}
