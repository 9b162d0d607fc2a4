//! The types of inputs: from JSON Schema to those that Cedar has.
//!
//! Only what is certain has a type: a policy that names anything else is refused when it is loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

use super::input::MAX_DEPTH;

/// A type of Cedar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Long,
    String,
    Set(Box<Self>),
    /// By key, and whether it is always there.
    Record(BTreeMap<String, (bool, Self)>),
}

impl Type {
    /// Of an input: always a record, if an empty one.
    pub(super) fn of_input(schema: &Value) -> Self {
        match Self::of(schema, 0) {
            Some(record @ Self::Record(_)) => record,
            _ => Self::Record(BTreeMap::new()),
        }
    }

    fn of(schema: &Value, depth: usize) -> Option<Self> {
        let schema = schema.as_object().filter(|_| depth <= MAX_DEPTH)?;
        match schema.get("type").and_then(Value::as_str)? {
            "boolean" => Some(Self::Bool),
            // A number is told as long as it is whole; else a policy that looks at it denies.
            "integer" | "number" => Some(Self::Long),
            "string" => Some(Self::String),
            "array" if !schema.contains_key("prefixItems") => {
                Some(Self::Set(Box::new(Self::of(schema.get("items")?, depth + 1)?)))
            }
            "object" => Some(Self::record(schema, depth)),
            _ => None,
        }
    }

    fn record(schema: &Map<String, Value>, depth: usize) -> Self {
        let required: BTreeSet<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let typed = properties.filter_map(|(key, schema)| {
            let always = required.contains(key.as_str());
            Some((key.clone(), (always, Self::of(schema, depth + 1)?)))
        });
        Self::Record(typed.collect())
    }

    /// What holds for both: of records the keys that both have, always there if always in both.
    pub(super) fn both(self, other: Self) -> Self {
        match (self, other) {
            (Self::Record(one), Self::Record(mut other)) => {
                let shared = one.into_iter().filter_map(|(key, (always, kind))| {
                    let (also, another) = other.remove(&key)?;
                    let kind = match (kind, another) {
                        (kind @ Self::Record(_), another @ Self::Record(_)) => kind.both(another),
                        (kind, another) => Some(kind).filter(|kind| *kind == another)?,
                    };
                    Some((key, (always && also, kind)))
                });
                Self::Record(shared.collect())
            }
            (one, _) => one,
        }
    }
}

/// As Cedar's schemas write it.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("Bool"),
            Self::Long => f.write_str("Long"),
            Self::String => f.write_str("String"),
            Self::Set(of) => write!(f, "Set<{of}>"),
            Self::Record(fields) => {
                f.write_str("{")?;
                for (index, (key, (always, kind))) in fields.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    let quoted: String = key.chars().map(escaped).collect();
                    let optional = if *always { "" } else { "?" };
                    write!(f, "{comma}\"{quoted}\"{optional}: {kind}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn escaped(c: char) -> String {
    if c.is_ascii_alphanumeric() || "_-. ".contains(c) {
        return c.to_string();
    }
    c.escape_unicode().to_string()
}
