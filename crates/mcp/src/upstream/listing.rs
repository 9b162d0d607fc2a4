//! What a server says it has, asked for page by page.

use std::collections::BTreeMap;
use std::time::Duration;

use lictor::capability::{McpPart, pin_digest};
use lictor::context::Digest;
use rmcp::model::{PaginatedRequestParams, ServerCapabilities, ServerPeerInfo};
use rmcp::service::{Peer, RoleClient, ServiceError};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::dial;
use super::files::Led;

/// So many pages are asked for: a server that always has one more would hold everybody up.
const MAX_PAGES: usize = 64;
/// So many tools, prompts or resources may one server have.
const MAX_LISTED: usize = 1024;
/// So many bytes may all of a kind have.
const MAX_BYTES: usize = 8 << 20;
/// How long it may take to list them.
const LIMIT: Duration = Duration::from_secs(30);

/// What a server has at one moment: its tools, its prompts, its resources, and what it says of itself.
#[derive(Debug)]
pub struct Listing {
    parts: BTreeMap<McpPart, Part>,
    pub(super) at: Instant,
}

#[derive(Debug, Default)]
struct Part {
    definitions: Vec<Value>,
    digests: BTreeMap<String, Vec<Digest>>,
}

impl Listing {
    /// Asks for it.
    pub(super) async fn ask(
        peer: &Peer<RoleClient>,
        server: &str,
        led: Option<&Led>,
    ) -> Result<Self, String> {
        let asked = tokio::time::timeout(LIMIT, all(peer, server)).await;
        let found = asked.map_err(|_| "what it has was not listed in time".to_owned())??;
        let mut parts = BTreeMap::new();
        for (part, mut definitions) in found {
            if let Some(led) = led {
                // The copy is another folder each time, and clients know the workspace.
                definitions = definitions.into_iter().map(|one| led.out(one)).collect();
            }
            let mut digests: BTreeMap<String, Vec<Digest>> = BTreeMap::new();
            for definition in &definitions {
                let name = part.name_in(definition).unwrap_or_default();
                digests.entry(name.to_owned()).or_default().push(pin_digest(part, definition)?);
            }
            parts.insert(part, Part { definitions, digests });
        }
        Ok(Self { parts, at: Instant::now() })
    }

    /// The tools, as they would be served.
    #[must_use]
    pub fn tools(&self) -> &[Value] {
        self.of(McpPart::Tool)
    }

    /// The definitions of one kind, as they would be served.
    #[must_use]
    pub fn of(&self, part: McpPart) -> &[Value] {
        self.parts.get(&part).map_or(&[], |part| part.definitions.as_slice())
    }

    /// What it says of one of them; `None` when it has none of that name.
    #[must_use]
    pub fn one(&self, part: McpPart, name: &str) -> Option<&Value> {
        self.of(part).iter().find(|definition| part.name_in(definition) == Some(name))
    }

    /// Whether it says the very same as another one.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        McpPart::ALL.iter().all(|part| self.of(*part) == other.of(*part))
    }

    /// Whether it has a tool, or something else, once, and as it was pinned.
    #[must_use]
    pub fn has(&self, part: McpPart, name: &str, pinned: Digest) -> bool {
        self.fits(part, name, pinned).is_ok()
    }

    /// Holds a pin against it.
    pub(super) fn fits(&self, part: McpPart, name: &str, pinned: Digest) -> Result<(), Differs> {
        let found = self.parts.get(&part).and_then(|part| part.digests.get(name));
        match found.map(Vec::as_slice) {
            None | Some([]) => Err(Differs::Gone),
            Some([one]) if *one == pinned => Ok(()),
            Some([_]) => Err(Differs::Changed),
            Some(_) => Err(Differs::Several),
        }
    }
}

/// How a tool differs from what was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Differs {
    /// It is not there.
    Gone,
    /// It says something else.
    Changed,
    /// There are several of that name.
    Several,
}

async fn all(peer: &Peer<RoleClient>, server: &str) -> Result<Vec<(McpPart, Vec<Value>)>, String> {
    let info = peer.peer_info();
    let can = info.as_ref().map(|info| info.capabilities.clone()).unwrap_or_default();
    let mut found = Vec::new();
    // A server that says nothing of what it can do was asked for its tools before there was any
    // saying so.
    found.push((McpPart::Tool, pages(peer, McpPart::Tool).await?));
    if can.prompts.is_some() {
        found.push((McpPart::Prompt, pages(peer, McpPart::Prompt).await?));
    }
    if can.resources.is_some() {
        found.push((McpPart::Resource, pages(peer, McpPart::Resource).await?));
        // Some have resources, and do not know of templates.
        found.push((McpPart::Template, pages(peer, McpPart::Template).await.unwrap_or_default()));
    }
    found.extend(info.and_then(|info| about(server, &info)).map(|one| (McpPart::About, vec![one])));
    Ok(found)
}

/// What a server says of itself before it is asked anything, as far as that reaches a model or tells
/// what may be asked; `None` when it has nothing but tools.
fn about(server: &str, info: &ServerPeerInfo) -> Option<Value> {
    let ServerCapabilities { prompts, resources, completions, logging, .. } = &info.capabilities;
    let can: Map<String, Value> = [
        ("prompts", prompts.is_some()),
        ("resources", resources.is_some()),
        ("subscribe", resources.as_ref().is_some_and(|one| one.subscribe == Some(true))),
        ("completions", completions.is_some()),
        ("logging", logging.is_some()),
    ]
    .into_iter()
    .filter(|(_, can)| *can)
    .map(|(what, can)| (what.to_owned(), json!(can)))
    .collect();
    let instructions = info.instructions.as_deref().unwrap_or_default();
    if can.is_empty() && instructions.is_empty() {
        return None;
    }
    Some(json!({ "name": server, "instructions": instructions, "capabilities": can }))
}

async fn pages(peer: &Peer<RoleClient>, part: McpPart) -> Result<Vec<Value>, String> {
    let (mut found, mut cursor, mut bytes) = (Vec::new(), None, 0_usize);
    for _ in 0..MAX_PAGES {
        let params = PaginatedRequestParams::default().with_cursor(cursor.take());
        let (page, next) = page(peer, part, params).await.map_err(|error| dial::plainly(&error))?;
        for definition in page {
            bytes = bytes.saturating_add(definition.to_string().len());
            found.push(definition);
        }
        if found.len() > MAX_LISTED || bytes > MAX_BYTES {
            let what = part.as_str();
            return Err(format!(
                "it lists more than {MAX_LISTED} {what}s, or {MAX_BYTES} bytes of them"
            ));
        }
        match next {
            Some(next) => cursor = Some(next),
            None => return Ok(found),
        }
    }
    Err(format!("its list has more than {MAX_PAGES} pages"))
}

async fn page(
    peer: &Peer<RoleClient>,
    part: McpPart,
    params: PaginatedRequestParams,
) -> Result<(Vec<Value>, Option<String>), ServiceError> {
    let params = Some(params);
    Ok(match part {
        McpPart::Tool | McpPart::About => {
            let page = peer.list_tools(params).await?;
            (values(&page.tools), page.next_cursor)
        }
        McpPart::Prompt => {
            let page = peer.list_prompts(params).await?;
            (values(&page.prompts), page.next_cursor)
        }
        McpPart::Resource => {
            let page = peer.list_resources(params).await?;
            (values(&page.resources), page.next_cursor)
        }
        McpPart::Template => {
            let page = peer.list_resource_templates(params).await?;
            (values(&page.resource_templates), page.next_cursor)
        }
    })
}

/// As they would be served.
fn values<T: Serialize>(all: &[T]) -> Vec<Value> {
    // What the protocol's types hold is JSON.
    all.iter().filter_map(|one| serde_json::to_value(one).ok()).collect()
}
