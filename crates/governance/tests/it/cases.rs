//! The table: a policy, a request, the verdict, and the rule that gave it.

use lictor_capability::Risk;
use lictor_context::{ExecutionId, Timestamp};
use lictor_document::{Limits, Source, StrictValue, from_yaml};
use lictor_governance::{Decision, PolicyCases, PolicySet, Verdict, WriteGate};
use serde::Deserialize;
use std::sync::Arc;

use crate::common::{Ask, NOW, clock_at, path, plan, policies};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    policy: String,
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default)]
    ask: Request,
    verdict: Verdict,
    /// A rule that gave the verdict.
    rule: String,
    approvals: Option<u32>,
    risk: Option<Risk>,
    /// A part of the message of that rule, or of what would help.
    says: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Request {
    capability: Option<String>,
    kind: Option<String>,
    source: Option<String>,
    contract_risk: Option<Risk>,
    risk: Option<Risk>,
    confirm: Option<String>,
    user: Option<String>,
    agent: Option<String>,
    input: Option<StrictValue>,
    read: Vec<String>,
    root: bool,
    write: Vec<String>,
    implicit: Vec<String>,
    delete: Vec<String>,
    host: Vec<String>,
    program: Vec<String>,
    tool: Vec<String>,
    lines: u64,
    bytes: u64,
    verification: Vec<String>,
    rollback_plan: Option<String>,
    health_checks: Vec<String>,
    rolls_back: bool,
    at: Option<String>,
}

fn decide(group: &str, request: &Request) -> Decision {
    let mut ask = Ask::new(request.capability.as_deref().unwrap_or("fs.write"));
    let set = |slot: &mut String, value: &Option<String>| {
        if let Some(value) = value {
            slot.clone_from(value);
        }
    };
    set(&mut ask.kind, &request.kind);
    set(&mut ask.source, &request.source);
    set(&mut ask.confirm, &request.confirm);
    set(&mut ask.user, &request.user);
    set(&mut ask.agent, &request.agent);
    ask.contract_risk = request.contract_risk.unwrap_or(Risk::Low);
    ask.risk = request.risk;
    if let Some(input) = &request.input {
        ask.input = input.as_value().clone();
    }
    for target in &request.implicit {
        let mut item = crate::common::created(target, b"");
        item.implicit = true;
        ask.effects.changes.items.push(item);
    }
    ask = request.write.iter().fold(ask, |ask, target| ask.write(target));
    ask = request.delete.iter().fold(ask, |ask, target| ask.delete(target));
    ask.effects.reads = request.read.iter().map(|target| path(target)).collect();
    ask.effects.reads_root = request.root;
    ask.effects.hosts.clone_from(&request.host);
    ask.effects.programs.clone_from(&request.program);
    ask.effects.tools.clone_from(&request.tool);
    ask.effects.changes.lines = request.lines;
    ask.effects.changes.bytes = request.bytes;
    ask.rolls_back = request.rolls_back;
    if request.rolls_back {
        ask.effects.takes_back = vec![ExecutionId::parse("exe_1").unwrap()];
    }
    let planned = !request.verification.is_empty()
        || request.rollback_plan.is_some()
        || !request.health_checks.is_empty();
    if planned {
        let mut plan = plan();
        plan.verification.clone_from(&request.verification);
        plan.health_checks.clone_from(&request.health_checks);
        plan.rollback_plan.clone_from(&request.rollback_plan);
        ask.plan = Some(plan);
    }
    let set = match group.trim() {
        "" => Arc::new(PolicySet::empty()),
        text => policies(text),
    };
    let clock = clock_at(request.at.as_deref().unwrap_or(NOW));
    WriteGate::new(set, clock).decide(&ask.describe())
}

#[test]
fn table() {
    let text = include_bytes!("../data/cases.yaml");
    let groups: Vec<Group> =
        from_yaml(&Source::new("cases.yaml", text), &Limits::default()).unwrap();
    let mut n_cases = 0;
    let mut wrong = Vec::new();
    for group in &groups {
        for case in &group.cases {
            n_cases += 1;
            let decision = decide(&group.policy, &case.ask);
            let explained = decision.explain();
            let rule = decision
                .reasons()
                .iter()
                .any(|reason| *reason.rule == *case.rule && reason.verdict == case.verdict);
            let fits = decision.verdict() == case.verdict
                && rule
                && case.approvals.is_none_or(|n| n == decision.approvals_needed())
                && case.risk.is_none_or(|risk| risk == decision.risk_effective())
                && case.says.as_ref().is_none_or(|says| explained.contains(says));
            if !fits {
                wrong.push(format!("{}\n{case:?}\n{explained}", group.policy));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {n_cases} wrong\n{}", wrong.len(), wrong.join("\n"));
    assert!(n_cases >= 100, "{n_cases}");
}

#[test]
fn cases_for_the_example_of_the_formats() {
    let text = include_bytes!("../data/formats.policy-test.yaml");
    let cases = PolicyCases::from_yaml(&Source::new("formats.policy-test.yaml", text)).unwrap();
    let policies = policies(include_str!("../data/full.yaml"));
    let results = cases.run(&policies, Timestamp::parse(NOW).unwrap());
    let wrong: Vec<_> = results.iter().filter(|result| !result.passed).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(cases.count() >= 80, "{}", cases.count());
}

#[test]
fn a_case_that_is_written_wrong_is_refused_at_its_place() {
    for (text, place, says) in [
        ("cases: [{ verdict: maybe }]", "1:20", "allow, need_approval, deny"),
        ("cases: [{ ask: {} }]", "1:9", "verdict"),
        ("cases: [{ verdict: deny, ask: { wirte: [a] } }]", "1:33", "did you mean `write`?"),
        ("cases: [{ verdict: deny, ask: { at: noon } }]", "1:37", "noon"),
        ("case: []", "1:1", "cases"),
    ] {
        let error = PolicyCases::from_yaml(&Source::new("c.yaml", text.as_bytes())).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with(&format!("c.yaml:{place}")), "{message}");
        assert!(message.contains(says), "{message}");
    }
}
