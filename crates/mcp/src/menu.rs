//! The tools of other servers, as they were let in, under their own names.

use std::collections::BTreeMap;

use lictor::capability::{CapabilityId, HandlerSpec, McpTool};
use lictor::{ActErrorKind, Agent};
use rmcp::model::Tool;

use crate::upstream::Upstreams;

/// Between a server's name and that of its tool, where several are served.
const BETWEEN: &str = "__";

/// Which servers are served, and how their tools are called.
#[derive(Debug, Clone)]
pub struct Menu {
    upstreams: Upstreams,
    servers: Vec<String>,
}

impl Menu {
    /// One server keeps the names of its tools; of several, each tool has its server's name before its
    /// own.
    #[must_use]
    pub fn new(upstreams: Upstreams, servers: Vec<String>) -> Self {
        Self { upstreams, servers }
    }

    /// Changes whenever a server does.
    pub(crate) fn version(&self) -> u64 {
        *self.upstreams.news().borrow()
    }

    /// What is served at this moment: what people let in, as they let it in, and of servers that run
    /// only what they still say.
    pub(crate) fn tools(&self, agent: &Agent) -> BTreeMap<String, (CapabilityId, Tool)> {
        let mut tools = BTreeMap::new();
        for contract in agent.graph().iter() {
            let HandlerSpec::Mcp(McpTool { server, tool, pin: Some(pin) }) = &contract.handler
            else {
                continue;
            };
            if !self.servers.contains(server) || !self.stands(server, tool, pin.digest) {
                continue;
            }
            let definition = pin.definition.as_value().clone();
            match serde_json::from_value::<Tool>(definition) {
                Ok(mut definition) => {
                    let name = self.name(server, tool);
                    definition.name = name.clone().into();
                    tools.insert(name, (contract.id.clone(), definition));
                }
                Err(error) => tracing::warn!("`{}` is no tool: {error}", contract.id),
            }
        }
        tools
    }

    fn stands(&self, server: &str, tool: &str, pinned: lictor::context::Digest) -> bool {
        let listing = self.upstreams.listing(server);
        listing.is_none_or(|listing| listing.has(tool, pinned))
    }

    fn name(&self, server: &str, tool: &str) -> String {
        match self.servers.as_slice() {
            [_] => tool.to_owned(),
            _ => format!("{server}{BETWEEN}{tool}"),
        }
    }

    /// Why a name is not served, although it may well be one of a server's.
    pub(crate) fn why_not(&self, agent: &Agent, name: &str) -> Option<ActErrorKind> {
        let found = self.servers.iter().find_map(|server| {
            let tool = match self.servers.as_slice() {
                [_] => name,
                _ => name.strip_prefix(server.as_str())?.strip_prefix(BETWEEN)?,
            };
            McpTool::id_of(server, tool).ok()
        })?;
        let withheld = agent.runtime().catalogue().why_not(&found)?;
        Some(ActErrorKind::Withheld(Box::new(withheld)))
    }

    /// What a client is told first.
    pub(crate) fn instructions(&self) -> String {
        let names = self.servers.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
        format!(
            "Tools of the MCP server {}, governed by Lictor: every call is judged by a policy and \
             recorded. A refusal says why and what to do next. Where a person has to agree you are told \
             so; you cannot agree yourself. What nobody let in, and what says something else than when it \
             was let in, is not listed: a person looks at it with `lictor capability list`, and lets it \
             in with `lictor mcp wrap NAME --approve-baseline`, or one by one with `lictor capability \
             approve`.",
            names.join(", ")
        )
    }
}
