//! A workspace in memory, small enough that a fuzzer finds its names.

use lictor_capability::{Entry, EntryKind, Listed, ViewError, ViewErrorKind, WorkspaceView};
use lictor_context::{Digest, WorkspacePath};

/// What there is: `a` of two lines, `d/b` without an end of line, `l` -> `a`, and an empty `e`.
pub(crate) struct Tree;

const FILES: &[(&str, &[u8])] = &[("a", b"one\ntwo\n"), ("d/b", b"three"), ("e", b"")];
const LINK: (&str, &str) = ("l", "a");
const FOLDER: &str = "d";
const MODE: u32 = 0o644;

fn file(path: &WorkspacePath) -> Option<&'static [u8]> {
    FILES.iter().find(|(name, _)| *name == path.as_str()).map(|(_, bytes)| *bytes)
}

fn nothing<T>(path: &WorkspacePath) -> Result<T, ViewError> {
    Err(ViewError::new(path.as_str(), ViewErrorKind::NotFound))
}

impl WorkspaceView for Tree {
    fn entry(&self, path: &WorkspacePath) -> Result<Option<Entry>, ViewError> {
        let entry = |kind, mode, size: usize| {
            let size = u64::try_from(size).unwrap_or(u64::MAX);
            Ok(Some(Entry { kind, mode, size, links: 1 }))
        };
        match (file(path), path.as_str()) {
            (Some(bytes), _) => entry(EntryKind::File, MODE, bytes.len()),
            (None, FOLDER) => entry(EntryKind::Directory, 0o755, 0),
            (None, name) if name == LINK.0 => entry(EntryKind::Symlink, 0o777, LINK.1.len()),
            _ => Ok(None),
        }
    }

    fn digest(&self, path: &WorkspacePath) -> Result<Digest, ViewError> {
        match file(path) {
            Some(bytes) => Ok(Digest::of(bytes)),
            None => Ok(Digest::of(self.read_link(path)?.as_bytes())),
        }
    }

    fn read(&self, path: &WorkspacePath, max_bytes: u64) -> Result<Vec<u8>, ViewError> {
        let Some(bytes) = file(path) else { return nothing(path) };
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size > max_bytes {
            let kind = ViewErrorKind::TooLarge { size, limit: max_bytes };
            return Err(ViewError::new(path.as_str(), kind));
        }
        Ok(bytes.to_vec())
    }

    fn read_link(&self, path: &WorkspacePath) -> Result<String, ViewError> {
        if path.as_str() == LINK.0 { Ok(LINK.1.to_owned()) } else { nothing(path) }
    }

    fn list(&self, dir: Option<&WorkspacePath>) -> Result<Vec<Listed>, ViewError> {
        let listed = |name: &str, kind| Listed { name: name.to_owned(), kind };
        match dir.map(WorkspacePath::as_str) {
            None => Ok(vec![
                listed("a", EntryKind::File),
                listed(FOLDER, EntryKind::Directory),
                listed("e", EntryKind::File),
                listed(LINK.0, EntryKind::Symlink),
            ]),
            Some(FOLDER) => Ok(vec![listed("b", EntryKind::File)]),
            Some(name) => Err(ViewError::new(name, ViewErrorKind::NotADirectory)),
        }
    }
}
