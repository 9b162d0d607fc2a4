//! The staged tree: a private copy of the workspace in which a change is done before it is done,
//! so that checks can look at it while nothing of it is visible.
//!
//! Files are cloned where the file system can, else copied: a check that writes must not write into
//! the workspace, as it would through a hard link. The change is done by the very code that does it
//! in the workspace. Left out are Lictor's state, `.git`, what lies on other mounts, what is
//! neither file, directory nor link, and what the policy says.

use std::collections::HashSet;
use std::ffi::CStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lictor_capability::{Changes, Content, ContentSource, Item, State};
use lictor_context::{ExecutionId, WorkspacePath};
use lictor_executor::{ApplyError, StagedTree, ToStage};
use lictor_workspace::{DirHandle, Workspace};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use crate::compile;
use crate::fault;
use crate::operation::OperationError;
use crate::store::{
    SlotRef, TX, TxDir, TxRoot, VIEW, VIEW_TREE, create_file, open_dir, remove_tree,
};
use crate::transaction::{Doing, Transactions};

/// A staged tree that is there.
struct View {
    root: TxRoot,
    name: String,
    path: PathBuf,
}

impl StagedTree for View {
    fn path(&self) -> &Path {
        &self.path
    }

    fn remove(self: Box<Self>) -> io::Result<()> {
        self.root.remove_view(&self.name)
    }
}

pub(crate) fn stage_tree(
    transactions: &Transactions,
    wish: &ToStage,
) -> Result<Box<dyn StagedTree>, ApplyError> {
    let root = transactions.root().map_err(|error| prepare(&error))?;
    let name = format!("{VIEW}{}", wish.execution);
    let made = make(transactions, &root, &name, wish);
    let path = transactions.workspace().path().join(TX).join(&name).join(VIEW_TREE);
    match made {
        Ok(()) => Ok(Box::new(View { root, name, path })),
        Err(error) => {
            if let Err(error) = root.remove_view(&name) {
                tracing::debug!(%error, "a staged tree is left for the next recovery");
            }
            Err(error)
        }
    }
}

fn prepare(error: &dyn std::fmt::Display) -> ApplyError {
    ApplyError::Prepare(format!("the staged tree for checks: {error}"))
}

fn make(
    transactions: &Transactions,
    root: &TxRoot,
    name: &str,
    wish: &ToStage,
) -> Result<(), ApplyError> {
    let io = |error: io::Error| prepare(&error);
    let tree = root.create_view(name).map_err(io)?;
    let workspace = transactions.workspace();
    let left_out = left_out(wish);
    let copying = Copying { device: workspace.id().device, left_out, stop: &wish.stop };
    copying.directory(workspace.root(), &tree, "").map_err(io)?;
    fault::point("view.copied").map_err(io)?;
    let path = workspace.path().join(TX).join(name).join(VIEW_TREE);
    let copy = Workspace::open(path).map_err(|error| prepare(&error))?;
    change(transactions, root, &copy, wish)?;
    // What it took to change it is no part of it.
    remove_tree(copy.root(), ".lictor").map_err(io)?;
    fault::point("view.made").map_err(io)
}

/// Does the changes in the copy, as they are done in the workspace, without a journal.
fn change(
    transactions: &Transactions,
    root: &TxRoot,
    copy: &Workspace,
    wish: &ToStage,
) -> Result<(), ApplyError> {
    let (_, means) = transactions.probed_root().map_err(|error| prepare(&error))?;
    let changes = with_content_at_hand(&wish.changes, root).map_err(|error| prepare(&error))?;
    let copy_root = TxRoot::open(copy).map_err(|error| prepare(&error))?;
    let tx = copy_root.create(&wish.execution).map_err(|error| prepare(&error))?;
    let homes = std::collections::HashMap::new();
    let items = compile::items(&wish.execution, &changes.items, &homes, means);
    let execution: ExecutionId = wish.execution.clone();
    let (operations, replaced) = (Vec::new(), Vec::new());
    let mut doing = Doing {
        workspace: copy,
        transactions,
        root: copy_root,
        means,
        tx,
        execution,
        items,
        operations,
        replaced,
    };
    let conflicts = doing.preflight()?;
    if !conflicts.is_empty() {
        return Err(ApplyError::Conflict(conflicts));
    }
    let sources = transactions.workspace();
    doing.stage_all(sources, &changes.items).map_err(|error| prepare(&error))?;
    doing.note_staged()?;
    let hands = doing.hands();
    for (_, operation) in compile::operations(&doing.items) {
        hands.publish(&operation).map_err(|error| match error {
            OperationError::Conflict(conflict) => ApplyError::Conflict(vec![conflict]),
            error => prepare(&error),
        })?;
    }
    Ok(())
}

/// What need not be copied: not what the changes touch, though.
fn left_out(wish: &ToStage) -> HashSet<&str> {
    let touched = |path: &&WorkspacePath| {
        let ends = wish.changes.items.iter().flat_map(|item| [&item.from, &item.to]);
        let sources = wish.changes.items.iter().map(|item| match &item.content {
            Some(Content::CopyOf(source)) => Some(source),
            _ => None,
        });
        ends.filter_map(Option::as_ref).chain(sources.flatten()).any(|end| end.is_within(path))
    };
    let paths = wish.leave_out.iter().filter(|path| !touched(path));
    paths.map(WorkspacePath::as_str).collect()
}

/// What an undo would put back lies in slots of the workspace, and stays there.
fn with_content_at_hand(changes: &Changes, root: &TxRoot) -> io::Result<Changes> {
    let mut changes = changes.clone();
    for item in &mut changes.items {
        let Some(Content::Kept(kept)) = &item.content else { continue };
        let slot = SlotRef { execution: kept.execution.clone(), index: kept.slot };
        let tx = root.get(&slot.execution)?;
        let tx = tx.ok_or_else(|| io::Error::other("what an undo would put back is gone"))?;
        item.content = content_of(item, tx, &slot)?;
    }
    Ok(changes)
}

fn content_of(item: &Item, tx: TxDir, slot: &SlotRef) -> io::Result<Option<Content>> {
    match item.after {
        Some(State::Symlink { .. }) => {
            let target = fs::readlinkat(&tx.slots, slot.name(), Vec::new())?;
            Ok(Some(Content::Target(target.into_string().map_err(io::Error::other)?)))
        }
        Some(State::File { .. }) => {
            let source = KeptSource { slots: tx.slots, name: slot.name() };
            Ok(Some(Content::Streamed(Arc::new(source))))
        }
        _ => Ok(None),
    }
}

/// A file in a slot.
struct KeptSource {
    slots: DirHandle,
    name: String,
}

impl ContentSource for KeptSource {
    fn open(&self) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(open_file(&self.slots, &self.name)?))
    }
}

fn open_file(dir: &DirHandle, name: impl rustix::path::Arg) -> io::Result<std::fs::File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(std::fs::File::from(fs::openat(dir, name, flags, Mode::empty())?))
}

/// Copies what is there, by handles, so that nothing outside is ever read.
struct Copying<'a> {
    device: u64,
    left_out: HashSet<&'a str>,
    stop: &'a AtomicBool,
}

impl Copying<'_> {
    fn directory(&self, from: &DirHandle, to: &DirHandle, at: &str) -> io::Result<()> {
        for entry in fs::Dir::read_from(from)? {
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "the time is over"));
            }
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." || name == c".git" {
                continue;
            }
            let below = |name| if at.is_empty() { name } else { format!("{at}/{name}") };
            let path = below(name.to_string_lossy().into_owned());
            if path == ".lictor" || self.left_out.contains(path.as_str()) {
                continue;
            }
            let named =
                |error: io::Error| io::Error::new(error.kind(), format!("`{path}`: {error}"));
            match fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW) {
                // Somebody took it away meanwhile.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(named(error.into())),
                Ok(stat) => self.thing((from, to), name, &path, &stat).map_err(named)?,
            }
        }
        Ok(())
    }

    fn thing(
        &self,
        (from, to): (&DirHandle, &DirHandle),
        name: &CStr,
        path: &str,
        stat: &Stat,
    ) -> io::Result<()> {
        let mode = stat.st_mode & 0o777;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if stat.st_dev == self.device => {
                fs::mkdirat(to, name, Mode::from_raw_mode(0o700))?;
                let copy = open_dir(to, name)?;
                self.directory(&open_dir(from, name)?, &copy, path)?;
                fs::fchmod(&copy, Mode::from_raw_mode(mode))?;
                keep_time(&copy, stat)
            }
            FileType::RegularFile => {
                let mut source = open_file(from, name)?;
                fault::point("view.copy")?;
                let mut copy = create_file(to, name, 0o600)?;
                if fs::ioctl_ficlone(&copy, &source).is_err() {
                    io::copy(&mut source, &mut copy)?;
                }
                fs::fchmod(&copy, Mode::from_raw_mode(mode))?;
                // Programs that build only what is newer go by it.
                keep_time(&copy, stat)
            }
            FileType::Symlink => {
                let target = fs::readlinkat(from, name, Vec::new())?;
                Ok(fs::symlinkat(target.as_c_str(), to, name)?)
            }
            _ => Ok(()),
        }
    }
}

fn keep_time(copy: impl std::os::fd::AsFd, stat: &Stat) -> io::Result<()> {
    let nanos = |nanos| i64::try_from(nanos).unwrap_or_default();
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: nanos(stat.st_atime_nsec) },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: nanos(stat.st_mtime_nsec) },
    };
    Ok(fs::futimens(copy, &times)?)
}
