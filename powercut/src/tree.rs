//! What stands in a workspace, but for Lictor's own: kinds, modes, bytes and link targets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lictor::context::Digest;

use crate::failure::Failure;

/// What stands at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    File { mode: u32, length: u64, digest: Digest },
    Directory { mode: u32 },
    Link { target: String },
    Other,
}

/// Everything by its path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tree(BTreeMap<String, Node>);

impl Tree {
    /// Reads all there is.
    pub(crate) fn read(root: &Path) -> Result<Self, Failure> {
        let mut tree = Self::default();
        tree.read_into(root, "")?;
        Ok(tree)
    }

    fn read_into(&mut self, folder: &Path, prefix: &str) -> Result<(), Failure> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if prefix.is_empty() && name == ".lictor" {
                continue;
            }
            let path = format!("{prefix}{}", name.to_string_lossy());
            let node = self.node(&entry.path(), &path).map_err(|e| e.context(&path))?;
            self.0.insert(path, node);
        }
        Ok(())
    }

    fn node(&mut self, at: &Path, path: &str) -> Result<Node, Failure> {
        let metadata = std::fs::symlink_metadata(at)?;
        let mode = metadata.mode() & 0o7777;
        Ok(if metadata.is_symlink() {
            Node::Link { target: std::fs::read_link(at)?.to_string_lossy().into_owned() }
        } else if metadata.is_dir() {
            self.read_into(at, &format!("{path}/"))?;
            Node::Directory { mode }
        } else if metadata.is_file() {
            let bytes = std::fs::read(at)?;
            Node::File { mode, length: bytes.len() as u64, digest: Digest::of(&bytes) }
        } else {
            Node::Other
        })
    }

    /// Where it is not as another one.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let paths: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let differ = paths.into_iter().filter(|path| self.0.get(*path) != other.0.get(*path));
        differ.map(|path| format!("{path}: {}", Shown(self.0.get(path)))).collect()
    }
}

struct Shown<'a>(Option<&'a Node>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("nothing"),
            Some(Node::File { mode, length, digest }) => {
                let digest = digest.hex();
                write!(f, "file {mode:04o} of {length} bytes, {}", digest.get(..8).unwrap_or(""))
            }
            Some(Node::Directory { mode }) => write!(f, "directory {mode:04o}"),
            Some(Node::Link { target }) => write!(f, "link to {target}"),
            Some(Node::Other) => f.write_str("something else"),
        }
    }
}
