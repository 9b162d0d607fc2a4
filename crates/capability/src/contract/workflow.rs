//! The `workflow` section of a contract: a workflow's file, and what it holds.

use lictor_context::{Digest, Name, WorkspacePath};
use serde::{Deserialize, Serialize};

/// A workflow that is called like any capability. Whoever lets the contract in lets in exactly this
/// document: the contract's digest covers that of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowFile {
    /// The workflow's id, as its document says it.
    pub id: Name,
    /// Where the document lies in the workspace.
    pub file: WorkspacePath,
    /// The digest of its bytes.
    pub digest: Digest,
}
