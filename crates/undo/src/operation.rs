//! One operation on the workspace: a single `renameat2` (or `fchmod`), checked after it was done.
//!
//! The check comes after, because only what came out tells what was there at that moment: a
//! look before would leave a gap for somebody else's save. When it was something else, it goes
//! back where it was.

use std::io;

use lictor_capability::{Conflict, ConflictReason, FileMode, State, ViewError, ViewErrorKind};
use lictor_context::WorkspacePath;
use lictor_workspace::{DirHandle, ReadError, Workspace, state_at};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use crate::fault;
use crate::journal::JournalItem;
use crate::means::{Means, exchange};
use crate::store::{SlotRef, TxDir, TxRoot};

/// The bits that run a program as somebody else.
const SET_ID: u32 = 0o6000;

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operation {
    /// A slot's thing goes to a path where nothing is; into the very directory with the inode
    /// `dir`, where that is known, and so with the others.
    Put { path: WorkspacePath, slot: SlotRef, state: State, dir: Option<u64> },
    /// A path's thing goes to a slot. With `if_empty`, only an empty directory does, and one that
    /// is not stays, without complaint.
    Take { path: WorkspacePath, slot: SlotRef, state: State, if_empty: bool, dir: Option<u64> },
    /// A slot's thing and a path's thing change places.
    Swap { path: WorkspacePath, slot: SlotRef, before: State, after: State, dir: Option<u64> },
    /// A path's thing gets another mode; the very thing, by its inode. With `if_there`, one that
    /// is not there any more is no complaint.
    Chmod {
        path: WorkspacePath,
        inode: Option<u64>,
        before: FileMode,
        after: FileMode,
        if_there: bool,
    },
}

/// Why an operation was not done. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperationError {
    #[error("{0}")]
    Conflict(Conflict),
    #[error("`{path}`: {source}")]
    Io { path: String, source: io::Error },
    /// Somebody changed what we had put back in the same moment; both are kept, one in a slot.
    #[error("`{path}` changed while it was being put back")]
    Contended { path: String },
    /// What an undo would put back is not what was set aside.
    #[error("`{path}`: {why}")]
    Kept { path: String, why: String },
}

impl OperationError {
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::Conflict(conflict) => &conflict.path,
            Self::Io { path, .. } | Self::Contended { path } | Self::Kept { path, .. } => path,
        }
    }
}

/// Does operations, in one workspace, with the slots of its transactions at hand.
pub(crate) struct Hands<'a> {
    pub workspace: &'a Workspace,
    pub root: &'a TxRoot,
    /// The transaction that is being done; its slots are open already.
    pub own: (&'a lictor_context::ExecutionId, &'a TxDir),
    /// How things change places here.
    pub means: Means,
}

impl Hands<'_> {
    /// Does an operation and checks what came of it.
    pub(crate) fn publish(&self, operation: &Operation) -> Result<(), OperationError> {
        match operation {
            Operation::Put { path, slot, dir, .. } => {
                self.put(&self.judged(path, *dir)?, path, slot)
            }
            Operation::Take { path, slot, state, if_empty, dir } => {
                self.take(&self.judged(path, *dir)?, path, slot, *state, *if_empty)
            }
            Operation::Swap { path, slot, before, after, dir } => {
                self.swap(&self.judged(path, *dir)?, path, slot, *before, *after)
            }
            Operation::Chmod { path, inode, before, after, if_there } => {
                self.chmod(path, *inode, *before, *after, *if_there)
            }
        }
    }

    /// Takes an operation back and checks that, too.
    pub(crate) fn reverse(&self, operation: &Operation) -> Result<(), OperationError> {
        match operation {
            Operation::Put { path, slot, state, .. } => {
                let if_empty = matches!(state, State::Directory { .. });
                self.take(&self.parent(path)?, path, slot, *state, if_empty)
            }
            Operation::Take { path, slot, if_empty, .. } => {
                if *if_empty && self.slot_state(slot)?.is_none() {
                    return Ok(()); // it was not empty, and never went
                }
                self.put(&self.parent(path)?, path, slot)
            }
            Operation::Swap { path, slot, before, after, .. } => {
                self.swap(&self.parent(path)?, path, slot, *after, *before)
            }
            Operation::Chmod { path, inode, before, after, if_there } => {
                self.chmod(path, *inode, *after, *before, *if_there)
            }
        }
    }

    /// Gives somebody back what an operation took by mistake and never checked.
    pub(crate) fn give_back(
        &self,
        item: &JournalItem,
        operation: &Operation,
    ) -> Result<(), OperationError> {
        match operation {
            Operation::Take { path, slot, .. } | Operation::Put { path, slot, .. } => {
                self.put(&self.parent(path)?, path, slot)
            }
            Operation::Swap { path, slot, before, after, .. } => {
                // Only while the path holds what we put there: else there is a newer save, and
                // what the slot holds stays where nothing overwrites it. By the inode alone a save
                // could pass for a file of ours that is gone, since numbers are used again.
                let parent = self.parent(path)?;
                let ours = Seen::at(&parent, path.name());
                let is = |inode, state| {
                    ours.inode.is_some()
                        && ours.inode == inode
                        && ours.state.is_some_and(|found| same(&found, state))
                };
                if !(is(item.new_inode, after) || is(item.inode, before)) {
                    return Err(OperationError::Contended { path: path.to_string() });
                }
                self.exchange_back(path, &parent, slot, &ours)
            }
            Operation::Chmod { .. } => Ok(()),
        }
    }

    fn put(
        &self,
        parent: &DirHandle,
        path: &WorkspacePath,
        slot: &SlotRef,
    ) -> Result<(), OperationError> {
        let slots = self.slots(slot)?;
        let fail = |error| io_error(path, error);
        fault::point("put.before").map_err(fail)?;
        match self.means.put((&slots, &slot.name()), (parent, path.name())) {
            Err(Errno::EXIST) => Err(conflict(path, ConflictReason::Exists, None, None)),
            Err(error) => Err(fail(error.into())),
            Ok(()) => fault::point("put.after").map_err(fail),
        }
    }

    fn take(
        &self,
        parent: &DirHandle,
        path: &WorkspacePath,
        slot: &SlotRef,
        state: State,
        if_empty: bool,
    ) -> Result<(), OperationError> {
        let slots = self.slots(slot)?;
        let fail = |error| io_error(path, error);
        if if_empty && !is_empty(parent, path.name()).map_err(fail)? {
            return Ok(());
        }
        fault::point("take.before").map_err(fail)?;
        match self.means.take((parent, path.name()), (&slots, &slot.name())) {
            Err(Errno::NOENT) => {
                return Err(conflict(path, ConflictReason::Missing, Some(&state), None));
            }
            Err(error) => return Err(fail(error.into())),
            Ok(()) => {}
        }
        fault::point("take.after").map_err(fail)?;
        let found = state_of(&slots, &slot.name(), path);
        let directory = matches!(state, State::Directory { .. });
        let whole = !directory || is_empty(&slots, &slot.name()).unwrap_or(false);
        let same = matches!(&found, Ok(Some(found)) if same(found, &state));
        if same && whole {
            return Ok(());
        }
        // Not what we meant to take, or not to be read: back with it.
        match self.means.put((&slots, &slot.name()), (parent, path.name())) {
            Ok(()) if if_empty && same => Ok(()),
            Ok(()) if same => Err(conflict(path, ConflictReason::NotEmpty, None, None)),
            Ok(()) => Err(differs(path, &state, found?)),
            Err(_) => Err(OperationError::Contended { path: path.to_string() }),
        }
    }

    fn swap(
        &self,
        parent: &DirHandle,
        path: &WorkspacePath,
        slot: &SlotRef,
        before: State,
        after: State,
    ) -> Result<(), OperationError> {
        let slots = self.slots(slot)?;
        let fail = |error| io_error(path, error);
        fault::point("swap.before").map_err(fail)?;
        match exchange((parent, path.name()), (&slots, &slot.name())) {
            Err(Errno::NOENT) => {
                return Err(conflict(path, ConflictReason::Missing, Some(&before), None));
            }
            Err(error) => return Err(fail(error.into())),
            Ok(()) => {}
        }
        fault::point("swap.after").map_err(fail)?;
        let came_out = state_of(&slots, &slot.name(), path);
        if matches!(&came_out, Ok(Some(found)) if same(found, &before)) {
            return Ok(());
        }
        // Somebody else's save, or something that is not to be read at all.
        let ours = Seen { state: Some(after), inode: None };
        self.exchange_back(path, parent, slot, &ours)?;
        Err(differs(path, &before, came_out?))
    }

    /// Exchanges until what comes out is what was put in last (first of all `ours`). When
    /// something else comes out, somebody has saved once more in that moment: theirs is the newer,
    /// and goes back in.
    fn exchange_back(
        &self,
        path: &WorkspacePath,
        parent: &DirHandle,
        slot: &SlotRef,
        ours: &Seen,
    ) -> Result<(), OperationError> {
        let slots = self.slots(slot)?;
        let contended = || OperationError::Contended { path: path.to_string() };
        let mut at_path = *ours;
        for turn in 0..100 {
            let giving = Seen::at(&slots, &slot.name());
            exchange((parent, path.name()), (&slots, &slot.name())).map_err(|_| contended())?;
            if Seen::at(&slots, &slot.name()).is(&at_path) {
                // Ours is out again; or two of theirs met, and the older one is in the slot.
                return if turn == 0 { Ok(()) } else { Err(contended()) };
            }
            at_path = giving;
        }
        Err(contended())
    }

    fn chmod(
        &self,
        path: &WorkspacePath,
        inode: Option<u64>,
        before: FileMode,
        after: FileMode,
        if_there: bool,
    ) -> Result<(), OperationError> {
        let parent = match self.parent(path) {
            Err(OperationError::Conflict(_)) if if_there => return Ok(()),
            parent => parent?,
        };
        let fail = |error: io::Error| io_error(path, error);
        // O_PATH opens what could not be read, and hangs on nothing.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match fs::openat(&parent, path.name(), flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) if if_there => return Ok(()),
            Err(Errno::NOENT) => return Err(conflict(path, ConflictReason::Missing, None, None)),
            Err(error) => return Err(fail(error.into())),
        };
        let stat = fs::fstat(&fd).map_err(|error| fail(error.into()))?;
        if inode != Some(stat.st_ino) {
            // Somebody has put another thing there.
            let reason = ConflictReason::ContentDiffers;
            return if if_there { Ok(()) } else { Err(conflict(path, reason, None, None)) };
        }
        let found = FileMode::from_bits(stat.st_mode);
        if found == after && if_there {
            return Ok(());
        }
        if found != before {
            let (before, found) = (before.to_string(), found.to_string());
            return Err(conflict_text(
                path,
                ConflictReason::ModeDiffers,
                Some(before),
                Some(found),
            ));
        }
        fault::point("chmod.before").map_err(fail)?;
        let through = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        let set = |mode: FileMode| fs::chmod(through.as_str(), Mode::from_raw_mode(mode.bits()));
        set(after).map_err(|error| fail(error.into()))?;
        fault::point("chmod.after").map_err(fail)?;
        // Bits that somebody may not give are dropped in silence.
        let got = fs::fstat(&fd).map_err(|error| fail(error.into()))?;
        let got = FileMode::from_bits(got.st_mode);
        if got != after {
            // Anything else is what somebody has set since, and theirs.
            if got.bits() == after.bits() & !SET_ID {
                set(before).map_err(|error| fail(error.into()))?;
            }
            let why = format!("it was to have mode {after}, and could only be given {got}");
            return Err(fail(io::Error::other(why)));
        }
        Ok(())
    }

    /// Finishes a `put` that a crash cut short, where it takes two calls.
    pub(crate) fn finish_put(
        &self,
        path: &WorkspacePath,
        slot: &SlotRef,
    ) -> Result<(), OperationError> {
        let Some(parent) = self.existing_parent(path)? else { return Ok(()) };
        let slots = self.slots(slot)?;
        let finished = self.means.finish_put((&slots, &slot.name()), (&parent, path.name()));
        finished.map_err(|error| io_error(path, error.into()))
    }

    /// The directory of a path, for looking. Below something that is no directory, or not any
    /// more, there is nothing.
    pub(crate) fn existing_parent(
        &self,
        path: &WorkspacePath,
    ) -> Result<Option<DirHandle>, OperationError> {
        match self.workspace.parent(path) {
            Ok(parent) => Ok(parent),
            Err(error) if leads_nowhere(&error) => Ok(None),
            Err(error) => Err(view_error(path, error)),
        }
    }

    pub(crate) fn parent(&self, path: &WorkspacePath) -> Result<DirHandle, OperationError> {
        match self.workspace.parent(path) {
            Ok(Some(dir)) => Ok(dir),
            Ok(None) => Err(conflict(path, ConflictReason::Missing, None, None)),
            Err(error) => Err(view_error(path, error)),
        }
    }

    pub(crate) fn slots(&self, slot: &SlotRef) -> Result<Slots<'_>, OperationError> {
        let fail = |source| OperationError::Io { path: slot_label(slot), source };
        if slot.execution == *self.own.0 {
            return Ok(Slots::Own(&self.own.1.slots));
        }
        match self.root.slots(&slot.execution).map_err(fail)? {
            Some(slots) => Ok(Slots::Others(slots)),
            None => Err(fail(io::Error::other("the undo record is gone"))),
        }
    }
}

/// The slots of a transaction: those of the one that is being done are open anyway.
pub(crate) enum Slots<'a> {
    Own(&'a DirHandle),
    Others(DirHandle),
}

impl std::ops::Deref for Slots<'_> {
    type Target = DirHandle;

    fn deref(&self) -> &DirHandle {
        match self {
            Self::Own(slots) => slots,
            Self::Others(slots) => slots,
        }
    }
}

/// What was seen somewhere, to know it again.
#[derive(Debug, Clone, Copy)]
struct Seen {
    state: Option<State>,
    inode: Option<u64>,
}

impl Seen {
    fn at(dir: &DirHandle, name: &str) -> Self {
        let inode = dir.inode(name).unwrap_or(None);
        Self { state: state_at(dir, name).unwrap_or(None), inode }
    }

    /// By what it holds; what cannot be read is known by its inode.
    fn is(&self, other: &Self) -> bool {
        match (self.state, other.state) {
            (Some(one), Some(other)) => same(&one, &other),
            _ => self.inode.is_some() && self.inode == other.inode,
        }
    }
}

pub(crate) fn slot_label(slot: &SlotRef) -> String {
    format!(".lictor/tx/{}/s/{}", slot.execution, slot.name())
}

/// Whether two states are the same as far as an operation goes: directories by kind only, since
/// others may set their mode while we use them.
pub(crate) fn same(found: &State, expected: &State) -> bool {
    match (found, expected) {
        (State::Directory { .. }, State::Directory { .. }) => true,
        _ => found == expected,
    }
}

fn state_of(
    dir: &DirHandle,
    name: &str,
    path: &WorkspacePath,
) -> Result<Option<State>, OperationError> {
    state_at(dir, name).map_err(|error| unread(path, error))
}

/// What stands at a path cannot be read.
pub(crate) fn unread(path: &WorkspacePath, error: ReadError) -> OperationError {
    match error {
        ReadError::Special => conflict(path, ConflictReason::KindDiffers, None, None),
        ReadError::Changed => conflict(path, ConflictReason::ContentDiffers, None, None),
        ReadError::Io(error) => io_error(path, error),
    }
}

pub(crate) fn is_empty(parent: &DirHandle, name: &str) -> io::Result<bool> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match fs::openat(parent, name, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    for entry in fs::Dir::read_from(&dir)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(crate) fn io_error(path: &WorkspacePath, source: io::Error) -> OperationError {
    OperationError::Io { path: path.to_string(), source }
}

fn view_error(path: &WorkspacePath, error: ViewError) -> OperationError {
    if leads_nowhere(&error) {
        return conflict(path, ConflictReason::ParentNotADirectory, None, None);
    }
    io_error(path, io::Error::other(error.to_string()))
}

/// Whether a part of the way is a link or a file now: what lies behind is not in the workspace.
pub(crate) fn leads_nowhere(error: &ViewError) -> bool {
    matches!(error.kind(), ViewErrorKind::ThroughSymlink { .. } | ViewErrorKind::NotADirectory)
}

/// What two states differ in.
pub(crate) fn differs(
    path: &WorkspacePath,
    expected: &State,
    found: Option<State>,
) -> OperationError {
    let Some(found) = found else {
        return conflict(path, ConflictReason::Missing, Some(expected), None);
    };
    let reason = match (expected, &found) {
        (State::File { digest: a, .. }, State::File { digest: b, .. }) if a == b => {
            return mode_differs(path, expected, &found);
        }
        (State::Directory { .. }, State::Directory { .. }) => {
            return mode_differs(path, expected, &found);
        }
        (State::File { .. }, State::File { .. })
        | (State::Symlink { .. }, State::Symlink { .. }) => ConflictReason::ContentDiffers,
        _ => ConflictReason::KindDiffers,
    };
    conflict(path, reason, Some(expected), Some(&found))
}

fn mode_differs(path: &WorkspacePath, expected: &State, found: &State) -> OperationError {
    let text = |state: &State| state.mode().map(|mode| mode.to_string());
    conflict_text(path, ConflictReason::ModeDiffers, text(expected), text(found))
}

pub(crate) fn conflict(
    path: &WorkspacePath,
    reason: ConflictReason,
    expected: Option<&State>,
    found: Option<&State>,
) -> OperationError {
    let text = |state: Option<&State>| state.and_then(State::digest).map(|d| d.to_string());
    conflict_text(path, reason, text(expected), text(found))
}

fn conflict_text(
    path: &WorkspacePath,
    reason: ConflictReason,
    expected: Option<String>,
    found: Option<String>,
) -> OperationError {
    let path = path.to_string();
    OperationError::Conflict(Conflict { path, reason, expected, found, restores: None })
}
