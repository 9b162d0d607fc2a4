//! From the things that a change set touches to single operations in an order that works.
//!
//! Directories that have to let us in do so first. Then everything that leaves its path leaves;
//! then the directories that go, from the leaves up; then new directories, from the root down;
//! then everything arrives; then content and modes change in place, and directories that keep us
//! out from now on come last. A rename goes by a slot, which is what makes chains and swaps
//! possible: and only there can it be seen for certain what it was that left. Where the mount
//! cannot exchange two names, a change in place is taking out and putting in.

use std::collections::HashMap;

use lictor_capability::{Content, FileMode, Item, State};
use lictor_context::{ExecutionId, WorkspacePath};

use crate::journal::JournalItem;
use crate::means::Means;
use crate::operation::Operation;
use crate::store::SlotRef;

/// What a directory's owner needs to change what is in it, and to move the directory itself.
const OWNER: u32 = 0o700;

/// The mode that a directory has while it is staged or on its way: its own, and open to us.
pub(crate) fn open_mode(mode: FileMode) -> FileMode {
    FileMode::from_bits(mode.bits() | OWNER)
}

/// Gives every item its slots. `homes` are those of the executions that are taken back: what
/// leaves a path returns to the slot that it came from, so that after any number of undos and
/// redos every execution finds its own slots as it left them.
pub(crate) fn items(
    execution: &ExecutionId,
    changes: &[Item],
    homes: &HashMap<WorkspacePath, SlotRef>,
    means: Means,
) -> Vec<JournalItem> {
    let mut next = 0;
    let mut slot = || {
        let index = next;
        next += 1;
        SlotRef { execution: execution.clone(), index }
    };
    let mut items = Vec::with_capacity(changes.len());
    for item in changes {
        let new_thing = item.from.is_none() || item.content.is_some();
        let stage = (item.to.is_some() && new_thing).then(|| match &item.content {
            Some(Content::Kept(kept)) => {
                SlotRef { execution: kept.execution.clone(), index: kept.slot }
            }
            _ => slot(),
        });
        let mut home = |from| homes.get(from).cloned().unwrap_or_else(&mut slot);
        let keep = match (&item.from, &item.to) {
            (None, _) => None,
            (Some(from), None) => Some(home(from)),
            (Some(from), Some(to)) if from == to && (stage.is_none() || means.exchanges()) => {
                stage.clone()
            }
            (Some(from), Some(_)) if stage.is_some() => Some(home(from)),
            // By a slot: of a thing that went from path to path nobody could say what it was.
            (Some(_), Some(_)) => Some(slot()),
        };
        items.push(JournalItem {
            kind: item.kind,
            from: item.from.clone(),
            to: item.to.clone(),
            before: item.before,
            after: item.after,
            stage,
            keep,
            inode: None,
            new_inode: None,
            from_dir: None,
            to_dir: None,
            implicit: item.implicit,
        });
    }
    items
}

/// The operations of a transaction, in order, each with the item that it belongs to.
pub(crate) fn operations(items: &[JournalItem]) -> Vec<(usize, Operation)> {
    let mut phases: [Vec<(usize, Operation)>; 7] = Default::default();
    let [open, leave, remove_dirs, make_dirs, arrive, in_place, close] = &mut phases;
    for (index, item) in items.iter().enumerate() {
        let (before, after) = (item.before, item.after);
        if item.is_directory() {
            let [first, last] = around(item);
            open.extend(first.map(|operation| (index, operation)));
            close.extend(last.map(|operation| (index, operation)));
        }
        match (&item.from, &item.to, &item.stage, &item.keep) {
            (None, Some(to), Some(stage), _) => {
                if let Some(state) = after {
                    let (path, slot, dir) = (to.clone(), stage.clone(), item.to_dir);
                    let put = Operation::Put { path, slot, state, dir };
                    if item.is_directory() { &mut *make_dirs } else { &mut *arrive }
                        .push((index, put));
                }
            }
            (Some(from), None, _, Some(keep)) => {
                if let Some(state) = before {
                    let (path, slot, dir) = (from.clone(), keep.clone(), item.from_dir);
                    let if_empty = item.implicit;
                    let take = Operation::Take { path, slot, state, if_empty, dir };
                    if item.is_directory() { &mut *remove_dirs } else { &mut *leave }
                        .push((index, take));
                }
            }
            (Some(from), Some(to), Some(stage), Some(keep)) if from == to && stage == keep => {
                if let (Some(before), Some(after)) = (before, after) {
                    let (path, slot, dir) = (to.clone(), stage.clone(), item.to_dir);
                    in_place.push((index, Operation::Swap { path, slot, before, after, dir }));
                }
            }
            (Some(from), Some(to), stage, Some(keep)) => {
                if let (Some(before), Some(after)) = (before, after) {
                    let take = Operation::Take {
                        path: from.clone(),
                        slot: keep.clone(),
                        state: before,
                        if_empty: false,
                        dir: item.from_dir,
                    };
                    let state = if stage.is_some() { after } else { before };
                    let slot = stage.as_ref().unwrap_or(keep).clone();
                    let put = Operation::Put { path: to.clone(), slot, state, dir: item.to_dir };
                    if from == to {
                        // The one right after the other: the name is without its file for a moment.
                        in_place.extend([(index, take), (index, put)]);
                    } else {
                        leave.push((index, take));
                        arrive.push((index, put));
                    }
                }
            }
            _ => {}
        }
        if let (Some(_), Some(to), None, false) =
            (&item.from, &item.to, &item.stage, item.is_directory())
        {
            let (before, after) = (before.and_then(|s| s.mode()), after.and_then(|s| s.mode()));
            let chmod = before.zip(after).and_then(|(a, b)| chmod(item, to, a, b, false));
            in_place.extend(chmod.map(|operation| (index, operation)));
        }
    }
    let by_path = |operation: &Operation| match operation {
        Operation::Put { path, .. } | Operation::Take { path, .. } => path.clone(),
        Operation::Swap { path, .. } | Operation::Chmod { path, .. } => path.clone(),
    };
    for from_the_root in [open, make_dirs] {
        from_the_root.sort_by_key(|(_, operation)| by_path(operation));
    }
    for from_the_leaves in [remove_dirs, close] {
        from_the_leaves.sort_by_key(|(_, operation)| std::cmp::Reverse(by_path(operation)));
    }
    phases.into_iter().flatten().collect()
}

/// What a directory's mode does before and after everything else: it first lets us in where it
/// did not, and at last becomes what it is to be.
fn around(item: &JournalItem) -> [Option<Operation>; 2] {
    let mode = |state: Option<State>| state.and_then(|state| state.mode());
    match (&item.from, &item.to, mode(item.before), mode(item.after)) {
        (Some(path), Some(_), Some(before), Some(after)) => {
            let between = FileMode::from_bits(before.bits() | (after.bits() & OWNER));
            [chmod(item, path, before, between, false), chmod(item, path, between, after, false)]
        }
        // To be moved to another parent, a directory has to be writable itself.
        (Some(path), None, Some(before), _) => {
            let between = open_mode(before);
            let stays = item.implicit.then(|| chmod(item, path, between, before, true));
            [chmod(item, path, before, between, false), stays.flatten()]
        }
        (None, Some(path), _, Some(after)) => {
            [None, chmod(item, path, open_mode(after), after, false)]
        }
        _ => [None, None],
    }
}

fn chmod(
    item: &JournalItem,
    path: &WorkspacePath,
    before: FileMode,
    after: FileMode,
    if_there: bool,
) -> Option<Operation> {
    let inode = item.arriving_inode();
    (before != after).then(|| Operation::Chmod {
        path: path.clone(),
        inode,
        before,
        after,
        if_there,
    })
}
