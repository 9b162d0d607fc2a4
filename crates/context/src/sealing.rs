//! What of an action's parameters may stand in an event.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::digest::Digest;

/// Longer strings are replaced by their digest.
const MAX_STRING: usize = 256;
/// Longer lists and larger objects are replaced by their digest.
const MAX_ITEMS: usize = 64;
/// Content up to this many bytes goes along with the event, to be kept encrypted; of longer
/// content the digest is all that is kept.
const MAX_PRIVATE: usize = 16 * 1024;

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
    "bearer",
];

/// Content that was left out of an event's parameters, for a sink that can keep it encrypted.
/// One that cannot lets it go.
#[derive(Clone, PartialEq, Eq)]
pub struct Private {
    /// Where in the parameters the `{"sealed": …}` stands: a JSON pointer (RFC 6901).
    pub pointer: String,
    /// The text, or the JSON of what is no text.
    pub content: String,
}

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // INVARIANT: never the content; whatever is printed may be kept.
        f.debug_tuple("Private").field(&self.pointer).finish()
    }
}

/// Parameters as they may stand in an event: content and long values as
/// `{"sealed": "sha256:…", "bytes": n}`, what looks like a secret as `{"redacted": true}`.
#[must_use]
pub fn seal(params: &Value) -> Value {
    seal_value(None, params, &mut None)
}

/// As [`seal`], with what was left out beside it, as far as it is not too large.
#[must_use]
pub fn seal_keeping(params: &Value) -> (Value, Vec<Private>) {
    let mut kept = Some(Kept::default());
    let sealed = seal_value(None, params, &mut kept);
    (sealed, kept.map(|kept| kept.found).unwrap_or_default())
}

/// Whether a key says that its value is a secret.
#[must_use]
pub fn is_secret_key(key: &str) -> bool {
    // Every key of every event passes here.
    let begins = |rest: &[u8], part: &&str| {
        rest.get(..part.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(part.as_bytes()))
    };
    let mut rest = key.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let initial = first.to_ascii_lowercase();
        let candidates =
            SECRET_PARTS.iter().filter(|part| part.as_bytes().first() == Some(&initial));
        if candidates.into_iter().any(|part| begins(rest, part)) {
            return true;
        }
        rest = behind;
    }
    false
}

#[derive(Default)]
struct Kept {
    at: String,
    found: Vec<Private>,
}

fn seal_value(key: Option<&str>, value: &Value, kept: &mut Option<Kept>) -> Value {
    if let Some(key) = key {
        if !value.is_null() && is_secret_key(key) {
            return json!({ "redacted": true });
        }
        let is_content = || CONTENT_KEYS.iter().any(|known| known.eq_ignore_ascii_case(key));
        if (value.is_string() || value.is_array()) && is_content() {
            return sealed(value, kept);
        }
    }
    match value {
        Value::String(text) if text.len() > MAX_STRING => sealed(value, kept),
        Value::Array(items) if items.len() > MAX_ITEMS => sealed(value, kept),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items
                .map(|(at, item)| below(&at.to_string(), kept, |kept| seal_value(key, item, kept)))
                .collect()
        }
        Value::Object(map) if map.len() > MAX_ITEMS => sealed(value, kept),
        Value::Object(map) => Value::Object(seal_map(map, kept)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn seal_map(map: &Map<String, Value>, kept: &mut Option<Kept>) -> Map<String, Value> {
    let seal = |(key, value): (&String, &Value)| {
        let sealed = below(key, kept, |kept| seal_value(Some(key), value, kept));
        (key.clone(), sealed)
    };
    map.iter().map(seal).collect()
}

/// One step down, for the pointer.
fn below(
    key: &str,
    kept: &mut Option<Kept>,
    seal: impl FnOnce(&mut Option<Kept>) -> Value,
) -> Value {
    let before = kept.as_ref().map_or(0, |kept| kept.at.len());
    if let Some(kept) = kept {
        kept.at.push('/');
        if key.contains(['~', '/']) {
            kept.at.push_str(&key.replace('~', "~0").replace('/', "~1"));
        } else {
            kept.at.push_str(key);
        }
    }
    let sealed = seal(kept);
    if let Some(kept) = kept {
        kept.at.truncate(before);
    }
    sealed
}

fn sealed(value: &Value, kept: &mut Option<Kept>) -> Value {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let (digest, bytes) = (Digest::of(text.as_bytes()), text.len());
    if let Some(kept) = kept
        && bytes <= MAX_PRIVATE
    {
        kept.found.push(Private { pointer: kept.at.clone(), content: text });
    }
    json!({ "sealed": digest, "bytes": bytes })
}
