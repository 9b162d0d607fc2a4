// What the failing cases try to get around, done as it is meant to be done. It is the compiler
// that is asked; `the_road` is walked for real by the tests beside it.
use std::sync::Arc;

use async_trait::async_trait;
use lictor_capability::{Action, CapabilityGraph, Effects};
use lictor_context::{Clock, Event, EventFacts, EventType, Session};
use lictor_executor::{
    Applied, ChangeApplier, Executor, Granted, GrantedChanges, Handler, HandlerError,
    Ledger, NotApplied, Outcome, Receipt, RecoverError, Recovered, Request,
};
use lictor_governance::{Approvals, ProvenApprover, Channel, Decision, Warrant, WriteGate};
use lictor_lock::Lease;
use serde_json::Value;
use tower::Service;

struct Echo;

#[async_trait]
impl Handler for Echo {
    fn describe(&self, _: Request<'_>) -> Result<Effects, HandlerError> {
        Ok(Effects::default())
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        Ok(granted.input().clone())
    }
}

/// A handler may hand its grant on.
struct Around(Arc<dyn Handler>);

#[async_trait]
impl Handler for Around {
    fn describe(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        self.0.describe(request)
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        self.0.run(granted).await
    }
}

/// An applier may hand its grant on.
struct Behind(Arc<dyn ChangeApplier>);

impl ChangeApplier for Behind {
    fn apply(&self, granted: GrantedChanges) -> Result<Box<dyn Applied>, NotApplied> {
        self.0.apply(granted)
    }

    fn recover(&self, lease: &Lease) -> Result<Vec<Recovered>, RecoverError> {
        self.0.recover(lease)
    }

    fn close(&self, lease: &Lease, recovered: &[Recovered]) -> Result<(), RecoverError> {
        self.0.close(lease, recovered)
    }
}

fn approved(
    gate: &WriteGate,
    approvals: &Approvals,
    approver: &ProvenApprover,
    described: lictor_capability::Described,
) -> Warrant {
    let decision: Decision = gate.decide(&described);
    let asked = approvals.request(&described, &decision, []).unwrap();
    approvals.grant(asked.id(), approver, Channel::Terminal).unwrap();
    let spent = approvals.spend(decision.action_digest()).unwrap();
    gate.authorize(described, &decision, spent).unwrap()
}

async fn the_road(
    graph: &CapabilityGraph,
    gate: &WriteGate,
    mut executor: Executor,
    ledger: &dyn Ledger,
    clock: &dyn Clock,
    action: Action,
) -> Receipt {
    let session: Session = action.session().clone();
    let admitted = graph.admit(action).unwrap();
    let described = executor.describe(admitted).unwrap();
    let decision = gate.decide(&described);
    let warrant = gate.authorize(described, &decision, None).unwrap();
    let said = Event::new(&session, EventType::DecisionMade, EventFacts::default(), clock);
    match executor.call(warrant).await.unwrap() {
        Outcome::Executed(executed) => executed.commit(ledger, clock, vec![said]).await.unwrap(),
        Outcome::Duplicate(record) => Receipt { record: *record, checks: Vec::new(), staged: None },
    }
}

fn main() {
    let _ = (approved, the_road, Around(Arc::new(Echo)));
    let _ = Behind;
}
