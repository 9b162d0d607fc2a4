//! Which document a workflow was found to be that a contract names by its id.

use lictor_context::Digest;
use serde::{Deserialize, Serialize};

/// The document behind `handler: { workflow: ID }`. A contract says only the id; whoever loads it
/// finds the document, and from then on the contract's digest covers it: whoever lets the contract
/// in lets in exactly this document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowDocument {
    /// Where it lies, for people.
    pub file: String,
    /// The digest of its bytes.
    pub digest: Digest,
}
