//! What a server says it has, asked for page by page.

use std::collections::BTreeMap;
use std::time::Duration;

use lictor::capability::pin_digest;
use lictor::context::Digest;
use rmcp::model::PaginatedRequestParams;
use rmcp::service::{Peer, RoleClient};
use serde_json::Value;
use tokio::time::Instant;

use super::dial;

/// So many pages are asked for: a server that always has one more would hold everybody up.
const MAX_PAGES: usize = 64;
/// So many tools may one server have.
const MAX_TOOLS: usize = 1024;
/// So many bytes may all of them have.
const MAX_BYTES: usize = 8 << 20;
/// How long it may take to list them.
const LIMIT: Duration = Duration::from_secs(30);

/// The tools of a server at one moment.
#[derive(Debug)]
pub struct Listing {
    tools: Vec<Value>,
    digests: BTreeMap<String, Vec<Digest>>,
    pub(super) at: Instant,
}

impl Listing {
    /// Asks for it.
    pub(super) async fn ask(peer: &Peer<RoleClient>) -> Result<Self, String> {
        let asked = tokio::time::timeout(LIMIT, pages(peer)).await;
        let tools = asked.map_err(|_| "its tools were not listed in time".to_owned())??;
        let mut digests: BTreeMap<String, Vec<Digest>> = BTreeMap::new();
        for tool in &tools {
            let name = tool.get("name").and_then(Value::as_str).unwrap_or_default();
            digests.entry(name.to_owned()).or_default().push(pin_digest(tool)?);
        }
        Ok(Self { tools, digests, at: Instant::now() })
    }

    /// The definitions, as they would be served.
    #[must_use]
    pub fn tools(&self) -> &[Value] {
        &self.tools
    }

    /// What it says of one tool; `None` when it has none of that name.
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<&Value> {
        self.tools.iter().find(|tool| tool.get("name").and_then(Value::as_str) == Some(name))
    }

    /// Whether it has a tool, once, and as it was pinned.
    #[must_use]
    pub fn has(&self, name: &str, pinned: Digest) -> bool {
        self.fits(name, pinned).is_ok()
    }

    /// Holds a pin against it.
    pub(super) fn fits(&self, name: &str, pinned: Digest) -> Result<(), Differs> {
        match self.digests.get(name).map(Vec::as_slice) {
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

async fn pages(peer: &Peer<RoleClient>) -> Result<Vec<Value>, String> {
    let (mut tools, mut cursor, mut bytes) = (Vec::new(), None, 0_usize);
    for _ in 0..MAX_PAGES {
        let params = PaginatedRequestParams::default().with_cursor(cursor.take());
        let page = peer.list_tools(Some(params)).await.map_err(|error| dial::plainly(&error))?;
        for tool in page.tools {
            let tool = serde_json::to_value(&tool).map_err(|error| error.to_string())?;
            bytes = bytes.saturating_add(tool.to_string().len());
            tools.push(tool);
        }
        if tools.len() > MAX_TOOLS || bytes > MAX_BYTES {
            return Err(format!(
                "it lists more than {MAX_TOOLS} tools, or {MAX_BYTES} bytes of them"
            ));
        }
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(tools),
        }
    }
    Err(format!("its list has more than {MAX_PAGES} pages"))
}
