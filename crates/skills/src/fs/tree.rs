//! What a directory holds, all the way down; and a view that hashes no file twice.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use lictor_capability::{Entry, EntryKind, Listed, ViewError, WorkspaceView};
use lictor_context::{Digest, WorkspacePath};
use lictor_executor::HandlerError;

/// The most things that one call expands to; a larger change is several calls.
pub(crate) const MAX_NODES: usize = 10_000;

/// Something in a tree.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) path: WorkspacePath,
    pub(crate) entry: Entry,
}

/// Everything at and below `root`, a directory before what it holds. Links are not followed.
pub(crate) fn walk(
    view: &dyn WorkspaceView,
    root: &WorkspacePath,
    entry: Entry,
) -> Result<Vec<Node>, HandlerError> {
    let mut nodes = Vec::new();
    let mut left = vec![Node { path: root.clone(), entry }];
    while let Some(node) = left.pop() {
        if nodes.len() == MAX_NODES {
            return Err(HandlerError::input(format!(
                "`{root}` holds more than {MAX_NODES} files and directories; take parts of it"
            )));
        }
        if node.entry.kind == EntryKind::Directory {
            for listed in view.list(Some(&node.path))?.into_iter().rev() {
                let path = child(&node.path, &listed.name)?;
                // Gone since it was listed: then it does not belong to the tree.
                if let Some(entry) = view.entry(&path)? {
                    left.push(Node { path, entry });
                }
            }
        }
        nodes.push(node);
    }
    Ok(nodes)
}

/// `path`, which is at or below `from`, as it will be called below `to`.
pub(crate) fn moved(
    path: &WorkspacePath,
    from: &WorkspacePath,
    to: &WorkspacePath,
) -> Result<WorkspacePath, HandlerError> {
    match path.as_str().strip_prefix(from.as_str()).and_then(|rest| rest.strip_prefix('/')) {
        None => Ok(to.clone()),
        Some(rest) => child(to, rest),
    }
}

/// Refuses a target that is the source or lies inside it.
pub(crate) fn check_ends(from: &WorkspacePath, to: &WorkspacePath) -> Result<(), HandlerError> {
    match (from == to, to.is_within(from)) {
        (true, _) => Err(HandlerError::input(format!("`from` and `to` are both `{from}`"))),
        (_, true) => Err(HandlerError::input(format!("`{to}` lies inside of `{from}`"))),
        _ => Ok(()),
    }
}

fn child(dir: &WorkspacePath, name: &str) -> Result<WorkspacePath, HandlerError> {
    dir.join(name).map_err(|error| HandlerError::input(error.to_string()))
}

/// Hashes every path at most once. Expanding a directory and resolving the changes both ask.
pub(crate) struct Memo<'a> {
    inner: &'a dyn WorkspaceView,
    digests: Mutex<HashMap<WorkspacePath, Digest>>,
}

impl<'a> Memo<'a> {
    pub(crate) fn new(inner: &'a dyn WorkspaceView) -> Self {
        Self { inner, digests: Mutex::default() }
    }
}

impl WorkspaceView for Memo<'_> {
    fn entry(&self, path: &WorkspacePath) -> Result<Option<Entry>, ViewError> {
        self.inner.entry(path)
    }

    fn digest(&self, path: &WorkspacePath) -> Result<Digest, ViewError> {
        let known = || self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = known().get(path) {
            return Ok(*digest);
        }
        let digest = self.inner.digest(path)?;
        known().insert(path.clone(), digest);
        Ok(digest)
    }

    fn read(&self, path: &WorkspacePath, max_bytes: u64) -> Result<Vec<u8>, ViewError> {
        self.inner.read(path, max_bytes)
    }

    fn read_link(&self, path: &WorkspacePath) -> Result<String, ViewError> {
        self.inner.read_link(path)
    }

    fn list(&self, dir: Option<&WorkspacePath>) -> Result<Vec<Listed>, ViewError> {
        self.inner.list(dir)
    }
}
