//! Which directory a thing was taken from or put into, known again afterwards, a crash between.
//!
//! A path that holds nothing tells nothing when its directory is not the one that was published
//! into: somebody has moved that away, and what was put into it comes back with it. So the inodes
//! of both directories are in the journal, and nothing is published into any other. Their device
//! is that of the transactions, since publishing is renaming.

use std::collections::HashMap;
use std::fs::File;

use lictor_capability::{ConflictReason, State};
use lictor_context::WorkspacePath;
use lictor_workspace::{DirHandle, seen_at};
use rustix::fs::{self, AtFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::journal::JournalItem;
use crate::means::Means;
use crate::operation::{Hands, OperationError, conflict, io_error, unread};

/// What stands at a path, all of it seen through one handle of its directory.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    pub(crate) state: Option<State>,
    pub(crate) inode: Option<u64>,
    /// The inode of its directory; `None` when there is none.
    pub(crate) dir: Option<u64>,
    /// Whether names can only be added to its directory: what is put there stays for ever.
    pub(crate) only_grows: bool,
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
        self.place_and_file(path).map(|(place, _)| place)
    }

    /// The same, with the file as it was read.
    pub(crate) fn place_and_file(
        &self,
        path: &WorkspacePath,
    ) -> Result<(Place, Option<File>), OperationError> {
        let none = (Place::default(), None);
        let Some(parent) = self.existing_parent(path)? else { return Ok(none) };
        let seen = seen_at(&parent, path.name()).map_err(|error| unread(path, error))?;
        let (dir, only_grows) = self.directory(&parent, path)?;
        let (state, inode, file) =
            seen.map_or((None, None, None), |seen| (Some(seen.state), Some(seen.inode), seen.file));
        Ok((Place { state, inode, dir: Some(dir), only_grows }, file))
    }

    /// The same without a look at what it is.
    pub(crate) fn bare_place(&self, path: &WorkspacePath) -> Result<Place, OperationError> {
        let Some(parent) = self.existing_parent(path)? else { return Ok(Place::default()) };
        let inode = parent.inode(path.name()).map_err(|error| io_error(path, error))?;
        let (dir, only_grows) = self.directory(&parent, path)?;
        Ok(Place { state: None, inode, dir: Some(dir), only_grows })
    }

    /// The inode of a directory on the mount of the transactions (0, which none has, on another),
    /// and whether it is append-only.
    fn directory(
        &self,
        dir: &DirHandle,
        path: &WorkspacePath,
    ) -> Result<(u64, bool), OperationError> {
        let fail = |error: Errno| io_error(path, error.into());
        let (device, inode, only_grows) =
            match fs::statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::INO) {
                Ok(found) => (
                    fs::makedev(found.stx_dev_major, found.stx_dev_minor),
                    found.stx_ino,
                    found.stx_attributes.contains(StatxAttributes::APPEND),
                ),
                // A sandbox that does not know the call.
                Err(Errno::NOSYS | Errno::PERM) => {
                    let found = fs::fstat(dir).map_err(fail)?;
                    (found.st_dev, found.st_ino, false)
                }
                Err(error) => return Err(fail(error)),
            };
        Ok((if device == self.root.device() { inode } else { 0 }, only_grows))
    }

    /// A thing in a slot that is to arrive: its inode, when it got the mode that it is to have. A
    /// file system without modes, or somebody who may not give that one, drops bits in silence.
    pub(crate) fn staged_inode(&self, item: &JournalItem) -> Result<Option<u64>, OperationError> {
        let Some(slot) = &item.stage else { return Ok(None) };
        let Some((inode, mode)) = self.slot_stat(slot)? else { return Ok(None) };
        match item.after {
            Some(State::File { mode: wanted, .. }) if mode != wanted => {
                let why = format!("it was to have mode {wanted}, and could only be given {mode}");
                Err(OperationError::Io {
                    path: item.path().to_owned(),
                    source: std::io::Error::other(why),
                })
            }
            _ => Ok(Some(inode)),
        }
    }

    /// The directory of a path, when it is the very one that was looked at.
    pub(crate) fn judged(
        &self,
        path: &WorkspacePath,
        dir: Option<u64>,
    ) -> Result<DirHandle, OperationError> {
        let parent = self.parent(path)?;
        if dir.is_some() && dir != Some(self.directory(&parent, path)?.0) {
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
