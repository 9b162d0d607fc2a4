//! The forms in which a secret travels: what has to be looked for where it must not be found.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

/// Shorter secrets would be found everywhere.
const MIN_SECRET: usize = 6;
/// A shorter line of a secret of several lines is too common to be looked for by itself.
const MIN_LINE: usize = 8;

/// The forms in which a secret travels: as it is, without blanks around it, each longer line of it,
/// in base64 wherever it stands in it, in hex, percent-encoded, and escaped as in JSON and as in
/// messages, and both. None for a secret of fewer than six bytes.
#[must_use]
pub fn secret_forms(secret: &str) -> Vec<String> {
    if secret.len() < MIN_SECRET {
        return Vec::new();
    }
    let mut forms = Vec::new();
    let mut plain = vec![secret.to_owned()];
    if secret.trim() != secret {
        plain.push(secret.trim().to_owned());
    }
    for secret in &plain {
        let bytes = secret.as_bytes();
        forms.extend([hex(bytes, false), hex(bytes, true)]);
        for offset in 0..3 {
            forms.extend(inside_base64(bytes, offset));
        }
        forms.extend([percent(bytes, false), percent(bytes, true)]);
        forms.push(percent(bytes, false).replace("%20", "+"));
    }
    let lines = secret.lines().map(str::trim).filter(|line| line.len() >= MIN_LINE);
    plain.extend(lines.map(str::to_owned));
    for secret in plain {
        let debug = format!("{secret:?}");
        // As a key in a JSON pointer (RFC 6901), which is how places are named.
        let pointer = secret.replace('~', "~0").replace('/', "~1");
        let messages =
            [secret.escape_debug().to_string(), inner(&debug).to_owned(), pointer, secret];
        for form in messages {
            // In JSON, and in JSON that quotes a message that quotes it.
            let escaped = escaped(&form);
            forms.push(self::escaped(&escaped));
            forms.extend([escaped, form]);
        }
    }
    forms.retain(|form| form.len() >= MIN_SECRET);
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// A text as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    inner(&Value::from(text).to_string()).to_owned()
}

/// A text without its first and last character, which are quotes.
fn inner(quoted: &str) -> &str {
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default()
}

/// What a secret looks like within longer base64, when `offset` bytes of a group of three stand
/// before it: the digits that depend on nothing else.
fn inside_base64(secret: &[u8], offset: usize) -> [String; 2] {
    let mut bytes = vec![0; offset];
    bytes.extend_from_slice(secret);
    let skipped = [0, 2, 3].get(offset).copied().unwrap_or(0);
    // Digits of six bits each; the last one may hold bits of what follows.
    let whole = bytes.len() * 8 / 6;
    let cut = |text: String| text.get(skipped..whole).unwrap_or_default().to_owned();
    [cut(STANDARD_NO_PAD.encode(&bytes)), cut(URL_SAFE_NO_PAD.encode(&bytes))]
}

fn percent(bytes: &[u8], lower: bool) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push('%');
            text.push_str(&hex(&[*byte], !lower));
        }
        text
    })
}

fn hex(bytes: &[u8], upper: bool) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        text.push_str(&if upper { format!("{byte:02X}") } else { format!("{byte:02x}") });
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn found(secret: &str, text: &str) {
        let forms = secret_forms(secret);
        assert!(forms.iter().any(|form| text.contains(form.as_str())), "{text}: {forms:?}");
    }

    #[test]
    fn a_secret_is_found_in_messages_and_in_json_of_messages() {
        for secret in ["it's \"7\" \\ d\u{f6}", "plain-secret", "a/b~c/d~e", " blank around "] {
            found(secret, secret.trim());
            for message in [
                format!("`{}` is no id", secret.escape_debug()),
                format!("{secret:?} is no id"),
                format!("`{secret}` is no id"),
                format!("/a/{}/b: is no id", secret.replace('~', "~0").replace('/', "~1")),
            ] {
                found(secret, &message);
                found(secret, &Value::from(message.clone()).to_string());
                let twice = Value::from(Value::from(message).to_string()).to_string();
                found(secret, &twice);
            }
        }
    }

    #[test]
    fn a_line_of_a_key_is_found_by_itself() {
        let key = "-----BEGIN KEY-----\nMIIBVgIBADANBgkqhkiG9w0BAQ\nq1\n-----END KEY-----\n";
        found(key, "found `MIIBVgIBADANBgkqhkiG9w0BAQ` there");
        found(key, &key.replace('\n', "\\n"));
        assert!(!secret_forms(key).contains(&"q1".to_owned()));
    }

    #[test]
    fn short_secrets_have_no_forms() {
        assert_eq!(secret_forms("12345"), Vec::<String>::new());
    }
}
