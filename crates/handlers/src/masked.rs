//! What comes back, without the secrets that went out.

use serde_json::Value;

/// An answer that repeats a secret does not carry it any further.
pub(crate) fn without(value: Value, secrets: &[String]) -> Value {
    let clean = |text: String| {
        secrets.iter().filter(|secret| !secret.is_empty()).fold(text, |text, secret| {
            if text.contains(secret.as_str()) {
                text.replace(secret.as_str(), "[secret]")
            } else {
                text
            }
        })
    };
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| without(item, secrets)).collect())
        }
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(key, value)| (clean(key), without(value, secrets))).collect(),
        ),
        other => other,
    }
}
