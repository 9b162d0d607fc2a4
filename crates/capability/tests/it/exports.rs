//! What is offered is what is taken: tool lists against the graph that admits, and both against a
//! reading of JSON Schema that was written down here once more.

use std::collections::BTreeSet;
use std::sync::Arc;

use lictor_capability::{Action, CapabilityGraph, CapabilityId, Contract, ToolFormat};
use lictor_context::{AgentProfile, Selection};
use lictor_document::Source;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::graph::{clock, session};

/// Whether a value fits a schema, for the keywords that [`schema`] makes.
fn fits(schema: &Value, value: &Value) -> bool {
    let Value::Object(keywords) = schema else { return schema == &Value::Bool(true) };
    keywords.iter().all(|(keyword, wanted)| keyword_fits(keywords, keyword, wanted, value))
}

fn keyword_fits(all: &Map<String, Value>, keyword: &str, wanted: &Value, value: &Value) -> bool {
    let list = |wanted: &Value| wanted.as_array().cloned().unwrap_or_default();
    let number = |limit: &dyn Fn(f64, f64) -> bool, found: Option<f64>| {
        found.is_none_or(|found| limit(found, wanted.as_f64().expect("of that kind")))
    };
    let letters = value.as_str().map(|text| text.chars().count() as f64);
    let items = value.as_array().map(|items| items.len() as f64);
    match keyword {
        "type" => match wanted {
            Value::Array(kinds) => kinds.iter().any(|kind| is(kind, value)),
            kind => is(kind, value),
        },
        "enum" => list(wanted).iter().any(|one| same(one, value)),
        "const" => same(wanted, value),
        "minimum" => number(&|found, limit| found >= limit, value.as_f64()),
        "maximum" => number(&|found, limit| found <= limit, value.as_f64()),
        "exclusiveMinimum" => number(&|found, limit| found > limit, value.as_f64()),
        "minLength" => number(&|found, limit| found >= limit, letters),
        "maxLength" => number(&|found, limit| found <= limit, letters),
        "minItems" => number(&|found, limit| found >= limit, items),
        "maxItems" => number(&|found, limit| found <= limit, items),
        "required" => value.as_object().is_none_or(|fields| {
            list(wanted)
                .iter()
                .all(|name| fields.contains_key(name.as_str().expect("of that kind")))
        }),
        "properties" => value.as_object().is_none_or(|fields| {
            wanted
                .as_object()
                .expect("of that kind")
                .iter()
                .all(|(name, inner)| fields.get(name).is_none_or(|field| fits(inner, field)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|fields| {
            let named = all.get("properties").and_then(Value::as_object);
            let other = |name: &String| !named.is_some_and(|named| named.contains_key(name));
            fields.iter().filter(|(name, _)| other(name)).all(|(_, field)| fits(wanted, field))
        }),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| fits(wanted, item))),
        "anyOf" => list(wanted).iter().any(|one| fits(one, value)),
        "allOf" => list(wanted).iter().all(|one| fits(one, value)),
        "oneOf" => list(wanted).iter().filter(|one| fits(one, value)).count() == 1,
        "not" => !fits(wanted, value),
        other => panic!("`{other}` is not made here"),
    }
}

fn is(kind: &Value, value: &Value) -> bool {
    match kind.as_str().expect("of that kind") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("`{other}` is no type"),
    }
}

/// Equal as JSON Schema has it: 1 and 1.0 are one number.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|it| same(one, it)))
        }
        (one, other) => one == other,
    }
}

fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c", "type", "é"])
}

/// Few different values, so that they meet.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..4_i64).prop_map(Value::from),
        prop::sample::select(vec![0.5, 1.0, -2.0, 2.5]).prop_map(Value::from),
        prop::sample::select(vec!["", "a", "ab", "é", "🦀🦀"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..4).prop_map(object),
        ]
    })
}

fn object(fields: std::collections::BTreeMap<&str, Value>) -> Value {
    Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn schema() -> impl Strategy<Value = Value> {
    let kinds = vec!["null", "boolean", "string", "array", "object", "number", "integer"];
    let kind = prop::sample::select(kinds);
    let limits = prop::sample::select(vec![
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
    ]);
    let leaf = prop_oneof![
        1 => any::<bool>().prop_map(Value::from),
        3 => kind.clone().prop_map(|kind| json!({ "type": kind })),
        1 => prop::collection::btree_set(kind, 1..3).prop_map(|kinds| json!({ "type": kinds })),
        2 => prop::collection::vec(value(), 1..4).prop_map(|all| json!({ "enum": all })),
        1 => value().prop_map(|value| json!({ "const": value })),
        2 => prop::collection::btree_map(limits, 0..4_i64, 1..4).prop_map(|limits| json!(limits)),
        1 => prop::collection::btree_set(key(), 0..3).prop_map(|names| json!({ "required": names })),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        let some = || prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            prop::collection::btree_map(key(), inner.clone(), 0..4)
                .prop_map(|fields| json!({ "properties": object(fields) })),
            (prop::collection::btree_map(key(), inner.clone(), 0..3), inner.clone(), any::<bool>())
                .prop_map(|(fields, other, closed)| {
                    let other = if closed { Value::Bool(false) } else { other };
                    json!({ "type": "object", "properties": object(fields), "additionalProperties": other })
                }),
            inner.clone().prop_map(|inner| json!({ "items": inner })),
            some().prop_map(|all| json!({ "anyOf": all })),
            some().prop_map(|all| json!({ "allOf": all })),
            some().prop_map(|all| json!({ "oneOf": all })),
            inner.clone().prop_map(|inner| json!({ "not": inner })),
        ]
    })
}

fn contract(id: &str, version: u8, source: &str, input: &Value) -> Arc<Contract> {
    let text = json!({
        "id": id, "version": format!("{version}.0.0"), "title": "T", "description": "D",
        "kind": "tool", "source": source, "input": input, "output": true, "risk": "low",
        "handler": { "builtin": "b" },
    })
    .to_string();
    Arc::new(Contract::from_yaml(&Source::new("c.yaml", text.as_bytes())).expect("of that kind"))
}

fn id() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec!["a", "b", "a_b", "mail", "mail_to", "x1"]);
    let short = prop::collection::vec(word.clone(), 2..5).prop_map(|words| words.join("."));
    // Those that are too long for the name of a tool, and alike up to their end.
    let long = (prop::collection::vec(word, 1..3), "[a-b]{2}").prop_map(|(words, end)| {
        format!("{}.{}.{end}", "very_long_words".repeat(5), words.join("."))
    });
    prop_oneof![3 => short, 1 => long]
}

fn admits(graph: &CapabilityGraph, id: &CapabilityId, input: &Value) -> bool {
    let action =
        Action::new(&session(AgentProfile::default()), id.clone(), input.clone(), &clock());
    graph.admit(action).is_ok()
}

/// The name and the schema of a tool, as somebody reads them who knows the format only.
fn offered(format: ToolFormat, definition: &Value) -> (&str, &Value) {
    let (tool, schema) = match format {
        ToolFormat::OpenAi => (&definition["function"], "parameters"),
        ToolFormat::Anthropic => (definition, "input_schema"),
        ToolFormat::Mcp => (definition, "inputSchema"),
    };
    (tool["name"].as_str().expect("of that kind"), &tool[schema])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_input_is_accepted_if_and_only_if_the_schema_accepts_it(
        schema in schema(), values in prop::collection::vec(value(), 1..8),
    ) {
        let contract = contract("a.b", 1, "local", &schema);
        for value in &values {
            let accepted = contract.check_input(value).is_ok();
            prop_assert_eq!(accepted, fits(&schema, value), "{} against {}", value, schema);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_offered_as_tools_is_what_is_admitted(
        capabilities in prop::collection::vec((id(), 1..3_u8, any::<bool>(), schema()), 1..8),
        selected in prop::collection::btree_set(id(), 0..3),
        inputs in prop::collection::vec(prop::collection::btree_map(key(), value(), 0..4), 1..6),
    ) {
        let catalogue: Vec<Arc<Contract>> = capabilities
            .iter()
            .map(|(id, version, mcp, schema)| contract(id, *version, if *mcp { "mcp:desk" } else { "local" }, schema))
            .collect();
        let mut profile = AgentProfile::default();
        if !selected.is_empty() {
            profile.capabilities = Selection::Only(selected.into_iter().collect());
        }
        // `desk` is not connected.
        let graph = CapabilityGraph::build(&session(profile), &catalogue);
        let known: BTreeSet<&CapabilityId> = graph.iter().map(|contract| &contract.id).collect();
        for format in [ToolFormat::OpenAi, ToolFormat::Anthropic, ToolFormat::Mcp] {
            let list = graph.tools(format);
            let tools = list.tools.iter().map(|tool| &tool.capability);
            let all: BTreeSet<&CapabilityId> =
                tools.chain(list.left_out.iter().map(|one| &one.capability)).collect();
            prop_assert_eq!(&all, &known, "each is offered, or said not to be");
            prop_assert_eq!(list.tools.len() + list.left_out.len(), known.len());
            let mut names = BTreeSet::new();
            for tool in &list.tools {
                let (name, schema) = offered(format, &tool.definition);
                let letters = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                prop_assert!(!name.is_empty() && name.len() <= 64 && name.chars().all(letters), "{name}");
                prop_assert!(names.insert(name.to_owned()), "{name} is there twice");
                let back = graph.by_tool_name(name);
                prop_assert_eq!(back.as_ref(), Some(&tool.capability));
                prop_assert_eq!(schema["type"].as_str(), Some("object"));
                for input in &inputs {
                    let input = object(input.clone());
                    prop_assert_eq!(
                        fits(schema, &input), admits(&graph, &tool.capability, &input),
                        "{} {} {}", name, input, schema
                    );
                }
            }
            // Nothing that is not offered to any session is admitted to this one.
            for contract in catalogue.iter().filter(|contract| !known.contains(&contract.id)) {
                let input = object(inputs[0].clone());
                prop_assert!(!admits(&graph, &contract.id, &input));
            }
        }
    }
}
