//! What holds for every policy.

use lictor_governance::{PolicyLayer, Verdict, WriteGate};
use proptest::prelude::*;

use crate::common::{Ask, clock, layered};

/// A rule without its name.
fn rule() -> impl Strategy<Value = (String, Verdict)> {
    let whens = prop::sample::select(vec![
        "{effect: fs.write}",
        "{effect: [fs.read, fs.delete]}",
        "{path: 'src/**'}",
        "{path: ['**/*.rs', 'a*']}",
        "{path: {matches: 'b'}}",
        "{capability: 'fs.*'}",
        "{user: ann}",
        "{agent: {ne: planner}}",
        "{files: {gt: 1}}",
        "{risk: {gte: medium}}",
        "{input: {amount: {gte: 10}}}",
        "{input: {amount: 5}}",
        "{host: '*.com'}",
        "{program: make}",
        "{path: 'src/a*', effect: fs.write, user: ann}",
        "{path: ['src/**', '**/b'], input: {amount: {gte: 10}}}",
        "{effect: [net, fs.read]}",
    ]);
    let verdicts = prop::sample::select(vec![Verdict::Allow, Verdict::NeedApproval, Verdict::Deny]);
    (whens, verdicts).prop_map(|(when, verdict)| (when.to_owned(), verdict))
}

fn paths() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "{}",
        "{allowed: ['src/**']}",
        "{allowed: ['**'], protected: ['src/**']}",
        "{allowed: ['**'], forbidden: ['**/b']}",
    ])
    .prop_map(str::to_owned)
}

fn default() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["allow", "need_approval", "deny"])
}

fn ask() -> impl Strategy<Value = Ask> {
    let targets = prop::sample::select(vec!["src/a.rs", "src/b", "docs/b", "a.txt", "c/d.rs"]);
    let effects = prop::collection::vec((0..3_u8, targets), 0..4);
    let input = prop::sample::select(vec!["1", "5", "50", "\"50\"", "[1, 50]", "null"]);
    (effects, input, any::<bool>()).prop_map(|(effects, input, net)| {
        let input: serde_json::Value = serde_json::from_str(input).unwrap();
        let mut ask = Ask::new("fs.write").input(serde_json::json!({ "amount": input }));
        for (kind, target) in effects {
            ask = match kind {
                0 => ask.read(target),
                1 => ask.write(target),
                _ => ask.delete(target),
            };
        }
        if net {
            ask.effects.hosts.push("api.com".to_owned());
        }
        ask
    })
}

fn policy(default: &str, paths: &str, rules: &[(String, Verdict)]) -> String {
    let mut text = format!(
        "version: 1\ndefault: {default}\npaths: {paths}\n\
         risk: {{low: allow, medium: allow, high: need_approval, critical: need_approval}}\nrules:\n"
    );
    for (index, (when, verdict)) in rules.iter().enumerate() {
        text.push_str(&format!("  - {{name: r{index}, when: {when}, verdict: {verdict}}}\n"));
    }
    if rules.is_empty() {
        text.push_str("  []\n");
    }
    text
}

fn verdict(layers: &[(PolicyLayer, &str)], ask: &Ask) -> Verdict {
    WriteGate::new(layered(layers), clock()).decide(&ask.describe()).verdict()
}

fn alone(text: &str, ask: &Ask) -> Verdict {
    verdict(&[(PolicyLayer::Workspace, text)], ask)
}

fn rules() -> impl Strategy<Value = Vec<(String, Verdict)>> {
    prop::collection::vec(rule(), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn adding_a_deny_never_weakens(
        default in default(), paths in paths(), rules in rules(), extra in rule(), ask in ask()
    ) {
        let before = alone(&policy(default, &paths, &rules), &ask);
        let mut more = rules;
        more.push((extra.0, Verdict::Deny));
        prop_assert!(alone(&policy(default, &paths, &more), &ask) >= before);
    }

    /// Where `default` lets through, no rule can lower anything. Where it denies, a rule that
    /// lets through is there to speak in its stead.
    #[test]
    fn adding_any_rule_never_lowers_what_others_say(
        paths in paths(), rules in rules(), extra in rule(), ask in ask()
    ) {
        let before = alone(&policy("allow", &paths, &rules), &ask);
        let mut more = rules;
        more.push(extra);
        prop_assert!(alone(&policy("allow", &paths, &more), &ask) >= before);
    }

    #[test]
    fn rule_order_does_not_matter(
        default in default(), paths in paths(), rules in rules(), ask in ask()
    ) {
        let mut reversed = rules.clone();
        reversed.reverse();
        prop_assert_eq!(
            alone(&policy(default, &paths, &rules), &ask),
            alone(&policy(default, &paths, &reversed), &ask)
        );
    }

    /// All rules are matched at once; each says the same as in a policy of its own.
    #[test]
    fn every_rule_speaks_as_if_it_were_alone(
        default in default(), paths in paths(), rules in prop::collection::vec(rule(), 0..12),
        ask in ask()
    ) {
        let said = |rules: &[(String, Verdict)], name: &str| -> Vec<(Option<String>, Verdict)> {
            let text = policy(default, &paths, rules);
            let set = layered(&[(PolicyLayer::Workspace, &text)]);
            let decision = WriteGate::new(set, clock()).decide(&ask.describe());
            let reasons = decision.reasons().iter().filter(|reason| &*reason.rule == name);
            reasons.map(|one| (one.path.as_deref().map(str::to_owned), one.verdict)).collect()
        };
        for (index, rule) in rules.iter().enumerate() {
            let alone = said(std::slice::from_ref(rule), "r0");
            prop_assert_eq!(said(&rules, &format!("r{index}")), alone, "{:?}", rule);
        }
    }

    #[test]
    fn a_policy_that_says_nothing_denies(ask in ask()) {
        prop_assert_eq!(alone("version: 1\n", &ask), Verdict::Deny);
        prop_assert_eq!(verdict(&[], &ask), Verdict::Deny);
    }

    #[test]
    fn a_lower_layer_never_widens(
        upper in (default(), paths(), rules()), lower in (default(), paths(), rules()), ask in ask()
    ) {
        let upper = policy(upper.0, &upper.1, &upper.2);
        let lower = policy(lower.0, &lower.1, &lower.2);
        let before = verdict(&[(PolicyLayer::Managed, &upper)], &ask);
        let after =
            verdict(&[(PolicyLayer::Managed, &upper), (PolicyLayer::Workspace, &lower)], &ask);
        prop_assert!(after >= before);
    }

    #[test]
    fn the_same_question_gets_the_same_answer(
        default in default(), paths in paths(), rules in rules(), ask in ask()
    ) {
        let text = policy(default, &paths, &rules);
        let gate = WriteGate::new(layered(&[(PolicyLayer::User, &text)]), clock());
        let described = ask.describe();
        let (one, two) = (gate.decide(&described), gate.decide(&described));
        prop_assert_eq!(one.reasons(), two.reasons());
        prop_assert_eq!(one.action_digest(), two.action_digest());
    }
}
