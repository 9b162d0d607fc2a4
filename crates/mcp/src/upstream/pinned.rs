//! What somebody let in of a server, held against what the server says now.

use std::sync::Arc;

use lictor::capability::{CapabilityId, McpPin, McpServer, McpTool};
use lictor::executor::HandlerError;
use serde_json::Value;

use super::link::Link;
use super::listing::{Differs, Listing};
use super::{Inner, diff, ended};

/// One thing of one server.
pub(super) struct Pinned {
    pub(super) spec: McpTool,
    pub(super) inner: Arc<Inner>,
}

impl Pinned {
    pub(super) fn new(spec: &McpTool, inner: Arc<Inner>) -> Self {
        Self { spec: spec.clone(), inner }
    }

    pub(super) fn pin(&self) -> Result<&McpPin, HandlerError> {
        let McpTool { server, tool, pin, .. } = &self.spec;
        pin.as_deref().ok_or_else(|| {
            HandlerError::changed(format!(
                "nobody let in what `{server}` says of `{tool}`: its contract has no `pin`"
            ))
        })
    }

    /// Holds what the server says now against what was let in.
    pub(super) fn compare(&self, listing: &Listing) -> Result<(), HandlerError> {
        let McpTool { server, tool, part, .. } = &self.spec;
        let pin = self.pin()?;
        let what = part.as_str();
        let why = match listing.fits(*part, tool, pin.digest) {
            Ok(()) => return Ok(()),
            Err(Differs::Gone) => format!("`{server}` has no {what} `{tool}` any more"),
            Err(Differs::Several) => format!("`{server}` has several {what}s `{tool}` now"),
            Err(Differs::Changed) => {
                let now = listing.one(*part, tool).unwrap_or(&Value::Null);
                let lines = diff::lines(pin.definition.as_value(), now);
                format!(
                    "what `{server}` says of its {what} `{tool}` is not what was let in:\n{}",
                    lines.join("\n")
                )
            }
        };
        Err(HandlerError::changed(why))
    }

    /// Where the server runs, the same: nobody is asked about something that would be refused.
    pub(super) fn stands(&self) -> Result<(), HandlerError> {
        self.pin()?;
        match self.inner.running(&self.spec.server) {
            Some(link) => self.compare(&link.listing()),
            None => Ok(()),
        }
    }

    pub(super) fn link(&self) -> Result<Arc<Link>, HandlerError> {
        let name = &self.spec.server;
        if let Some(link) = self.inner.running(name) {
            return Ok(link);
        }
        let known = self.inner.server(name).state().link.as_ref().and_then(|link| link.ended());
        Err(HandlerError::failed(match known {
            Some(known) => ended(name, &known),
            None => format!("the MCP server `{name}` does not run"),
        }))
    }

    /// The server has to run first.
    pub(super) fn first(&self) -> Option<CapabilityId> {
        match self.inner.running(&self.spec.server) {
            Some(_) => None,
            None => McpServer::id_of(&self.spec.server).ok(),
        }
    }
}
