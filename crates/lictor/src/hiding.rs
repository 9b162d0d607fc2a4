//! The workspace as handlers see it while they run: without what the policies in force hide.
//!
//! An action that says it reads a folder was judged by the folder. What lies in it and is
//! forbidden stays out of reach all the same.

use std::sync::Arc;

use lictor_capability::{Entry, Listed, ViewError, ViewErrorKind, WorkspaceView};
use lictor_context::{Digest, WorkspacePath};
use lictor_governance::WriteGate;
use lictor_workspace::Workspace;

/// See the module.
#[derive(Debug)]
pub(crate) struct HidingView {
    pub(crate) workspace: Arc<Workspace>,
    pub(crate) gate: Arc<WriteGate>,
}

impl HidingView {
    fn check(&self, path: &WorkspacePath) -> Result<(), ViewError> {
        let hidden = self.gate.hides(path)
            || self.workspace.names(path)?.iter().any(|name| self.gate.hides(name));
        if hidden {
            return Err(ViewError::new(path.as_str(), ViewErrorKind::Forbidden));
        }
        Ok(())
    }
}

impl WorkspaceView for HidingView {
    fn entry(&self, path: &WorkspacePath) -> Result<Option<Entry>, ViewError> {
        // That something is there may be known; a listing of its folder says so as well.
        self.workspace.entry(path)
    }

    fn digest(&self, path: &WorkspacePath) -> Result<Digest, ViewError> {
        self.check(path)?;
        self.workspace.digest(path)
    }

    fn read(&self, path: &WorkspacePath, max_bytes: u64) -> Result<Vec<u8>, ViewError> {
        self.check(path)?;
        self.workspace.read(path, max_bytes)
    }

    fn names(&self, path: &WorkspacePath) -> Result<Vec<WorkspacePath>, ViewError> {
        self.workspace.names(path)
    }

    fn read_link(&self, path: &WorkspacePath) -> Result<String, ViewError> {
        self.check(path)?;
        self.workspace.read_link(path)
    }

    fn list(&self, dir: Option<&WorkspacePath>) -> Result<Vec<Listed>, ViewError> {
        if let Some(dir) = dir {
            self.check(dir)?;
        }
        self.workspace.list(dir)
    }
}

/// The workspace as handlers see it while they describe: whole, since what they would do has to be
/// judged, with word of what nobody may look into.
#[derive(Debug)]
pub(crate) struct KnowingView {
    pub(crate) workspace: Arc<Workspace>,
    pub(crate) gate: Arc<WriteGate>,
}

impl WorkspaceView for KnowingView {
    fn entry(&self, path: &WorkspacePath) -> Result<Option<Entry>, ViewError> {
        self.workspace.entry(path)
    }

    fn digest(&self, path: &WorkspacePath) -> Result<Digest, ViewError> {
        self.workspace.digest(path)
    }

    fn read(&self, path: &WorkspacePath, max_bytes: u64) -> Result<Vec<u8>, ViewError> {
        self.workspace.read(path, max_bytes)
    }

    fn names(&self, path: &WorkspacePath) -> Result<Vec<WorkspacePath>, ViewError> {
        self.workspace.names(path)
    }

    fn read_link(&self, path: &WorkspacePath) -> Result<String, ViewError> {
        self.workspace.read_link(path)
    }

    fn list(&self, dir: Option<&WorkspacePath>) -> Result<Vec<Listed>, ViewError> {
        self.workspace.list(dir)
    }

    fn hides(&self, path: &WorkspacePath) -> bool {
        self.gate.hides(path)
    }
}
