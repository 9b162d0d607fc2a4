//! The graph as tool lists of models' APIs, with names that each of them accepts and a way back.

use std::fmt;

use lictor_context::{Digest, Quote};
use serde::Serialize;
use serde_json::{Value, json};

use crate::contract::{CapabilityId, Contract, EffectCeiling, HandlerSpec};
use crate::graph::CapabilityGraph;

/// The longest name of a tool that all of them accept.
const MAX_NAME: usize = 64;
/// What stays of a name that is longer, before the digest that tells it from its like.
const KEPT_OF_NAME: usize = 47;

/// Whose tool list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ToolFormat {
    /// `tools` of OpenAI's chat completions.
    OpenAi,
    /// `tools` of Anthropic's messages.
    Anthropic,
    /// `tools/list` of the Model Context Protocol.
    Mcp,
}

/// A text that should have been the name of a format is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no format of tools; accepted: openai, anthropic, mcp")]
pub struct UnknownFormat(Quote);

impl std::str::FromStr for ToolFormat {
    type Err = UnknownFormat;
    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text {
            "openai" => Ok(Self::OpenAi),
            "anthropic" => Ok(Self::Anthropic),
            "mcp" => Ok(Self::Mcp),
            _ => Err(UnknownFormat(Quote::of(text))),
        }
    }
}

impl fmt::Display for ToolFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Mcp => "mcp",
        })
    }
}

/// A tool as it is offered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tool {
    /// The name that it is offered under.
    pub name: String,
    /// The capability behind it.
    pub capability: CapabilityId,
    /// The version of it.
    pub version: semver::Version,
    /// The definition, in the words of the format.
    pub definition: Value,
}

/// A capability that cannot be offered in a format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The capability.
    pub capability: CapabilityId,
    /// Why.
    pub why: String,
}

/// Everything that can be offered, and what cannot.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ToolList {
    /// What can.
    pub tools: Vec<Tool>,
    /// What cannot.
    pub left_out: Vec<LeftOut>,
}

/// The name of a capability among tools. An id holds no `-`, so its dots become that, and back. An
/// id that is too long is cut, with a piece of its digest in place of the rest.
#[must_use]
pub fn tool_name(id: &CapabilityId) -> String {
    let name = id.as_str().replace('.', "-");
    if name.len() <= MAX_NAME {
        return name;
    }
    let digest = Digest::of(id.as_str().as_bytes()).hex();
    let kept = name.get(..KEPT_OF_NAME).unwrap_or(&name);
    // `--` stands in no name that is whole: words of an id are not empty.
    format!("{kept}--{}", digest.get(..15).unwrap_or(&digest))
}

impl CapabilityGraph {
    /// Every capability of the graph in its newest version, as tools.
    #[must_use]
    pub fn tools(&self, format: ToolFormat) -> ToolList {
        let mut list = ToolList::default();
        for contract in self.iter() {
            let capability = contract.id.clone();
            match definition(contract, format) {
                Ok((name, definition)) => {
                    let version = contract.version.clone();
                    list.tools.push(Tool { name, capability, version, definition });
                }
                Err(why) => list.left_out.push(LeftOut { capability, why }),
            }
        }
        list
    }

    /// The capability behind the name of a tool, whatever format it was offered in.
    #[must_use]
    pub fn by_tool_name(&self, name: &str) -> Option<CapabilityId> {
        let whole = CapabilityId::parse(&name.replace('-', ".")).ok();
        let known = whole.filter(|id| self.get(id, None).is_some());
        known.or_else(|| {
            let mut ids = self.iter().map(|contract| &contract.id);
            ids.find(|id| tool_name(id) == name).cloned()
        })
    }
}

fn definition(contract: &Contract, format: ToolFormat) -> Result<(String, Value), String> {
    let input = object_schema(contract.input_schema())?;
    let description = if contract.description.trim().is_empty() {
        contract.title.clone()
    } else {
        contract.description.clone()
    };
    let name = tool_name(&contract.id);
    let definition = match format {
        ToolFormat::OpenAi => json!({
            "type": "function",
            "function": { "name": name, "description": description, "parameters": input },
        }),
        ToolFormat::Anthropic => {
            json!({ "name": name, "description": description, "input_schema": input })
        }
        ToolFormat::Mcp => {
            let mut tool = json!({
                "name": name, "title": contract.title, "description": description,
                "inputSchema": input, "annotations": annotations(contract),
            });
            let output = contract.output_schema();
            if output.get("type") == Some(&json!("object"))
                && let Some(fields) = tool.as_object_mut()
            {
                fields.insert("outputSchema".to_owned(), output.clone());
            }
            tool
        }
    };
    Ok((name, definition))
}

fn annotations(contract: &Contract) -> Value {
    let EffectCeiling { fs, net, process, .. } = &contract.effects;
    let tool = matches!(contract.handler, HandlerSpec::Mcp(_));
    let foreign = tool || !net.is_empty() || !process.is_empty();
    let writes = !fs.write.is_empty() || !fs.delete.is_empty();
    json!({
        "title": contract.title,
        "readOnlyHint": !foreign && !writes,
        "destructiveHint": foreign || writes,
        "idempotentHint": contract.idempotent,
        "openWorldHint": tool || !net.is_empty(),
    })
}

/// The schema of a tool's input has an object at its root, in all three formats.
fn object_schema(schema: &Value) -> Result<Value, String> {
    match schema {
        Value::Bool(true) => Ok(json!({ "type": "object" })),
        Value::Object(fields) => match fields.get("type") {
            Some(Value::String(kind)) if kind == "object" => Ok(schema.clone()),
            None => {
                let mut fields = fields.clone();
                fields.insert("type".to_owned(), json!("object"));
                Ok(Value::Object(fields))
            }
            Some(other) => Err(format!("its input is {other}, and tools take objects")),
        },
        _ => Err("its input takes nothing at all".to_owned()),
    }
}
