//! A workspace in memory, and what a transaction does to it.

use std::collections::BTreeMap;

use lictor_capability::{
    Body, Change, Changes, Content, Entry, EntryKind, FileMode, Item, Listed, State, ViewError,
    ViewErrorKind, WorkspaceView,
};
use lictor_context::{Digest, WorkspacePath};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    File { bytes: Vec<u8>, mode: u32, links: u64 },
    Dir { mode: u32 },
    Link(String),
    Fifo,
}

/// A tree in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemoryView(pub(crate) BTreeMap<WorkspacePath, Node>);

pub(crate) fn path(text: &str) -> WorkspacePath {
    WorkspacePath::parse(text).expect("a path")
}

pub(crate) fn digest(bytes: impl AsRef<[u8]>) -> Digest {
    Digest::of(bytes.as_ref())
}

pub(crate) fn body(bytes: impl AsRef<[u8]>) -> Body {
    Body::new(bytes.as_ref())
}

pub(crate) fn create(at: &str, content: &str) -> Change {
    Change::Create { path: path(at), content: body(content), mode: None }
}

pub(crate) fn modify(at: &str, before: &str, content: &str) -> Change {
    Change::Modify { path: path(at), before: digest(before), content: body(content), mode: None }
}

pub(crate) fn delete(at: &str, before: &str) -> Change {
    Change::Delete { path: path(at), before: digest(before) }
}

pub(crate) fn rename(at: &str, to: &str, before: &str) -> Change {
    Change::Rename { path: path(at), to: path(to), before: digest(before) }
}

pub(crate) fn chmod(at: &str, before: u32, mode: u32) -> Change {
    let (before_mode, mode) = (FileMode::from_bits(before), FileMode::from_bits(mode));
    Change::Chmod { path: path(at), before_mode, mode }
}

pub(crate) fn mkdir(at: &str) -> Change {
    Change::Mkdir { path: path(at), mode: None }
}

pub(crate) fn rmdir(at: &str) -> Change {
    Change::Rmdir { path: path(at) }
}

pub(crate) fn symlink(at: &str, target: &str) -> Change {
    Change::Symlink { path: path(at), target: target.to_owned() }
}

impl Node {
    pub(crate) fn file(bytes: impl AsRef<[u8]>) -> Self {
        Self::File { bytes: bytes.as_ref().to_vec(), mode: 0o644, links: 1 }
    }

    pub(crate) fn state(&self) -> State {
        match self {
            Self::File { bytes, mode, .. } => State::File {
                digest: digest(bytes),
                mode: FileMode::from_bits(*mode),
                bytes: bytes.len() as u64,
            },
            Self::Dir { mode } => State::Directory { mode: FileMode::from_bits(*mode) },
            Self::Link(target) => State::Symlink { digest: digest(target) },
            Self::Fifo => panic!("a FIFO has no state"),
        }
    }
}

impl MemoryView {
    /// Files by path and content; a path that ends in `/` is a directory.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let mut view = Self::default();
        for (at, content) in files {
            match at.strip_suffix('/') {
                Some(dir) => view.put(dir, Node::Dir { mode: 0o755 }),
                None => view.put(at, Node::file(content)),
            }
        }
        view
    }

    pub(crate) fn with(mut self, at: &str, node: Node) -> Self {
        self.put(at, node);
        self
    }

    pub(crate) fn put(&mut self, at: &str, node: Node) {
        let at = path(at);
        for dir in at.ancestors() {
            self.0.entry(dir).or_insert(Node::Dir { mode: 0o755 });
        }
        self.0.insert(at, node);
    }

    /// Only what is no directory: what a diff speaks of.
    pub(crate) fn files(&self) -> BTreeMap<String, Node> {
        let files = self.0.iter().filter(|(_, node)| !matches!(node, Node::Dir { .. }));
        files.map(|(at, node)| (at.to_string(), node.clone())).collect()
    }

    fn get(&self, at: &WorkspacePath) -> Result<Option<&Node>, ViewError> {
        let mut dirs: Vec<_> = at.ancestors().collect();
        dirs.reverse();
        for dir in dirs {
            let kind = match self.0.get(&dir) {
                None => return Ok(None),
                Some(Node::Dir { .. }) => continue,
                Some(Node::Link(_)) => ViewErrorKind::ThroughSymlink { at: dir.to_string() },
                Some(_) => ViewErrorKind::NotADirectory,
            };
            return Err(ViewError::new(at.as_str(), kind));
        }
        Ok(self.0.get(at))
    }

    fn some(&self, at: &WorkspacePath) -> Result<&Node, ViewError> {
        self.get(at)?.ok_or_else(|| ViewError::new(at.as_str(), ViewErrorKind::NotFound))
    }

    /// Does what a transaction does: takes everything away that moves, then puts everything.
    pub(crate) fn apply(&mut self, changes: &Changes) {
        let mut held: Vec<(&Item, Option<Node>)> = Vec::new();
        for item in &changes.items {
            let node = item.from.as_ref().map(|from| self.0.remove(from).expect("it is there"));
            assert_eq!(node.as_ref().map(Node::state), item.before, "the state before: {item:?}");
            held.push((item, node));
        }
        for (item, node) in &held {
            if let (Some(Node::Dir { .. }), None, Some(from)) = (node, &item.to, &item.from) {
                let inside = self.0.keys().any(|other| other.is_within(from));
                assert!(!inside, "{from} is not empty when it goes");
            }
        }
        held.sort_by_key(|(item, _)| item.to.clone());
        for (item, node) in held {
            let Some(to) = &item.to else { continue };
            let mode = item.after.and_then(|state| state.mode()).map_or(0, FileMode::bits);
            let node = match (&item.content, item.after, node) {
                (Some(Content::Inline(bytes)), _, _) => {
                    Node::File { bytes: bytes.to_vec(), mode, links: 1 }
                }
                (Some(Content::Target(target)), _, _) => Node::Link(target.clone()),
                (None, Some(State::Directory { .. }), _) => Node::Dir { mode },
                (None, _, Some(Node::File { bytes, links, .. })) => {
                    Node::File { bytes, mode, links }
                }
                (None, _, Some(node)) => node,
                other => panic!("nothing to put at {to}: {other:?}"),
            };
            assert_eq!(Some(node.state()), item.after, "the state after: {item:?}");
            if let Some(parent) = to.parent() {
                let parent = self.0.get(&parent);
                assert!(matches!(parent, Some(Node::Dir { .. })), "the parent of {to}: {parent:?}");
            }
            assert!(self.0.insert(to.clone(), node).is_none(), "{to} is taken");
        }
    }
}

impl WorkspaceView for MemoryView {
    fn entry(&self, at: &WorkspacePath) -> Result<Option<Entry>, ViewError> {
        let entry = |kind, mode, size, links| Entry { kind, mode, size, links };
        Ok(self.get(at)?.map(|node| match node {
            Node::File { bytes, mode, links } => {
                entry(EntryKind::File, *mode, bytes.len() as u64, *links)
            }
            Node::Dir { mode } => entry(EntryKind::Directory, *mode, 0, 2),
            Node::Link(target) => entry(EntryKind::Symlink, 0o777, target.len() as u64, 1),
            Node::Fifo => entry(EntryKind::Special, 0o644, 0, 1),
        }))
    }

    fn digest(&self, at: &WorkspacePath) -> Result<Digest, ViewError> {
        match self.some(at)? {
            Node::File { bytes, .. } => Ok(digest(bytes)),
            Node::Link(target) => Ok(digest(target)),
            Node::Dir { .. } | Node::Fifo => {
                Err(ViewError::new(at.as_str(), ViewErrorKind::NotAFile("something else")))
            }
        }
    }

    fn read(&self, at: &WorkspacePath, max_bytes: u64) -> Result<Vec<u8>, ViewError> {
        let fail = |kind| Err(ViewError::new(at.as_str(), kind));
        match self.some(at)? {
            Node::File { bytes, .. } if bytes.len() as u64 > max_bytes => {
                fail(ViewErrorKind::TooLarge { size: bytes.len() as u64, limit: max_bytes })
            }
            Node::File { bytes, .. } => Ok(bytes.clone()),
            Node::Dir { .. } | Node::Link(_) | Node::Fifo => {
                fail(ViewErrorKind::NotAFile("something else"))
            }
        }
    }

    fn read_link(&self, at: &WorkspacePath) -> Result<String, ViewError> {
        match self.some(at)? {
            Node::Link(target) => Ok(target.clone()),
            Node::File { .. } | Node::Dir { .. } | Node::Fifo => {
                Err(ViewError::new(at.as_str(), ViewErrorKind::NotAFile("no link")))
            }
        }
    }

    fn list(&self, dir: Option<&WorkspacePath>) -> Result<Vec<Listed>, ViewError> {
        if let Some(dir) = dir
            && !matches!(self.some(dir)?, Node::Dir { .. })
        {
            return Err(ViewError::new(dir.as_str(), ViewErrorKind::NotADirectory));
        }
        let inside = self.0.iter().filter(|(at, _)| at.parent().as_ref() == dir);
        Ok(inside
            .map(|(at, node)| Listed {
                name: at.name().to_owned(),
                kind: match node {
                    Node::File { .. } => EntryKind::File,
                    Node::Dir { .. } => EntryKind::Directory,
                    Node::Link(_) => EntryKind::Symlink,
                    Node::Fifo => EntryKind::Special,
                },
            })
            .collect())
    }
}
