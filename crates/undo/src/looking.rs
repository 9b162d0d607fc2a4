//! Looking at slots and paths, without a hand on anything.

use std::io;

use lictor_capability::{FileMode, State};
use lictor_context::WorkspacePath;
use lictor_workspace::{DirHandle, state_at};
use rustix::fs::{self, AtFlags};
use rustix::io::Errno;

use crate::operation::{Hands, OperationError, io_error, is_empty, slot_label};
use crate::store::SlotRef;

impl Hands<'_> {
    /// What a slot holds; `None` when nothing.
    pub(crate) fn slot_state(&self, slot: &SlotRef) -> Result<Option<State>, OperationError> {
        let label = || slot_label(slot);
        let slots = self.slots(slot)?;
        state_at(&slots, &slot.name()).map_err(|error| OperationError::Io {
            path: label(),
            source: io::Error::other(error.to_string()),
        })
    }

    /// The inode in a slot; `None` when nothing is.
    pub(crate) fn slot_inode(&self, slot: &SlotRef) -> Result<Option<u64>, OperationError> {
        let slots = self.slots(slot)?;
        slots
            .inode(&slot.name())
            .map_err(|source| OperationError::Io { path: slot_label(slot), source })
    }

    /// The inode in a slot and its mode; `None` when nothing is there.
    pub(crate) fn slot_stat(
        &self,
        slot: &SlotRef,
    ) -> Result<Option<(u64, FileMode)>, OperationError> {
        let slots = self.slots(slot)?;
        match fs::statat(&*slots, slot.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some((stat.st_ino, FileMode::from_bits(stat.st_mode)))),
            Err(Errno::NOENT) => Ok(None),
            Err(source) => {
                Err(OperationError::Io { path: slot_label(slot), source: source.into() })
            }
        }
    }

    /// Whether the file in a slot has other names as well.
    pub(crate) fn slot_has_links(&self, slot: &SlotRef) -> Result<bool, OperationError> {
        let slots = self.slots(slot)?;
        match fs::statat(&*slots, slot.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let directory = fs::FileType::from_raw_mode(stat.st_mode).is_dir();
                Ok(!directory && stat.st_nlink > 1)
            }
            Err(Errno::NOENT) => Ok(false),
            Err(source) => {
                Err(OperationError::Io { path: slot_label(slot), source: source.into() })
            }
        }
    }

    /// The inode at a path.
    pub(crate) fn path_inode(&self, path: &WorkspacePath) -> Result<Option<u64>, OperationError> {
        match self.existing_parent(path)? {
            Some(parent) => parent.inode(path.name()).map_err(|error| io_error(path, error)),
            None => Ok(None),
        }
    }

    /// The mode of the thing at a path, when it is the one with this inode.
    pub(crate) fn path_mode(
        &self,
        path: &WorkspacePath,
        inode: Option<u64>,
    ) -> Result<Option<FileMode>, OperationError> {
        match self.existing_parent(path)? {
            Some(parent) => {
                mode_of(&parent, path.name(), inode).map_err(|error| io_error(path, error))
            }
            None => Ok(None),
        }
    }

    /// The mode of the thing in a slot, when it is the one with this inode.
    pub(crate) fn slot_mode(
        &self,
        slot: &SlotRef,
        inode: Option<u64>,
    ) -> Result<Option<FileMode>, OperationError> {
        let slots = self.slots(slot)?;
        mode_of(&slots, &slot.name(), inode)
            .map_err(|source| OperationError::Io { path: slot_label(slot), source })
    }

    /// Whether the directory at a path is empty.
    pub(crate) fn is_empty(&self, path: &WorkspacePath) -> Result<bool, OperationError> {
        match self.existing_parent(path)? {
            Some(parent) => is_empty(&parent, path.name()).map_err(|error| io_error(path, error)),
            None => Ok(true),
        }
    }
}

fn mode_of(dir: &DirHandle, name: &str, inode: Option<u64>) -> io::Result<Option<FileMode>> {
    match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if Some(stat.st_ino) == inode => Ok(Some(FileMode::from_bits(stat.st_mode))),
        Ok(_) | Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
