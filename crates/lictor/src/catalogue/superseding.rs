//! Definitions that were let in and are others now, at the other end: the file says what is found
//! there, and the capability is a proposal again.

use std::sync::Arc;

use lictor_capability::{Contract, HandlerSpec};
use lictor_context::{BoxFuture, Session};
use lictor_document::Source;
use lictor_governance::{CatalogueKind, CatalogueRecord, Document};

use super::{CatalogueFailure, Files, Proposed};
use crate::runtime::Runtime;

impl Runtime {
    /// Puts what an MCP server says of itself now in place of what it said when it was let in. From then
    /// on the capability is a proposal: nothing calls it until an approver has looked at it again. What is
    /// not about an MCP server is refused: only people change other documents.
    ///
    /// # Errors
    /// When the text is no such contract, is about something else than the one in its place, or nobody
    /// may propose.
    pub fn supersede<'a>(
        &'a self,
        session: &'a Session,
        source: &'a Source<'a>,
        why: &'a str,
    ) -> BoxFuture<'a, Result<Proposed, CatalogueFailure>> {
        Box::pin(async move {
            let shelf = &self.parts.shelf;
            let document = Document::from_yaml(CatalogueKind::Capability, source)
                .map_err(CatalogueFailure::Unreadable)?;
            shelf.catalogue.acceptable(&document)?;
            shelf.refresh();
            let key = document.key();
            let standing = shelf.catalogue.get(&key);
            let contract = |document: &Document| document.contract().map(Arc::clone);
            let place = shelf.inner().files.place(&key);
            let (Some(standing), Some(place)) = (standing, place) else {
                return Err(CatalogueFailure::Unknown(key));
            };
            let about_the_same = match (contract(&standing.document), contract(&document)) {
                (Some(before), Some(now)) => same_thing(&before, &now),
                _ => false,
            };
            if !about_the_same {
                return Err(CatalogueFailure::Occupied { key, place });
            }
            let known = self.known(&key)?;
            let rules = self.rules();
            let (principal, at) = (session.principal(), self.clock().now());
            let record =
                CatalogueRecord::propose(known.as_ref(), &document, principal, &rules, at, why)?;
            // The file first: between the two the capability is one that changed, and so is not used.
            if standing.document.digest() != document.digest() {
                Files::replace(&shelf.root, &place, source.bytes)
                    .map_err(|error| CatalogueFailure::Unavailable(error.to_string()))?;
            }
            self.proposed(session, &document, record).await
        })
    }
}

/// Whether two contracts are about the same tool, or the same server.
fn same_thing(one: &Contract, other: &Contract) -> bool {
    match (&one.handler, &other.handler) {
        (HandlerSpec::Mcp(one), HandlerSpec::Mcp(other)) => {
            (&one.server, one.part, &one.tool) == (&other.server, other.part, &other.tool)
        }
        (HandlerSpec::McpServer(one), HandlerSpec::McpServer(other)) => one.server == other.server,
        _ => false,
    }
}
