//! The read-only view of a workspace that a description is worked out from.

use lictor_context::{Digest, WorkspacePath};

/// What kind of thing a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; it is never followed.
    Symlink,
    /// A FIFO, a socket, a device: never opened.
    Special,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its kind.
    pub kind: EntryKind,
    /// Its permission bits.
    pub mode: u32,
    /// Its size in bytes.
    pub size: u64,
    /// How many names it has.
    pub links: u64,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name, without its directory.
    pub name: String,
    /// Its kind.
    pub kind: EntryKind,
}

/// Looks at a workspace, and only looks. No method follows a symbolic link, at any depth.
pub trait WorkspaceView: Send + Sync {
    /// What stands at a path; `None` when nothing does.
    ///
    /// # Errors
    /// When a parent is a symbolic link or no directory, or the file system fails.
    fn entry(&self, path: &WorkspacePath) -> Result<Option<Entry>, ViewError>;

    /// The digest of a file's bytes, or of a symbolic link's target.
    ///
    /// # Errors
    /// As [`WorkspaceView::entry`]; and when there is nothing, or something without a digest.
    fn digest(&self, path: &WorkspacePath) -> Result<Digest, ViewError>;

    /// A file's bytes.
    ///
    /// # Errors
    /// As [`WorkspaceView::entry`]; and when it is no file, or larger than `max_bytes`.
    fn read(&self, path: &WorkspacePath, max_bytes: u64) -> Result<Vec<u8>, ViewError>;

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// As [`WorkspaceView::entry`]; and when it is no symbolic link, or not UTF-8.
    fn read_link(&self, path: &WorkspacePath) -> Result<String, ViewError>;

    /// All names of a file that has more than one (hard links), its own included; none for anything
    /// else. A rule about one of them is a rule about the file.
    ///
    /// # Errors
    /// As [`WorkspaceView::entry`]; and when not all of them can be told.
    fn names(&self, path: &WorkspacePath) -> Result<Vec<WorkspacePath>, ViewError> {
        let _ = path;
        Ok(Vec::new())
    }

    /// What a directory holds, sorted by name; `None` is the workspace root.
    ///
    /// # Errors
    /// As [`WorkspaceView::entry`]; and when it is no directory, or a name in it is not UTF-8.
    fn list(&self, dir: Option<&WorkspacePath>) -> Result<Vec<Listed>, ViewError>;

    /// Whether nobody may look into this, as far as whoever made the view knows: what takes all there
    /// is can leave it out, in place of being refused for it.
    fn hides(&self, _path: &WorkspacePath) -> bool {
        false
    }
}

/// The workspace could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("cannot look at `{path}`: {kind}")]
pub struct ViewError {
    path: String,
    kind: ViewErrorKind,
}

/// Why the workspace could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ViewErrorKind {
    /// There is nothing.
    #[error("there is nothing")]
    NotFound,
    /// A directory on the way is a symbolic link.
    #[error("`{at}` on the way is a symbolic link, and links are not followed")]
    ThroughSymlink {
        /// The link.
        at: String,
    },
    /// Something on the way is no directory.
    #[error("something on the way is not a directory")]
    NotADirectory,
    /// A FIFO, a socket, a device, a directory where a file was expected.
    #[error("it is {0}, not a regular file")]
    NotAFile(&'static str),
    /// The file is larger than what may be read.
    #[error("it holds {size} bytes; at most {limit} are read here")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A name or a link target that is not UTF-8.
    #[error("it holds a name that is not UTF-8")]
    NotUtf8,
    /// It changed while it was read.
    #[error("it changed while it was read")]
    Changed,
    /// The path is not among those that the action was allowed to read.
    #[error("the action did not say that it reads this")]
    Undeclared,
    /// The path is forbidden.
    #[error("it is forbidden")]
    Forbidden,
    /// The file system failed.
    #[error("{0}")]
    Io(#[source] std::io::Error),
}

impl ViewError {
    /// For views.
    #[must_use]
    pub fn new(path: impl Into<String>, kind: ViewErrorKind) -> Self {
        Self { path: path.into(), kind }
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> &ViewErrorKind {
        &self.kind
    }

    /// Why, by value.
    #[must_use]
    pub fn into_kind(self) -> ViewErrorKind {
        self.kind
    }

    /// Where.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}
