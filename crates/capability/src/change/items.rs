//! What a change set means in this workspace: items, each with its state before and after.

use std::fmt;
use std::io;
use std::sync::Arc;

use lictor_context::{Digest, ExecutionId, WorkspacePath};
use serde::{Deserialize, Serialize};

use super::set::FileMode;

/// What a path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum State {
    /// A regular file.
    File {
        /// The digest of its bytes.
        digest: Digest,
        /// Its permission bits.
        mode: FileMode,
        /// Its size in bytes.
        bytes: u64,
    },
    /// A directory; what it holds is not part of its state.
    Directory {
        /// Its permission bits.
        mode: FileMode,
    },
    /// A symbolic link.
    Symlink {
        /// The digest of its target.
        digest: Digest,
    },
}

impl State {
    /// The digest of what it holds; directories have none.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::File { digest, .. } | Self::Symlink { digest } => Some(*digest),
            Self::Directory { .. } => None,
        }
    }

    /// The permission bits; links have none of their own.
    #[must_use]
    pub fn mode(&self) -> Option<FileMode> {
        match self {
            Self::File { mode, .. } | Self::Directory { mode } => Some(*mode),
            Self::Symlink { .. } => None,
        }
    }
}

/// Where the bytes of an item's new state come from.
#[derive(Clone)]
pub enum Content {
    /// From the change set.
    Inline(Arc<[u8]>),
    /// From another file of the workspace, streamed; its digest is checked while it is copied.
    CopyOf(WorkspacePath),
    /// A link's target.
    Target(String),
    /// From what an earlier execution set aside: an undo.
    Kept(KeptContent),
    /// Read a piece at a time when it is prepared, and never whole in memory; its digest is checked
    /// on the way.
    Streamed(Arc<dyn ContentSource>),
}

/// Bytes that are opened when they are wanted: of a file outside of the workspace, of a download
/// that was kept, of anything too large to be carried.
pub trait ContentSource: Send + Sync {
    /// Begins to read them.
    ///
    /// # Errors
    /// When they cannot be read any more; then nothing is changed.
    fn open(&self) -> io::Result<Box<dyn io::Read + Send>>;
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Self::CopyOf(path) => write!(f, "CopyOf({path})"),
            Self::Target(target) => write!(f, "Target({target:?})"),
            Self::Kept(kept) => write!(f, "Kept({kept:?})"),
            Self::Streamed(_) => f.write_str("Streamed(..)"),
        }
    }
}

/// A slot of an earlier execution.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeptContent {
    /// The execution.
    pub execution: ExecutionId,
    /// Its slot.
    pub slot: u32,
}

/// What happens to one thing, in a word; the word that reports use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A new file.
    Create,
    /// Other content.
    Modify,
    /// A file or link goes.
    Delete,
    /// Another name, and perhaps other content.
    Rename,
    /// Other permission bits.
    Chmod,
    /// A new directory.
    Mkdir,
    /// A directory goes.
    Rmdir,
    /// A new symbolic link.
    Symlink,
}

/// One thing that a change set touches.
#[derive(Debug, Clone)]
pub struct Item {
    /// What happens to it.
    pub kind: ChangeKind,
    /// Where it is; `None` when it is new.
    pub from: Option<WorkspacePath>,
    /// Where it will be; `None` when it goes.
    pub to: Option<WorkspacePath>,
    /// What it is.
    pub before: Option<State>,
    /// What it will be.
    pub after: Option<State>,
    /// Where new bytes come from; `None` when they stay as they are.
    pub content: Option<Content>,
    /// Whether nobody asked for it: a parent directory that has to be there. An undo takes it
    /// away only when it is empty.
    pub implicit: bool,
}

impl Item {
    /// What is done to it in the end; `None` when nothing is.
    #[must_use]
    pub fn final_kind(&self) -> Option<ChangeKind> {
        match (&self.from, &self.to) {
            (None, None) => None,
            (None, Some(_)) => Some(match self.after {
                Some(State::Directory { .. }) => ChangeKind::Mkdir,
                Some(State::Symlink { .. }) => ChangeKind::Symlink,
                _ => ChangeKind::Create,
            }),
            (Some(_), None) => Some(match self.before {
                Some(State::Directory { .. }) => ChangeKind::Rmdir,
                _ => ChangeKind::Delete,
            }),
            (Some(from), Some(to)) if from != to => Some(ChangeKind::Rename),
            (Some(_), Some(_)) => {
                let before = self.before.and_then(|state| state.digest());
                if before != self.after.and_then(|state| state.digest()) {
                    Some(ChangeKind::Modify)
                } else {
                    (self.before != self.after).then_some(ChangeKind::Chmod)
                }
            }
        }
    }

    /// The path to report it under.
    #[must_use]
    pub fn path(&self) -> &str {
        self.from.as_ref().or(self.to.as_ref()).map_or("", WorkspacePath::as_str)
    }
}

/// What was or will be done to one path, for reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// The path.
    pub path: String,
    /// What is done to it.
    pub op: ChangeKind,
    /// The digest before.
    pub before: Option<Digest>,
    /// The digest after.
    pub after: Option<Digest>,
    /// The new name, when it gets one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The mode before, when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_mode: Option<FileMode>,
    /// The mode after, when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<FileMode>,
}

impl From<&Item> for FileChange {
    fn from(item: &Item) -> Self {
        let before_mode = item.before.and_then(|state| state.mode());
        let mode = item.after.and_then(|state| state.mode());
        let changes = before_mode != mode && before_mode.is_some() && mode.is_some();
        Self {
            path: item.path().to_owned(),
            op: item.kind,
            before: item.before.and_then(|state| state.digest()),
            after: item.after.and_then(|state| state.digest()),
            to: match (&item.from, &item.to) {
                (Some(from), Some(to)) if from != to => Some(to.to_string()),
                _ => None,
            },
            before_mode: before_mode.filter(|_| changes),
            mode: mode.filter(|_| changes),
        }
    }
}

/// Everything that a change set does, worked out against a workspace.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The things it touches, in the order in which the author named them; directories that have
    /// to be there come first.
    pub items: Vec<Item>,
    /// Lines added and taken away, as an upper bound: what differs between the first and the
    /// last line that differ.
    pub lines: u64,
    /// Bytes of new content.
    pub bytes: u64,
}

impl Changes {
    /// The report.
    #[must_use]
    pub fn files(&self) -> Vec<FileChange> {
        self.items.iter().filter(|item| !item.implicit).map(FileChange::from).collect()
    }

    /// How many things are touched that somebody asked for.
    #[must_use]
    pub fn count(&self) -> usize {
        self.items.iter().filter(|item| !item.implicit).count()
    }
}

/// The workspace holds something else than the author saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Where.
    pub path: String,
    /// What differs.
    pub reason: ConflictReason,
    /// What was expected, where that is a digest or a mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What an undo would have put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<String>,
}

/// How the workspace differs from what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictReason {
    /// Nothing is there.
    Missing,
    /// Something is there already.
    Exists,
    /// The content is another.
    ContentDiffers,
    /// The permission bits are others.
    ModeDiffers,
    /// It is a thing of another kind.
    KindDiffers,
    /// The directory is not empty.
    NotEmpty,
    /// A parent is not a directory.
    ParentNotADirectory,
    /// Its directory is another one than was looked at.
    ParentReplaced,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.reason {
            ConflictReason::Missing => "nothing is there",
            ConflictReason::Exists => "something is there already",
            ConflictReason::ContentDiffers => "the content is not what the author saw",
            ConflictReason::ModeDiffers => "the mode is not what the author saw",
            ConflictReason::KindDiffers => "it is not the kind of thing that was expected",
            ConflictReason::NotEmpty => "the directory is not empty",
            ConflictReason::ParentNotADirectory => "its parent is not a directory",
            ConflictReason::ParentReplaced => "its directory is another one than was looked at",
        };
        write!(f, "`{}`: {what}", self.path)?;
        match (&self.expected, &self.found) {
            (Some(expected), Some(found)) => write!(f, " (expected {expected}, found {found})"),
            (Some(expected), None) => write!(f, " (expected {expected})"),
            (None, Some(found)) => write!(f, " (found {found})"),
            (None, None) => Ok(()),
        }
    }
}
