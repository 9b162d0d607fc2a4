//! Servers and whoever is in front of them: what clients can be asked, and what they ask beside calls.
#![expect(deprecated, reason = "clients and servers of today use the older protocol")]

use std::sync::Arc;

use lictor::context::ActionId;
use rmcp::model::{ClientCapabilities, ErrorData, LoggingLevel, SetLevelRequestParams};
use rmcp::service::ServiceError;
use tokio::sync::broadcast;

use super::Upstreams;
use super::handler::masked;
use super::link::Era;
use super::talk::{Heard, Known, Talk, only_asked};

/// Who is in front of the servers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facing {
    /// Whether they speak the newer protocol.
    pub(crate) modern: bool,
    /// What they can be asked.
    pub(crate) can: ClientCapabilities,
}

impl Facing {
    /// Whoever may come: each call is asked what its own client can.
    pub(crate) fn anybody(modern: bool) -> Self {
        let can = serde_json::json!({
            "elicitation": { "form": {}, "url": {} }, "sampling": {}, "roots": {},
        });
        Self { modern, can: serde_json::from_value(can).unwrap_or_default() }
    }
}

impl Upstreams {
    /// Says who is in front. The first word counts: servers are told once, when they are started.
    pub(crate) fn face(&self, facing: Facing) {
        self.inner.facing.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(Facing { can: only_asked(facing.can.clone()), ..facing.clone() });
            }
            first
        });
    }

    /// Comes back when it is known who is in front.
    pub(crate) async fn faced(&self) {
        let mut facing = self.inner.facing.subscribe();
        // The sender is ours, so the channel does not close while we wait.
        drop(facing.wait_for(Option::is_some).await);
    }

    /// Whoever makes this call hears of it, for as long as what is given back is there.
    pub(crate) fn know(&self, action: &ActionId, talk: &Arc<Talk>) -> Known {
        Known::begin(&self.inner.talks, action, talk)
    }

    /// How often servers said that their prompts, and that their resources, have changed.
    pub(crate) fn said(&self) -> (u64, u64) {
        self.inner.said.counts()
    }

    /// What servers say to everybody.
    pub(crate) fn heard(&self) -> broadcast::Receiver<Heard> {
        self.inner.heard.subscribe()
    }

    /// Begins or ends to listen for changes of a resource.
    pub(crate) async fn watch(&self, server: &str, uri: &str, on: bool) -> Result<(), ErrorData> {
        let link = self.inner.running(server).ok_or_else(|| {
            ErrorData::internal_error(format!("the MCP server `{server}` does not run"), None)
        })?;
        link.watch(uri, on).await.map_err(|error| match error {
            ServiceError::McpError(error) => masked(&error, link.mask()),
            error => ErrorData::internal_error(link.mask().text(&error.to_string()), None),
        })
    }

    /// How much servers are to log; those of the newer protocol hear it with each request.
    pub(crate) async fn set_level(&self, servers: &[String], level: LoggingLevel) {
        for server in servers {
            let link = self.inner.running(server).filter(|link| link.era == Era::Initialize);
            if let Some(link) = link
                && let Err(error) = link.peer().set_level(SetLevelRequestParams::new(level)).await
            {
                tracing::debug!(%error, "`{server}` does not log so");
            }
        }
    }

    /// Tells servers that a client's roots are others now.
    pub(crate) async fn roots_changed(&self, servers: &[String]) {
        for server in servers {
            let link = self.inner.running(server).filter(|link| link.era == Era::Initialize);
            if let Some(link) = link
                && let Err(error) = link.peer().notify_roots_list_changed().await
            {
                tracing::debug!(%error, "`{server}` did not hear that the roots have changed");
            }
        }
    }
}
