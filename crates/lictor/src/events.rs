//! The events that the road itself owes, before and beside those of an execution.

use lictor_capability::{Action, Conflict, Contract, Described};
use lictor_context::{Clock, Digest, Event, EventFacts, EventType, seal_keeping};
use lictor_governance::{Approval, Decision, DecisionRecord, Grant, SpentApproval, Verdict};
use serde_json::{Value, json};

/// More reasons than this are counted, not listed, in an event; the decision itself keeps all.
const MAX_REASONS: usize = 20;

/// What every event about an action says.
pub(crate) fn action_facts(action: &Action, contract: Option<&Contract>) -> EventFacts {
    let (params, private) = seal_keeping(action.input());
    EventFacts {
        action_id: Some(action.id().clone()),
        action_name: Some(action.capability().to_string()),
        action_params: Some(params),
        private,
        capability: contract.map(Contract::facts),
        run_id: action.origin().run_id.clone(),
        step_id: action.origin().step_id.clone(),
        ..EventFacts::default()
    }
}

fn with_decision(mut facts: EventFacts, decision: &DecisionRecord) -> EventFacts {
    facts.decision_id = Some(decision.id.clone());
    facts.requires_approval = Some(decision.approvals_needed > 0);
    facts
}

/// The gate decided.
pub(crate) fn decision_made(
    action: &Action,
    contract: &Contract,
    decision: &DecisionRecord,
    inputs: Option<Digest>,
    clock: &dyn Clock,
) -> Event {
    let mut facts = with_decision(action_facts(action, Some(contract)), decision);
    let reasons: Vec<_> = decision.reasons.iter().take(MAX_REASONS).collect();
    facts.success = None;
    let metadata = json!({
        "verdict": decision.verdict, "risk_proposed": decision.risk_proposed,
        "risk_effective": decision.risk_effective, "reasons": reasons,
        "n_reasons": decision.reasons.len(), "action_digest": decision.action_digest,
        "policy_digest": decision.policy_digest, "inputs_digest": inputs,
    });
    if let Value::Object(metadata) = metadata {
        facts.metadata = metadata;
    }
    Event::new(action.session(), EventType::DecisionMade, facts, clock)
}

/// The action ends here, without having begun.
pub(crate) fn rejected(
    action: &Action,
    contract: Option<&Contract>,
    decision: Option<&DecisionRecord>,
    why: &str,
    conflicts: &[Conflict],
    clock: &dyn Clock,
) -> Event {
    let mut facts = action_facts(action, contract);
    if let Some(decision) = decision {
        facts = with_decision(facts, decision);
        if decision.verdict == Verdict::Deny {
            facts.approval_granted = None;
        }
    }
    facts.success = Some(false);
    facts.error_message = Some(why.to_owned());
    if !conflicts.is_empty() {
        facts.metadata.insert("conflicts".to_owned(), json!(conflicts));
    }
    Event::new(action.session(), EventType::ActionRejected, facts, clock)
}

/// Whoever waits was told that it is not known how the action ends.
pub(crate) fn unknown(action: &Action, why: &str, clock: &dyn Clock) -> Event {
    let mut facts = action_facts(action, None);
    facts.error_message = Some(why.to_owned());
    Event::new(action.session(), EventType::ActionUnknown, facts, clock)
}

/// Something about an approval of the action.
pub(crate) fn approval(
    kind: EventType,
    action: &Action,
    contract: &Contract,
    approval: &Approval,
    clock: &dyn Clock,
) -> Event {
    let mut facts = with_decision(action_facts(action, Some(contract)), approval.decision());
    facts.approval_granted = match kind {
        EventType::ApprovalGranted => Some(true),
        EventType::ApprovalDenied => Some(false),
        _ => None,
    };
    facts.metadata.insert("approval".to_owned(), approval_summary(approval));
    Event::new(action.session(), kind, facts, clock)
}

/// Somebody had agreed to it in advance.
pub(crate) fn granted_in_advance(
    described: &Described,
    decision: &Decision,
    grant: &Grant,
    clock: &dyn Clock,
) -> Event {
    let (action, contract) = (described.action(), described.contract());
    let mut facts = with_decision(action_facts(action, Some(contract)), decision.record());
    facts.approval_granted = Some(true);
    let about = json!({
        "grant": grant.id(), "granted_by": [grant.granted_by()], "uses": grant.uses(),
        "max_uses": grant.max_uses(), "expires_at": grant.until(),
        "action_digest": decision.action_digest(),
    });
    facts.metadata.insert("approval".to_owned(), about);
    Event::new(action.session(), EventType::ApprovalGranted, facts, clock)
}

/// What people agreed to who agreed to the plan of its run.
pub(crate) fn granted_by_plan(
    described: &Described,
    decision: &Decision,
    spent: &SpentApproval,
    clock: &dyn Clock,
) -> Event {
    let (action, contract) = (described.action(), described.contract());
    let mut facts = with_decision(action_facts(action, Some(contract)), decision.record());
    facts.approval_granted = Some(true);
    let about = json!({
        "by": spent.by(), "granted_by": spent.granted_by(),
        "action_digest": decision.action_digest(),
    });
    facts.metadata.insert("approval".to_owned(), about);
    Event::new(action.session(), EventType::ApprovalGranted, facts, clock)
}

pub(crate) fn approval_summary(approval: &Approval) -> Value {
    json!({
        "id": approval.id(), "needed": approval.needed(), "granted_by": approval.granted_by(),
        "action_digest": approval.action_digest(), "expires_at": approval.expires_at(),
    })
}
