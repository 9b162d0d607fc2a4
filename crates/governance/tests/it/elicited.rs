//! Codes that an MCP client shows: whom they prove, and for what they never count.

use std::sync::Arc;

use lictor_context::ManualClock;
use lictor_governance::{
    AnswerRefused, Approval, ApprovalError, ApprovalState, Approvals, ApproverError, Approvers,
    Channel, HaltScope, Halts, MemoryApprovalStore, MemoryApproverStore, MemoryHaltStore, Proof,
    ProvenApprover, WriteGate,
};

use crate::common::{Ask, gate, minutes, name};

struct House {
    _gate: WriteGate,
    clock: Arc<ManualClock>,
    approvals: Approvals,
    approvers: Approvers,
    approval: Approval,
}

impl House {
    fn new(policy: &str) -> Self {
        let (gate, clock) =
            gate(&format!("version: 1\npaths: {{ protected: [\"**\"] }}\n{policy}"));
        let approvals = Approvals::new(&gate, Arc::new(MemoryApprovalStore::default()));
        let approvers = Approvers::new(Arc::new(MemoryApproverStore::default()), clock.clone());
        approvers.bootstrap(name("ann"), Vec::new()).unwrap();
        let described = Ask::new("fs.write").write("a").describe();
        let decision = gate.decide(&described);
        let approval = approvals.request(&described, &decision, [Arc::from(&b"after"[..])]);
        let approval = approval.unwrap();
        Self { _gate: gate, clock, approvals, approvers, approval }
    }

    fn elicited(&self) -> lictor_governance::ElicitedChallenge {
        let request = self.approvals.question(self.approval.id()).unwrap();
        self.approvers.elicited(&name("ann"), &request).unwrap()
    }

    fn proven(&self) -> ProvenApprover {
        let challenge = self.elicited();
        let code = challenge.code().to_lowercase();
        challenge.answer(&format!(" {code}\n")).unwrap()
    }

    fn grant(&self, channel: Channel) -> Result<Approval, ApprovalError> {
        self.approvals.grant(self.approval.id(), &self.proven(), channel)
    }
}

#[test]
fn a_code_that_was_typed_counts_by_its_own_channel_alone() {
    let house = House::new("");
    assert_eq!(house.proven().proof(), Proof::Elicited);
    for channel in [Channel::Terminal, Channel::Token, Channel::Inbox, Channel::Webhook] {
        let refused = house.grant(channel).unwrap_err();
        let other = AnswerRefused::OtherChannel { channel };
        assert!(matches!(refused, ApprovalError::Refused(why) if why == other), "{channel}");
    }
    let granted = house.grant(Channel::Elicitation).unwrap();
    assert_eq!(granted.state(), ApprovalState::Granted);
    assert_eq!(granted.granted_by()[0].channel, Channel::Elicitation);
}

#[test]
fn another_code_a_late_one_and_a_stranger_prove_nothing() {
    let house = House::new("");
    for typed in ["", "000000", "yes", "true"] {
        assert_eq!(house.elicited().answer(typed).unwrap_err(), ApproverError::WrongCode);
    }
    let challenge = house.elicited();
    assert_ne!(challenge.code(), house.elicited().code(), "each question has its own");
    let code = challenge.code().to_owned();
    assert!(!format!("{challenge:?}").contains(&code));
    house.clock.advance(minutes(5));
    assert_eq!(challenge.answer(&code).unwrap_err(), ApproverError::WrongCode);
    let request = house.approvals.question(house.approval.id()).unwrap();
    assert!(house.approvers.elicited(&name("eve"), &request).is_err());
}

#[test]
fn a_code_does_not_outlive_its_request() {
    let house = House::new("approvals: { timeout: 1m }\n");
    let challenge = house.elicited();
    let code = challenge.code().to_owned();
    house.clock.advance(minutes(1));
    assert_eq!(challenge.answer(&code).unwrap_err(), ApproverError::WrongCode);
}

#[test]
fn who_was_struck_off_is_not_asked() {
    let house = House::new("");
    let (_, token) = house.approvers.enroll(name("bob"), Vec::new(), &house.proven()).unwrap();
    let bob = house.approvers.authenticate(token.expose()).unwrap();
    house.approvers.revoke(&name("ann"), &bob).unwrap();
    let request = house.approvals.question(house.approval.id()).unwrap();
    assert_eq!(
        house.approvers.elicited(&name("ann"), &request).unwrap_err(),
        ApproverError::Revoked
    );
}

#[test]
fn caps_and_pins_of_the_policy_hold_for_it() {
    let refuses = |policy: &str| {
        let house = House::new(policy);
        let settings = house._gate.policies();
        let may = house.approval.may_come_by(Channel::Elicitation, &settings.settings().approvals);
        let refused = house.grant(Channel::Elicitation).is_err();
        assert_eq!(may, !refused, "{policy}: what is asked and what counts are one");
        refused
    };
    assert!(!refuses(""));
    assert!(!refuses("approvals: { pin_from: high }\n"));
    assert!(refuses("approvals: { pin_from: low }\n"));
    assert!(refuses("escalate: [{ when: { path: \"**\" }, risk: high, reason: it is }]\n"));
    let both = "escalate: [{ when: { path: \"**\" }, risk: high, reason: it is }]\napprovals: { channels: { elicitation: high } }\n";
    assert!(!refuses(both));
}

#[test]
fn it_lifts_no_halt() {
    let house = House::new("");
    let halts = Halts::new(Arc::new(MemoryHaltStore::default()), house.clock.clone());
    let by = lictor_context::Principal { org: name("acme"), user: name("ann"), agent: name("x") };
    let halt = halts.halt(HaltScope::default(), "why", &by).unwrap();
    assert!(halts.resume(&halt.id, &house.proven(), Channel::Elicitation, "").is_err());
}
