//! What other servers have, as it was let in, under its own names.

use std::collections::BTreeMap;

use lictor::capability::{CapabilityId, HandlerSpec, McpPart, McpTool};
use lictor::{ActErrorKind, Agent};
use rmcp::model::{
    Prompt, PromptsCapability, Resource, ResourceTemplate, ResourcesCapability, ServerCapabilities,
    Tool,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::upstream::{Facing, Upstreams, fits};

/// Between a server's name and that of its tool, where several are served.
const BETWEEN: &str = "__";

/// Which servers are served, and how their tools are called.
#[derive(Debug, Clone)]
pub struct Menu {
    upstreams: Upstreams,
    servers: Vec<String>,
    /// Whether clients come and go.
    many: bool,
}

/// What of servers can be asked for at one moment: what people let in, as they let it in, and of
/// servers that run only what they still say.
#[derive(Debug, Default)]
pub(crate) struct Served {
    pub(crate) tools: BTreeMap<String, (CapabilityId, Tool)>,
    pub(crate) prompts: BTreeMap<String, (CapabilityId, Prompt)>,
    /// By their URI, which is a name of its own among servers.
    pub(crate) resources: BTreeMap<String, At<Resource>>,
    /// By their pattern.
    pub(crate) templates: BTreeMap<String, At<ResourceTemplate>>,
    /// What servers say of themselves.
    about: BTreeMap<String, Value>,
}

/// Something that has to be asked for at one server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct At<T> {
    pub(crate) server: String,
    pub(crate) capability: CapabilityId,
    pub(crate) definition: T,
}

impl Menu {
    /// One server keeps the names of its tools; of several, each tool has its server's name before its
    /// own.
    #[must_use]
    pub fn new(upstreams: Upstreams, servers: Vec<String>) -> Self {
        Self { upstreams, servers, many: false }
    }

    /// For clients that come and go: servers are told that anything may be asked, and each call is asked
    /// what its own client can.
    #[must_use]
    pub fn for_many(mut self) -> Self {
        self.many = true;
        self
    }

    pub(crate) fn upstreams(&self) -> &Upstreams {
        &self.upstreams
    }

    pub(crate) fn servers(&self) -> &[String] {
        &self.servers
    }

    /// A client is there.
    pub(crate) fn face(&self, facing: Facing) {
        self.upstreams.face(match self.many {
            true => Facing::anybody(facing.modern),
            false => facing,
        });
    }

    /// Changes whenever a server does.
    pub(crate) fn version(&self) -> u64 {
        *self.upstreams.news().borrow()
    }

    /// What is served at this moment.
    pub(crate) fn served(&self, agent: &Agent) -> Served {
        let mut served = Served::default();
        let (mut resources, mut templates) = (Vec::new(), Vec::new());
        for contract in agent.graph().iter() {
            let HandlerSpec::Mcp(McpTool { server, tool, part, pin: Some(pin) }) =
                &contract.handler
            else {
                continue;
            };
            if !self.servers.contains(server) || !self.stands(server, *part, tool, pin.digest) {
                continue;
            }
            let (capability, name) = (contract.id.clone(), self.name(server, tool));
            let definition = pin.definition.as_value().clone();
            match part {
                McpPart::Tool => {
                    if let Some(mut tool) = read::<Tool>(&capability, definition) {
                        tool.name = name.clone().into();
                        served.tools.insert(name, (capability, tool));
                    }
                }
                McpPart::Prompt => {
                    if let Some(mut prompt) = read::<Prompt>(&capability, definition) {
                        prompt.name.clone_from(&name);
                        served.prompts.insert(name, (capability, prompt));
                    }
                }
                McpPart::Resource => {
                    let found = read(&capability, definition);
                    resources.extend(found.map(|definition| {
                        (tool.clone(), At { server: server.clone(), capability, definition })
                    }));
                }
                McpPart::Template => {
                    let found = read(&capability, definition);
                    templates.extend(found.map(|definition| {
                        (tool.clone(), At { server: server.clone(), capability, definition })
                    }));
                }
                McpPart::About => {
                    served.about.insert(server.clone(), definition);
                }
            }
        }
        served.resources = without_doubt(resources);
        served.templates = without_doubt(templates);
        served
    }

    fn stands(
        &self,
        server: &str,
        part: McpPart,
        name: &str,
        pinned: lictor::context::Digest,
    ) -> bool {
        let listing = self.upstreams.listing(server);
        listing.is_none_or(|listing| listing.has(part, name, pinned))
    }

    fn name(&self, server: &str, tool: &str) -> String {
        match self.servers.as_slice() {
            [_] => tool.to_owned(),
            _ => format!("{server}{BETWEEN}{tool}"),
        }
    }

    /// Why a name is not served, although it may well be one of a server's.
    pub(crate) fn why_not(&self, agent: &Agent, part: McpPart, name: &str) -> Option<ActErrorKind> {
        let named = matches!(part, McpPart::Tool | McpPart::Prompt);
        self.servers.iter().find_map(|server| {
            let tool = match self.servers.as_slice() {
                several if named && several.len() > 1 => {
                    name.strip_prefix(server.as_str())?.strip_prefix(BETWEEN)?
                }
                _ => name,
            };
            let id = McpTool::id_of(server, part, tool).ok()?;
            let withheld = agent.runtime().catalogue().why_not(&id)?;
            Some(ActErrorKind::Withheld(Box::new(withheld)))
        })
    }

    /// What a client is told first: of what servers say themselves, what people let in, and as theirs.
    pub(crate) fn instructions(&self, served: &Served) -> String {
        let names = self.servers.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
        let mut text = format!(
            "Tools of the MCP server {}, governed by Lictor: every call is judged by a policy and \
             recorded. A refusal says why and what to do next. Where a person has to agree you are told \
             so; you cannot agree yourself. What nobody let in, and what says something else than when it \
             was let in, is not listed: a person looks at it with `lictor capability list`, and lets it \
             in with `lictor mcp wrap NAME --approve-baseline`, or one by one with `lictor capability \
             approve`.",
            names.join(", ")
        );
        for (server, about) in &served.about {
            let said = about.get("instructions").and_then(Value::as_str).unwrap_or_default();
            if !said.is_empty() {
                text.push_str(&format!("\n\nThe server `{server}` says of itself:\n{said}"));
            }
        }
        text
    }
}

impl Served {
    /// Who has a resource: who lists it, or the one server of whose templates it is.
    pub(crate) fn resource(&self, uri: &str) -> Option<(&str, &CapabilityId, bool)> {
        if let Some(at) = self.resources.get(uri) {
            return Some((&at.server, &at.capability, false));
        }
        let mut fitting = self.templates.iter().filter(|(template, _)| fits(template, uri));
        let (_, first) = fitting.next()?;
        // Of two servers that could have it neither is guessed.
        let same = fitting.all(|(_, other)| other.server == first.server);
        same.then_some((&first.server, &first.capability, true))
    }

    /// What clients may ask for, as far as it was let in.
    pub(crate) fn declare(&self, can: &mut ServerCapabilities) {
        let says = |what: &str| {
            let mut all = self.about.values();
            all.any(|about| {
                about.pointer(&format!("/capabilities/{what}")) == Some(&Value::Bool(true))
            })
        };
        if !self.prompts.is_empty() {
            let mut prompts = PromptsCapability::default();
            prompts.list_changed = Some(true);
            can.prompts = Some(prompts);
        }
        if !self.resources.is_empty() || !self.templates.is_empty() {
            let mut resources = ResourcesCapability::default();
            resources.list_changed = Some(true);
            resources.subscribe = says("subscribe").then_some(true);
            can.resources = Some(resources);
        }
        if says("completions") {
            can.completions = Some(Default::default());
        }
        if says("logging") {
            can.logging = Some(Default::default());
        }
    }

    /// Whether the prompts, and whether the resources, are others than those.
    pub(crate) fn differs(&self, other: &Self) -> (bool, bool) {
        let resources = self.resources != other.resources || self.templates != other.templates;
        (self.prompts != other.prompts, resources)
    }
}

fn read<T: DeserializeOwned>(id: &CapabilityId, definition: Value) -> Option<T> {
    match serde_json::from_value(definition) {
        Ok(read) => Some(read),
        Err(error) => {
            tracing::warn!("`{id}` is not what it says it is: {error}");
            None
        }
    }
}

/// What two servers have under the same URI is nobody's: whoever came second could stand in for the
/// other.
fn without_doubt<T>(all: Vec<(String, At<T>)>) -> BTreeMap<String, At<T>> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for (uri, _) in &all {
        *times.entry(uri).or_default() += 1;
    }
    let several: Vec<String> =
        times.into_iter().filter(|(_, times)| *times > 1).map(|(uri, _)| uri.to_owned()).collect();
    for uri in &several {
        tracing::warn!("several servers have `{}`; it is left out", uri.escape_debug());
    }
    all.into_iter().filter(|(uri, _)| !several.contains(uri)).collect()
}
