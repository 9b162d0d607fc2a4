//! The table: a policy, a request, the verdict, and the rule that gave it.

use std::sync::Arc;

use lictor_context::Timestamp;
use lictor_document::{Limits, Source, StrictValue, from_yaml};
use lictor_governance::{CaseResult, PolicyCases, PolicySet};
use serde::Deserialize;
use serde_json::json;

use crate::common::{NOW, policies};

/// A policy, and the cases that are put to it, as they stand in `*.policy-test.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    policy: String,
    cases: StrictValue,
}

impl Group {
    fn run(&self) -> Vec<CaseResult> {
        let set = match self.policy.trim() {
            "" => Arc::new(PolicySet::empty()),
            text => policies(text),
        };
        let cases = self.cases.as_value();
        // A case that names no rule would pass for another reason than the one that is meant.
        assert!(cases.as_array().unwrap().iter().all(|case| case["rule"].is_string()), "{cases}");
        let text = json!({ "cases": cases }).to_string();
        let cases = PolicyCases::from_yaml(&Source::new("cases.yaml", text.as_bytes())).unwrap();
        cases.run(&set, Timestamp::parse(NOW).unwrap())
    }
}

#[test]
fn table() {
    let text = include_bytes!("../data/cases.yaml");
    let groups: Vec<Group> =
        from_yaml(&Source::new("cases.yaml", text), &Limits::default()).unwrap();
    let (mut n_cases, mut wrong) = (0, Vec::new());
    for group in &groups {
        let results = group.run();
        n_cases += results.len();
        let failed = results.into_iter().filter(|result| !result.passed);
        wrong.extend(failed.map(|result| format!("{}\n{result:#?}", group.policy)));
    }
    assert!(wrong.is_empty(), "{} of {n_cases} wrong\n{}", wrong.len(), wrong.join("\n"));
    // With those for the example of the formats, which are a file of their own.
    let formats = include_bytes!("../data/formats.policy-test.yaml");
    let formats =
        PolicyCases::from_yaml(&Source::new("formats.policy-test.yaml", formats)).unwrap();
    assert!(n_cases >= 106 && n_cases + formats.count() >= 186, "{n_cases} + {}", formats.count());
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
