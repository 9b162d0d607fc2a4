//! What a folder holds, so that two moments can be compared.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Every path below a folder with its kind, mode and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<PathBuf, String>);

/// How close to look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Bytes and modes.
    Content,
    /// Also inodes and times: whether anything was touched at all.
    Touched,
}

impl Tree {
    /// The whole workspace, but for the files by which Lictor keeps its own books.
    pub(crate) fn of(root: &Path) -> Self {
        Self::read(root, Look::Content)
    }

    /// The same, and any touch of a file shows.
    pub(crate) fn touched(root: &Path) -> Self {
        Self::read(root, Look::Touched)
    }

    fn read(root: &Path, look: Look) -> Self {
        let mut tree = Self(BTreeMap::new());
        tree.walk(root, Path::new(""), look);
        tree
    }

    fn walk(&mut self, root: &Path, below: &Path, look: Look) {
        let mut names: Vec<_> = fs::read_dir(root.join(below))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        for name in names {
            let path = below.join(name);
            if is_books(&path) {
                continue;
            }
            let meta = fs::symlink_metadata(root.join(&path)).unwrap();
            let mut line = format!("{:o}", meta.mode());
            if meta.is_dir() {
                self.walk(root, &path, look);
            } else if meta.is_symlink() {
                let target = fs::read_link(root.join(&path)).unwrap();
                line = format!("{line} -> {}", target.display());
            } else {
                line = format!("{line} {}", digest(&fs::read(root.join(&path)).unwrap()));
            }
            if look == Look::Touched && !meta.is_dir() {
                line = format!("{line} {} {}.{}", meta.ino(), meta.mtime(), meta.mtime_nsec());
            }
            self.0.insert(path, line);
        }
    }

    pub(crate) fn holds(&self, path: &str) -> bool {
        self.0.contains_key(Path::new(path))
    }

    /// What it says of a path: mode and content.
    pub(crate) fn at(&self, path: &str) -> Option<&str> {
        self.0.get(Path::new(path)).map(String::as_str)
    }

    /// Without everything below a folder.
    pub(crate) fn without(mut self, folder: &str) -> Self {
        self.0.retain(|path, _| !path.starts_with(folder));
        self
    }
}

/// Lictor's database, lock and undo records change with everything that is asked; its policy, its
/// contracts and everything else below `.lictor` do not.
fn is_books(path: &Path) -> bool {
    let Ok(own) = path.strip_prefix(".lictor") else { return false };
    let Some(first) = own.iter().next().and_then(|name| name.to_str()) else { return false };
    first.starts_with("lictor.db") || matches!(first, "lock" | "tx")
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
