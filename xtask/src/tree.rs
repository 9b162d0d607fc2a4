//! The files of the repository, read once, so that rules are functions over memory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::report::Failure;

/// Every file, sorted by path.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// The files.
    pub(crate) files: Vec<File>,
    /// Every directory that has a file in it, and the root as the empty path.
    dirs: BTreeSet<String>,
}

/// One file.
#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    /// In bytes.
    pub(crate) size: u64,
    /// Nothing if it is not text.
    pub(crate) text: Option<String>,
}

impl Tree {
    /// A tree of these files.
    pub(crate) fn new(mut files: Vec<File>) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut dirs = BTreeSet::from([String::new()]);
        for file in &files {
            let mut path = file.path.as_str();
            while let Some((dir, _)) = path.rsplit_once('/') {
                dirs.insert(dir.to_owned());
                path = dir;
            }
        }
        Self { files, dirs }
    }

    /// The file at that path.
    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        let idx = self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok()?;
        self.files.get(idx)
    }

    /// Whether there is a file or directory at that path.
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.dirs.contains(path) || self.file(path).is_some()
    }

    /// The files that are text.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|file| Some((file.path.as_str(), file.text.as_deref()?)))
    }

    /// The Rust files.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts().filter(|(path, _)| has_extension(path, "rs"))
    }
}

/// Whether a path ends in `.extension`.
pub(crate) fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

/// Reads the files at these paths; what has been deleted or is not a file is left out.
pub(crate) fn read(root: &Path, paths: Vec<String>) -> Result<Tree, Failure> {
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let absolute = root.join(&path);
        let Ok(metadata) = absolute.symlink_metadata() else {
            continue;
        };
        if !metadata.is_file() {
            continue;
        }
        let bytes = std::fs::read(&absolute)
            .map_err(|error| Failure::new(format!("cannot read `{path}`: {error}")))?;
        let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
        files.push(File { path, size: metadata.len(), text });
    }
    Ok(Tree::new(files))
}

/// Every file below `root` but build output and repository data.
pub(crate) fn walk(root: &Path) -> Result<Vec<String>, Failure> {
    let mut paths = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(dir) = pending.pop() {
        let unreadable = |error: std::io::Error| {
            Failure::new(format!("cannot list `{}`: {error}", dir.display()))
        };
        for entry in std::fs::read_dir(root.join(&dir)).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            let path = dir.join(&name);
            if entry.file_type().map_err(unreadable)?.is_dir() {
                if name != "target" && name != ".git" && name != ".lictor" {
                    pending.push(path);
                }
            } else {
                paths.push(path.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    Ok(paths)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{File, Tree, has_extension, read, walk};

    /// A tree of texts.
    pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
        let file = |&(path, text): &(&str, &str)| File {
            path: path.to_owned(),
            size: u64::try_from(text.len()).expect("a short text"),
            text: Some(text.to_owned()),
        };
        Tree::new(files.iter().map(file).collect())
    }

    #[test]
    fn files_and_directories_are_found() {
        let tree = tree(&[("b/c/d.rs", "//! d"), ("a.md", "a")]);
        assert!(tree.contains("") && tree.contains("b") && tree.contains("b/c"));
        assert!(tree.contains("b/c/d.rs") && !tree.contains("b/c/d"));
        assert_eq!(tree.file("a.md").map(|file| file.size), Some(1));
        assert_eq!(tree.rust().collect::<Vec<_>>(), [("b/c/d.rs", "//! d")]);
        assert!(has_extension("x.stderr", "stderr") && !has_extension("xrs", "rs"));
    }

    #[test]
    fn the_disk_becomes_a_tree() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut paths = walk(root).expect("a listing");
        paths.push("deleted.rs".to_owned());
        let tree = read(root, paths).expect("a tree");
        let main = tree.file("src/main.rs").and_then(|file| file.text.clone());
        assert!(main.is_some_and(|text| text.starts_with("//!")));
        assert!(!tree.contains("deleted.rs"));
    }
}
