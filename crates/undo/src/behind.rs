//! What shows that a later transaction has begun, whatever became of an earlier one.

use lictor_context::WorkspacePath;

use crate::journal::JournalItem;
use crate::operation::{Hands, Operation, OperationError};
use crate::store::SlotRef;

/// A transaction that has no end noted, and perhaps never reached the disk.
pub(crate) struct Earlier<'a> {
    pub(crate) items: &'a [JournalItem],
    pub(crate) operations: &'a [(usize, Operation)],
}

impl Earlier<'_> {
    /// Whether an operation of a later transaction has left a trace that only itself can have left,
    /// however much was done of the earlier one. What an undo moves by the slots of the earlier one
    /// is none, and needs none: it looks the same when that one never came so far, and both go
    /// forward then, one after the other.
    pub(crate) fn is_behind(
        &self,
        hands: &Hands<'_>,
        item: &JournalItem,
        operation: &Operation,
    ) -> Result<bool, OperationError> {
        let own = |slot: &SlotRef| slot.execution == *hands.own.0;
        Ok(match operation {
            Operation::Put { path, slot, .. } if own(slot) && item.goes_by_slot() => {
                self.was_moved(hands, item, path)?
            }
            Operation::Put { path, slot, .. } => {
                own(slot) && item.new_inode.is_some() && hands.path_inode(path)? == item.new_inode
            }
            Operation::Take { slot, .. } => own(slot) && hands.slot_inode(slot)?.is_some(),
            Operation::Swap { slot, .. } => {
                let in_slot = hands.slot_inode(slot)?;
                own(slot) && in_slot.is_some() && in_slot != item.new_inode
            }
            // The mode that it had before; whether it was needed is seen only when it is done.
            Operation::Chmod { if_there: true, .. } => false,
            Operation::Chmod { path, inode, after, .. } => {
                // The earlier one's modes on the way count, too: a directory is opened first.
                let is_its = |(_, one): &(usize, Operation)| match one {
                    Operation::Chmod { inode: of, before, after: then, .. } => {
                        of == inode && (before == after || then == after)
                    }
                    _ => false,
                };
                hands.path_mode(path, *inode)? == Some(*after)
                    && !self.operations.iter().any(is_its)
            }
        })
    }

    /// Whether the thing of a rename has come to a path where the earlier one neither found it nor
    /// put it, and has left the other.
    fn was_moved(
        &self,
        hands: &Hands<'_>,
        item: &JournalItem,
        path: &WorkspacePath,
    ) -> Result<bool, OperationError> {
        let Some(from) = item.from.as_ref().filter(|_| item.inode.is_some()) else {
            return Ok(false);
        };
        let was_there = |one: &JournalItem| {
            (one.from.as_ref() == Some(path) && one.inode == item.inode)
                || (one.to.as_ref() == Some(path) && one.arriving_inode() == item.inode)
        };
        Ok(hands.path_inode(path)? == item.inode
            && hands.path_inode(from)? != item.inode
            && !self.items.iter().any(was_there))
    }
}
