//! Which folders are empty when an undo is done, and which of them go with it.

use std::collections::{BTreeSet, HashSet};
use std::io;

use lictor_capability::{ChangeKind, Changes, Conflict, ConflictReason, Item, State};
use lictor_context::{ExecutionId, WorkspacePath};
use rustix::fs;

use crate::history::History;
use crate::journal::Journal;
use crate::leftover::{Emptied, inode};
use crate::plan::{Planner, UndoError};
use crate::transaction::Transactions;

/// What a planned undo leaves of folders.
struct Leaving<'a> {
    planner: &'a Planner<'a>,
    /// What is nowhere any more.
    gone: HashSet<WorkspacePath>,
    /// The folders that something is put into, by this undo or one before it.
    filled: HashSet<WorkspacePath>,
}

/// Adds the folders that go with an undo although another execution has made them. Those that the
/// undo would remove if they were empty, and that are not, are the answer.
pub(crate) fn end(
    planner: &Planner<'_>,
    execution: &ExecutionId,
    journal: &Journal,
    changes: &mut Changes,
) -> Result<HashSet<WorkspacePath>, UndoError> {
    let mut leaving = Leaving::of(planner, changes);
    let mut own: Vec<WorkspacePath> =
        changes.items.iter().filter(if_empty).filter_map(|item| item.from.clone()).collect();
    // Those below come first.
    own.sort_by(|one, other| other.cmp(one));
    let mut stay = HashSet::new();
    for folder in own {
        if leaving.is_empty(&folder)? {
            leaving.gone.insert(folder);
        } else {
            stay.insert(folder);
        }
    }
    let token = journal.header.token;
    let mut above: BTreeSet<WorkspacePath> =
        leaving.gone.iter().filter_map(WorkspacePath::parent).collect();
    while let Some(folder) = above.pop_last() {
        if leaving.gone.contains(&folder) || stay.contains(&folder) {
            continue;
        }
        let Some(state @ State::Directory { .. }) = planner.state(&folder)? else { continue };
        let Some(inode) = inode(planner.transactions, &folder)? else { continue };
        let emptied = Emptied { folder: &folder, inode, by: execution, token };
        if !leaving.is_empty(&folder)?
            || planner.history.leftover(&emptied, &planner.planned)?.is_none()
        {
            continue;
        }
        changes.items.push(Item {
            kind: ChangeKind::Rmdir,
            from: Some(folder.clone()),
            to: None,
            before: Some(state),
            after: None,
            content: None,
            implicit: true,
        });
        above.extend(folder.parent());
        leaving.gone.insert(folder);
    }
    Ok(stay)
}

/// Where an undo that was planned a while ago, when others were still in a folder or a folder's maker
/// still stood, would leave or take other folders than one that is planned now. To be asked under the
/// lock.
pub(crate) fn outdated(
    transactions: &Transactions,
    undo_of: &[ExecutionId],
    changes: &Changes,
) -> Result<Vec<Conflict>, UndoError> {
    let [execution] = undo_of else { return Ok(Vec::new()) };
    let history = History::open(transactions)?;
    let Some(kept) = history.get(execution)? else { return Ok(Vec::new()) };
    let own: HashSet<&WorkspacePath> =
        kept.journal.items.iter().filter_map(|item| item.to.as_ref()).collect();
    let of_others = |changes: &Changes| -> BTreeSet<WorkspacePath> {
        let folders = changes.items.iter().filter(if_empty).filter_map(|item| item.from.as_ref());
        folders.filter(|folder| !own.contains(folder)).cloned().collect()
    };
    let judged = of_others(changes);
    let mut now = changes.clone();
    now.items.retain(|item| {
        !(if_empty(&item) && item.from.as_ref().is_some_and(|f| judged.contains(f)))
    });
    end(&Planner::alone(transactions, &history), execution, &kept.journal, &mut now)?;
    let now = of_others(&now);
    let conflict = |path: &WorkspacePath, reason| Conflict {
        path: path.to_string(),
        reason,
        expected: None,
        found: None,
        restores: None,
    };
    let left = now.difference(&judged).map(|path| conflict(path, ConflictReason::Exists));
    let kept = judged.difference(&now).map(|path| conflict(path, ConflictReason::NotEmpty));
    Ok(left.chain(kept).collect())
}

/// Whether it is a folder that goes if nobody has put anything into it.
fn if_empty(item: &&Item) -> bool {
    item.implicit && item.to.is_none()
}

impl<'a> Leaving<'a> {
    fn of(planner: &'a Planner<'a>, changes: &Changes) -> Self {
        let moved = || changes.items.iter().filter(|item| item.from != item.to);
        let arrives: HashSet<&WorkspacePath> =
            moved().filter_map(|item| item.to.as_ref()).collect();
        let gone = moved().filter(|item| !if_empty(item)).filter_map(|item| item.from.as_ref());
        let gone: HashSet<WorkspacePath> =
            gone.filter(|from| !arrives.contains(from)).cloned().collect();
        let before =
            planner.overlay.iter().filter(|(path, state)| state.is_some() && !gone.contains(*path));
        let there = arrives.iter().copied().chain(before.map(|(path, _)| path));
        let filled = there.filter_map(WorkspacePath::parent).collect();
        Self { planner, gone, filled }
    }

    /// Whether nothing is in a folder by then.
    fn is_empty(&self, folder: &WorkspacePath) -> io::Result<bool> {
        if self.filled.contains(folder) {
            return Ok(false);
        }
        let workspace = self.planner.transactions.workspace();
        let Some(dir) = workspace.dir(Some(folder)).map_err(io::Error::other)? else {
            return Ok(true);
        };
        for entry in fs::Dir::read_from(&dir)? {
            let entry = entry?;
            if entry.file_name() == c"." || entry.file_name() == c".." {
                continue;
            }
            let child = entry.file_name().to_str().ok().and_then(|name| folder.join(name).ok());
            let goes = child.is_some_and(|child| {
                self.gone.contains(&child) || self.planner.overlay.get(&child) == Some(&None)
            });
            if !goes {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
