//! From the things that a change set touches to single operations in an order that works.
//!
//! Everything that leaves its path leaves first; then the directories that go, from the leaves
//! up; then new directories, from the root down; then everything arrives; then content and modes
//! change in place. A rename whose target is still taken, or that could meet a directory on its
//! way out, goes by a slot, which is what makes chains and swaps possible.

use std::collections::HashSet;

use lictor_capability::{Content, Item, State};
use lictor_context::{ExecutionId, WorkspacePath};

use crate::journal::JournalItem;
use crate::operation::Operation;
use crate::store::SlotRef;

/// Gives every item its slots.
pub(crate) fn items(execution: &ExecutionId, changes: &[Item]) -> Vec<JournalItem> {
    let leaving: HashSet<&WorkspacePath> = changes
        .iter()
        .filter(|item| item.from != item.to)
        .filter_map(|item| item.from.as_ref())
        .collect();
    let removes_directories = changes
        .iter()
        .any(|item| item.to.is_none() && matches!(item.before, Some(State::Directory { .. })));
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
        let contested = item.to.as_ref().is_some_and(|to| leaving.contains(to));
        let keep = match (&item.from, &item.to) {
            (None, _) => None,
            (Some(_), None) => Some(slot()),
            (Some(from), Some(to)) if from == to => stage.clone(),
            (Some(_), Some(_)) if stage.is_some() || contested || removes_directories => {
                Some(slot())
            }
            (Some(_), Some(_)) => None,
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
            implicit: item.implicit,
        });
    }
    items
}

impl JournalItem {
    /// Whether the old thing leaves its path and comes back elsewhere, by a slot.
    pub(crate) fn goes_by_slot(&self) -> bool {
        self.stage.is_none() && self.keep.is_some() && self.to.is_some()
    }

    fn is_directory(&self) -> bool {
        matches!(self.before.or(self.after), Some(State::Directory { .. }))
    }
}

/// The operations of a transaction, in order, each with the item that it belongs to.
pub(crate) fn operations(items: &[JournalItem]) -> Vec<(usize, Operation)> {
    let mut phases: [Vec<(usize, Operation)>; 6] = Default::default();
    let [leave, remove_dirs, make_dirs, travel, arrive, in_place] = &mut phases;
    for (index, item) in items.iter().enumerate() {
        let (before, after) = (item.before, item.after);
        match (&item.from, &item.to, &item.stage, &item.keep) {
            (None, Some(to), Some(stage), _) => {
                if let Some(state) = after {
                    let put = Operation::Put { path: to.clone(), slot: stage.clone(), state };
                    if item.is_directory() { &mut *make_dirs } else { &mut *arrive }
                        .push((index, put));
                }
            }
            (Some(from), None, _, Some(keep)) => {
                if let Some(state) = before {
                    let (path, slot) = (from.clone(), keep.clone());
                    let take = Operation::Take { path, slot, state, if_empty: item.implicit };
                    if item.is_directory() { &mut *remove_dirs } else { &mut *leave }
                        .push((index, take));
                }
            }
            (Some(from), Some(to), Some(stage), Some(_)) if from == to => {
                if let (Some(before), Some(after)) = (before, after) {
                    let (path, slot) = (to.clone(), stage.clone());
                    in_place.push((index, Operation::Swap { path, slot, before, after }));
                }
            }
            (Some(from), Some(to), stage, Some(keep)) => {
                if let (Some(before), Some(after)) = (before, after) {
                    let take = Operation::Take {
                        path: from.clone(),
                        slot: keep.clone(),
                        state: before,
                        if_empty: false,
                    };
                    leave.push((index, take));
                    let arrives = if stage.is_some() { after } else { before };
                    let slot = stage.as_ref().unwrap_or(keep).clone();
                    arrive.push((index, Operation::Put { path: to.clone(), slot, state: arrives }));
                }
            }
            (Some(from), Some(to), None, None) if from != to => {
                if let Some(state) = before {
                    let (from, to) = (from.clone(), to.clone());
                    travel.push((index, Operation::Move { from, to, state }));
                }
            }
            _ => {}
        }
        if let (Some(_), Some(to), None) = (&item.from, &item.to, &item.stage)
            && let (Some(before), Some(after)) =
                (before.and_then(|s| s.mode()), after.and_then(|s| s.mode()))
            && before != after
        {
            in_place.push((index, Operation::Chmod { path: to.clone(), before, after }));
        }
    }
    let by_path = |operation: &Operation| match operation {
        Operation::Put { path, .. } | Operation::Take { path, .. } => path.clone(),
        Operation::Swap { path, .. } | Operation::Chmod { path, .. } => path.clone(),
        Operation::Move { from, .. } => from.clone(),
    };
    make_dirs.sort_by_key(|(_, operation)| by_path(operation));
    remove_dirs.sort_by_key(|(_, operation)| std::cmp::Reverse(by_path(operation)));
    phases.into_iter().flatten().collect()
}
