//! A workspace made of a few files and links, for working out what changes would do.

use std::collections::BTreeMap;

use lictor_capability::{Entry, EntryKind, Listed, ViewError, ViewErrorKind, WorkspaceView};
use lictor_context::{Digest, WorkspacePath};

#[derive(Debug, Clone)]
enum Node {
    /// With the number of its names.
    File(Vec<u8>, u64),
    Link(String),
}

/// See the module. Links are never followed, as everywhere.
#[derive(Debug, Clone, Default)]
pub(super) struct FuzzView {
    nodes: BTreeMap<String, Node>,
}

impl FuzzView {
    pub(super) fn file(mut self, path: &str, content: &[u8]) -> Self {
        self.nodes.insert(path.to_owned(), Node::File(content.to_vec(), 1));
        self
    }

    /// One file with two names.
    pub(super) fn hard_link(mut self, path: &str, other: &str, content: &[u8]) -> Self {
        for name in [path, other] {
            self.nodes.insert(name.to_owned(), Node::File(content.to_vec(), 2));
        }
        self
    }

    pub(super) fn link(mut self, path: &str, target: &str) -> Self {
        self.nodes.insert(path.to_owned(), Node::Link(target.to_owned()));
        self
    }

    fn node(&self, path: &WorkspacePath) -> Result<Option<&Node>, ViewError> {
        let fail = |kind| Err(ViewError::new(path.as_str(), kind));
        for ancestor in path.ancestors() {
            match self.nodes.get(ancestor.as_str()) {
                Some(Node::Link(_)) => {
                    return fail(ViewErrorKind::ThroughSymlink { at: ancestor.to_string() });
                }
                Some(Node::File(..)) => return fail(ViewErrorKind::NotADirectory),
                None => {}
            }
        }
        Ok(self.nodes.get(path.as_str()))
    }

    fn is_folder(&self, path: &str) -> bool {
        let below = |key: &String| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        self.nodes.keys().any(below)
    }
}

impl WorkspaceView for FuzzView {
    fn entry(&self, path: &WorkspacePath) -> Result<Option<Entry>, ViewError> {
        let entry = |kind, mode, size, links| Some(Entry { kind, mode, size, links });
        Ok(match self.node(path)? {
            Some(Node::File(bytes, names)) => {
                entry(EntryKind::File, 0o644, bytes.len() as u64, *names)
            }
            Some(Node::Link(target)) => entry(EntryKind::Symlink, 0o777, target.len() as u64, 1),
            None if self.is_folder(path.as_str()) => entry(EntryKind::Directory, 0o755, 0, 1),
            None => None,
        })
    }

    fn digest(&self, path: &WorkspacePath) -> Result<Digest, ViewError> {
        match self.node(path)? {
            Some(Node::File(bytes, _)) => Ok(Digest::of(bytes)),
            Some(Node::Link(target)) => Ok(Digest::of(target.as_bytes())),
            None => Err(ViewError::new(path.as_str(), ViewErrorKind::NotFound)),
        }
    }

    fn read(&self, path: &WorkspacePath, _: u64) -> Result<Vec<u8>, ViewError> {
        match self.node(path)? {
            Some(Node::File(bytes, _)) => Ok(bytes.clone()),
            _ => Err(ViewError::new(path.as_str(), ViewErrorKind::NotFound)),
        }
    }

    fn read_link(&self, path: &WorkspacePath) -> Result<String, ViewError> {
        match self.node(path)? {
            Some(Node::Link(target)) => Ok(target.clone()),
            _ => Err(ViewError::new(path.as_str(), ViewErrorKind::NotFound)),
        }
    }

    fn list(&self, _: Option<&WorkspacePath>) -> Result<Vec<Listed>, ViewError> {
        // Nothing that is worked out here lists a folder that is not about to go.
        Ok(Vec::new())
    }
}
