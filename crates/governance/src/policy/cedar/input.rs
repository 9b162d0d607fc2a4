//! What Cedar is told of the input of a call: the keys that policies look at, as far as Cedar has
//! values for them. What it has none for is left out, and a policy that looks at it denies.

use std::collections::BTreeSet;

use cedar_policy::{Policy, RestrictedExpression as Expression};
use serde_json::Value;

use crate::policy::compare::holds_sealed;

/// Deeper values are not carried, nor are they in the schema.
pub(super) const MAX_DEPTH: usize = 8;

/// Whole numbers up to here are the same in every notation.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What of an input a policy looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Looks {
    /// These keys of it, if any.
    At(BTreeSet<String>),
    /// The input, or the context, as a whole.
    All,
}

impl Default for Looks {
    fn default() -> Self {
        Self::At(BTreeSet::new())
    }
}

impl Looks {
    /// Found out from the policy's own tree. What is not understood looks at everything.
    pub(super) fn of(policy: &Policy) -> Self {
        let mut looks = Self::default();
        match policy.to_json() {
            Ok(tree) => match tree.get("conditions").and_then(Value::as_array) {
                Some(all) => {
                    let bodies = all.iter().filter_map(|condition| condition.get("body"));
                    bodies.for_each(|body| looks.expression(body));
                }
                None => looks = Self::All,
            },
            Err(_) => looks = Self::All,
        }
        looks
    }

    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::At(keys) if keys.is_empty())
    }

    fn key(&mut self, key: &str) {
        if let Self::At(keys) = self {
            keys.insert(key.to_owned());
        }
    }

    pub(super) fn and(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::At(keys), Self::At(more)) => keys.extend(more.iter().cloned()),
            _ => *self = Self::All,
        }
    }

    /// Walks through an expression: an object of one operator and what it is applied to.
    fn expression(&mut self, node: &Value) {
        // What is not looked into by a name is looked at as a whole.
        if is_input(node) || is_context(node) {
            *self = Self::All;
            return;
        }
        match node {
            Value::Array(nodes) => nodes.iter().for_each(|node| self.expression(node)),
            Value::Object(node) => {
                node.iter().for_each(|(operator, operands)| self.operator(operator, operands));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn operator(&mut self, operator: &str, operands: &Value) {
        match (operator, operands) {
            // A literal is what it is, whatever it looks like.
            ("Value" | "Var", _) => {}
            ("." | "has", _) => self.attribute(operator, operands),
            (_, Value::Object(named)) => named.values().for_each(|node| self.expression(node)),
            (_, operands) => self.expression(operands),
        }
    }

    fn attribute(&mut self, operator: &str, operands: &Value) {
        let name = operands.get("attr").and_then(Value::as_str);
        let (Some(left), Some(name)) = (operands.get("left"), name) else {
            *self = Self::All;
            return;
        };
        if is_input(left) {
            self.key(name);
        } else if !is_context(left) {
            self.expression(left);
        } else if name == "input" && operator != "has" {
            *self = Self::All;
        }
    }

    /// The parts of an input that are looked at.
    fn parts<'a>(&self, input: &'a Value) -> impl Iterator<Item = (&'a String, &'a Value)> {
        let looked = move |key: &String| match self {
            Self::All => true,
            Self::At(keys) => keys.contains(key),
        };
        let map = input.as_object().into_iter().flatten();
        let found: Vec<_> = map.filter(|(key, _)| looked(key)).collect();
        found.into_iter()
    }

    /// A key that is looked at and that Cedar has no value for.
    pub(super) fn beyond<'a>(&self, input: &'a Value) -> Option<&'a str> {
        let beyond = |(_, value): &(&String, &Value)| carried(value, 1).is_none();
        self.parts(input).find(beyond).map(|(key, _)| key.as_str())
    }

    /// Whether it looks at something of which a record holds the digest only.
    pub(super) fn meets_sealed(&self, kept: &Value) -> bool {
        self.parts(kept).any(|(_, value)| holds_sealed(value))
    }

    /// What Cedar is told.
    pub(super) fn record(&self, input: &Value) -> Vec<(String, Expression)> {
        let parts = self.parts(input);
        parts.filter_map(|(key, value)| Some((key.clone(), carried(value, 1)?))).collect()
    }
}

/// `context`.
fn is_context(node: &Value) -> bool {
    node.as_object().is_some_and(|node| node.get("Var").and_then(Value::as_str) == Some("context"))
}

/// `context.input`.
fn is_input(node: &Value) -> bool {
    let Some(attribute) = node.get(".") else { return false };
    attribute.get("attr").and_then(Value::as_str) == Some("input")
        && attribute.get("left").is_some_and(is_context)
}

/// A value as Cedar has it; `None` when it has no such value, or it is not known yet.
fn carried(value: &Value, depth: usize) -> Option<Expression> {
    if depth > MAX_DEPTH {
        return None;
    }
    match value {
        Value::Null => None,
        Value::Bool(value) => Some(Expression::new_bool(*value)),
        Value::Number(number) => {
            let whole = |float: f64| {
                #[expect(clippy::cast_possible_truncation, reason = "whole and within range")]
                let int = float as i64;
                (float.fract() == 0.0 && float.abs() <= EXACT).then_some(int)
            };
            number.as_i64().or_else(|| number.as_f64().and_then(whole)).map(Expression::new_long)
        }
        Value::String(text) => Some(Expression::new_string(text.clone())),
        Value::Array(items) => {
            let items = items.iter().map(|item| carried(item, depth + 1));
            Some(Expression::new_set(items.collect::<Option<Vec<_>>>()?))
        }
        // A secret is resolved at the moment of use; until then nobody knows it.
        Value::Object(map) if map.len() == 1 && map.contains_key("secret") => None,
        Value::Object(map) => {
            let fields =
                map.iter().map(|(key, value)| Some((key.clone(), carried(value, depth + 1)?)));
            Expression::new_record(fields.collect::<Option<Vec<_>>>()?).ok()
        }
    }
}
