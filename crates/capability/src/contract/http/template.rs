//! What stands in a request for something else: a property of the input, or a secret that is looked
//! up when the request is made.

use std::collections::BTreeMap;

use lictor_document::StrictValue;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The value of a header: a text, or a secret that is looked up when the request is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a header is a text or `{secret: NAME, prefix: text}`")]
pub enum HttpHeader {
    /// A text.
    Text(String),
    /// A secret, with what stands before it: `Bearer ` for example.
    Secret(SecretHeader),
}

/// A value that holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretHeader {
    /// The secret's name.
    pub secret: String,
    /// What stands before it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

/// A value that the input gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputValue {
    /// The property.
    pub input: String,
}

/// A value of the query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a value of the query is a text, `{secret: NAME, prefix: text}` or `{input: property}`"
)]
pub enum HttpValue {
    /// A text.
    Text(String),
    /// A secret.
    Secret(SecretHeader),
    /// A property, where the input has it.
    Input(InputValue),
}

/// What goes into the query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "`query` is a list of properties, or a mapping of names to a text, `{secret: NAME, \
                 prefix: text}` or `{input: property}`"
)]
pub enum HttpQuery {
    /// Properties, where the input has them, under their own names.
    Properties(Vec<String>),
    /// Values by name.
    Values(BTreeMap<String, HttpValue>),
}

impl Default for HttpQuery {
    fn default() -> Self {
        Self::Properties(Vec::new())
    }
}

impl HttpQuery {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Properties(names) => names.is_empty(),
            Self::Values(values) => values.is_empty(),
        }
    }

    pub(super) fn inputs(&self) -> Vec<&str> {
        match self {
            Self::Properties(names) => names.iter().map(String::as_str).collect(),
            Self::Values(values) => values
                .values()
                .filter_map(|value| match value {
                    HttpValue::Input(value) => Some(value.input.as_str()),
                    HttpValue::Text(_) | HttpValue::Secret(_) => None,
                })
                .collect(),
        }
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        let values = match self {
            Self::Properties(_) => None,
            Self::Values(values) => Some(values.values()),
        };
        values.into_iter().flatten().filter_map(|value| match value {
            HttpValue::Secret(secret) => Some(secret.secret.as_str()),
            HttpValue::Text(_) | HttpValue::Input(_) => None,
        })
    }
}

/// What is sent as a JSON body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "`body` is the name of a property, or a mapping in which `{secret: NAME}` and \
                 `{input: property}` stand for something else"
)]
pub enum HttpBody {
    /// A property, where the input has it.
    Property(String),
    /// An object in which `{secret: NAME, prefix: text}` and `{input: property}` stand for
    /// something else, at any depth.
    Template(StrictValue),
}

impl HttpBody {
    /// The body for an input; `None` where there is nothing to send.
    ///
    /// # Errors
    /// What `secret` says of a name that it does not know.
    pub fn value<E>(
        &self,
        input: &Value,
        secret: &mut dyn FnMut(&str) -> Result<String, E>,
    ) -> Result<Option<Value>, E> {
        match self {
            Self::Property(name) => Ok(input.get(name).cloned()),
            Self::Template(template) => filled(template.as_value(), input, secret),
        }
    }
}

/// A place of a template that stands for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TemplateLeaf<'a> {
    /// A secret, behind a text.
    Secret {
        /// Its name.
        name: &'a str,
        /// What stands before it.
        prefix: &'a str,
    },
    /// A property of the input.
    Input(&'a str),
}

/// What a mapping stands for, if anything; an error where it half does.
fn leaf(fields: &Map<String, Value>) -> Result<Option<TemplateLeaf<'_>>, String> {
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    let only = |keys: &[&str]| fields.keys().all(|key| keys.contains(&key.as_str()));
    match (fields.contains_key("secret"), fields.contains_key("input")) {
        (false, false) => Ok(None),
        (true, false) if only(&["secret", "prefix"]) => {
            let prefix = if fields.contains_key("prefix") { text("prefix") } else { Some("") };
            match text("secret").zip(prefix) {
                Some((name, prefix)) => Ok(Some(TemplateLeaf::Secret { name, prefix })),
                None => Err("`secret` and `prefix` of a body are texts".to_owned()),
            }
        }
        (false, true) if only(&["input"]) => match text("input") {
            Some(name) => Ok(Some(TemplateLeaf::Input(name))),
            None => Err("`input` of a body names a property".to_owned()),
        },
        _ => Err("in a body, `{secret: NAME, prefix: text}` and `{input: property}` stand alone"
            .to_owned()),
    }
}

/// Calls `found` with everything that stands for something else.
pub(super) fn leaves<'a>(value: &'a Value, found: &mut dyn FnMut(TemplateLeaf<'a>)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(fields) => match leaf(fields) {
            Ok(Some(leaf)) => found(leaf),
            Ok(None) | Err(_) => fields.values().for_each(|value| leaves(value, found)),
        },
        _ => {}
    }
}

/// Whether it is a template: an object, and nothing in it half stands for something else.
pub(super) fn check(template: &Value) -> Result<(), String> {
    fn inside(value: &Value) -> Result<(), String> {
        match value {
            Value::Array(items) => items.iter().try_for_each(inside),
            Value::Object(fields) => match leaf(fields)? {
                Some(_) => Ok(()),
                None => fields.values().try_for_each(inside),
            },
            _ => Ok(()),
        }
    }
    match template {
        Value::Object(fields) if leaf(fields)?.is_none() => inside(template),
        _ => Err("`body` is the name of a property or a mapping".to_owned()),
    }
}

fn filled<E>(
    value: &Value,
    input: &Value,
    secret: &mut dyn FnMut(&str) -> Result<String, E>,
) -> Result<Option<Value>, E> {
    match value {
        Value::Array(items) => {
            let mut all = Vec::with_capacity(items.len());
            for item in items {
                all.extend(filled(item, input, secret)?);
            }
            Ok(Some(Value::Array(all)))
        }
        Value::Object(fields) => match leaf(fields) {
            Ok(Some(TemplateLeaf::Secret { name, prefix })) => {
                Ok(Some(Value::String(format!("{prefix}{}", secret(name)?))))
            }
            Ok(Some(TemplateLeaf::Input(name))) => Ok(input.get(name).cloned()),
            Ok(None) | Err(_) => {
                let mut all = Map::new();
                for (key, value) in fields {
                    if let Some(value) = filled(value, input, secret)? {
                        all.insert(key.clone(), value);
                    }
                }
                Ok(Some(Value::Object(all)))
            }
        },
        plain => Ok(Some(plain.clone())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_is_filled_at_any_depth_and_leaves_out_what_is_not_there() {
        let template = json!({
            "key": { "secret": "DESK", "prefix": "k-" },
            "list": [{ "input": "note" }, { "input": "none" }, 1],
            "deep": { "note": { "input": "note" }, "none": { "input": "none" } },
        });
        check(&template).unwrap();
        let body: HttpBody = serde_json::from_value(template).unwrap();
        let mut asked = Vec::new();
        let made = body.value::<()>(&json!({ "note": { "secret": "OTHER" } }), &mut |name| {
            asked.push(name.to_owned());
            Ok("s3cret".to_owned())
        });
        // What the input gives is no template: it cannot name a secret.
        let note = json!({ "secret": "OTHER" });
        let wanted = json!({ "key": "k-s3cret", "list": [note, 1], "deep": { "note": note } });
        assert_eq!((made.unwrap().unwrap(), asked), (wanted, vec!["DESK".to_owned()]));
    }

    #[test]
    fn what_half_stands_for_something_else_is_refused() {
        for template in [
            json!({ "a": { "secret": "X", "more": 1 } }),
            json!({ "a": { "secret": 1 } }),
            json!({ "a": { "secret": "X", "prefix": 1 } }),
            json!({ "a": [{ "input": ["x"] }] }),
            json!({ "a": { "input": "x", "secret": "Y" } }),
            json!({ "secret": "X" }),
            json!([1]),
        ] {
            assert!(check(&template).is_err(), "{template}");
        }
    }
}
