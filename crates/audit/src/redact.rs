//! Redaction: what is left out of events before they are hashed, in every field of theirs.
//!
//! Three things speak: keys that name secrets, patterns (our own and those of a policy), and
//! secrets that were declared, in the forms in which they travel.

use std::fmt;

use aho_corasick::AhoCorasick;
use lictor_context::{Event, EventFacts, is_secret_key, secret_forms};
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
#[derive(Clone)]
pub struct Redactor {
    known: Regex,
    policy: RegexSet,
    /// The forms in which declared secrets travel.
    forms: Vec<String>,
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
        Self { known, policy, forms: Vec::new(), declared: None }.and(secrets)
    }

    /// Leaves out these secrets as well, as if they had been declared.
    ///
    /// # Errors
    /// When there are too many of them.
    pub fn and<S: AsRef<str>>(
        mut self,
        secrets: impl IntoIterator<Item = S>,
    ) -> Result<Self, RedactorError> {
        self.forms.extend(secrets.into_iter().flat_map(|secret| secret_forms(secret.as_ref())));
        if !self.forms.is_empty() {
            let built = AhoCorasick::builder()
                .match_kind(aho_corasick::MatchKind::LeftmostLongest)
                .ascii_case_insensitive(false)
                .build(&self.forms);
            self.declared = Some(built.map_err(|error| RedactorError(error.into()))?);
        }
        Ok(self)
    }

    /// The texts and numbers of a value that stand below keys that name secrets: wherever else they
    /// stand, they are the same secrets.
    #[must_use]
    pub fn named(&self, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.collect_named(value, false, &mut found);
        found
    }

    fn collect_named(&self, value: &Value, named: bool, found: &mut Vec<String>) {
        match value {
            Value::String(text) if named => found.push(text.clone()),
            Value::Number(number) if named => found.push(number.to_string()),
            Value::Array(items) => {
                items.iter().for_each(|item| self.collect_named(item, named, found));
            }
            Value::Object(map) => map.iter().for_each(|(key, value)| {
                let named = named || is_secret_key(key) || self.policy.is_match(key);
                self.collect_named(value, named, found);
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// A text without the secrets in it. When nothing is left out, it is the same.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        self.replaced(text).unwrap_or_else(|| text.to_owned())
    }

    /// What takes the place of a text; nothing when nothing is left out, as of almost all.
    fn replaced(&self, text: &str) -> Option<String> {
        if self.is_forbidden(text) {
            return Some(REDACTED.to_owned());
        }
        let declared = self.replaced_declared(text);
        let left = declared.as_deref().unwrap_or(text);
        if !self.known.is_match(left) {
            return declared;
        }
        let replace = |found: &regex::Captures<'_>| {
            let whole = found.get(0).map_or("", |whole| whole.as_str());
            let group = ["auth", "url", "pair"].iter().find_map(|name| found.name(name));
            match group {
                Some(secret) => whole.replace(secret.as_str(), REDACTED),
                None => REDACTED.to_owned(),
            }
        };
        Some(self.known.replace_all(left, replace).into_owned())
    }

    /// A text without the secrets that were declared, whatever else it holds: for a terminal,
    /// where a person may be shown a new token.
    #[must_use]
    pub fn without_declared(&self, text: &str) -> String {
        self.replaced_declared(text).unwrap_or_else(|| text.to_owned())
    }

    fn replaced_declared(&self, text: &str) -> Option<String> {
        let declared = self.declared.as_ref().filter(|declared| declared.is_match(text))?;
        Some(declared.replace_all(text, &vec![REDACTED; declared.patterns_len()]))
    }

    /// Whether a text holds a secret that was declared.
    #[must_use]
    pub fn declares(&self, text: &str) -> bool {
        self.declared.as_ref().is_some_and(|declared| declared.is_match(text))
    }

    /// Whether a pattern of the policy is in a text. Most policies have none.
    fn is_forbidden(&self, text: &str) -> bool {
        !self.policy.is_empty() && self.policy.is_match(text)
    }

    fn speaks(&self, text: &str) -> bool {
        self.is_forbidden(text) || self.declares(text) || self.known.is_match(text)
    }

    /// Whether something may be left out of a text: when not, [`text`](Self::text) gives the same.
    #[must_use]
    pub fn hides_text(&self, text: &str) -> bool {
        self.speaks(text)
    }

    /// Whether something may be left out of a value: when not, [`value`](Self::value) gives the
    /// same.
    #[must_use]
    pub fn hides(&self, value: &Value) -> bool {
        match value {
            Value::Null | Value::Bool(_) => false,
            Value::Number(number) => self.speaks(&number.to_string()),
            Value::String(text) => self.speaks(text),
            Value::Array(items) => items.iter().any(|item| self.hides(item)),
            Value::Object(map) => map.iter().any(|(key, value)| {
                let named = !value.is_null() && is_secret_key(key);
                named || self.speaks(key) || self.hides(value)
            }),
        }
    }

    /// A value without the secrets in it: at any depth, in texts, under keys that name one, and
    /// in keys.
    #[must_use]
    pub fn value(&self, value: &Value) -> Value {
        let mut left = value.clone();
        self.clean(&mut left);
        left
    }

    /// As [`value`](Self::value), where it stands.
    pub fn clean(&self, value: &mut Value) {
        match value {
            Value::String(text) if self.is_forbidden(text) => *value = marker(),
            Value::String(text) => self.clean_text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.clean(item)),
            Value::Object(map) => self.clean_map(map),
            Value::Null | Value::Bool(_) => {}
            // A secret may be all digits.
            Value::Number(number) => {
                if self.speaks(&number.to_string()) {
                    *value = marker();
                }
            }
        }
    }

    /// As [`text`](Self::text), where it stands.
    pub fn clean_text(&self, text: &mut String) {
        if let Some(left) = self.replaced(text) {
            *text = left;
        }
    }

    /// As [`clean`](Self::clean).
    fn clean_map(&self, map: &mut Map<String, Value>) {
        let mut renames = false;
        for (key, value) in map.iter_mut() {
            let named = self.is_forbidden(key);
            renames |= !named && self.replaced(key).is_some();
            match value {
                Value::Null => {}
                value if named || is_secret_key(key) => {
                    // Left out already, perhaps by somebody who knew more.
                    if !is_marker(value) {
                        *value = marker();
                    }
                }
                value => self.clean(value),
            }
        }
        if renames {
            *map = self.renamed(std::mem::take(map));
        }
    }

    /// A map without the secrets in its keys.
    fn renamed(&self, map: Map<String, Value>) -> Map<String, Value> {
        let mut left = Map::new();
        for (key, value) in map {
            // Two keys that become one would hide a value.
            let mut key = if self.is_forbidden(&key) { key } else { self.text(&key) };
            while left.contains_key(&key) {
                key.push('\'');
            }
            left.insert(key, value);
        }
        left
    }

    /// An event without the secrets in it, whichever field they stand in.
    #[must_use]
    pub fn event(&self, mut event: Event) -> Event {
        self.clean_facts(event.facts_mut());
        event
    }

    fn clean_facts(&self, facts: &mut EventFacts) {
        let texts = [&mut facts.action_name, &mut facts.step_id, &mut facts.error_message];
        texts.into_iter().flatten().for_each(|text| self.clean_text(text));
        if let Some(params) = &mut facts.action_params {
            self.clean(params);
        }
        facts.private.iter_mut().for_each(|private| self.clean_text(&mut private.content));
        self.clean_map(&mut facts.metadata);
        if let Some(capability) = &mut facts.capability {
            let server = capability.mcp_server.as_mut();
            let fields = [&mut capability.kind, &mut capability.source, &mut capability.version];
            fields.into_iter().chain(server).for_each(|field| self.clean_text(field));
        }
    }
}

fn marker() -> Value {
    json!({ "redacted": true })
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // INVARIANT: never the secrets.
        f.debug_struct("Redactor").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// Exactly `{"redacted": true}`: anything more could be a secret that calls itself one.
fn is_marker(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|map| map.len() == 1 && map.get("redacted") == Some(&Value::Bool(true)))
}
