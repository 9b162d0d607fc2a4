//! Importers: from other people's descriptions of tools to contracts that somebody may propose.
//! What comes out is text for a proposal and never a capability; what could not be carried over is
//! said.

mod command;
mod credentials;
mod mcp;
mod openapi;
mod schema;
mod skill;
mod tools;

use lictor_document::Source;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::contract::{CapabilityId, Contract};

pub use command::from_command;
pub use mcp::{from_mcp, from_mcp_server};
pub use openapi::from_openapi;
pub use skill::{SkillFolder, from_claude_skill};
pub use tools::{from_anthropic, from_openai};

/// A contract that could be proposed. It was read as every contract is read, so the catalogue
/// accepts its text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Imported {
    /// The contract, as its file would hold it.
    pub contract: Value,
    /// What it comes from: a tool's name, a method with its path.
    pub origin: String,
    /// What of that could not be carried over.
    pub lost: Vec<String>,
}

impl Imported {
    /// The id of the contract.
    #[must_use]
    pub fn id(&self) -> &str {
        self.contract.get("id").and_then(Value::as_str).unwrap_or_default()
    }

    /// The contract as the text of a file: JSON, which is YAML as well.
    #[must_use]
    pub fn to_text(&self) -> String {
        text_of(&self.contract)
    }
}

/// Something that gives no contract at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotImported {
    /// What it comes from.
    pub origin: String,
    /// Why not.
    pub why: String,
}

/// Everything that came of a document.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Import {
    /// What could be proposed.
    pub contracts: Vec<Imported>,
    /// What could not.
    pub left_out: Vec<NotImported>,
}

impl Import {
    /// Takes a contract, or why there is none; the same id twice is one too many.
    fn take(&mut self, origin: String, made: Result<Draft, String>) {
        let finished = made.and_then(|draft| {
            let taken = self.contracts.iter().any(|known| Some(known.id()) == draft.id());
            if taken {
                return Err(format!("`{}` is taken already", draft.id().unwrap_or_default()));
            }
            draft.finish()
        });
        match finished {
            Ok((contract, lost)) => self.contracts.push(Imported { contract, origin, lost }),
            Err(why) => self.left_out.push(NotImported { origin, why }),
        }
    }
}

/// A document is not what it was said to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ImportError(
    /// What is wrong.
    String,
);

/// A contract in the making.
struct Draft {
    fields: Map<String, Value>,
    lost: Vec<String>,
}

impl Draft {
    /// What every imported contract says alike.
    fn new(id: &CapabilityId, title: &str, description: &str, source: &str) -> Self {
        let blank = description.trim().is_empty();
        let fields = json!({
            "id": id, "version": "1.0.0", "title": if title.is_empty() { id.as_str() } else { title },
            "description": if blank { title } else { description },
            "kind": "tool", "source": source,
        });
        let mut draft = Self { fields: Map::new(), lost: Vec::new() };
        draft.set(fields);
        draft
    }

    fn set(&mut self, more: Value) {
        if let Value::Object(more) = more {
            self.fields.extend(more);
        }
    }

    fn id(&self) -> Option<&str> {
        self.fields.get("id").and_then(Value::as_str)
    }

    /// The contract, read as its file will be. A schema may hold a pattern of another dialect:
    /// without patterns it accepts more, which is said.
    fn finish(mut self) -> Result<(Value, Vec<String>), String> {
        let mut contract = Value::Object(self.fields);
        if let Err(first) = read(&contract) {
            let mut dropped = 0;
            for side in ["input", "output"] {
                if let Some(schema) = contract.get_mut(side) {
                    dropped += schema::without_patterns(schema);
                }
            }
            if dropped == 0 || read(&contract).is_err() {
                return Err(first);
            }
            self.lost.push(format!(
                "{dropped} `pattern`s: one of them is no regular expression that is accepted here"
            ));
        }
        Ok((contract, self.lost))
    }
}

fn read(contract: &Value) -> Result<(), String> {
    let text = text_of(contract);
    match Contract::from_yaml(&Source::new("contract", text.as_bytes())) {
        Ok(_) => Ok(()),
        // The first line says what; an excerpt of a text that nobody has seen helps nobody.
        Err(error) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}

fn text_of(contract: &Value) -> String {
    let mut text = serde_json::to_string_pretty(contract).unwrap_or_default();
    text.push('\n');
    text
}

/// A text as a template of a command that means nothing but it: braces are written twice.
fn literal(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// A title in one line, without what cannot be seen.
fn literal_title(text: &str) -> String {
    let line: String = text.chars().filter(|c| !c.is_control()).take(120).collect();
    line.trim().to_owned()
}

/// An id from a namespace and a name of any letters: lower-case words joined by `_`.
fn id_of(namespace: &str, name: &str) -> Result<CapabilityId, String> {
    CapabilityId::parse(&format!("{namespace}.{}", word_of(name)))
        .map_err(|error| error.to_string())
}

/// A word as ids have it: `listPets` and `list-pets` become `list_pets`.
fn word_of(name: &str) -> String {
    let mut word = String::new();
    let mut last_lower = false;
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            if c.is_ascii_uppercase() && last_lower {
                word.push('_');
            }
            word.push(c.to_ascii_lowercase());
            last_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        } else {
            if !word.is_empty() && !word.ends_with('_') {
                word.push('_');
            }
            last_lower = false;
        }
    }
    let word = word.trim_matches('_');
    let starts = word.starts_with(|first: char| first.is_ascii_lowercase());
    if starts { word.to_owned() } else { format!("x{word}") }
}
