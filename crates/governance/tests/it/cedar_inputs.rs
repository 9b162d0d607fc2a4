//! What policies in Cedar see of the input of a call, and what they deny because they cannot see it.

use std::sync::Arc;

use lictor_capability::Contract;
use lictor_document::Source;
use lictor_governance::{CedarFiles, Decision, DecisionInputs, PolicySet, Verdict, WriteGate};
use proptest::prelude::*;
use serde_json::json;

use crate::common::{Ask, clock};

const EVERYTHING: &str = "version: 1\ndefault: allow\n";

fn by(set: &Arc<PolicySet>, ask: &Ask) -> Decision {
    WriteGate::new(Arc::clone(set), clock()).decide(&ask.describe())
}

/// Contracts with inputs.
fn payments() -> Vec<Arc<Contract>> {
    let contract = |id: &str, input: serde_json::Value| {
        let yaml = json!({
            "id": id, "version": "1.0.0", "title": "T", "description": "D", "kind": "skill",
            "source": "builtin", "input": input, "output": {}, "risk": "low", "effects": {},
            "handler": { "builtin": "x" },
        });
        let yaml = yaml.to_string();
        Arc::new(Contract::from_yaml(&Source::new("c.yaml", yaml.as_bytes())).unwrap())
    };
    let of = |kind: &str| json!({ "type": kind });
    vec![
        contract(
            "payments.send",
            json!({
                "type": "object",
                "required": ["amount", "to"],
                "properties": {
                    "amount": of("integer"),
                    "rate": of("number"),
                    "to": of("string"),
                    "urgent": of("boolean"),
                    "tags": { "type": "array", "items": of("string") },
                    "from": { "type": "object", "required": ["iban"], "properties": {
                        "iban": of("string"), "age": of("integer"),
                    } },
                    "odd \"key\" \u{e9}": of("string"),
                    "either": { "type": ["string", "null"] },
                    "any": {},
                    "pair": { "type": "array", "prefixItems": [of("string")] },
                },
            }),
        ),
        contract("payments.list", json!({ "type": "object" })),
        contract("payments.odd", json!(true)),
    ]
}

fn paying(cedar: &str) -> Result<Arc<PolicySet>, String> {
    let contracts = payments();
    let policies = [Source::new("policies/a.cedar", cedar.as_bytes())];
    let files = CedarFiles { policies: &policies, roles: None };
    let set = PolicySet::workspace(&Source::new("policy.yaml", EVERYTHING.as_bytes())).unwrap();
    let set = set.with_cedar(files, contracts.iter().map(Arc::as_ref));
    set.map(Arc::new).map_err(|error| error.to_string())
}

fn pays(input: serde_json::Value) -> Ask {
    Ask::new("payments.send").input(input)
}

const SEND: &str = "forbid(principal, action == Action::\"payments.send\", resource)";

#[test]
fn a_policy_looks_at_the_input_of_a_call_by_its_types() {
    let (yes, no) = (Verdict::Deny, Verdict::Allow);
    let base = json!({ "amount": 5, "to": "ann" });
    let with = |key: &str, value: serde_json::Value| {
        let mut input = base.clone();
        input[key] = value;
        input
    };
    for (when, input, verdict) in [
        ("context.input.amount > 1000", with("amount", json!(1001)), yes),
        ("context.input.amount > 1000", with("amount", json!(1000)), no),
        ("context.input.amount > 1000", with("amount", json!(1000.0)), no),
        ("context.input.amount > 1000", with("amount", json!(i64::MAX)), yes),
        ("context.input.to == \"mallory\"", with("to", json!("mallory")), yes),
        ("context.input[\"to\"] like \"mal*\"", with("to", json!("Mallory")), no),
        ("context.input has urgent && context.input.urgent", with("urgent", json!(true)), yes),
        ("context.input has urgent && context.input.urgent", base.clone(), no),
        (
            "context.input has tags && context.input.tags.contains(\"x\")",
            with("tags", json!(["y", "x", "y"])),
            yes,
        ),
        ("context.input has tags && context.input.tags.isEmpty()", with("tags", json!([])), yes),
        (
            "context.input has from.age && context.input.from.age < 18",
            with("from", json!({ "iban": "x", "age": 17 })),
            yes,
        ),
        ("context.input has from.age", with("from", json!({ "iban": "x" })), no),
        (
            "context.input has \"odd \\\"key\\\" \u{e9}\"",
            with("odd \"key\" \u{e9}", json!("")),
            yes,
        ),
    ] {
        let set = paying(&format!("{SEND} when {{ {when} }};"));
        let set = set.unwrap_or_else(|error| panic!("{error}"));
        let decision = by(&set, &pays(input.clone()));
        assert_eq!(decision.verdict(), verdict, "{when} {input}\n{}", decision.explain());
    }
}

#[test]
fn what_cedar_has_no_value_for_denies_where_a_policy_looks_at_it_and_nowhere_else() {
    let beyond = [
        ("rate", json!(1.5)),
        ("rate", json!(1e300)),
        ("rate", json!(18_446_744_073_709_551_615_u64)),
        ("rate", json!(null)),
        ("rate", json!({ "secret": "RATE" })),
        ("from", json!({ "iban": "x", "more": [null] })),
        ("tags", json!(["x", 0.5])),
    ];
    for (key, value) in beyond {
        let mut input = json!({ "amount": 5, "to": "ann" });
        input[key] = value;
        let rule = format!("@id(\"r\") {SEND} when {{ context.input has {key} && false }};");
        let decision = by(&paying(&rule).unwrap(), &pays(input.clone()));
        assert_eq!(decision.verdict(), Verdict::Deny, "{input}");
        let said = decision.reasons().iter().find(|one| &*one.rule == "cedar:r").unwrap();
        assert!(said.message.contains(&format!("looks at `{key}` of the input")), "{said}");
        // One that looks at something else of it, or is about something else, does not mind.
        let looks = format!("when {{ context.input has {key} && false }};");
        for other in [
            format!("{SEND} when {{ context.input.amount > 1000 }};"),
            format!("{SEND} when {{ context.lines > 1000 }};"),
            format!("forbid(principal, action == Action::\"payments.list\", resource) {looks}"),
            format!("forbid(principal in User::\"bob\", action, resource) {looks}"),
            format!("forbid(principal, action, resource in Path::\"a\") {looks}"),
        ] {
            let set = paying(&other).unwrap_or_else(|error| panic!("{error}"));
            let decision = by(&set, &pays(input.clone()));
            assert_eq!(decision.verdict(), Verdict::Allow, "{other}\n{}", decision.explain());
        }
    }
    // The input as a whole is all of it.
    let whole = format!("{SEND} when {{ context.input == context.input && false }};");
    let input = |more: serde_json::Value| json!({ "amount": 5, "to": "ann", "more": more });
    assert_eq!(by(&paying(&whole).unwrap(), &pays(input(json!(1)))).verdict(), Verdict::Allow);
    assert_eq!(by(&paying(&whole).unwrap(), &pays(input(json!(0.5)))).verdict(), Verdict::Deny);
}

#[test]
fn a_policy_names_nothing_of_an_input_that_has_no_type() {
    for (when, accepted) in [
        ("context.input.amount > 1", true),
        ("context.input.amuont > 1", false),
        ("context.input.amount == \"1\"", false),
        // It may be missing, so that has to be asked first.
        ("context.input.rate > 1", false),
        ("context.input has rate && context.input.rate > 1", true),
        ("context.input.either == \"x\"", false),
        ("context.input.any == \"x\"", false),
        ("context.input.pair.isEmpty()", false),
    ] {
        let set = paying(&format!("{SEND} when {{ {when} }};"));
        assert_eq!(set.is_ok(), accepted, "{when}: {:?}", set.err());
    }
    // Of all actions together only what is asked for first.
    let all = "forbid(principal, action in Action::\"payments.*\", resource) when";
    paying(&format!("{all} {{ context.input.amount > 1 }};")).unwrap_err();
    let asked = format!("{all} {{ context.input has amount && context.input.amount > 1 }};");
    let set = paying(&asked).unwrap();
    assert_eq!(by(&set, &pays(json!({ "amount": 2, "to": "x" }))).verdict(), Verdict::Deny);
    assert_eq!(by(&set, &Ask::new("payments.list")).verdict(), Verdict::Allow);
}

#[test]
fn a_mistake_about_an_input_does_not_quote_it() {
    let rule = format!("{SEND} when {{ context.input.amount + 9223372036854775807 > 0 }};");
    let decision = by(&paying(&rule).unwrap(), &pays(json!({ "amount": 424242, "to": "x" })));
    assert_eq!(decision.verdict(), Verdict::Deny);
    let explained = decision.explain();
    assert!(explained.contains("cannot be evaluated with this input"), "{explained}");
    assert!(!explained.contains("424242"), "{explained}");
}

#[test]
fn a_decision_about_an_input_is_replayed_or_said_to_hang_on_what_was_sealed() {
    let set = paying(&format!("{SEND} when {{ context.input.amount > 1000 }};")).unwrap();
    let replayed = |set: &Arc<PolicySet>, input: serde_json::Value| {
        let described = pays(input).describe();
        let decision = WriteGate::new(Arc::clone(set), clock()).decide(&described);
        let replayed = DecisionInputs::of(&decision, &described).replay(set);
        (replayed.differs_from(decision.record()), replayed.undecided)
    };
    for amount in [1, 1001] {
        let (differs, undecided) = replayed(&set, json!({ "amount": amount, "to": "x" }));
        assert_eq!((differs, undecided), (None, Vec::new()), "{amount}");
    }
    // A text that long is kept by its digest only.
    let long = "x".repeat(1 << 20);
    let set = paying(&format!("@id(\"to\") {SEND} when {{ context.input.to like \"y*\" }};"));
    let (_, undecided) = replayed(&set.unwrap(), json!({ "amount": 1, "to": long }));
    assert_eq!(undecided, ["cedar:to: it looks at an input of which only the digest was kept"]);
}

#[test]
fn the_schema_holds_the_types_of_inputs_and_is_one() {
    let contracts = payments();
    let schema = PolicySet::cedar_schema(contracts.iter().map(Arc::as_ref)).unwrap();
    for part in [
        "\"amount\": Long",
        "\"rate\"?: Long",
        "\"tags\"?: Set<String>",
        "\"from\"?: {\"age\"?: Long, \"iban\": String}",
        "action \"payments.odd\" in [\"payments.*\"]",
        "input: {} }",
    ] {
        assert!(schema.contains(part), "{part}\n{schema}");
    }
    for part in ["either", "\"any\"", "pair"] {
        assert!(!schema.contains(part), "{part}\n{schema}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever an input holds that a policy looks at, it is told to Cedar as it is, or it denies.
    #[test]
    fn no_input_slips_past_a_policy_that_looks_at_it(
        value in prop_oneof![
            any::<i64>().prop_map(|n| json!(n)),
            any::<u64>().prop_map(|n| json!(n)),
            any::<f64>().prop_map(|n| json!(n)),
            any::<bool>().prop_map(|n| json!(n)),
            "[0-9.e+-]{0,5}".prop_map(|text| json!(text)),
            any::<i64>().prop_map(|n| json!([n])),
        ],
    ) {
        let set = paying(&format!("{SEND} when {{ context.input.amount > 1000 }};")).unwrap();
        // As an action that the contract would refuse: the verdict does not lean on that.
        let input = json!({ "amount": value, "to": "x" });
        let verdict = by(&set, &pays(input)).verdict();
        let small = value.as_i64().is_some_and(|n| n <= 1000)
            || value.as_f64().is_some_and(|n| n.fract() == 0.0 && n <= 1000.0 && n.abs() <= 9_007_199_254_740_992.0);
        prop_assert_eq!(verdict == Verdict::Allow, small, "{}", value);
    }
}
