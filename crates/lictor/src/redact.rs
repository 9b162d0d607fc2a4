//! What a policy wants left out of the trail, beside what is left out anyway.

use lictor_context::Event;
use lictor_executor::ExecutionRecord;
use regex::RegexSet;
use serde_json::{Value, json};

/// The patterns of `audit.redact`, of all layers. A key that matches loses its value, and so does
/// a text that matches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redaction {
    patterns: Option<RegexSet>,
}

impl Redaction {
    /// Compiles patterns.
    pub(crate) fn new(patterns: &[String]) -> Result<Self, regex::Error> {
        if patterns.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self { patterns: Some(RegexSet::new(patterns)?) })
    }

    pub(crate) fn events(&self, events: Vec<Event>) -> Vec<Event> {
        let Some(patterns) = &self.patterns else { return events };
        let redacted = events.into_iter().map(|event| match &event.facts().action_params {
            Some(params) => {
                let params = redacted(patterns, params);
                event.with_params(params)
            }
            None => event,
        });
        redacted.collect()
    }

    pub(crate) fn value(&self, value: Value) -> Value {
        match &self.patterns {
            Some(patterns) => redacted(patterns, &value),
            None => value,
        }
    }

    pub(crate) fn record(&self, mut record: ExecutionRecord) -> ExecutionRecord {
        if let Some(patterns) = &self.patterns {
            record.params = redacted(patterns, &record.params);
        }
        record
    }
}

fn redacted(patterns: &RegexSet, value: &Value) -> Value {
    match value {
        Value::String(text) if patterns.is_match(text) => json!({ "redacted": true }),
        Value::Array(items) => items.iter().map(|item| redacted(patterns, item)).collect(),
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| {
                let value = if patterns.is_match(key) {
                    json!({ "redacted": true })
                } else {
                    redacted(patterns, value)
                };
                (key.clone(), value)
            };
            Value::Object(map.iter().map(entry).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
