//! The workspace behind the read-only port, and the same with all but the declared paths hidden.

use std::io::Read;

use lictor_capability::{Entry, EntryKind, Listed, ViewError, ViewErrorKind, WorkspaceView};
use lictor_context::{Digest, WorkspacePath};
use rustix::fs;

use crate::beneath::{DirHandle, Workspace, kind_of};
use crate::read::{ReadError, open_file, state_at};

impl WorkspaceView for Workspace {
    fn entry(&self, path: &WorkspacePath) -> Result<Option<Entry>, ViewError> {
        let Some(parent) = self.parent(path)? else { return Ok(None) };
        parent
            .entry(path.name())
            .map_err(|error| ViewError::new(path.as_str(), ViewErrorKind::Io(error)))
    }

    fn digest(&self, path: &WorkspacePath) -> Result<Digest, ViewError> {
        let parent = self.existing_parent(path)?;
        let state = state_at(&parent, path.name()).map_err(|error| translate(path, error))?;
        match state {
            None => Err(ViewError::new(path.as_str(), ViewErrorKind::NotFound)),
            Some(state) => state.digest().ok_or_else(|| {
                ViewError::new(path.as_str(), ViewErrorKind::NotAFile("a directory"))
            }),
        }
    }

    fn read(&self, path: &WorkspacePath, max_bytes: u64) -> Result<Vec<u8>, ViewError> {
        let fail = |kind| ViewError::new(path.as_str(), kind);
        let parent = self.existing_parent(path)?;
        match parent.entry(path.name()).map_err(|error| fail(ViewErrorKind::Io(error)))? {
            None => return Err(fail(ViewErrorKind::NotFound)),
            Some(entry) => match entry.kind {
                EntryKind::File if entry.size > max_bytes => {
                    return Err(fail(ViewErrorKind::TooLarge {
                        size: entry.size,
                        limit: max_bytes,
                    }));
                }
                EntryKind::File => {}
                EntryKind::Directory => return Err(fail(ViewErrorKind::NotAFile("a directory"))),
                EntryKind::Symlink => return Err(fail(ViewErrorKind::NotAFile("a symbolic link"))),
                EntryKind::Special => {
                    return Err(fail(ViewErrorKind::NotAFile("a FIFO, a socket or a device")));
                }
            },
        }
        let (file, entry) =
            open_file(&parent, path.name()).map_err(|error| translate(path, error))?;
        let mut bytes = Vec::with_capacity(usize::try_from(entry.size).unwrap_or(0).min(1 << 26));
        // One byte more than allowed shows that it grew.
        let read = file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| fail(ViewErrorKind::Io(error)))?;
        let size = bytes.len() as u64;
        if size > max_bytes {
            return Err(fail(ViewErrorKind::TooLarge { size, limit: max_bytes }));
        }
        Ok(bytes)
    }

    fn read_link(&self, path: &WorkspacePath) -> Result<String, ViewError> {
        let parent = self.existing_parent(path)?;
        let target = fs::readlinkat(&parent, path.name(), Vec::new());
        let target = target
            .map_err(|error| ViewError::new(path.as_str(), ViewErrorKind::Io(error.into())))?;
        target.into_string().map_err(|_| ViewError::new(path.as_str(), ViewErrorKind::NotUtf8))
    }

    fn names(&self, path: &WorkspacePath) -> Result<Vec<WorkspacePath>, ViewError> {
        self.names_of(path)
    }

    fn list(&self, dir: Option<&WorkspacePath>) -> Result<Vec<Listed>, ViewError> {
        let label = dir.map_or(".", WorkspacePath::as_str);
        let io = |error: rustix::io::Errno| ViewError::new(label, ViewErrorKind::Io(error.into()));
        let handle =
            self.dir(dir)?.ok_or_else(|| ViewError::new(label, ViewErrorKind::NotFound))?;
        let mut listed = Vec::new();
        for child in fs::Dir::read_from(&handle).map_err(io)? {
            let child = child.map_err(io)?;
            let name = child.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let name = name
                .to_str()
                .map_err(|_| ViewError::new(label, ViewErrorKind::NotUtf8))?
                .to_owned();
            let kind = match child.file_type() {
                fs::FileType::Unknown => match handle.entry(&name) {
                    Ok(Some(entry)) => entry.kind,
                    Ok(None) => continue,
                    Err(error) => return Err(ViewError::new(label, ViewErrorKind::Io(error))),
                },
                known => kind_of(known),
            };
            listed.push(Listed { name, kind });
        }
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }
}

impl Workspace {
    fn existing_parent(&self, path: &WorkspacePath) -> Result<DirHandle, ViewError> {
        self.parent(path)?.ok_or_else(|| ViewError::new(path.as_str(), ViewErrorKind::NotFound))
    }
}

fn translate(path: &WorkspacePath, error: ReadError) -> ViewError {
    let kind = match error {
        ReadError::Special => ViewErrorKind::NotAFile("a FIFO, a socket or a device"),
        ReadError::Changed => ViewErrorKind::Changed,
        ReadError::Io(error) => ViewErrorKind::Io(error),
    };
    ViewError::new(path.as_str(), kind)
}

/// A view that shows only what an action said that it reads.
pub struct RestrictedView<'a> {
    inner: &'a dyn WorkspaceView,
    reads: &'a [WorkspacePath],
    root: bool,
}

impl<'a> RestrictedView<'a> {
    /// Shows `reads` and what lies below them; and the names in the root when `root` is set.
    #[must_use]
    pub fn new(inner: &'a dyn WorkspaceView, reads: &'a [WorkspacePath], root: bool) -> Self {
        Self { inner, reads, root }
    }

    fn check(&self, path: &WorkspacePath) -> Result<(), ViewError> {
        if self.reads.iter().any(|declared| path.is_within(declared)) {
            Ok(())
        } else {
            Err(ViewError::new(path.as_str(), ViewErrorKind::Undeclared))
        }
    }
}

impl std::fmt::Debug for RestrictedView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestrictedView").field("reads", &self.reads).finish_non_exhaustive()
    }
}

impl WorkspaceView for RestrictedView<'_> {
    fn entry(&self, path: &WorkspacePath) -> Result<Option<Entry>, ViewError> {
        self.check(path)?;
        self.inner.entry(path)
    }

    fn digest(&self, path: &WorkspacePath) -> Result<Digest, ViewError> {
        self.check(path)?;
        self.inner.digest(path)
    }

    fn read(&self, path: &WorkspacePath, max_bytes: u64) -> Result<Vec<u8>, ViewError> {
        self.check(path)?;
        self.inner.read(path, max_bytes)
    }

    fn read_link(&self, path: &WorkspacePath) -> Result<String, ViewError> {
        self.check(path)?;
        self.inner.read_link(path)
    }

    fn list(&self, dir: Option<&WorkspacePath>) -> Result<Vec<Listed>, ViewError> {
        match dir {
            Some(dir) => self.check(dir)?,
            None if self.root => {}
            None => return Err(ViewError::new(".", ViewErrorKind::Undeclared)),
        }
        self.inner.list(dir)
    }
}
