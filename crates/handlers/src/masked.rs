//! What comes back, without the secrets that went out.

use lictor_context::secret_forms;
use serde_json::Value;

/// What stands where a secret stood.
const MASK: &str = "[secret]";

/// Takes secrets out of what comes back, in the forms in which they travel. What repeats one does
/// not carry it any further.
#[derive(Debug, Clone, Default)]
pub struct Mask {
    forms: Vec<String>,
}

impl Mask {
    /// Of these secrets.
    #[must_use]
    pub fn new(secrets: &[String]) -> Self {
        let mut forms: Vec<String> = secrets
            .iter()
            .flat_map(|secret| {
                let mut forms = secret_forms(secret);
                forms.push(secret.clone());
                forms
            })
            .filter(|form| !form.is_empty())
            .collect();
        // A longer form first: a shorter one may stand inside of it.
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self { forms }
    }

    /// A text without them.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        self.forms.iter().fold(text.to_owned(), |text, form| {
            if text.contains(form.as_str()) { text.replace(form.as_str(), MASK) } else { text }
        })
    }

    /// A value without them, wherever in it they stand.
    #[must_use]
    pub fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => {
                Value::Array(items.into_iter().map(|item| self.value(item)).collect())
            }
            Value::Object(fields) => Value::Object(
                fields
                    .into_iter()
                    .map(|(key, value)| (self.text(&key), self.value(value)))
                    .collect(),
            ),
            // A secret may be all digits.
            Value::Number(number) => {
                let text = number.to_string();
                let left = self.text(&text);
                if left == text { Value::Number(number) } else { Value::String(left) }
            }
            other => other,
        }
    }
}

/// An answer without secrets; see [`Mask`].
pub(crate) fn without(value: Value, secrets: &[String]) -> Value {
    Mask::new(secrets).value(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_taken_out_in_every_form_in_which_it_travels() {
        let secret = "p/ss w\u{f6}rd+\"7\"";
        let mask = Mask::new(&[secret.to_owned(), "42424242".to_owned()]);
        let percent = "p%2Fss%20w%C3%B6rd%2B%227%22";
        for text in [
            secret.to_owned(),
            percent.to_owned(),
            percent.to_lowercase(),
            "p%2Fss+w%C3%B6rd%2B%227%22".to_owned(),
            format!("{secret:?}"),
            json!(secret).to_string(),
        ] {
            let left = mask.text(&format!("/x?key={text}&more"));
            assert!(!left.contains("ss") && left.contains(MASK), "{text}: {left}");
        }
        let left = mask.value(json!({ "a": [secret, 42_424_242], secret: 1, "b": 7 }));
        assert_eq!(left, json!({ "a": [MASK, MASK], MASK: 1, "b": 7 }));
    }
}
