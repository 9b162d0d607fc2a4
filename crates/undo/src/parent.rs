//! Which directory a thing was taken from or put into, known again afterwards, a crash between.
//!
//! A path that holds nothing tells nothing when its directory is not the one that was published
//! into: somebody has moved that away, and what was put into it comes back with it. So the inodes
//! of both directories are in the journal, and nothing is published into any other. Their device
//! is that of the transactions, since publishing is renaming.

use std::collections::HashMap;

use lictor_capability::{ConflictReason, State};
use lictor_context::WorkspacePath;
use lictor_workspace::DirHandle;
use rustix::fs;

use crate::journal::JournalItem;
use crate::means::Means;
use crate::operation::{Hands, OperationError, conflict, io_error, state_of};

/// What stands at a path, all of it seen through one handle of its directory.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    pub(crate) state: Option<State>,
    pub(crate) inode: Option<u64>,
    /// The inode of its directory; `None` when there is none.
    pub(crate) dir: Option<u64>,
}

impl Place {
    /// Whether it was looked at in the very directory that was noted. Of one that an earlier
    /// version did not note it is enough that there is one.
    pub(crate) fn is_in(&self, noted: Option<u64>) -> bool {
        self.dir.is_some() && (noted.is_none() || noted == self.dir)
    }
}

impl Hands<'_> {
    /// What stands at a path, its inode, and that of its directory.
    pub(crate) fn place(&self, path: &WorkspacePath) -> Result<Place, OperationError> {
        let Some(parent) = self.existing_parent(path)? else { return Ok(Place::default()) };
        let state = state_of(&parent, path.name(), path)?;
        self.place_in(&parent, path, state)
    }

    /// The same without a look at what it is.
    pub(crate) fn bare_place(&self, path: &WorkspacePath) -> Result<Place, OperationError> {
        let Some(parent) = self.existing_parent(path)? else { return Ok(Place::default()) };
        self.place_in(&parent, path, None)
    }

    fn place_in(
        &self,
        parent: &DirHandle,
        path: &WorkspacePath,
        state: Option<State>,
    ) -> Result<Place, OperationError> {
        let inode = parent.inode(path.name()).map_err(|error| io_error(path, error))?;
        Ok(Place { state, inode, dir: Some(self.inode_of(parent, path)?) })
    }

    /// The inode of a directory on the mount of the transactions; 0, which none has, on another.
    fn inode_of(&self, dir: &DirHandle, path: &WorkspacePath) -> Result<u64, OperationError> {
        let stat = fs::fstat(dir).map_err(|error| io_error(path, error.into()))?;
        Ok(if stat.st_dev == self.root.device() { stat.st_ino } else { 0 })
    }

    /// The directory of a path, when it is the very one that was looked at.
    pub(crate) fn judged(
        &self,
        path: &WorkspacePath,
        dir: Option<u64>,
    ) -> Result<DirHandle, OperationError> {
        let parent = self.parent(path)?;
        if dir.is_some() && dir != Some(self.inode_of(&parent, path)?) {
            return Err(conflict(path, ConflictReason::ParentReplaced, None, None));
        }
        Ok(parent)
    }

    /// Whether the new thing of an item is in its slot, and nowhere else.
    pub(crate) fn is_in_slot(&self, item: &JournalItem) -> Result<bool, OperationError> {
        let Some(slot) = &item.stage else { return Ok(true) };
        let in_slot = self.slot_inode(slot)?;
        Ok(in_slot.is_some() && in_slot == item.new_inode && !self.is_half_put(item)?)
    }

    /// Whether a new thing may have a second name that nobody finds: where putting takes a link
    /// and an unlink, a crash came between them, and its directory was moved away.
    pub(crate) fn is_half_put(&self, item: &JournalItem) -> Result<bool, OperationError> {
        let (Means::Link, Some(slot), Some(to)) = (self.means, &item.stage, &item.to) else {
            return Ok(false);
        };
        Ok(self.slot_has_links(slot)? && !self.bare_place(to)?.is_in(item.to_dir))
    }

    /// Whether the thing of an item is where nobody finds it: neither at the path nor in a slot,
    /// and the directory is not the one that it was in.
    pub(crate) fn is_away(
        &self,
        item: &JournalItem,
        path: &WorkspacePath,
        inode: Option<u64>,
    ) -> Result<bool, OperationError> {
        let place = self.bare_place(path)?;
        if inode.is_none() || place.inode == inode {
            return Ok(false);
        }
        for slot in [&item.stage, &item.keep].into_iter().flatten() {
            if self.slot_inode(slot)? == inode {
                return Ok(false);
            }
        }
        let noted = if item.to.as_ref() == Some(path) { item.to_dir } else { item.from_dir };
        Ok(!place.is_in(noted))
    }
}

/// The directories that a transaction makes or moves, by where they arrive.
pub(crate) fn arriving(items: &[JournalItem]) -> HashMap<WorkspacePath, &JournalItem> {
    let directories = items.iter().filter(|item| item.is_directory());
    directories.filter_map(|item| Some((item.to.clone()?, item))).collect()
}

/// Why what cannot be found is not called back.
pub(crate) const AWAY: &str = "its directory was moved away or replaced, and what was changed \
                               comes back with it; move it back and run `lictor recover`";
