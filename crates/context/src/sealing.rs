//! What of an action's parameters may stand in an event.

use serde_json::{Map, Value, json};

use crate::digest::Digest;

/// Longer strings are replaced by their digest.
const MAX_STRING: usize = 256;
/// Longer lists and larger objects are replaced by their digest.
const MAX_ITEMS: usize = 64;

/// Keys whose text is content: recorded as digest and length, whatever its size.
const CONTENT_KEYS: &[&str] =
    &["content", "content_base64", "template", "text", "body", "patch", "diff", "stdin", "changes"];
/// A key that contains one of these holds a secret: not even its digest is recorded, because a
/// short secret can be guessed from it.
const SECRET_PARTS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "authorization",
    "cookie",
    "credential",
    "private_key",
    "privatekey",
    "access_key",
];

/// Parameters as they may stand in an event: content and long values as
/// `{"sealed": "sha256:…", "bytes": n}`, what looks like a secret as `{"redacted": true}`.
#[must_use]
pub fn seal(params: &Value) -> Value {
    seal_value(None, params)
}

/// Whether the name of a parameter says that its value is a secret.
#[must_use]
pub fn names_a_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_PARTS.iter().any(|part| key.contains(part))
}

fn seal_value(key: Option<&str>, value: &Value) -> Value {
    if let Some(key) = key {
        if names_a_secret(key) && !value.is_null() {
            return json!({ "redacted": true });
        }
        let key = key.to_ascii_lowercase();
        if CONTENT_KEYS.contains(&key.as_str()) && (value.is_string() || value.is_array()) {
            return sealed(value);
        }
    }
    match value {
        Value::String(text) if text.len() > MAX_STRING => sealed(value),
        Value::Array(items) if items.len() > MAX_ITEMS => sealed(value),
        Value::Array(items) => items.iter().map(|item| seal_value(key, item)).collect(),
        Value::Object(map) if map.len() > MAX_ITEMS => sealed(value),
        Value::Object(map) => Value::Object(seal_map(map)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn seal_map(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter().map(|(key, value)| (key.clone(), seal_value(Some(key), value))).collect()
}

fn sealed(value: &Value) -> Value {
    let (digest, bytes) = match value {
        Value::String(text) => (Digest::of(text.as_bytes()), text.len()),
        other => {
            let text = other.to_string();
            (Digest::of(text.as_bytes()), text.len())
        }
    };
    json!({ "sealed": digest, "bytes": bytes })
}
