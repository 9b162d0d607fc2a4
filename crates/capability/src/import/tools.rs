//! Tools as OpenAI's and Anthropic's APIs take them.

use serde_json::{Value, json};

use super::{Draft, Import, ImportError, NotImported, id_of};

/// From the tools of an OpenAI request: one, a list, or an object with `tools`.
///
/// # Errors
/// When the document holds no tools.
pub fn from_openai(namespace: &str, document: &Value) -> Result<Import, ImportError> {
    let read = |tool: &Value| {
        let function = tool.get("function").unwrap_or(tool).clone();
        let known = ["name", "description", "parameters", "type", "strict"];
        let mut lost = unknown(&function, &known);
        if function.get("strict") == Some(&json!(true)) {
            lost.push("`strict`: every schema is held strictly here".to_owned());
        }
        (function, lost)
    };
    import(namespace, document, "openai", "parameters", read)
}

/// From the tools of an Anthropic request: one, a list, or an object with `tools`.
///
/// # Errors
/// When the document holds no tools.
pub fn from_anthropic(namespace: &str, document: &Value) -> Result<Import, ImportError> {
    let read = |tool: &Value| {
        (tool.clone(), unknown(tool, &["name", "description", "input_schema", "type"]))
    };
    import(namespace, document, "anthropic", "input_schema", read)
}

fn unknown(tool: &Value, known: &[&str]) -> Vec<String> {
    let fields = tool.as_object().into_iter().flatten().map(|(key, _)| key);
    let lost = fields.filter(|key| !known.contains(&key.as_str()));
    lost.map(|key| format!("`{key}` has no place in a contract")).collect()
}

fn import(
    namespace: &str,
    document: &Value,
    source: &str,
    schema: &str,
    read: impl Fn(&Value) -> (Value, Vec<String>),
) -> Result<Import, ImportError> {
    let tools = match document.get("tools").unwrap_or(document) {
        Value::Array(tools) => tools.clone(),
        one @ Value::Object(_) => vec![one.clone()],
        _ => {
            return Err(ImportError(format!(
                "this holds no tools as {source} takes them; one, a list of them, or an object with `tools` is accepted"
            )));
        }
    };
    let mut import = Import::default();
    for (index, tool) in tools.iter().enumerate() {
        let (function, lost) = read(tool);
        match function.get("name").and_then(Value::as_str) {
            None => import.left_out.push(NotImported {
                origin: format!("tool {}", index + 1),
                why: "it has no name: it is one of the API's own, or no tool".to_owned(),
            }),
            Some(name) => {
                let made = draft(namespace, name, &function, source, schema, lost);
                import.take(name.to_owned(), made);
            }
        }
    }
    Ok(import)
}

fn draft(
    namespace: &str,
    name: &str,
    function: &Value,
    source: &str,
    schema: &str,
    mut lost: Vec<String>,
) -> Result<Draft, String> {
    let id = id_of(namespace, name)?;
    let text = function.get("description").and_then(Value::as_str).unwrap_or_default();
    let input = function.get(schema).cloned().unwrap_or_else(|| json!({ "type": "object" }));
    // A name of its own, so that it meets no builtin.
    let handler = format!("{source}:{name}");
    lost.push("what it gives, does and risks: a tool's definition does not say".to_owned());
    lost.push(format!("who does it: the host program has to bring a handler `{handler}`"));
    let mut draft = Draft::new(&id, name, text, source);
    // Nobody said what it does, so the worst is supposed until somebody who knows says less.
    draft.set(json!({
        "input": input, "output": {}, "risk": "high", "undo": { "strategy": "none" },
        "handler": { "builtin": handler },
    }));
    draft.lost = lost;
    Ok(draft)
}
