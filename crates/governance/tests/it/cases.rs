//! The table: a policy, a request, the verdict, and the rule that gave it.

use std::collections::BTreeSet;

use lictor_context::Timestamp;
use lictor_document::{Limits, Source, StrictValue, from_yaml};
use lictor_governance::{PolicyCases, PolicySet};
use serde_json::Value;

use crate::common::NOW;

const NAME: &str = "table.policy-test.yaml";
const TABLE: &[u8] = include_bytes!("../data/table.policy-test.yaml");

/// A Sunday night.
const ANOTHER: &str = "2027-02-28T03:00:00Z";

/// The file as it stands.
fn groups() -> Vec<Value> {
    let file: StrictValue = from_yaml(&Source::new(NAME, TABLE), &Limits::default()).unwrap();
    file.as_value()["groups"].as_array().unwrap().clone()
}

#[test]
fn table() {
    let cases = PolicyCases::from_yaml(&Source::new(NAME, TABLE)).unwrap();
    // No policy is in force beside those that the table brings, and a case holds whenever it is asked.
    for now in [NOW, ANOTHER] {
        let results = cases.run(&PolicySet::empty(), Timestamp::parse(now).unwrap());
        let wrong: Vec<_> = results.iter().filter(|result| !result.passed).collect();
        assert!(
            wrong.is_empty(),
            "{} of {} wrong at {now}\n{wrong:#?}",
            wrong.len(),
            results.len()
        );
        assert_eq!(results.len(), cases.count());
    }
    assert!(cases.count() >= 370, "{}", cases.count());
}

#[test]
fn every_case_of_the_table_names_its_rule_and_is_another_one() {
    for group in groups() {
        let mut asked = BTreeSet::new();
        for case in group["cases"].as_array().unwrap() {
            // A case that names no rule would pass for another reason than the one that is meant.
            assert!(case["rule"].is_string(), "{}: {case}", group["name"]);
            assert!(asked.insert(case["ask"].to_string()), "{}: twice: {case}", group["name"]);
        }
    }
}

#[test]
fn the_example_of_the_formats_stands_in_the_table_as_it_is() {
    let example = include_str!("../data/full.yaml");
    assert!(groups().iter().any(|group| group["policy"] == example));
}

#[test]
fn cases_are_put_to_the_policy_in_force_and_those_of_a_group_to_its_own() {
    let text = "cases:\n  - { ask: { write: [a] }, verdict: deny, rule: default }\n\
                groups:\n  - name: g\n    managed: 'version: 1\n\n      default: allow'\n    \
                at: 2026-11-20T10:00:00Z\n    cases:\n      \
                - { ask: { write: [a] }, verdict: allow, rule: default, layer: managed }\n      \
                - { name: n, ask: { write: [a] }, verdict: allow, rule: default, layer: user }\n";
    let cases = PolicyCases::from_yaml(&Source::new("c.yaml", text.as_bytes())).unwrap();
    let results = cases.run(&PolicySet::empty(), Timestamp::parse(NOW).unwrap());
    let told: Vec<(&str, bool)> =
        results.iter().map(|one| (one.name.as_str(), one.passed)).collect();
    assert_eq!(told, [("case 1", true), ("g: case 1", true), ("g: n", false)]);
    assert_eq!(results[2].problems, ["`default` of the layer `user` did not say allow"]);
}

#[test]
fn a_case_that_is_written_wrong_is_refused_at_its_place() {
    for (text, place, says) in [
        ("cases: [{ verdict: maybe }]", "1:20", "allow, need_approval, deny"),
        ("cases: [{ ask: {} }]", "1:9", "verdict"),
        ("cases: [{ verdict: deny, ask: { wirte: [a] } }]", "1:33", "did you mean `write`?"),
        ("cases: [{ verdict: deny, ask: { at: noon } }]", "1:37", "noon"),
        ("cases: [{ verdict: deny, ask: { input: { n: .nan } } }]", "1:45", ".nan"),
        ("cases: [{ verdict: deny, ask: { input: { n: 1e999 } } }]", "1:45", "1e999"),
        ("cases: [{ verdict: deny, layer: nobody }]", "1:33", "workspace"),
        ("case: []", "1:1", "cases"),
        ("{}", "1:1", "groups"),
        ("groups: [{ policy: 'version: 2', cases: [] }]", "1:20", "policy.yaml:1:10"),
        ("groups: [{ policy: 'version: 1' }]", "1:10", "cases"),
        ("groups: [{ policies: '', cases: [] }]", "1:12", "policy"),
    ] {
        let error = PolicyCases::from_yaml(&Source::new("c.yaml", text.as_bytes())).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with(&format!("c.yaml:{place}")), "{message}");
        assert!(message.contains(says), "{message}");
    }
}
