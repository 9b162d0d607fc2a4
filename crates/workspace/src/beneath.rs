//! Directory handles: how every path is reached, and why none leads outside.
//!
//! A path is resolved by one `openat2` beneath the root's handle with `RESOLVE_BENEATH |
//! RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS`; where a kernel or a sandbox does not have it,
//! by walking down one `O_NOFOLLOW` step at a time. A string is never resolved twice: what was
//! looked at and what is changed hang on the same handle.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use lictor_capability::{Entry, EntryKind, ViewError, ViewErrorKind};
use lictor_context::WorkspacePath;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::names::Names;

/// A directory of the workspace, held open.
#[derive(Debug)]
pub struct DirHandle {
    fd: OwnedFd,
}

impl AsFd for DirHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for DirHandle {
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl DirHandle {
    /// What stands at a name in this directory; links are not followed.
    ///
    /// # Errors
    /// When the file system fails.
    pub fn entry(&self, name: &str) -> io::Result<Option<Entry>> {
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(entry_of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The inode number of what stands at a name.
    ///
    /// # Errors
    /// When the file system fails.
    pub fn inode(&self, name: &str) -> io::Result<Option<u64>> {
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat.st_ino)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Which directory a workspace is, whatever its path says: device and inode of the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RootId {
    /// The device.
    pub device: u64,
    /// The inode.
    pub inode: u64,
}

/// The workspace could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the workspace `{}`", .path.display())]
pub struct OpenError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A workspace: a directory that everything happens beneath.
#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
    root: DirHandle,
    id: RootId,
    /// Whether `openat2` turned out to be missing.
    walks: AtomicBool,
    pub(crate) names: Names,
}

impl Workspace {
    /// Opens the directory at `path`.
    ///
    /// # Errors
    /// When it is no directory, or cannot be opened.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = path.into();
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = fs::open(&path, flags, Mode::empty())
            .and_then(|fd| fs::fstat(&fd).map(|stat| (fd, stat)));
        match opened {
            Ok((fd, stat)) => Ok(Self {
                path,
                root: DirHandle { fd },
                id: RootId { device: stat.st_dev, inode: stat.st_ino },
                walks: AtomicBool::new(false),
                names: Names::default(),
            }),
            Err(error) => Err(OpenError { path, source: error.into() }),
        }
    }

    /// Where it was opened. For messages, and for programs that run in it; never for opening a
    /// file of it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root's own handle.
    #[must_use]
    pub fn root(&self) -> &DirHandle {
        &self.root
    }

    /// Which directory it is.
    #[must_use]
    pub fn id(&self) -> RootId {
        self.id
    }

    /// Opens the directory at `path` beneath the root; `None` when there is nothing.
    ///
    /// # Errors
    /// When something on the way is a link or no directory, or the file system fails.
    pub fn dir(&self, path: Option<&WorkspacePath>) -> Result<Option<DirHandle>, ViewError> {
        let name = path.map_or(".", WorkspacePath::as_str);
        match self.open_beneath(name, OFlags::DIRECTORY | OFlags::RDONLY) {
            Ok(fd) => Ok(Some(DirHandle { fd })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.explain(name, error)),
        }
    }

    /// Opens the parent of `path`; the name in it is [`WorkspacePath::name`]. `None` when there
    /// is no such directory.
    ///
    /// # Errors
    /// As [`Workspace::dir`].
    pub fn parent(&self, path: &WorkspacePath) -> Result<Option<DirHandle>, ViewError> {
        self.dir(path.parent().as_ref()).map_err(|error| relabel(error, path))
    }

    pub(crate) fn open_beneath(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if !self.walks.load(Ordering::Relaxed) {
            let resolve =
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            loop {
                match fs::openat2(&self.root, name, flags, Mode::empty(), resolve) {
                    // The tree moved while it was resolved; the kernel asks to try again.
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(Errno::NOSYS | Errno::PERM) => break,
                    other => return other,
                }
            }
            self.walks.store(true, Ordering::Relaxed);
        }
        self.walk(name, flags)
    }

    fn walk(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let step = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut at = fs::openat(&self.root, ".", step, Mode::empty())?;
        let mut segments = name.split('/').filter(|segment| *segment != ".").peekable();
        while let Some(segment) = segments.next() {
            let flags = if segments.peek().is_some() { step } else { flags };
            at = match fs::openat(&at, segment, flags, Mode::empty()) {
                // With O_DIRECTORY a link is reported as "not a directory".
                Err(Errno::NOTDIR) if is_link(&at, segment) => return Err(Errno::LOOP),
                other => other?,
            };
        }
        Ok(at)
    }

    /// Says which part of the way was wrong.
    fn explain(&self, name: &str, error: Errno) -> ViewError {
        let kind = match error {
            Errno::LOOP | Errno::XDEV => {
                ViewErrorKind::ThroughSymlink { at: self.first_link(name) }
            }
            Errno::NOTDIR => match self.first_link(name) {
                at if at.is_empty() => ViewErrorKind::NotADirectory,
                at => ViewErrorKind::ThroughSymlink { at },
            },
            other => ViewErrorKind::Io(other.into()),
        };
        ViewError::new(name, kind)
    }

    /// The first part of the way that is a link; for messages only.
    fn first_link(&self, name: &str) -> String {
        let step = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let Ok(mut at) = fs::openat(&self.root, ".", step, Mode::empty()) else {
            return String::new();
        };
        let mut walked = String::new();
        for segment in name.split('/') {
            if !walked.is_empty() {
                walked.push('/');
            }
            walked.push_str(segment);
            if is_link(&at, segment) {
                return walked;
            }
            match fs::openat(&at, segment, step, Mode::empty()) {
                Ok(next) => at = next,
                Err(_) => return String::new(),
            }
        }
        String::new()
    }
}

fn is_link(dir: &OwnedFd, name: &str) -> bool {
    fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

fn relabel(error: ViewError, path: &WorkspacePath) -> ViewError {
    ViewError::new(path.as_str(), error.into_kind())
}

#[cfg_attr(
    target_arch = "x86_64",
    expect(clippy::useless_conversion, reason = "the link count has 32 bits elsewhere")
)]
pub(crate) fn entry_of(stat: &Stat) -> Entry {
    Entry {
        kind: kind_of(FileType::from_raw_mode(stat.st_mode)),
        mode: stat.st_mode & 0o7777,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        links: u64::from(stat.st_nlink),
    }
}

pub(crate) fn kind_of(kind: FileType) -> EntryKind {
    match kind {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        _ => EntryKind::Special,
    }
}
