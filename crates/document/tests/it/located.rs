//! Values know where they stand, in both formats.

use std::collections::BTreeMap;

use lictor_document::{Limits, Located, Source, StrictValue, from_json, from_yaml};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Rule {
    name: Located<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    when: Option<Located<BTreeMap<Located<String>, StrictValue>>>,
    verdict: Located<Verdict>,
}

#[derive(Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Allow,
    Limit { max: Located<u32> },
    Named(Located<Newtype>),
}

#[derive(Debug, Deserialize, Serialize, PartialEq)]
struct Newtype(Option<String>);

type Rules = Vec<Located<Rule>>;

fn place<T>(located: &Located<T>) -> (u32, u32) {
    (located.line, located.column)
}

#[track_caller]
fn yaml(text: &str) -> Rules {
    from_yaml(&Source::new("rules.yaml", text.as_bytes()), &Limits::default()).unwrap()
}

#[test]
fn yaml_values_know_their_place() {
    let rules = yaml(
        "- name: one\n  verdict: allow\n-   name: 'zwölf'\n    when: { ö: 1, path: x }\n    verdict:\n      limit: { max: 5 }\n- {name: n, verdict: {named: x}}\n",
    );
    assert_eq!(place(&rules[0]), (1, 3));
    assert_eq!(place(&rules[0].value.name), (1, 9));
    assert_eq!(place(&rules[0].value.verdict), (2, 12));
    assert_eq!(place(&rules[1]), (3, 5));
    let when = rules[1].value.when.as_ref().unwrap();
    assert_eq!(place(when), (4, 11));
    let keys: Vec<_> = when.value.keys().map(place).collect();
    assert_eq!(keys, [(4, 19), (4, 13)]);
    assert_eq!(place(&rules[1].value.verdict), (6, 7));
    let Verdict::Limit { max } = &rules[1].value.verdict.value else { panic!("{rules:?}") };
    assert_eq!(place(max), (6, 21));
    let Verdict::Named(named) = &rules[2].value.verdict.value else { panic!("{rules:?}") };
    assert_eq!(place(named), (7, 30));
}

#[test]
fn json_values_know_their_place() {
    let text = "[\r\n  {\"näme\": 1, \"verdict\": \"x\"}]";
    let values: Vec<Located<BTreeMap<Located<String>, Located<StrictValue>>>> =
        from_json(&Source::new("rules.json", text.as_bytes()), &Limits::default()).unwrap();
    assert_eq!(place(&values[0]), (2, 3));
    let places: Vec<_> =
        values[0].value.iter().map(|(key, value)| (place(key), place(value))).collect();
    assert_eq!(places, [((2, 4), (2, 12)), ((2, 15), (2, 26))]);
}

#[test]
fn an_alias_stands_where_it_is_used() {
    let values: Vec<Located<StrictValue>> =
        from_yaml(&Source::new("a.yaml", b"- &a {x: 1}\n- *a\n"), &Limits::default()).unwrap();
    assert_eq!(values[0], values[1]);
    assert_eq!(place(&values[1]), (2, 3));
}

#[test]
fn other_deserialisers_leave_the_place_unknown() {
    let text = r#"{"name":"one","when":{"x":null},"verdict":{"named":"y"}}"#;
    let rule: Located<Rule> = serde_json::from_str(text).unwrap();
    assert_eq!(place(&rule), (0, 0));
    assert_eq!(place(&rule.value.verdict), (0, 0));
    assert_eq!(serde_json::to_string(&rule).unwrap(), text);
    assert_eq!(rule.place_in("policy.yaml"), "policy.yaml");
}

#[test]
fn flattened_and_untagged_values_are_read_without_a_place() {
    #[derive(Deserialize)]
    struct Outer {
        #[serde(flatten)]
        inner: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        name: Located<String>,
        choice: Located<Choice>,
    }
    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    enum Choice {
        One(Located<String>),
        Many(Vec<Located<Newtype>>),
    }
    let text = b"name: x\nchoice: [a, b]\n";
    let outer: Outer = from_yaml(&Source::new("a.yaml", text), &Limits::default()).unwrap();
    assert_eq!(place(&outer.inner.name), (0, 0));
    assert!(matches!(&outer.inner.choice.value, Choice::Many(many) if many.len() == 2));

    // Around the enum, the place is known.
    let choices: Vec<Located<Choice>> =
        from_yaml(&Source::new("a.yaml", b"[x, [y]]"), &Limits::default()).unwrap();
    assert_eq!(place(&choices[1]), (1, 5));
    assert!(matches!(&choices[0].value, Choice::One(one) if one.value == "x"));
}

#[test]
fn a_semantic_error_points_at_its_value() {
    let text = b"- name: one\n  verdict: allow\n";
    let source = Source::new("policy.yaml", text);
    let rules: Rules = from_yaml(&source, &Limits::default()).unwrap();
    let error = rules[0].value.name.error("policy.yaml", "rule `one` never matches");
    assert_eq!(error.to_string(), "policy.yaml:1:9: rule `one` never matches");
    assert_eq!(
        error.with_excerpt_of(&source).to_string(),
        "policy.yaml:1:9: rule `one` never matches\n  |\n1 | - name: one\n  |         ^"
    );
}
