//! The sections `mcp` and `mcp_server` of a contract: a tool of another program, as it was when
//! somebody let it in, and how that program is started.

use std::collections::BTreeMap;

use lictor_context::Digest;
use lictor_document::StrictValue;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{CapabilityId, EffectCeiling, HttpOrigin, check_header};
use crate::host::host_spelling;

/// How [`McpPin`]s are made: raised when what is hashed changes, so that a new way to hash flags nothing
/// that did not change.
pub const PIN_FORMULA: u32 = 1;
/// The longest name of a server.
const MAX_SERVER: usize = 64;
/// The longest name of a tool, as the protocol has it.
const MAX_TOOL: usize = 128;
/// The longest name of a prompt, and the longest URI.
const MAX_TEXT: usize = 2048;
/// The longest word of an id that is made by spelling a name; a longer one is told by its digest.
const MAX_WORD: usize = 56;

/// What of a server a contract is about.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum McpPart {
    /// A tool.
    #[default]
    Tool,
    /// A prompt.
    Prompt,
    /// A resource that it lists.
    Resource,
    /// A template of the URIs of resources.
    Template,
    /// What it says of itself before anything is asked: its instructions, and what it can do.
    About,
}

impl McpPart {
    /// Every part that there is.
    pub const ALL: [Self; 5] =
        [Self::Tool, Self::Prompt, Self::Resource, Self::Template, Self::About];

    /// The word that stands for it in pins.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
            Self::Template => "template",
            Self::About => "about",
        }
    }

    /// The first word of the ids of its capabilities.
    #[must_use]
    pub const fn namespace(self) -> &'static str {
        match self {
            Self::Tool => "mcp",
            Self::Prompt => "mcp_prompt",
            Self::Resource => "mcp_resource",
            Self::Template => "mcp_template",
            Self::About => "mcp_about",
        }
    }

    /// Where a definition holds what it is called by.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Tool | Self::Prompt | Self::About => "name",
            Self::Resource => "uri",
            Self::Template => "uriTemplate",
        }
    }

    /// The name in a definition.
    #[must_use]
    pub fn name_in(self, definition: &Value) -> Option<&str> {
        definition.get(self.key()).and_then(Value::as_str)
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    fn is_tool(&self) -> bool {
        *self == Self::Tool
    }
}

/// A tool of an MCP server, or something else that it offers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpTool {
    /// The server.
    pub server: String,
    /// The tool, as the server calls it: of a resource its URI, of a template that.
    pub tool: String,
    /// What it is; a tool unless given.
    #[serde(default, skip_serializing_if = "McpPart::is_tool")]
    pub part: McpPart,
    /// What the tool said of itself when it was let in. A tool without is not called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Box<McpPin>>,
}

/// Everything that a tool says to a model, and its digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpPin {
    /// How the digest was made; see [`PIN_FORMULA`].
    pub formula: u32,
    /// The digest of the definition.
    pub digest: Digest,
    /// Name, title, description, both schemas, annotations, icons and `_meta`, as it is served; of
    /// something else than a tool likewise all that it says.
    pub definition: StrictValue,
}

/// How the program behind an MCP server is started, or at which URL one is reached. What it is given of
/// the environment is named, and never held, here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpServer {
    /// The server.
    pub server: String,
    /// The program and its arguments; no shell reads them. In arguments, `{workspace}` is the folder
    /// that the server works in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The URL, of a server that is reached over HTTP instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The headers that it is sent, by name, as whoever reaches it says what they hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// The folder that it begins in: relative to the workspace, which it is unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The environment variables that it gets, by name, from whoever starts it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Variables with a text of their own, in which `{workspace}` is the folder that it works in; of a
    /// URL, headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Variables that hold a secret, looked up when it is started; of a URL, headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// Whether it works on the files of the workspace. Then it gets a copy of them, and what it changes
    /// there lands by an action of its own, which can be undone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub workspace: bool,
}

impl McpPin {
    /// The pin of a definition.
    ///
    /// # Errors
    /// When it is no JSON as contracts hold it: a number, for example, that nobody reads alike.
    pub fn of(part: McpPart, definition: &Value) -> Result<Self, String> {
        let held: StrictValue =
            serde_json::from_value(definition.clone()).map_err(|error| error.to_string())?;
        Ok(Self { formula: PIN_FORMULA, digest: pin_digest(part, definition)?, definition: held })
    }
}

/// The digest of all that a tool, or something else that a server offers, says to a model.
///
/// # Errors
/// When it has no canonical form.
pub fn pin_digest(part: McpPart, definition: &Value) -> Result<Digest, String> {
    Digest::of_json(&json!({ "formula": PIN_FORMULA, part.as_str(): definition }))
        .map_err(|error| error.to_string())
}

impl McpTool {
    /// The id of the capability behind a tool: different tools have different ids.
    ///
    /// # Errors
    /// When a name is none, or too long for an id.
    pub fn id_of(server: &str, part: McpPart, name: &str) -> Result<CapabilityId, String> {
        check_server(server)?;
        check_name(part, name)?;
        let word = match part {
            McpPart::Tool => word_of(name),
            McpPart::About => return parsed(format!("{}.{}", part.namespace(), word_of(server))),
            McpPart::Prompt | McpPart::Resource | McpPart::Template => match word_of(name) {
                long if long.len() > MAX_WORD => digest_word(name),
                word => word,
            },
        };
        parsed(format!("{}.{}.{word}", part.namespace(), word_of(server)))
    }

    pub(super) fn check(&self, id: &CapabilityId, source: &str) -> Result<(), String> {
        let Some(pin) = &self.pin else { return Ok(()) };
        if pin.formula != PIN_FORMULA {
            return Err(format!(
                "the pin was made by formula {}; this version knows {PIN_FORMULA}",
                pin.formula
            ));
        }
        let definition = pin.definition.as_value();
        if pin_digest(self.part, definition)? != pin.digest {
            return Err("the pin's digest is not that of its definition".to_owned());
        }
        let what = self.part.as_str();
        if self.part.name_in(definition) != Some(self.tool.as_str()) {
            return Err(format!("the pin is about another {what}"));
        }
        let own = Self::id_of(&self.server, self.part, &self.tool)?;
        if own != *id {
            return Err(format!("the id of this {what} is `{own}`"));
        }
        if source.strip_prefix("mcp:") != Some(self.server.as_str()) {
            return Err(format!("a {what} of this server has `source: mcp:{}`", self.server));
        }
        Ok(())
    }
}

impl McpServer {
    /// The id of the capability that starts a server.
    ///
    /// # Errors
    /// When the name is none.
    pub fn id_of(server: &str) -> Result<CapabilityId, String> {
        check_server(server)?;
        CapabilityId::parse(&format!("mcp_server.{}", word_of(server)))
            .map_err(|error| error.to_string())
    }

    /// Whether a server may be given a variable of this name.
    ///
    /// # Errors
    /// When it is no name, or that of one of Lictor's own.
    pub fn check_variable(name: &str) -> Result<(), String> {
        check_variable(name)
    }

    /// Whether a server at a URL may be sent a header of this name.
    ///
    /// # Errors
    /// When it is no name, or one that the protocol sets by itself.
    pub fn check_header(name: &str) -> Result<(), String> {
        check_header(name)?;
        let lower = name.to_ascii_lowercase();
        let own = ["accept", "content-type", "last-event-id"].contains(&lower.as_str());
        match own || lower.starts_with("mcp-") {
            true => Err(format!("the header `{name}` is set by the protocol itself")),
            false => Ok(()),
        }
    }

    pub(super) fn check(&self, id: &CapabilityId, most: &EffectCeiling) -> Result<(), String> {
        let own = Self::id_of(&self.server)?;
        if own != *id {
            return Err(format!("the id of this server is `{own}`"));
        }
        match &self.url {
            Some(url) => self.check_url(url, &most.net),
            None => self.check_command(&most.process),
        }
    }

    fn check_url(&self, url: &str, hosts: &[String]) -> Result<(), String> {
        let (origin, _) = HttpOrigin::of_input("url", &json!(url))?;
        if !self.command.is_empty() || self.cwd.is_some() || !self.env.is_empty() || self.workspace
        {
            return Err(
                "a server has a `url` or a `command`; `cwd`, `env` and `workspace` are of commands"
                    .to_owned(),
            );
        }
        let is_named = |host: &String| host_spelling(host).is_ok_and(|it| it == origin.effect());
        if !hosts.iter().any(is_named) {
            return Err(format!("`effects.net` does not name `{}`", origin.effect()));
        }
        let named = self.headers.iter().chain(self.set.keys()).chain(self.secrets.keys());
        let mut known: Vec<String> = Vec::new();
        for name in named {
            Self::check_header(name)?;
            let lower = name.to_ascii_lowercase();
            if known.contains(&lower) {
                return Err(format!("the header `{name}` is there twice"));
            }
            known.push(lower);
        }
        let fits =
            |text: &String| text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
        match self.set.values().all(fits) {
            true => Ok(()),
            false => Err("a header holds what none can".to_owned()),
        }
    }

    fn check_command(&self, programs: &[String]) -> Result<(), String> {
        if !self.headers.is_empty() {
            return Err("`headers` are of servers with a `url`".to_owned());
        }
        let program = self.command.first().filter(|program| !program.is_empty());
        let Some(program) = program else {
            return Err("the command is empty; a program and its arguments are accepted".to_owned());
        };
        if !programs.contains(program) {
            return Err(format!("`effects.process` does not name `{}`", program.escape_debug()));
        }
        if self.command.iter().any(|part| part.contains('\0')) {
            return Err("an argument holds a NUL, which none can".to_owned());
        }
        let named = self.env.iter().chain(self.set.keys()).chain(self.secrets.keys());
        for name in named {
            check_variable(name)?;
        }
        Ok(())
    }
}

fn parsed(id: String) -> Result<CapabilityId, String> {
    CapabilityId::parse(&id).map_err(|_| format!("`{id}` is too long for a capability id"))
}

fn check_name(part: McpPart, name: &str) -> Result<(), String> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    match part {
        McpPart::Tool => {
            if name.is_empty() || name.len() > MAX_TOOL || !name.bytes().all(known) {
                return Err(format!(
                    "`{}` is no name of a tool; letters, digits, `_`, `-`, `.` and `/` are accepted, \
                     {MAX_TOOL} at most",
                    name.escape_debug()
                ));
            }
        }
        McpPart::Prompt | McpPart::Resource | McpPart::Template | McpPart::About => {
            if name.is_empty() || name.len() > MAX_TEXT || name.chars().any(char::is_control) {
                return Err(format!(
                    "`{}` is no name of a {}; a text without control characters is accepted, \
                     {MAX_TEXT} bytes at most",
                    name.escape_debug(),
                    part.as_str()
                ));
            }
        }
    }
    Ok(())
}

/// A word for a name that is too long to be spelt. No spelt word begins so.
fn digest_word(name: &str) -> String {
    let hex: String = Digest::of(name.as_bytes())
        .as_bytes()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("x_7{hex}")
}

fn check_variable(name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty()
        || name.starts_with(|first: char| first.is_ascii_digit())
        || !name.bytes().all(fits)
    {
        return Err(format!("`{}` is no name of a variable", name.escape_debug()));
    }
    // An approver's token and every secret stand there.
    if name.to_ascii_uppercase().starts_with("LICTOR_") {
        return Err(format!("`{name}` is Lictor's own, and no server gets it"));
    }
    Ok(())
}

fn check_server(server: &str) -> Result<(), String> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if server.is_empty() || server.len() > MAX_SERVER || !server.bytes().all(known) {
        return Err(format!(
            "`{}` is no name of a server; letters, digits, `_`, `-` and `.` are accepted, \
             {MAX_SERVER} at most",
            server.escape_debug()
        ));
    }
    Ok(())
}

/// A name as a word of an id, and never two names as the same word. What most names are made of stays
/// as it is: lower-case letters, digits, and `_` before a letter. Anything else is `_` and a digit:
/// `_0` is `_` itself, `_1` `-`, `_2` `.`, `_5` `/`, `_3s` is `S`; and `x_4` begins a word that would
/// not begin with a letter.
fn word_of(name: &str) -> String {
    let mut word = String::with_capacity(name.len() + 8);
    let mut bytes = name.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'_' if bytes.peek().is_some_and(u8::is_ascii_lowercase) => word.push('_'),
            b'_' => word.push_str("_0"),
            b'-' => word.push_str("_1"),
            b'.' => word.push_str("_2"),
            b'/' => word.push_str("_5"),
            upper if upper.is_ascii_uppercase() => {
                word.push_str("_3");
                word.push(char::from(upper.to_ascii_lowercase()));
            }
            other if other.is_ascii_alphanumeric() => word.push(char::from(other)),
            // No name has it; it stays different all the same.
            other => word.push_str(&format!("_6{other:02x}")),
        }
    }
    if word.starts_with(|first: char| first.is_ascii_lowercase()) {
        word
    } else {
        format!("x_4{word}")
    }
}

/// What a name looks like: names that people take for one another have the same. Case and separators
/// tell names apart, `0` and `O`, `1`, `l` and `I`, and `rn` and `m` do not.
#[must_use]
pub fn looks_like(name: &str) -> String {
    let drawn: String = name
        .chars()
        .map(|c| match c {
            '0' | 'O' => '0',
            '1' | 'l' | 'I' => '1',
            other => other,
        })
        .collect();
    drawn.replace("rn", "m").replace("vv", "w")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names_stay_readable_and_four_stay_four() {
        let words: Vec<String> = [
            "read_file",
            "get-sum",
            "get_sum",
            "Send",
            "send",
            "a.b",
            "_x",
            "9a",
            "x_49a",
            "a__b",
            "a_",
        ]
        .iter()
        .map(|name| word_of(name))
        .collect();
        assert_eq!(
            words,
            [
                "read_file",
                "get_1sum",
                "get_sum",
                "x_4_3send",
                "send",
                "a_2b",
                "x_4_x",
                "x_49a",
                "x_049a",
                "a_0_b",
                "a_0"
            ]
        );
    }
}
