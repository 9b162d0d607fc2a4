//! Folders that outlive the execution that made them, because others have put something in: they go
//! with the last of these.
//!
//! An undo removes a folder of its execution only when it is empty. What others have put in keeps it
//! standing, and when these are undone later, nobody would remove it any more. So the undo that
//! empties a folder takes it along, when
//!
//! - it is the very folder (by inode) that some execution made, and that one is undone; and
//! - since the execution that is now undone was done, something else of the folder was taken back:
//!   before that it had been there for others, and being there is what it is put back to.
//!
//! It returns to the slot that it came from, like everything else, so that each redo finds it. All
//! this is read from journals, which say what an undo took and what it would have taken: nothing
//! more has to be written, and a crash can lose nothing of it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lictor_capability::{ChangeKind, Item};
use lictor_context::{ExecutionId, WorkspacePath};

use crate::history::{History, HistoryError};
use crate::journal::{End, Header, JournalItem};
use crate::plan::UndoError;
use crate::store::SlotRef;
use crate::transaction::Transactions;

/// Ids sort by when an execution was asked for, tokens by when it had the lock. So many that are
/// older by their ids are looked at as well: they may have waited for the lock.
const MAX_WAITED: usize = 64;

/// What an undo did to folders.
#[derive(Debug, Clone)]
pub(crate) struct Undone {
    /// When it had the lock.
    token: u64,
    id: ExecutionId,
    of: Vec<ExecutionId>,
    /// The folders that it took something from.
    from: HashSet<u64>,
    /// The folders that were to go, each with the slot that it came from.
    folders: Vec<(WorkspacePath, u64, SlotRef)>,
}

/// The undos that were read, `None` for what is none. A closed journal never changes.
#[derive(Debug, Default)]
pub(crate) struct Undos(Mutex<HashMap<ExecutionId, Option<Arc<Undone>>>>);

impl Undos {
    fn known(&self) -> MutexGuard<'_, HashMap<ExecutionId, Option<Arc<Undone>>>> {
        // Only whole entries are put in, so a poisoned one holds whole ones.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was purged is not kept here for ever either.
    fn forget_beyond(&self, n_executions: usize) {
        let mut known = self.known();
        if known.len() > n_executions.saturating_mul(2).saturating_add(1024) {
            known.clear();
        }
    }
}

/// A folder, and the execution with which it would go.
pub(crate) struct Emptied<'a> {
    pub(crate) folder: &'a WorkspacePath,
    pub(crate) inode: u64,
    pub(crate) by: &'a ExecutionId,
    /// When that one had the lock.
    pub(crate) token: u64,
}

impl Undone {
    /// Of a journal, when it is that of an undo.
    fn of_journal(id: &ExecutionId, header: &Header, items: &[JournalItem]) -> Option<Self> {
        if header.record.undo_of.is_empty() {
            return None;
        }
        let folders = items.iter().filter_map(|item| match (&item.from, &item.to, &item.keep) {
            (Some(from), None, Some(keep)) if item.is_directory() && item.implicit => {
                Some((from.clone(), item.inode?, keep.clone()))
            }
            _ => None,
        });
        Some(Self {
            token: header.token,
            id: id.clone(),
            of: header.record.undo_of.clone(),
            from: items.iter().filter_map(|item| item.from_dir).collect(),
            folders: folders.collect(),
        })
    }

    /// Of an undo that is planned: what will be in its journal.
    pub(crate) fn planned(execution: &ExecutionId, items: &[JournalItem], plan: &[Item]) -> Self {
        let goes: HashSet<&WorkspacePath> =
            plan.iter().filter_map(|planned| planned.from.as_ref()).collect();
        let made = items.iter().filter(|item| item.to.as_ref().is_some_and(|to| goes.contains(to)));
        let folders = made.clone().filter_map(|item| match (&item.from, &item.to, &item.stage) {
            (None, Some(to), Some(stage)) if item.is_directory() => {
                Some((to.clone(), item.new_inode?, stage.clone()))
            }
            _ => None,
        });
        Self {
            token: u64::MAX,
            id: execution.clone(),
            of: vec![execution.clone()],
            from: made.clone().filter_map(|item| item.to_dir).collect(),
            folders: folders.collect(),
        }
    }

    /// The slot that a folder came from, if this was to remove it.
    fn slot(&self, emptied: &Emptied<'_>) -> Option<&SlotRef> {
        let found = self
            .folders
            .iter()
            .find(|(folder, inode, _)| folder == emptied.folder && *inode == emptied.inode);
        found.map(|(_, _, slot)| slot)
    }

    /// Whether it took something back that was in the folder, or would have taken the folder.
    fn was_in(&self, emptied: &Emptied<'_>) -> bool {
        self.token > emptied.token
            && (self.from.contains(&emptied.inode) || self.slot(emptied).is_some())
    }
}

impl History<'_> {
    /// The slot that a folder came from, when it was left over and goes with this execution.
    pub(crate) fn leftover(
        &self,
        emptied: &Emptied<'_>,
        planned: &[Arc<Undone>],
    ) -> Result<Option<SlotRef>, UndoError> {
        let mut undos: Vec<Arc<Undone>> = planned.iter().rev().cloned().collect();
        let mut rest = self.list()?;
        self.transactions().undos().forget_beyond(rest.len());
        // A folder that nothing else was taken from is nobody's leftover; seen without reading it all.
        let mut older = 0;
        while older < MAX_WAITED
            && let Some(id) = rest.pop()
        {
            older += usize::from(id < *emptied.by);
            undos.extend(self.undone(&id)?);
        }
        if !undos.iter().any(|undo| undo.was_in(emptied)) {
            return Ok(None);
        }
        for id in rest.iter().rev() {
            undos.extend(self.undone(id)?);
        }
        Ok(left_by_its_maker(undos, emptied))
    }

    fn undone(&self, id: &ExecutionId) -> Result<Option<Arc<Undone>>, HistoryError> {
        let undos = self.transactions().undos();
        if let Some(known) = undos.known().get(id) {
            return Ok(known.clone());
        }
        let Some(kept) = self.get(id)? else { return Ok(None) };
        let (header, items) = (&kept.journal.header, &kept.journal.items);
        let undone = Undone::of_journal(id, header, items).map(Arc::new);
        if kept.journal.end == End::Done {
            undos.known().insert(id.clone(), undone.clone());
        }
        Ok(undone)
    }
}

/// Undos that were themselves taken back count for nothing.
fn left_by_its_maker(mut undos: Vec<Arc<Undone>>, emptied: &Emptied<'_>) -> Option<SlotRef> {
    // Those that are planned come last of all, and are at the front already.
    undos.sort_by_key(|undo| std::cmp::Reverse(undo.token));
    let mut taken_back: HashSet<&ExecutionId> = HashSet::from([emptied.by]);
    let mut standing = Vec::with_capacity(undos.len());
    for undo in &undos {
        if !taken_back.contains(&undo.id) {
            taken_back.extend(&undo.of);
            standing.push(undo);
        }
    }
    if !standing.iter().any(|undo| undo.was_in(emptied)) {
        return None;
    }
    let slot = undos.iter().find_map(|undo| undo.slot(emptied))?;
    taken_back.contains(&slot.execution).then(|| slot.clone())
}

/// The slots that folders return to which go with an undo and were made by another execution.
pub(crate) fn homes(
    transactions: &Transactions,
    undo_of: &[ExecutionId],
    changes: &[Item],
    homes: &mut HashMap<WorkspacePath, SlotRef>,
) -> io::Result<()> {
    let [execution] = undo_of else { return Ok(()) };
    let folders = changes.iter().filter(|item| item.implicit && item.kind == ChangeKind::Rmdir);
    for folder in folders.filter_map(|item| item.from.as_ref()) {
        if homes.contains_key(folder) {
            continue;
        }
        let history = History::open(transactions)?;
        let Some(kept) = history.get(execution).map_err(io::Error::other)? else { continue };
        let Some(inode) = inode(transactions, folder)? else { continue };
        let token = kept.journal.header.token;
        let emptied = Emptied { folder, inode, by: execution, token };
        if let Some(slot) = history.leftover(&emptied, &[]).map_err(io::Error::other)?
            && !history.holds(&slot)?
        {
            homes.insert(folder.clone(), slot);
        }
    }
    Ok(())
}

/// The inode of what stands at a path.
pub(crate) fn inode(transactions: &Transactions, path: &WorkspacePath) -> io::Result<Option<u64>> {
    let parent = transactions.workspace().parent(path).map_err(io::Error::other)?;
    parent.map_or(Ok(None), |parent| parent.inode(path.name()))
}
