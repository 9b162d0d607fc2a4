//! The tools: the session's capability graph, under names that lead back to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lictor::Agent;
use lictor::capability::{CapabilityId, Facade, Pack, ToolFormat, nearest, tool_name};
use lictor::undo_records::UNDO_CAPABILITY;
use rmcp::model::Tool;
use serde_json::{Map, Value, json};

use crate::bundles::bundles;
use crate::menu::Menu;
use crate::undo;

/// The capability that applies change sets; here its changes come with the call.
const APPLY_CAPABILITY: &str = "change.apply";
/// The engine asks by it; a model has no workflow step to ask for.
const APPROVAL_CAPABILITY: &str = "workflow.approval";
/// What a model asks for most is called in a word. No other capability's name is one: ids have two
/// words at least, and their dots become dashes.
const IN_A_WORD: [(&str, &str); 4] = [
    (UNDO_CAPABILITY, "undo"),
    ("session.log", "log"),
    ("session.explain", "explain"),
    ("session.pending", "pending"),
];

impl Foreign {
    /// Whether the prompts, and whether the resources, are others than those, or are said to be.
    pub(crate) fn differs(&self, other: &Self) -> (bool, bool) {
        let (prompts, resources) = self.has.differs(&other.has);
        (prompts || self.said.0 != other.said.0, resources || self.said.1 != other.said.1)
    }
}

/// What a call of a tool means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Served {
    /// A capability, with the arguments as its input.
    Capability(CapabilityId),
    /// A change set that is sealed here.
    Apply,
    /// Taking back what this session did.
    Undo,
    /// A workflow of a pack.
    Pack(Arc<Pack>),
    /// A workflow that a facade leads to.
    Facade(Arc<Facade>),
}

/// A tool over a pack or a facade.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bundled {
    pub(crate) name: String,
    pub(crate) definition: Value,
    pub(crate) served: Served,
}

/// What is offered at one moment, and the session that can ask for it.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) agent: Agent,
    bundles: Vec<Bundled>,
    tools: Vec<Tool>,
    served: BTreeMap<String, (usize, Served)>,
    /// What other servers have, where that is what is offered.
    pub(crate) foreign: Option<Foreign>,
}

/// What other servers have at one moment.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) menu: Menu,
    /// Which moment it is.
    version: u64,
    /// How often servers had said by then that their prompts, and their resources, have changed.
    said: (u64, u64),
    pub(crate) has: crate::menu::Served,
}

impl Offer {
    /// The tools of a session: its own, or those of other servers that it may call.
    pub(crate) fn of(agent: Agent, menu: Option<&Menu>) -> Self {
        let Some(menu) = menu else { return Self::new(agent) };
        // Before it is looked: what changes meanwhile is looked at again.
        let (version, said) = (menu.version(), menu.upstreams().said());
        let has = menu.served(&agent);
        let (mut tools, mut served) = (Vec::new(), BTreeMap::new());
        for (name, (id, tool)) in &has.tools {
            served.insert(name.clone(), (tools.len(), Served::Capability(id.clone())));
            tools.push(tool.clone());
        }
        let foreign = Some(Foreign { menu: menu.clone(), version, said, has });
        Self { agent, bundles: Vec::new(), tools, served, foreign }
    }

    /// Whether it would be the same again.
    pub(crate) fn is_of(&self, agent: &Agent, menu: Option<&Menu>) -> bool {
        let bundled = || menu.is_some() || self.bundles == bundles(agent);
        same(&self.agent, agent) && self.is_of_menu(menu) && bundled()
    }

    /// Whether no server has changed since.
    pub(crate) fn is_of_menu(&self, menu: Option<&Menu>) -> bool {
        self.foreign.as_ref().map(|foreign| foreign.version) == menu.map(Menu::version)
    }

    /// The tools of a session, in the order of their names: the same graph gives the same list.
    fn new(agent: Agent) -> Self {
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
        let bundles = bundles(&agent);
        for bundled in &bundles {
            let Bundled { name, definition, served } = bundled.clone();
            found.insert(name, (definition, served));
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
        Self { agent, bundles, tools, served, foreign: None }
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
    let word = IN_A_WORD.iter().find(|(known, _)| *known == id.as_str());
    word.map_or_else(|| tool_name(id), |(_, word)| (*word).to_owned())
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

/// Whether two sessions can ask for the very same contracts.
fn same(one: &Agent, other: &Agent) -> bool {
    let (mut one, mut other) = (one.graph().iter(), other.graph().iter());
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if Arc::ptr_eq(one, other) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_one_capability() {
        let long = format!("a.{}", "b".repeat(70));
        let ids = [
            "change.undo",
            "session.undo",
            "session.log",
            "session.log.x",
            "undo.log",
            "log.log",
            "session.explain",
            "session.pending",
            "fs.write",
            "fs_write.x",
            "fs.write_x",
            "fs.write.x",
            &long,
        ];
        let names: std::collections::BTreeSet<String> =
            ids.iter().map(|id| served_name(&CapabilityId::parse(id).unwrap())).collect();
        assert_eq!(names.len(), ids.len(), "{names:?}");
        for name in &names {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            assert!(name.len() <= 64 && name.bytes().all(fits), "{name}");
        }
    }

    #[test]
    fn an_output_schema_allows_for_a_refusal_or_is_left_out() {
        let schema = or_error(json!({ "type": "object", "required": ["path"] })).unwrap();
        assert_eq!(schema["type"], "object");
        assert_eq!(schema["anyOf"][0]["required"], json!(["path"]));
        assert_eq!(schema["anyOf"][1]["required"], json!(["error"]));
        for key in ["$ref", "$dynamicRef", "$id", "$anchor"] {
            let refers =
                json!({ "type": "object", "properties": { "x": { key: "#/properties/y" } } });
            assert_eq!(or_error(refers), None, "{key}");
        }
    }
}
