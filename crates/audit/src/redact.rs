//! Redaction: what is left out of events before they are hashed, in every field of theirs.
//!
//! Three things speak: keys that name secrets, patterns (our own and those of a policy), and
//! secrets that were declared, in the forms in which they travel.

use aho_corasick::AhoCorasick;
use lictor_context::{Event, EventFacts, Private, is_secret_key, secret_forms};
use regex::{Regex, RegexSet};
use serde_json::{Map, Value, json};

/// What stands in a text where something was left out.
pub const REDACTED: &str = "[redacted]";

/// What secrets look like that nobody declared. In each the secret is what is matched, or the
/// group `secret` of it.
const KNOWN: &str = concat!(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    r"|\bgh[opsur]_[A-Za-z0-9]{20,}",
    r"|\bgithub_pat_[A-Za-z0-9_]{20,}",
    r"|\bglpat-[A-Za-z0-9_-]{20,}",
    r"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    r"|\b[rs]k[-_](?:[a-z]+[-_])*[A-Za-z0-9]{20,}",
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    r"|(?i:\b(?:bearer|basic)[ +]+)(?P<auth>[A-Za-z0-9._~+/=-]{8,})",
    r"|[a-z][a-z0-9+.-]*://[^\s/:@]*:(?P<url>[^\s/@]+)@",
    r"|(?i:(?:password|passwd|passphrase|secret|token|api[_-]?key|credential)",
    r#"["']?\s*[:=]\s*)(?P<pair>"[^"]*"|'[^']*'|[^\s,;&"']+)"#,
);

/// Leaves secrets out of events, and of whatever else is kept.
#[derive(Debug, Clone)]
pub struct Redactor {
    known: Regex,
    policy: RegexSet,
    declared: Option<AhoCorasick>,
}

/// A pattern is none, or there are too many of them.
#[derive(Debug, thiserror::Error)]
#[error("a redaction pattern does not compile")]
pub struct RedactorError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Redactor {
    /// Leaves out what looks like a secret, what matches one of `patterns` (a text that does is
    /// left out whole, and so is the value of a key that does), and `secrets`, in the forms of
    /// [`secret_forms`]. Secrets of fewer than six bytes are not looked for.
    ///
    /// # Errors
    /// When a pattern does not compile.
    pub fn new<P: AsRef<str>, S: AsRef<str>>(
        patterns: impl IntoIterator<Item = P>,
        secrets: impl IntoIterator<Item = S>,
    ) -> Result<Self, RedactorError> {
        let known = Regex::new(KNOWN).map_err(|error| RedactorError(error.into()))?;
        let policy = RegexSet::new(patterns).map_err(|error| RedactorError(error.into()))?;
        let forms: Vec<String> =
            secrets.into_iter().flat_map(|secret| secret_forms(secret.as_ref())).collect();
        let declared = if forms.is_empty() {
            None
        } else {
            let built = AhoCorasick::builder()
                .match_kind(aho_corasick::MatchKind::LeftmostLongest)
                .ascii_case_insensitive(false)
                .build(&forms);
            Some(built.map_err(|error| RedactorError(error.into()))?)
        };
        Ok(Self { known, policy, declared })
    }

    /// A text without the secrets in it. When nothing is left out, it is the same.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        if self.policy.is_match(text) {
            return REDACTED.to_owned();
        }
        let left = self.without_declared(text);
        if !self.known.is_match(&left) {
            return left;
        }
        let replace = |found: &regex::Captures<'_>| {
            let whole = found.get(0).map_or("", |whole| whole.as_str());
            let group = ["auth", "url", "pair"].iter().find_map(|name| found.name(name));
            match group {
                Some(secret) => whole.replace(secret.as_str(), REDACTED),
                None => REDACTED.to_owned(),
            }
        };
        self.known.replace_all(&left, replace).into_owned()
    }

    /// A text without the secrets that were declared, whatever else it holds: for a terminal,
    /// where a person may be shown a new token.
    #[must_use]
    pub fn without_declared(&self, text: &str) -> String {
        match &self.declared {
            Some(declared) if declared.is_match(text) => {
                declared.replace_all(text, &vec![REDACTED; declared.patterns_len()])
            }
            _ => text.to_owned(),
        }
    }

    /// Whether a text holds a secret that was declared.
    #[must_use]
    pub fn declares(&self, text: &str) -> bool {
        self.declared.as_ref().is_some_and(|declared| declared.is_match(text))
    }

    fn speaks(&self, text: &str) -> bool {
        self.policy.is_match(text) || self.declares(text) || self.known.is_match(text)
    }

    /// A value without the secrets in it: at any depth, in texts, under keys that name one, and
    /// in keys.
    #[must_use]
    pub fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) if self.policy.is_match(text) => json!({ "redacted": true }),
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(map) => Value::Object(self.map(map)),
            Value::Null | Value::Bool(_) => value.clone(),
            // A secret may be all digits.
            Value::Number(number) => {
                if self.speaks(&number.to_string()) {
                    json!({ "redacted": true })
                } else {
                    value.clone()
                }
            }
        }
    }

    /// As [`value`](Self::value).
    #[must_use]
    pub fn map(&self, map: &Map<String, Value>) -> Map<String, Value> {
        let mut left = Map::new();
        for (key, value) in map {
            let hidden = is_secret_key(key) || self.policy.is_match(key);
            let value = match value {
                Value::Null => Value::Null,
                // Left out already, perhaps by somebody who knew more.
                value if hidden && is_marker(value) => value.clone(),
                _ if hidden => json!({ "redacted": true }),
                value => self.value(value),
            };
            // Two keys that become one would hide a value.
            let mut key = if self.policy.is_match(key) { key.clone() } else { self.text(key) };
            while left.contains_key(&key) {
                key.push('\'');
            }
            left.insert(key, value);
        }
        left
    }

    /// An event without the secrets in it, whichever field they stand in.
    #[must_use]
    pub fn event(&self, event: Event) -> Event {
        let facts = self.facts(event.facts());
        event.with_facts(facts)
    }

    fn facts(&self, facts: &EventFacts) -> EventFacts {
        let text = |text: &Option<String>| text.as_deref().map(|text| self.text(text));
        let mut left = facts.clone();
        left.action_name = text(&facts.action_name);
        left.action_params = facts.action_params.as_ref().map(|params| self.value(params));
        left.private = facts
            .private
            .iter()
            .map(|private| Private {
                pointer: private.pointer.clone(),
                content: self.text(&private.content),
            })
            .collect();
        left.step_id = text(&facts.step_id);
        left.error_message = text(&facts.error_message);
        left.metadata = self.map(&facts.metadata);
        if let Some(capability) = &mut left.capability {
            for field in [&mut capability.kind, &mut capability.source, &mut capability.version] {
                *field = self.text(field);
            }
            capability.mcp_server = text(&capability.mcp_server);
        }
        left
    }
}

/// Exactly `{"redacted": true}`: anything more could be a secret that calls itself one.
fn is_marker(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|map| map.len() == 1 && map.get("redacted") == Some(&Value::Bool(true)))
}
