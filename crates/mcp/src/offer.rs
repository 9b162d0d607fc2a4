//! The tools: the session's capability graph, under names that lead back to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lictor::Agent;
use lictor::capability::{CapabilityId, ToolFormat, nearest, tool_name};
use lictor::undo_records::UNDO_CAPABILITY;
use rmcp::model::Tool;
use serde_json::{Map, Value, json};

use crate::undo;

/// The capability that applies change sets; here its changes come with the call.
const APPLY_CAPABILITY: &str = "change.apply";
/// The engine asks by it; a model has no workflow step to ask for.
const APPROVAL_CAPABILITY: &str = "workflow.approval";
/// What a session may know of itself is called in a word.
const OWN: &str = "session.";

/// What a call of a tool means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Served {
    /// A capability, with the arguments as its input.
    Capability(CapabilityId),
    /// A change set that is sealed here.
    Apply,
    /// Taking back what this session did.
    Undo,
}

/// What is offered at one moment, and the session that can ask for it.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) agent: Agent,
    tools: Vec<Tool>,
    served: BTreeMap<String, (usize, Served)>,
}

impl Offer {
    /// The tools of a session, in the order of their names: the same graph gives the same list.
    pub(crate) fn new(agent: Agent) -> Self {
        let list = agent.graph().tools(ToolFormat::Mcp);
        for left_out in &list.left_out {
            tracing::info!("`{}` is no tool: {}", left_out.capability, left_out.why);
        }
        let mut found: BTreeMap<String, (Value, Served)> = BTreeMap::new();
        for tool in list.tools {
            let id = tool.capability;
            let (definition, served) = match id.as_str() {
                APPROVAL_CAPABILITY => continue,
                UNDO_CAPABILITY => (undo::definition(), Served::Undo),
                APPLY_CAPABILITY => (changes_with_it(tool.definition), Served::Apply),
                _ => (tool.definition, Served::Capability(id.clone())),
            };
            found.insert(served_name(&id), (definition, served));
        }
        let mut tools = Vec::with_capacity(found.len());
        let mut served = BTreeMap::new();
        for (name, (definition, means)) in found {
            match tool(&name, definition) {
                Ok(tool) => {
                    served.insert(name, (tools.len(), means));
                    tools.push(tool);
                }
                Err(error) => tracing::warn!("`{name}` is no tool: {error}"),
            }
        }
        Self { agent, tools, served }
    }

    pub(crate) fn tools(&self) -> &[Tool] {
        &self.tools
    }

    pub(crate) fn tool(&self, name: &str) -> Option<&Tool> {
        self.served.get(name).and_then(|(at, _)| self.tools.get(*at))
    }

    pub(crate) fn served(&self, name: &str) -> Option<&Served> {
        self.served.get(name).map(|(_, served)| served)
    }

    /// The tool whose name looks most like this one, if any does.
    pub(crate) fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.served.keys().map(String::as_str))
    }
}

/// The name under which a capability is served.
pub(crate) fn served_name(id: &CapabilityId) -> String {
    match id.as_str() {
        UNDO_CAPABILITY => "undo".to_owned(),
        // An id of more words keeps its dashes, so a word alone is no other capability's name.
        other => match other.strip_prefix(OWN).filter(|word| !word.contains('.')) {
            Some(word) => word.to_owned(),
            None => tool_name(id),
        },
    }
}

fn tool(name: &str, mut definition: Value) -> Result<Tool, serde_json::Error> {
    if let Some(fields) = definition.as_object_mut() {
        fields.insert("name".to_owned(), json!(name));
        if let Some(output) = fields.remove("outputSchema")
            && let Some(output) = or_error(output)
        {
            fields.insert("outputSchema".to_owned(), output);
        }
    }
    serde_json::from_value(definition)
}

/// What a tool answers: its output, or why not. Clients hold a refusal against the schema, too, and
/// would show the model that it does not fit in place of the reason.
fn or_error(output: Value) -> Option<Value> {
    // Within another schema a reference would lead elsewhere. A tool may have no output schema.
    if has_reference(&output) {
        return None;
    }
    Some(json!({
        "type": "object",
        "anyOf": [
            output,
            {
                "type": "object",
                "title": "Refused, or failed",
                "required": ["error"],
                "properties": { "error": {
                    "type": "object",
                    "required": ["code", "message"],
                    "properties": { "code": { "type": "string" }, "message": { "type": "string" } },
                } },
            },
        ],
    }))
}

fn has_reference(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            matches!(key.as_str(), "$ref" | "$dynamicRef" | "$id" | "$anchor")
                || has_reference(value)
        }),
        Value::Array(items) => items.iter().any(has_reference),
        _ => false,
    }
}

/// Over MCP nothing comes beside a call, so the changes are its arguments, and are sealed here.
fn changes_with_it(mut definition: Value) -> Value {
    let text = |what: &str| json!({ "type": "string", "description": what });
    let before = text(
        "The digest of the file as you read it, `sha256:…`. Required for modify, delete and rename.",
    );
    let input = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["changes"],
        "properties": {
            "intent": text("What the changes are for, in a sentence."),
            "changes": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["op", "path"],
                    "properties": {
                        "op": { "enum": [
                            "create", "modify", "delete", "rename", "chmod", "mkdir", "rmdir", "symlink"
                        ] },
                        "path": text("The file, relative to the workspace root."),
                        "to": text("For rename: the new name."),
                        "before": before,
                        "content": text("For create and modify: the whole new content, as text."),
                        "content_base64": text("The same as padded standard base64, for other bytes."),
                        "mode": text("Permission bits, four octal digits: `0644`."),
                        "before_mode": text("For chmod: the permission bits as they are now."),
                        "target": text("For symlink: what it leads to."),
                    },
                },
            },
        },
    });
    if let Some(fields) = definition.as_object_mut() {
        fields.insert("inputSchema".to_owned(), input);
        let description = "Apply several changes to files at once: all of them or, where the \
            workspace holds something else than you saw, none. One execution, one `undo`.";
        fields.insert("description".to_owned(), json!(description));
    }
    definition
}

/// The input of a tool's call.
pub(crate) fn arguments(given: Option<Map<String, Value>>) -> Value {
    Value::Object(given.unwrap_or_default())
}

/// Whether two offers look the same from outside.
pub(crate) fn same(one: &Arc<Offer>, other: &Arc<Offer>) -> bool {
    one.tools == other.tools
}
