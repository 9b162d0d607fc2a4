//! How far an operation has come, read off the slots and the inodes, never remembered.

use lictor_capability::State;
use lictor_context::WorkspacePath;

use crate::journal::JournalItem;
use crate::operation::{Hands, Operation, OperationError, same};
use crate::store::SlotRef;

/// How an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing of it is in the workspace.
    Todo,
    /// It was done. What somebody has made of it since is another question.
    Done,
    /// It was done and never checked, and what came out is not what was judged: it is somebody's,
    /// and they want it back.
    Foreign,
    /// The thing is neither in its slot nor at its path.
    Lost,
}

impl Hands<'_> {
    /// How an operation stands. One that takes two calls here and was cut short between them is
    /// brought to its end first.
    pub(crate) fn standing(
        &self,
        item: &JournalItem,
        operation: &Operation,
    ) -> Result<Standing, OperationError> {
        match operation {
            Operation::Put { path, slot, .. } => self.put_standing(item, path, slot),
            Operation::Take { path, slot, state, .. } => {
                self.take_standing(item, path, slot, state)
            }
            Operation::Swap { slot, before, .. } => self.swap_standing(item, slot, before),
            Operation::Chmod { path, inode, after, if_there, .. } => {
                if *if_there {
                    // Whether it was needed is seen only when it is done.
                    return Ok(Standing::Todo);
                }
                let mut mode = self.path_mode(path, *inode)?;
                if mode.is_none()
                    && let Some(keep) = &item.keep
                    && item.to.is_none()
                {
                    mode = self.slot_mode(keep, *inode)?;
                }
                let end = item.after.and_then(|state| state.mode());
                let done = mode.is_some() && (mode == Some(*after) || mode == end);
                Ok(if done { Standing::Done } else { Standing::Todo })
            }
        }
    }

    fn put_standing(
        &self,
        item: &JournalItem,
        path: &WorkspacePath,
        slot: &SlotRef,
    ) -> Result<Standing, OperationError> {
        let thing = item.arriving_inode();
        self.finish_put(path, slot)?;
        if let Some(in_slot) = self.slot_inode(slot)? {
            let ours = item.goes_by_slot() || Some(in_slot) == thing;
            return Ok(if ours { Standing::Todo } else { Standing::Foreign });
        }
        let at_path = self.path_inode(path)?;
        if at_path.is_some() && at_path == thing {
            return Ok(Standing::Done);
        }
        if item.goes_by_slot()
            && let Some(from) = &item.from
            && self.path_inode(from)? == thing
        {
            return Ok(Standing::Todo); // it has not even left
        }
        Ok(if at_path.is_some() { Standing::Done } else { Standing::Lost })
    }

    fn take_standing(
        &self,
        item: &JournalItem,
        path: &WorkspacePath,
        slot: &SlotRef,
        state: &State,
    ) -> Result<Standing, OperationError> {
        if self.slot_inode(slot)?.is_some() {
            let ours = self.slot_state(slot)?.is_some_and(|found| same(&found, state));
            return Ok(if ours { Standing::Done } else { Standing::Foreign });
        }
        if item.goes_by_slot()
            && let Some(to) = &item.to
        {
            let there = self.path_inode(to)?;
            let moved_on = there.is_some() && there == item.inode;
            let replaced = || Ok(there.is_some() && self.path_inode(path)?.is_none());
            if moved_on || replaced()? {
                return Ok(Standing::Done);
            }
        }
        Ok(Standing::Todo)
    }

    fn swap_standing(
        &self,
        item: &JournalItem,
        slot: &SlotRef,
        before: &State,
    ) -> Result<Standing, OperationError> {
        let Some(in_slot) = self.slot_inode(slot)? else { return Ok(Standing::Lost) };
        if Some(in_slot) == item.new_inode {
            return Ok(Standing::Todo);
        }
        let ours = self.slot_state(slot)?.is_some_and(|found| same(&found, before));
        Ok(if ours { Standing::Done } else { Standing::Foreign })
    }
}
