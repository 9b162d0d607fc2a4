//! What the roles of approvers let them approve: `approvals.roles` and `approvals.enroll_roles`.

use std::sync::Arc;

use lictor_capability::Risk;
use lictor_governance::{
    AnswerRefused, Approval, ApprovalError, ApprovalState, Approvals, ApproverRecord, Approvers,
    Channel, MemoryApprovalStore, MemoryApproverStore, PolicyLayer, PolicySet, ProvenApprover,
    WriteGate,
};

use crate::common::{Ask, clock, layered, name, policies};

const ASKS: &str = "version: 1\npaths: {protected: ['**']}\n\
                    risk: {low: allow, critical: {verdict: need_approval, approvals: 2}}\n";

struct House {
    gate: WriteGate,
    approvals: Approvals,
    approvers: Approvers,
    root: ProvenApprover,
}

impl House {
    fn of(policies: Arc<PolicySet>) -> Self {
        let clock = clock();
        let gate = WriteGate::new(policies, clock.clone());
        let register = Arc::new(MemoryApproverStore::default());
        let approvals = Approvals::new(&gate, Arc::new(MemoryApprovalStore::default()))
            .with_approvers(Arc::<MemoryApproverStore>::clone(&register));
        let approvers = Approvers::new(register, clock);
        let (_, token) = approvers.bootstrap(name("root"), Vec::new()).unwrap();
        let root = approvers.authenticate(token.expose()).unwrap();
        Self { gate, approvals, approvers, root }
    }

    fn new(roles: &str) -> Self {
        Self::of(policies(&format!("{ASKS}approvals: {{ {roles} }}\n")))
    }

    fn approver(&self, who: &str, roles: &[&str]) -> ProvenApprover {
        let roles = roles.iter().map(|role| name(role)).collect();
        let (_, token) = self.approvers.enroll(name(who), roles, &self.root).unwrap();
        self.approvers.authenticate(token.expose()).unwrap()
    }

    fn asked(&self, capability: &str, risk: Risk) -> Approval {
        let mut ask = Ask::new(capability).write("a");
        ask.risk = Some(risk);
        let described = ask.describe();
        let decision = self.gate.decide(&described);
        self.approvals.request(&described, &decision, []).unwrap()
    }

    fn grant(&self, approval: &Approval, by: &ProvenApprover) -> Result<Approval, ApprovalError> {
        self.approvals.grant(approval.id(), by, Channel::Token)
    }
}

fn wants(result: Result<Approval, ApprovalError>) -> Option<Vec<String>> {
    match result {
        Ok(_) => None,
        Err(ApprovalError::Refused(AnswerRefused::Role { roles, .. })) => {
            Some(roles.iter().map(ToString::to_string).collect())
        }
        other => panic!("{other:?}"),
    }
}

/// The roles that an approver has, what they are asked about, and the roles that are missing.
#[test]
fn who_may_approve_what_is_decided_by_every_entry_that_fits() {
    let roles = "roles: [{from: high, roles: [lead, security]}, \
                 {capability: ['pay.*', 'bank.send'], roles: [finance]}, \
                 {capability: 'pay.*', from: critical, roles: [board]}]";
    let none: &[&str] = &[];
    for (has, capability, risk, missing) in [
        (none, "fs.write", Risk::Low, None),
        (none, "fs.write", Risk::Medium, None),
        (none, "fs.write", Risk::High, Some("lead")),
        (none, "fs.write", Risk::Critical, Some("lead")),
        (&["lead"][..], "fs.write", Risk::High, None),
        (&["security"], "fs.write", Risk::Critical, None),
        (&["Lead"], "fs.write", Risk::High, Some("lead")),
        (&["dev", "security"], "fs.write", Risk::High, None),
        (none, "pay.send", Risk::Low, Some("finance")),
        (&["lead"], "pay.send", Risk::High, Some("finance")),
        (&["finance"], "pay.send", Risk::Medium, None),
        (&["finance"], "pay.send", Risk::High, Some("lead")),
        (&["finance", "lead"], "pay.send", Risk::High, None),
        (&["finance", "lead"], "pay.send", Risk::Critical, Some("board")),
        (&["finance", "lead", "board"], "pay.send", Risk::Critical, None),
        (none, "bank.send", Risk::Low, Some("finance")),
        (none, "bank.read", Risk::Low, None),
        (&["board"], "bank.send", Risk::Critical, Some("lead")),
    ] {
        let house = House::new(roles);
        let approval = house.asked(capability, risk);
        let by = house.approver("ann", has);
        let found = wants(house.grant(&approval, &by)).and_then(|roles| roles.first().cloned());
        assert_eq!(found.as_deref(), missing, "{has:?} {capability} {risk}");
        // Whoever may not agree changed nothing, and may still refuse.
        if missing.is_some() {
            let kept = house.approvals.get(approval.id()).unwrap();
            assert!(kept.granted_by().is_empty() && kept.state() == ApprovalState::Pending);
            house.approvals.deny(approval.id(), &by, "no").unwrap();
        }
    }
}

#[test]
fn two_approvals_are_two_people_each_with_a_role() {
    let house =
        House::new("requester_may_approve: false, roles: [{from: critical, roles: [lead]}]");
    let approval = house.asked("fs.write", Risk::Critical);
    assert_eq!(approval.needed(), 2);
    let (one, two) = (house.approver("lea", &["lead"]), house.approver("leo", &["lead"]));
    let requester = house.approver("Ann", &["lead"]);
    assert_eq!(house.grant(&approval, &one).unwrap().state(), ApprovalState::Pending);
    assert!(wants(house.grant(&approval, &house.root)).is_some());
    for (by, what) in [(&one, "the same again"), (&requester, "who asked")] {
        assert!(house.grant(&approval, by).is_err(), "{what}");
    }
    assert_eq!(house.grant(&approval, &two).unwrap().state(), ApprovalState::Granted);
}

#[test]
fn every_layer_is_satisfied_and_a_lower_one_takes_nothing_away() {
    let managed = format!("{ASKS}approvals: {{ roles: [{{roles: [security]}}] }}\n");
    let own = format!("{ASKS}approvals: {{ roles: [{{roles: [lead]}}], enroll_roles: [lead] }}\n");
    let set = layered(&[(PolicyLayer::Managed, &managed), (PolicyLayer::Workspace, &own)]);
    let asking = set.settings().approvals.clone();
    assert!(asking.missing_enroll_role(&[name("dev")]).is_some());
    assert!(asking.missing_enroll_role(&[name("lead")]).is_none());
    let house = House::of(set);
    for (has, may) in
        [(&["lead"][..], false), (&["security"], false), (&["security", "lead"], true)]
    {
        let approval = house.asked("fs.write", Risk::Low);
        let by = house.approver(&has.join("-"), has);
        assert_eq!(house.grant(&approval, &by).is_ok(), may, "{has:?}");
    }
}

#[test]
fn what_is_written_wrongly_is_refused_at_its_place() {
    for (roles, says) in [
        ("roles: [{roles: []}]", "at least one role"),
        ("roles: [{roles: [a], capability: []}]", "no capability fits"),
        ("roles: [{roles: [a], capability: '{'}]", "not a glob"),
        ("roles: [{from: high}]", "roles"),
        ("roles: [{roles: [a], form: high}]", "did you mean `from`?"),
        ("roles: [{roles: [a], from: higher}]", "high"),
        ("enroll_roles: []", "at least one role"),
    ] {
        let text = format!("{ASKS}approvals: {{ {roles} }}\n");
        let source = lictor_document::Source::new("p.yaml", text.as_bytes());
        let error = PolicySet::workspace(&source).unwrap_err().to_string();
        assert!(error.starts_with("p.yaml:4:") && error.contains(says), "{roles}: {error}");
    }
}

/// Approvers with a name, roles, and whether they are struck off.
fn people(all: &[(&str, &[&str], bool)]) -> Vec<ApproverRecord> {
    let now = lictor_context::Timestamp::parse(crate::common::NOW).unwrap();
    let record = |(who, roles, gone): &(&str, &[&str], bool)| ApproverRecord {
        name: name(who),
        token_digest: lictor_context::Digest::of(who.as_bytes()),
        roles: roles.iter().map(|role| name(role)).collect(),
        added_by: None,
        added_at: now,
        revoked_at: gone.then_some(now),
    };
    all.iter().map(record).collect()
}

#[test]
fn what_nobody_can_answer_is_named_with_what_to_do() {
    let ann: &[(&str, &[&str], bool)] = &[("ann", &[], false)];
    let two: &[(&str, &[&str], bool)] = &[("ann", &[], false), ("bob", &["lead"], false)];
    let gone: &[(&str, &[&str], bool)] = &[("ann", &[], true)];
    for (settings, all, problems) in [
        ("timeout: 1m", two, &[][..]),
        ("timeout: 1m", ann, &["critical risk takes 2 people, and these may approve it: ann"]),
        ("timeout: 1m", &[], &["nobody was ever enrolled"]),
        ("timeout: 1m", gone, &["all approvers were struck off: ann"]),
        ("pin_from: high", two, &["a PIN from high risk on, and these have none: bob"]),
        (
            "roles: [{from: critical, roles: [lead]}]",
            two,
            &["critical risk takes 2 people, and these may approve it: bob"],
        ),
        (
            "roles: [{capability: 'pay.*', roles: [board]}]",
            two,
            &["pay.* from low risk on is approved by `board` only"],
        ),
        ("enroll_roles: [board]", two, &["struck off by `board` only"]),
        ("requester_may_approve: false", two, &["critical risk takes 2 people who did not ask"]),
        (
            "channels: {terminal: high, token: high, inbox: low}",
            two,
            &["no channel approves more than high risk"],
        ),
    ] {
        let set = policies(&format!("{ASKS}approvals: {{ {settings} }}\n"));
        let found = set.unanswerable(&people(all), |who| who.as_str() == "ann");
        let said: Vec<&str> = found.iter().map(|one| one.problem.as_str()).collect();
        assert_eq!(said.len(), problems.len(), "{settings}: {said:?}");
        for (said, problem) in said.iter().zip(problems) {
            assert!(said.contains(problem), "{settings}: {said}");
        }
        assert!(found.iter().all(|one| !one.next.is_empty()));
    }
}
