//! The journal: what a transaction is about to do, sealed before it does the first of it.
//!
//! Lines of JSON. A header, one line for each item, and `{"commit": …}` with the digest of all
//! lines above. A journal without a fitting commit line was never begun. Lines after it say how
//! the transaction went: `verified`, `abort`, `aborted`, `done`.

use lictor_capability::{ChangeKind, State};
use lictor_context::{Digest, WorkspacePath};
use lictor_executor::ExecutionRecord;
use serde::{Deserialize, Serialize};

use crate::means::Means;
use crate::operation::same;
use crate::store::SlotRef;

/// The version of the format. A newer one is refused, not guessed at.
pub(crate) const VERSION: u32 = 1;

/// What a transaction is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub v: u32,
    /// Device and inode of the workspace's root: a copied workspace is another one.
    pub root: (u64, u64),
    /// The fencing token under which it was begun.
    pub token: u64,
    /// Whether a crash means going back.
    pub back_on_crash: bool,
    /// How things change places on this mount.
    #[serde(default)]
    pub means: Means,
    /// Acknowledged behind the first barrier: what others have changed since is no reason to put
    /// it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lazy: bool,
    pub record: ExecutionRecord,
}

/// One thing that a transaction touches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct JournalItem {
    pub kind: ChangeKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<WorkspacePath>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<WorkspacePath>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<State>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<State>,
    /// Where the new thing comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<SlotRef>,
    /// Where the old thing goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<SlotRef>,
    /// The old thing's inode: after a crash it tells what has moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// The new thing's inode, for the same reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_inode: Option<u64>,
    /// The inode of the directory that the old thing is taken from. A path that holds nothing
    /// tells nothing when its directory is another one by now. Earlier versions did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_dir: Option<u64>,
    /// The inode of the directory that the new thing is put into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_dir: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub implicit: bool,
}

/// How a journal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It was begun, and its outcome is not settled.
    Open,
    /// It is being put back.
    Aborting,
    /// It was put back.
    Aborted,
    /// It stands.
    Done,
}

/// A journal that was read back.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    pub header: Header,
    pub items: Vec<JournalItem>,
    pub end: End,
}

/// A journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// It has no fitting commit line: its transaction was never begun.
    #[error("the journal is not complete")]
    NotCommitted,
    /// It was written by a newer Lictor.
    #[error("the journal has format {0}, and this program reads format {VERSION}; use a newer one")]
    Newer(u32),
    /// Sealed, and still not readable.
    #[error("the journal is sealed but cannot be read: {0}")]
    Unreadable(serde_json::Error),
}

#[derive(Serialize, Deserialize)]
struct Commit {
    commit: Digest,
}

pub(crate) const DONE: &str = "{\"done\":true}";
pub(crate) const ABORT: &str = "{\"abort\":true}";
pub(crate) const ABORTED: &str = "{\"aborted\":true}";
pub(crate) const VERIFIED: &str = "{\"verified\":true}";

/// A line as it is appended: it begins with an end of line as well, so that one before it that
/// was cut short does not swallow it.
pub(crate) fn appended(line: &str) -> Vec<u8> {
    format!("\n{line}\n").into_bytes()
}

/// The sealed text of a journal.
pub(crate) fn seal(header: &Header, items: &[JournalItem]) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = Vec::with_capacity(512 + items.len() * 400);
    serde_json::to_writer(&mut text, header)?;
    text.push(b'\n');
    for item in items {
        serde_json::to_writer(&mut text, item)?;
        text.push(b'\n');
    }
    let commit = Commit { commit: Digest::of(&text) };
    serde_json::to_writer(&mut text, &commit)?;
    text.push(b'\n');
    Ok(text)
}

/// Reads a journal back.
pub(crate) fn parse(text: &[u8]) -> Result<Journal, JournalError> {
    let (sealed, tail) = split(text).ok_or(JournalError::NotCommitted)?;
    let mut lines = sealed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let first = lines.next().ok_or(JournalError::NotCommitted)?;
    #[derive(Deserialize)]
    struct VersionOnly {
        v: u32,
    }
    let version: VersionOnly = serde_json::from_slice(first).map_err(JournalError::Unreadable)?;
    if version.v > VERSION {
        return Err(JournalError::Newer(version.v));
    }
    let header = serde_json::from_slice(first).map_err(JournalError::Unreadable)?;
    let items: Result<Vec<JournalItem>, _> = lines.map(serde_json::from_slice).collect();
    let mut journal =
        Journal { header, items: items.map_err(JournalError::Unreadable)?, end: End::Open };
    for line in tail.split_inclusive(|byte| *byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\n") else { continue };
        if line == ABORT.as_bytes() {
            journal.end = End::Aborting;
        } else if line == ABORTED.as_bytes() {
            journal.end = End::Aborted;
        } else if line == DONE.as_bytes() {
            journal.end = End::Done;
        } else if line == VERIFIED.as_bytes() {
            journal.header.back_on_crash = false;
        }
        // Anything else is an append that was cut short; it counts as not written.
    }
    Ok(journal)
}

/// What the commit line seals, and what follows it.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let end = at + line.len();
        if line.starts_with(b"{\"commit\":") && line.ends_with(b"\n") {
            let sealed = text.get(..at)?;
            let commit: Commit = serde_json::from_slice(line).ok()?;
            return (commit.commit == Digest::of(sealed))
                .then(|| (sealed, text.get(end..).unwrap_or_default()));
        }
        at = end;
    }
    None
}

impl JournalItem {
    /// Whether the old thing leaves its path and comes back elsewhere, by a slot.
    pub(crate) fn goes_by_slot(&self) -> bool {
        self.stage.is_none() && self.keep.is_some() && self.to.is_some()
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.before.or(self.after), Some(State::Directory { .. }))
    }

    /// Whether something is in a state, as far as this item goes: a directory is one whatever its
    /// mode, unless its mode is what is changed.
    pub(crate) fn is_like(&self, found: &State, state: &State) -> bool {
        if self.is_directory() && self.from.is_some() && self.to.is_some() {
            found == state
        } else {
            same(found, state)
        }
    }

    /// The inode that arrives at the new path.
    pub(crate) fn arriving_inode(&self) -> Option<u64> {
        if self.stage.is_some() { self.new_inode } else { self.inode }
    }

    /// The path to report it under.
    pub(crate) fn path(&self) -> &str {
        self.from.as_ref().or(self.to.as_ref()).map_or("", |path| path.as_str())
    }
}
