//! Which values of an input are kept by their digest only.

use lictor_context::is_secret_key;
use regex::RegexSet;
use serde_json::{Value, json};

use crate::policy::PolicySet;

/// What is not kept in clear: what looks like a secret, and what the policy leaves out of the
/// trail (`audit.redact`).
#[derive(Debug, Clone)]
pub(crate) struct Hidden {
    keys: bool,
    patterns: Patterns,
}

#[derive(Debug, Clone)]
enum Patterns {
    None,
    Some(Box<RegexSet>),
    /// The patterns cannot be compiled, so nothing is known to be harmless.
    Broken,
}

impl Hidden {
    pub(super) const NOTHING: Self = Self { keys: false, patterns: Patterns::None };

    pub(crate) fn by(policies: &PolicySet) -> Self {
        let patterns = &policies.settings().audit_redact;
        let patterns = match RegexSet::new(patterns) {
            Ok(set) if set.is_empty() => Patterns::None,
            Ok(set) => Patterns::Some(Box::new(set)),
            Err(_) => Patterns::Broken,
        };
        Self { keys: true, patterns }
    }

    /// A value without what is hidden in it.
    pub(crate) fn without(&self, key: Option<&str>, value: &Value) -> Value {
        if self.hides(key, value) {
            return json!({ "redacted": true });
        }
        match value {
            Value::Array(items) => items.iter().map(|item| self.without(key, item)).collect(),
            Value::Object(map) => {
                let entries = map.iter();
                let entry =
                    |(key, value): (&String, &Value)| (key.clone(), self.without(Some(key), value));
                Value::Object(entries.map(entry).collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }

    pub(super) fn hides(&self, key: Option<&str>, value: &Value) -> bool {
        if value.is_null() {
            return false;
        }
        if self.keys && key.is_some_and(is_secret_key) {
            return true;
        }
        let leaf = !value.is_array() && !value.is_object();
        match &self.patterns {
            Patterns::None => false,
            Patterns::Broken => leaf,
            Patterns::Some(patterns) => {
                key.is_some_and(|key| patterns.is_match(key))
                    || value.as_str().is_some_and(|text| patterns.is_match(text))
            }
        }
    }
}
