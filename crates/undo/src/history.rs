//! Finished transactions, read back: what was changed, and what the slots still hold of it.

use std::io;

use lictor_capability::{Content as NewContent, FileChange, Item, State, WorkspaceView};
use lictor_context::{Digest, ExecutionId, WorkspacePath};
use lictor_executor::ExecutionRecord;
use lictor_workspace::state_at;

use crate::bases;
use crate::journal::{self, End, Journal, JournalError, JournalItem};
use crate::store::{SlotRef, TxRoot};
use crate::transaction::Transactions;

/// The largest content that is shown in a diff, in bytes.
const MAX_SHOWN: u64 = 8 << 20;

/// The undo records of a workspace.
#[derive(Debug)]
pub struct History<'a> {
    transactions: &'a Transactions,
    root: TxRoot,
}

/// So many of the newest transactions are searched for content that is no longer where it was.
const MAX_SEARCHED: usize = 200;

/// The record of one finished transaction.
#[derive(Debug)]
pub struct Kept {
    pub(crate) journal: Journal,
}

/// An undo record could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the undo record of `{execution}` {kind}")]
pub struct HistoryError {
    execution: ExecutionId,
    kind: HistoryErrorKind,
}

#[derive(Debug, thiserror::Error)]
enum HistoryErrorKind {
    #[error("is damaged: {0}")]
    Damaged(String),
    #[error("cannot be read: {0}")]
    Io(io::Error),
}

impl<'a> History<'a> {
    /// Opens the records of a workspace.
    ///
    /// # Errors
    /// When the folder of transactions cannot be opened.
    pub fn open(transactions: &'a Transactions) -> io::Result<Self> {
        Ok(Self { transactions, root: transactions.root()? })
    }

    pub(crate) fn transactions(&self) -> &'a Transactions {
        self.transactions
    }

    /// The executions that may have a record, the oldest first.
    pub(crate) fn list(&self) -> io::Result<Vec<ExecutionId>> {
        self.root.list()
    }

    /// The record of an execution; `None` when there is none (it changed nothing, it was rolled
    /// back, or the record was purged).
    ///
    /// # Errors
    /// When there is one and it cannot be read.
    pub fn get(&self, execution: &ExecutionId) -> Result<Option<Kept>, HistoryError> {
        let fail = |kind| HistoryError { execution: execution.clone(), kind };
        let io = |error| fail(HistoryErrorKind::Io(error));
        let Some(tx) = self.root.get(execution).map_err(io)? else { return Ok(None) };
        let Some(text) = tx.read_journal().map_err(io)? else { return Ok(None) };
        match journal::parse(&text) {
            Ok(journal) if matches!(journal.end, End::Done | End::Open) => {
                Ok(Some(Kept { journal }))
            }
            Ok(_) | Err(JournalError::NotCommitted) => Ok(None),
            Err(error) => Err(fail(HistoryErrorKind::Damaged(error.to_string()))),
        }
    }

    /// What one changed thing held before and holds after, where that is still kept somewhere:
    /// at its path, or in a slot.
    ///
    /// # Errors
    /// When the file system fails.
    pub fn contents(&self, kept: &Kept, index: usize) -> io::Result<(Content, Content)> {
        let Some(item) = kept.journal.items.get(index) else {
            return Ok((Content::Absent, Content::Absent));
        };
        let after = match self.find(item, item.after)? {
            Content::Gone => self.overwritten(kept, item)?,
            found => found,
        };
        Ok((self.find(item, item.before)?, after))
    }

    /// What was written and somebody has overwritten since.
    fn overwritten(&self, kept: &Kept, item: &JournalItem) -> io::Result<Content> {
        let Some(digest) = item.after.and_then(|state| state.digest()) else {
            return Ok(Content::Gone);
        };
        let written = self.written(&kept.record().execution_id, digest)?;
        Ok(written.map_or(Content::Gone, Content::Bytes))
    }

    /// What stands at a path, when it is in this state and not too large to show.
    #[must_use]
    pub fn standing(&self, path: &WorkspacePath, state: Option<State>) -> Content {
        match state.and_then(|state| state.digest()) {
            None => Content::Absent,
            Some(digest) => self.at_path(path, digest).map_or(Content::Gone, Content::Bytes),
        }
    }

    /// What a planned change would put at its path, when it is not too large to show.
    ///
    /// # Errors
    /// When the file system fails.
    pub fn coming(&self, content: &NewContent, state: Option<State>) -> io::Result<Content> {
        let Some(digest) = state.and_then(|state| state.digest()) else {
            return Ok(Content::Absent);
        };
        let bytes = match content {
            NewContent::Inline(bytes) => Some(bytes.to_vec()),
            NewContent::Target(target) => Some(target.clone().into_bytes()),
            NewContent::CopyOf(path) => self.at_path(path, digest),
            // Streamed because it is large.
            NewContent::Streamed(_) => None,
            NewContent::Kept(kept) => {
                let slot = SlotRef { execution: kept.execution.clone(), index: kept.slot };
                self.in_slot(&slot, digest)?
            }
        };
        Ok(bytes.map_or(Content::Gone, Content::Bytes))
    }

    fn find(&self, item: &JournalItem, state: Option<State>) -> io::Result<Content> {
        let Some(state) = state else { return Ok(Content::Absent) };
        let Some(digest) = state.digest() else { return Ok(Content::Absent) };
        for path in [&item.from, &item.to].into_iter().flatten() {
            if let Some(bytes) = self.at_path(path, digest) {
                return Ok(Content::Bytes(bytes));
            }
        }
        for slot in [&item.keep, &item.stage].into_iter().flatten() {
            if let Some(bytes) = self.in_slot(slot, digest)? {
                return Ok(Content::Bytes(bytes));
            }
        }
        Ok(self.in_another(digest)?.map_or(Content::Gone, Content::Bytes))
    }

    /// What an undo or a redo since has set aside, in the slots of a later transaction.
    fn in_another(&self, digest: Digest) -> io::Result<Option<Vec<u8>>> {
        for execution in self.root.list()?.iter().rev().take(MAX_SEARCHED) {
            let Ok(Some(kept)) = self.get(execution) else { continue };
            let set_aside = kept
                .journal
                .items
                .iter()
                .filter(|item| item.before.and_then(|state| state.digest()) == Some(digest));
            for slot in set_aside.filter_map(|item| item.keep.as_ref()) {
                if let Some(bytes) = self.in_slot(slot, digest)? {
                    return Ok(Some(bytes));
                }
            }
        }
        Ok(None)
    }

    /// What an execution wrote, as far as it is kept as text.
    pub(crate) fn written(
        &self,
        execution: &ExecutionId,
        digest: Digest,
    ) -> io::Result<Option<Vec<u8>>> {
        match self.root.get(execution)?.map(|tx| bases::find(&tx, digest)).transpose()?.flatten() {
            Some(bytes) => Ok(Some(bytes)),
            None => self.in_another(digest),
        }
    }

    /// What an item has set aside, or one of these, if they are it.
    pub(crate) fn set_aside(
        &self,
        item: &JournalItem,
        digest: Digest,
        theirs: Option<&[u8]>,
        base: Option<&[u8]>,
    ) -> io::Result<Option<Vec<u8>>> {
        let known = [theirs, base].into_iter().flatten().find(|one| Digest::of(one) == digest);
        match (known, &item.keep) {
            (Some(known), _) => Ok(Some(known.to_vec())),
            (None, Some(slot)) => self.in_slot(slot, digest),
            (None, None) => Ok(None),
        }
    }

    /// Whether something is in a slot.
    pub(crate) fn holds(&self, slot: &SlotRef) -> io::Result<bool> {
        match self.root.get(&slot.execution)? {
            Some(tx) => Ok(tx.slots.entry(&slot.name())?.is_some()),
            None => Ok(false),
        }
    }

    fn at_path(&self, path: &WorkspacePath, digest: Digest) -> Option<Vec<u8>> {
        let workspace = self.transactions.workspace();
        let bytes = workspace.read(path, MAX_SHOWN).ok();
        let bytes = bytes.or_else(|| workspace.read_link(path).ok().map(String::into_bytes))?;
        (Digest::of(&bytes) == digest).then_some(bytes)
    }

    fn in_slot(&self, slot: &SlotRef, digest: Digest) -> io::Result<Option<Vec<u8>>> {
        let Some(tx) = self.root.get(&slot.execution)? else { return Ok(None) };
        let name = slot.name();
        let Ok(Some(state)) = state_at(&tx.slots, &name) else { return Ok(None) };
        if state.digest() != Some(digest) {
            return Ok(None);
        }
        match state {
            State::File { bytes, .. } if bytes <= MAX_SHOWN => tx.read_slot(&name).map(Some),
            State::Symlink { .. } => {
                let target = rustix::fs::readlinkat(&tx.slots, name, Vec::new())?;
                Ok(Some(target.into_bytes()))
            }
            _ => Ok(None),
        }
    }
}

/// What something held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing was there, or a directory.
    Absent,
    /// These bytes.
    Bytes(Vec<u8>),
    /// It is kept nowhere any more, or too large to show.
    Gone,
}

impl Kept {
    /// What is recorded of the execution.
    #[must_use]
    pub fn record(&self) -> &ExecutionRecord {
        &self.journal.header.record
    }

    /// What was changed, one entry for each index that [`History::contents`] takes.
    #[must_use]
    pub fn items(&self) -> Vec<Item> {
        let items = self.journal.items.iter().map(|item| Item {
            kind: item.kind,
            from: item.from.clone(),
            to: item.to.clone(),
            before: item.before,
            after: item.after,
            content: None,
            implicit: item.implicit,
        });
        items.collect()
    }

    /// The same, as it is shown.
    #[must_use]
    pub fn files(&self) -> Vec<FileChange> {
        self.items().iter().map(FileChange::from).collect()
    }
}
