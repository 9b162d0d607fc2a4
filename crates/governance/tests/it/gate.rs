//! Decisions and warrants: what is bound, and what is refused.

use std::sync::Arc;

use lictor_capability::Risk;
use lictor_governance::{
    Decision, NotAuthorized, NotAuthorizedKind as Kind, PolicySet, Verdict, WriteGate,
};
use serde_json::json;

use crate::common::{Ask, clock, file, gate, minutes, plan, policies};

const OPEN: &str = "version: 1\npaths: {allowed: [\"**\"]}\n";

#[test]
fn no_effect_without_warrant() {
    let (gate, clock) = gate(OPEN);
    let described = Ask::new("fs.write").write("a.txt").describe();
    let decision = gate.decide(&described);
    assert_eq!(decision.verdict(), Verdict::Allow);
    let warrant = gate.authorize(described, &decision, None).unwrap();
    assert!(warrant.is_from(&gate.identity()));
    assert!(!warrant.is_from(&WriteGate::new(gate.policies(), clock.clone()).identity()));
    assert!(!warrant.expired(lictor_context::Clock::now(&*clock)));
    clock.advance(minutes(2));
    assert!(warrant.expired(lictor_context::Clock::now(&*clock)));
    let parts = warrant.into_parts();
    // What comes out cannot become a warrant again.
    let again = gate.authorize(parts.described, &parts.decision, None);
    assert!(again.is_err());
}

/// `warrant_runs_once`.
#[test]
fn one_decision_gives_one_warrant() {
    let (gate, _) = gate(OPEN);
    let described = Ask::new("fs.write").write("a.txt").describe();
    let decision = gate.decide(&described);
    let clone = decision.clone();
    drop(gate.authorize(described.clone(), &decision, None).unwrap());
    for decision in [&decision, &clone] {
        let error = gate.authorize(described.clone(), decision, None).unwrap_err();
        assert_eq!(*error.kind(), Kind::DecisionUsed);
        assert!(error.is_integrity());
    }
}

#[test]
fn default_deny() {
    let gate = WriteGate::new(Arc::new(PolicySet::empty()), clock());
    let described = Ask::new("fs.write").write("a.txt").describe();
    let decision = gate.decide(&described);
    assert_eq!(decision.verdict(), Verdict::Deny);
    let error = gate.authorize(described, &decision, None).unwrap_err();
    assert_eq!(*error.kind(), Kind::Denied);
    assert!(!error.is_integrity());
}

/// Judges one action and authorizes another.
fn swap(judged: &Ask, done: &Ask) -> (Decision, Result<(), NotAuthorized>) {
    let (gate, _) = gate(OPEN);
    let action = judged.action();
    let decision = gate.decide(&judged.describe_as(action.clone()));
    assert_eq!(decision.verdict(), Verdict::Allow, "{}", decision.explain());
    let mut other = done.action();
    if other.session().principal() == action.session().principal() && judged.input == done.input {
        // The very same action, but for what is described.
        other = done.decorate(action);
    }
    let described = done.describe_as(other);
    let authorized = gate.authorize(described, &decision, None);
    (decision, authorized.map(drop))
}

#[track_caller]
fn check_bound(what: &str, judged: &Ask, done: &Ask) {
    let (decision, result) = swap(judged, done);
    let (gate, _) = gate(OPEN);
    let digest = gate.decide(&done.describe()).action_digest();
    assert_ne!(digest, decision.action_digest(), "{what} does not change the digest");
    match result {
        Err(error) => {
            assert!(matches!(error.kind(), Kind::ActionChanged { .. }), "{what}: {error}");
            assert!(error.is_integrity());
        }
        Ok(()) => panic!("{what} can be exchanged"),
    }
}

#[test]
fn approval_binds_everything() {
    let ask = Ask::new("fs.write").write("a.txt").delete("b.txt").read("c").input(json!({"n": 1}));
    let (_, same) = swap(&ask, &ask);
    assert!(same.is_ok());
    let with = |change: fn(&mut Ask)| {
        let mut other = ask.clone();
        change(&mut other);
        other
    };
    let item = |ask: &mut Ask, index: usize, change: fn(&mut lictor_capability::Item)| {
        change(&mut ask.effects.changes.items[index]);
    };
    let cases: Vec<(&str, Ask)> = vec![
        ("input", with(|ask| ask.input = json!({"n": 2}))),
        ("input key", with(|ask| ask.input = json!({"m": 1}))),
        ("input type", with(|ask| ask.input = json!({"n": "1"}))),
        ("principal's user", with(|ask| ask.user = "bob".to_owned())),
        ("principal's agent", with(|ask| ask.agent = "other".to_owned())),
        ("contract version", with(|ask| ask.version = "1.0.1".to_owned())),
        ("contract", with(|ask| ask.contract_risk = Risk::Medium)),
        ("risk", with(|ask| ask.risk = Some(Risk::Medium))),
        ("plan", with(|ask| ask.plan = Some(plan()))),
        ("rollback", with(|ask| ask.rolls_back = true)),
        ("reads", with(|ask| ask.effects.reads.clear())),
        ("hosts", with(|ask| ask.effects.tools.push("files/x".to_owned()))),
        ("order of changes", with(|ask| ask.effects.changes.items.reverse())),
        ("undo", with(|ask| ask.effects.undo = lictor_capability::UndoScope::None)),
        ("before", {
            let mut other = ask.clone();
            item(&mut other, 1, |item| item.before = Some(file(b"other")));
            other
        }),
        ("after", {
            let mut other = ask.clone();
            item(&mut other, 0, |item| item.after = Some(file(b"other")));
            other
        }),
    ];
    for (what, other) in &cases {
        check_bound(what, &ask, other);
    }
}

#[test]
fn large_integers_are_not_confused() {
    let big = |n: i64| Ask::new("fs.write").write("a").input(json!({ "n": n }));
    check_bound("a big integer", &big(9_007_199_254_740_992), &big(9_007_199_254_740_993));
    let (gate, _) = gate(OPEN);
    let digest = |input| gate.decide(&Ask::new("a.b").input(input).describe()).action_digest();
    assert_eq!(digest(json!({"n": 1})), digest(json!({"n": 1.0})));
    assert_eq!(digest(json!({"a": 1, "b": 2})), digest(json!({"b": 2, "a": 1})));
    assert_ne!(digest(json!(["a", "b"])), digest(json!(["ab"])));
    assert_ne!(digest(json!([[], 1])), digest(json!([[1]])));
}

#[test]
fn session_and_action_id_are_not_in_the_digest() {
    let (gate, _) = gate(OPEN);
    let ask = Ask::new("fs.write").write("a");
    let (one, two) = (gate.decide(&ask.describe()), gate.decide(&ask.describe()));
    assert_eq!(one.action_digest(), two.action_digest());
    // Yet a decision is about one action: the same thing asked for again is decided again.
    let error = gate.authorize(ask.describe(), &one, None).unwrap_err();
    assert!(matches!(error.kind(), Kind::ActionChanged { .. }));
}

#[test]
fn a_reload_voids_decisions() {
    let (gate, _) = gate(OPEN);
    let described = Ask::new("fs.write").write("a").describe();
    let decision = gate.decide(&described);
    gate.reload(policies(&format!("{OPEN}# another file\n")));
    let error = gate.authorize(described.clone(), &decision, None).unwrap_err();
    assert_eq!(*error.kind(), Kind::PolicyChanged);
    assert_ne!(gate.decide(&described).action_digest(), decision.action_digest());
    gate.reload(policies(OPEN));
    drop(gate.authorize(described, &decision, None).unwrap());
}

#[test]
fn decisions_expire_and_belong_to_their_gate() {
    let (gate, clock) = gate(OPEN);
    let described = Ask::new("fs.write").write("a").describe();
    let decision = gate.decide(&described);
    let other = WriteGate::new(gate.policies(), clock.clone());
    let error = other.authorize(described.clone(), &decision, None).unwrap_err();
    assert_eq!(*error.kind(), Kind::OtherGate);
    clock.advance(minutes(1));
    let error = gate.authorize(described, &decision, None).unwrap_err();
    assert!(matches!(error.kind(), Kind::Expired { .. }));
}

#[test]
fn a_decision_has_the_keys_of_the_format() {
    let (gate, _) = gate("version: 1\npaths: {protected: [a]}\n");
    let decision = gate.decide(&Ask::new("fs.write").write("a").describe());
    let value = serde_json::to_value(&decision).unwrap();
    let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = vec![
        "id",
        "verdict",
        "risk_proposed",
        "risk_effective",
        "reasons",
        "required_actions",
        "approvals_needed",
        "action_digest",
        "policy_digest",
        "expires_at",
        "undo",
    ];
    let mut found = keys.clone();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    let reason = json!({
        "layer": "workspace", "rule": "paths.protected", "verdict": "need_approval", "path": "a",
        "message": "`a` is protected", "where": "policy.yaml:2:21",
    });
    assert_eq!(value["reasons"][0], reason);
    let text = decision.explain();
    assert!(text.contains("need_approval workspace paths.protected `a`"), "{text}");
}

#[test]
fn a_thousand_files_have_a_readable_decision() {
    let (gate, _) = gate(OPEN);
    let targets: Vec<String> = (0..1000).map(|n| format!("src/{n}")).collect();
    let mut ask = Ask::new("fs.write");
    for target in &targets {
        ask = ask.write(target);
    }
    let decision = gate.decide(&ask.describe());
    assert_eq!(decision.verdict(), Verdict::Allow);
    assert!(decision.reasons().len() < 30);
    assert!(decision.explain().contains("and 980 more"));
    // And the last one is looked at as well.
    let decision = gate.decide(&ask.write(".lictor/x").describe());
    assert_eq!(decision.verdict(), Verdict::Deny);
}

#[test]
fn what_is_copied_is_read() {
    let (gate, _) = gate("version: 1\npaths: {allowed: [\"**\"], forbidden: [\".env\"]}\n");
    let mut ask = Ask::new("fs.copy").write("a");
    let from = crate::common::path(".env");
    ask.effects.changes.items[0].content = Some(lictor_capability::Content::CopyOf(from));
    assert_eq!(gate.decide(&ask.describe()).verdict(), Verdict::Deny);
}

#[test]
fn what_is_moved_is_read() {
    let rule = "rules: [{name: r, when: {effect: fs.read, path: 'keys/**'}, verdict: deny}]";
    let (gate, _) = gate(&format!("version: 1\npaths: {{allowed: [\"**\"]}}\n{rule}\n"));
    for (from, verdict) in [("keys/a", Verdict::Deny), ("b", Verdict::Allow)] {
        let mut ask = Ask::new("fs.move").write("to");
        let item = &mut ask.effects.changes.items[0];
        item.kind = lictor_capability::ChangeKind::Rename;
        item.from = Some(crate::common::path(from));
        assert_eq!(gate.decide(&ask.describe()).verdict(), verdict, "{from}");
    }
}

#[test]
fn what_is_forbidden_is_hidden() {
    let set = policies("version: 1\npaths: {forbidden: [\"**/.env\", \"keys/**\"]}\n");
    for (path, hidden) in [
        (".lictor", true),
        (".lictor/lictor.db", true),
        ("a/.ENV", true),
        ("keys", true),
        ("keys/a", true),
        ("src/a", false),
    ] {
        assert_eq!(set.hides(&crate::common::path(path)), hidden, "{path}");
    }
}
