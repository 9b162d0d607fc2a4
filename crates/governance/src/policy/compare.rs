//! Comparisons: typed, exact, and three-valued.
//!
//! A value of another type than the one a policy compares it with satisfies no operator, `ne` as
//! little as `eq`. So that nobody slips past a rule by writing `"5000"` for `5000`, the answer is
//! not a plain no: rules that deny, ask or escalate take [`Outcome::Incomparable`] for a match,
//! rules that allow do not.

use std::cmp::Ordering;

use regex::Regex;
use serde_json::{Number, Value};

use super::pattern::Pattern;

/// What became of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Yes,
    No,
    /// The value is of another type than what it is compared with.
    Incomparable,
}

impl Outcome {
    pub(super) fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    /// Both hold.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Incomparable, _) | (_, Self::Incomparable) => Self::Incomparable,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }

    /// One of them holds.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::Incomparable, _) | (_, Self::Incomparable) => Self::Incomparable,
            (Self::No, Self::No) => Self::No,
        }
    }

    /// Whether a rule speaks: a strict one also about what it cannot compare.
    pub(super) fn speaks(self, strict: bool) -> bool {
        self == Self::Yes || (strict && self == Self::Incomparable)
    }
}

/// A number, exact.
#[derive(Debug, Clone, Copy)]
pub(super) enum Num {
    Int(i128),
    /// Finite.
    Float(f64),
}

impl Num {
    pub(super) fn of(number: &Number) -> Self {
        match number.as_i128() {
            Some(int) => Self::Int(int),
            None => Self::Float(number.as_f64().unwrap_or(f64::MAX)),
        }
    }

    fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(&b),
            (Self::Float(a), Self::Float(b)) => (a + 0.0).total_cmp(&(b + 0.0)),
            (Self::Int(int), Self::Float(float)) => compare_mixed(int, float),
            (Self::Float(float), Self::Int(int)) => compare_mixed(int, float).reverse(),
        }
    }
}

/// JSON's integers fit 65 bits, far below this.
const BEYOND: f64 = 1e30;

fn compare_mixed(int: i128, float: f64) -> Ordering {
    if float >= BEYOND {
        return Ordering::Less;
    }
    if float <= -BEYOND {
        return Ordering::Greater;
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole and within range")]
    let whole = float.trunc() as i128;
    int.cmp(&whole).then_with(|| 0.0_f64.total_cmp(&(float.fract() + 0.0)))
}

/// A value that a test looks at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Num(Num),
    Text(&'a str),
    /// A list or a mapping.
    Other,
}

impl<'a> From<&'a Value> for Scalar<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::Num(Num::of(number)),
            Value::String(text) => Self::Text(text),
            Value::Array(_) | Value::Object(_) => Self::Other,
        }
    }
}

/// A value that a policy names.
#[derive(Debug, Clone)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Num(Num),
    Text(Box<str>),
}

impl Literal {
    fn equals(&self, actual: Scalar<'_>) -> Outcome {
        match (self, actual) {
            (Self::Null, actual) => Outcome::of(matches!(actual, Scalar::Null)),
            (Self::Bool(wanted), Scalar::Bool(actual)) => Outcome::of(*wanted == actual),
            (Self::Text(wanted), Scalar::Text(actual)) => Outcome::of(**wanted == *actual),
            (Self::Num(wanted), Scalar::Num(actual)) => {
                Outcome::of(actual.compare(*wanted) == Ordering::Equal)
            }
            _ => Outcome::Incomparable,
        }
    }

    fn order(&self, actual: Scalar<'_>) -> Option<Ordering> {
        match (self, actual) {
            (Self::Num(wanted), Scalar::Num(actual)) => Some(actual.compare(*wanted)),
            (Self::Text(wanted), Scalar::Text(actual)) => Some(actual.cmp(wanted)),
            _ => None,
        }
    }
}

/// The operators, as files write them.
pub(super) const OPERATORS: [&str; 8] = ["eq", "ne", "gt", "gte", "lt", "lte", "in", "matches"];

#[derive(Debug, Clone)]
pub(super) enum Comparison {
    Eq(Literal),
    Ne(Literal),
    Gt(Literal),
    Gte(Literal),
    Lt(Literal),
    Lte(Literal),
    In(Vec<Literal>),
    Matches(Regex),
}

impl Comparison {
    fn outcome(&self, actual: Scalar<'_>) -> Outcome {
        let ordered = |literal: &Literal, fits: fn(Ordering) -> bool| {
            literal
                .order(actual)
                .map_or(Outcome::Incomparable, |ordering| Outcome::of(fits(ordering)))
        };
        match self {
            Self::Eq(literal) => literal.equals(actual),
            Self::Ne(literal) => match literal.equals(actual) {
                Outcome::Yes => Outcome::No,
                Outcome::No => Outcome::Yes,
                Outcome::Incomparable => Outcome::Incomparable,
            },
            Self::Gt(literal) => ordered(literal, Ordering::is_gt),
            Self::Gte(literal) => ordered(literal, Ordering::is_ge),
            Self::Lt(literal) => ordered(literal, Ordering::is_lt),
            Self::Lte(literal) => ordered(literal, Ordering::is_le),
            Self::In(literals) => any(literals.iter().map(|literal| literal.equals(actual))),
            Self::Matches(regex) => match actual {
                Scalar::Text(text) => Outcome::of(regex.is_match(text)),
                _ => Outcome::Incomparable,
            },
        }
    }
}

/// One of a list: a yes from any, a no from any that could compare, else incomparable.
fn any(outcomes: impl Iterator<Item = Outcome>) -> Outcome {
    let mut found = Outcome::Incomparable;
    for outcome in outcomes {
        match outcome {
            Outcome::Yes => return Outcome::Yes,
            Outcome::No => found = Outcome::No,
            Outcome::Incomparable => {}
        }
    }
    found
}

/// What a key of a `when` asks of a value.
#[derive(Debug, Clone)]
pub(super) enum Test {
    /// Any of these.
    Any(Vec<Wanted>),
    /// All of these.
    All(Vec<Comparison>),
}

/// One thing of a list.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    Pattern(Pattern),
    Literal(Literal),
}

impl Test {
    pub(super) fn outcome(&self, actual: Scalar<'_>) -> Outcome {
        match self {
            Self::Any(wanted) => any(wanted.iter().map(|wanted| match (wanted, actual) {
                (Wanted::Pattern(pattern), Scalar::Text(text)) => {
                    Outcome::of(pattern.is_match(text))
                }
                (Wanted::Pattern(_), _) => Outcome::Incomparable,
                (Wanted::Literal(literal), actual) => literal.equals(actual),
            })),
            Self::All(comparisons) => comparisons
                .iter()
                .fold(Outcome::Yes, |all, comparison| all.and(comparison.outcome(actual))),
        }
    }

    /// Of a value of the input: a list satisfies a test when one of its items does.
    pub(super) fn outcome_in(&self, actual: &Value) -> Outcome {
        match actual {
            Value::Array(items) => {
                items.iter().fold(Outcome::No, |found, item| found.or(self.outcome_in(item)))
            }
            other => self.outcome(other.into()),
        }
    }
}

/// What stands for a value that is not kept: see `lictor_context::seal`.
fn is_sealed(value: &Value) -> bool {
    let Value::Object(map) = value else { return false };
    (map.len() == 2 && map.contains_key("sealed") && map.contains_key("bytes"))
        || (map.len() == 1 && map.contains_key("redacted"))
}

/// Tests of an input, by key.
#[derive(Debug, Clone)]
pub(super) enum InputTest {
    Value(Test),
    Keys(Vec<(Box<str>, Self)>),
}

impl InputTest {
    pub(super) fn outcome(&self, actual: &Value) -> Outcome {
        match (self, actual) {
            (Self::Value(test), actual) => test.outcome_in(actual),
            (Self::Keys(keys), Value::Object(_)) => keys
                .iter()
                .fold(Outcome::Yes, |all, (key, test)| all.and(at_key(actual, key, test))),
            (keys @ Self::Keys(_), Value::Array(items)) => {
                items.iter().fold(Outcome::No, |found, item| found.or(keys.outcome(item)))
            }
            (Self::Keys(_), _) => Outcome::Incomparable,
        }
    }

    /// Whether it would look at something that stands sealed in a record. It may say so too often,
    /// never too rarely.
    pub(super) fn meets_sealed(&self, kept: &Value) -> bool {
        match (self, kept) {
            (_, kept) if is_sealed(kept) => true,
            (Self::Keys(keys), Value::Object(map)) => map
                .iter()
                .filter(|(key, _)| {
                    let leads = |wanted: &str| match wanted.strip_prefix(key.as_str()) {
                        Some(rest) => rest.is_empty() || rest.starts_with('.'),
                        None => false,
                    };
                    keys.iter().any(|(wanted, _)| leads(wanted))
                })
                .any(|(_, value)| holds_sealed(value)),
            (_, kept) => holds_sealed(kept),
        }
    }
}

pub(super) fn holds_sealed(value: &Value) -> bool {
    match value {
        value if is_sealed(value) => true,
        Value::Array(items) => items.iter().any(holds_sealed),
        Value::Object(map) => map.values().any(holds_sealed),
        _ => false,
    }
}

/// Looks a key up, as it is and, when it has dots, as a way down. What is not there satisfies
/// nothing.
fn at_key(value: &Value, key: &str, test: &InputTest) -> Outcome {
    match value {
        Value::Object(map) => {
            let whole = map.get(key).map_or(Outcome::No, |value| test.outcome(value));
            let dots = key.match_indices('.').filter_map(|(dot, _)| key.split_at_checked(dot));
            dots.fold(whole, |found, (head, tail)| {
                let tail = tail.strip_prefix('.').unwrap_or(tail);
                let below = map.get(head).map(|value| at_key(value, tail, test));
                found.or(below.unwrap_or(Outcome::No))
            })
        }
        Value::Array(items) => {
            items.iter().fold(Outcome::No, |found, item| found.or(at_key(item, key, test)))
        }
        _ => Outcome::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn order(a: Value, b: Value) -> Ordering {
        let num = |value: Value| match value {
            Value::Number(number) => Num::of(&number),
            other => panic!("{other} is no number"),
        };
        num(a).compare(num(b))
    }

    #[test]
    fn numbers_compare_exactly() {
        assert_eq!(
            order(json!(9007199254740993_i64), json!(9007199254740992.0)),
            Ordering::Greater
        );
        assert_eq!(order(json!(1000), json!(1000.0)), Ordering::Equal);
        assert_eq!(order(json!(999.9999), json!(1000)), Ordering::Less);
        assert_eq!(order(json!(-0.0), json!(0)), Ordering::Equal);
        assert_eq!(order(json!(-0.0), json!(0.0)), Ordering::Equal);
        assert_eq!(order(json!(-1.5), json!(-1)), Ordering::Less);
        assert_eq!(order(json!(u64::MAX), json!(1e300)), Ordering::Less);
        assert_eq!(order(json!(i64::MIN), json!(-1e300)), Ordering::Greater);
    }
}
