//! Templates of a contract's command: `{name}` stands for a property of the input.

use serde_json::Value;

/// A part of a template.
pub(super) enum Part<'a> {
    Text(String),
    Name(&'a str),
}

/// Takes a template apart. A text without names is one part, even an empty one.
pub(super) fn parts(template: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, after) = rest.split_at(at);
        text.push_str(before);
        if let Some(later) = after.strip_prefix("{{") {
            text.push('{');
            rest = later;
        } else if let Some(later) = after.strip_prefix("}}") {
            text.push('}');
            rest = later;
        } else {
            let name = after.strip_prefix('{').and_then(|after| after.split_once('}'));
            let Some((name, later)) = name.filter(|(name, _)| !name.is_empty()) else {
                return Err(format!(
                    "a brace in `{}` stands for no property; write it twice to mean itself",
                    template.escape_debug()
                ));
            };
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Name(name));
            rest = later;
        }
    }
    text.push_str(rest);
    if !text.is_empty() || parts.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

pub(super) fn scalar(name: &str, value: &Value) -> Result<String, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null => return Err(format!("the input has no `{name}`")),
        Value::Array(_) | Value::Object(_) => {
            return Err(format!("`{name}` is no text, number or boolean"));
        }
    };
    if text.contains('\0') {
        return Err(format!("`{name}` holds a NUL, which no argument can"));
    }
    Ok(text)
}
