//! Where transactions lie: `.lictor/tx/<execution>/{journal,s/NNNN}`, on the mount of what they
//! change, because publishing is renaming.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lictor_capability::EntryKind;
use lictor_context::{ExecutionId, WorkspacePath};
use lictor_workspace::{DirHandle, Workspace};
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::barrier::Barriers;
use crate::fault;
use crate::journal;
use crate::means::Means;

pub(crate) const TX: &str = ".lictor/tx";
const SLOTS: &str = "s";
const JOURNAL: &str = "journal";
/// What the folder of a staged tree begins with.
pub(crate) const VIEW: &str = ".view-";
pub(crate) const VIEW_TREE: &str = "w";
const BEHIND: &str = ".behind";
const PURGE_NOTE: &str = ".purge";

/// A slot: a place in some transaction's folder that holds one thing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct SlotRef {
    pub execution: ExecutionId,
    pub index: u32,
}

impl SlotRef {
    pub(crate) fn name(&self) -> String {
        format!("{:04}", self.index)
    }
}

/// The folder of all transactions.
#[derive(Debug)]
pub(crate) struct TxRoot {
    dir: DirHandle,
    barriers: Arc<Barriers>,
    device: u64,
    /// How many barriers had failed before anything was written through this.
    failed_before: u64,
    /// The slots that were asked for last: an undo asks for the same ones for each of its files.
    /// One only, so that no number of transactions uses up the descriptors.
    last_slots: Mutex<Option<(ExecutionId, DirHandle)>>,
}

/// The folder of one transaction.
#[derive(Debug)]
pub(crate) struct TxDir {
    pub(crate) dir: DirHandle,
    pub(crate) slots: DirHandle,
}

impl TxRoot {
    /// Opens the folder, making it where it is not there.
    pub(crate) fn open(workspace: &Workspace) -> io::Result<Self> {
        let path = WorkspacePath::parse(TX).map_err(io::Error::other)?;
        if let Some(dir) = workspace.dir(Some(&path)).map_err(io::Error::other)? {
            ignore(&dir)?;
            return Self::over(dir);
        }
        let private = Mode::from_raw_mode(0o700);
        mkdir_if_missing(workspace.root(), ".lictor", private)?;
        let state = WorkspacePath::parse(".lictor").map_err(io::Error::other)?;
        let state = workspace.dir(Some(&state)).map_err(io::Error::other)?;
        let state = state.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        mkdir_if_missing(&state, "tx", private)?;
        let dir = workspace.dir(Some(&path)).map_err(io::Error::other)?;
        let dir = dir.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        ignore(&dir)?;
        Self::over(dir)
    }

    fn over(dir: DirHandle) -> io::Result<Self> {
        let barriers = Barriers::of(&dir)?;
        let failed_before = barriers.failed();
        let device = fs::fstat(&dir)?.st_dev;
        Ok(Self { dir, barriers, device, failed_before, last_slots: Mutex::default() })
    }

    /// The device that it is on.
    pub(crate) fn device(&self) -> u64 {
        self.device
    }

    /// What this file system can do with names.
    pub(crate) fn probe(&self) -> io::Result<Means> {
        // A name of its own for each try, and one that recovery sweeps when this is cut short.
        static TRIES: AtomicU64 = AtomicU64::new(0);
        let n = TRIES.fetch_add(1, Ordering::Relaxed);
        let name = format!(".gone-probe-{}-{n}", rustix::process::getpid().as_raw_pid());
        let private = Mode::from_raw_mode(0o700);
        fs::mkdirat(&self.dir, name.as_str(), private)?;
        let probe = open_dir(&self.dir, &name)?;
        let means = fault::point("probe").and_then(|()| Means::probe(&probe));
        remove_tree(&self.dir, &name)?;
        means
    }

    pub(crate) fn create(&self, execution: &ExecutionId) -> io::Result<TxDir> {
        let private = Mode::from_raw_mode(0o700);
        fault::point("tx.mkdir")?;
        fs::mkdirat(&self.dir, execution.as_str(), private)?;
        let dir = open_dir(&self.dir, execution.as_str())?;
        fault::point("tx.mkdir_slots")?;
        fs::mkdirat(&dir, SLOTS, private)?;
        let slots = open_dir(&dir, SLOTS)?;
        Ok(TxDir { dir, slots })
    }

    pub(crate) fn get(&self, execution: &ExecutionId) -> io::Result<Option<TxDir>> {
        let Some(dir) = open_existing(&self.dir, execution.as_str())? else { return Ok(None) };
        let Some(slots) = open_existing(&dir, SLOTS)? else {
            if dir.entry(JOURNAL)?.is_some() {
                let gone = format!("`{TX}/{execution}/{SLOTS}` is gone");
                return Err(io::Error::other(gone));
            }
            return Ok(None);
        };
        Ok(Some(TxDir { dir, slots }))
    }

    /// The slots of a transaction, for one who has the lock.
    pub(crate) fn slots(&self, execution: &ExecutionId) -> io::Result<Option<DirHandle>> {
        let mut last = self.last_slots();
        if last.as_ref().is_none_or(|(of, _)| of != execution) {
            *last = self.get(execution)?.map(|tx| (execution.clone(), tx.slots));
        }
        let again = last.as_ref().map(|(_, slots)| rustix::io::dup(slots));
        Ok(again.transpose()?.map(DirHandle::from))
    }

    fn last_slots(&self) -> MutexGuard<'_, Option<(ExecutionId, DirHandle)>> {
        // One assignment changes it, so a poisoned one holds a whole value.
        self.last_slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The executions that have a folder, sorted.
    pub(crate) fn list(&self) -> io::Result<Vec<ExecutionId>> {
        let mut found = Vec::new();
        for entry in fs::Dir::read_from(&self.dir)? {
            let entry = entry?;
            let id = entry.file_name().to_str().ok().filter(|name| !name.starts_with('.'));
            if let Some(id) = id.and_then(|name| ExecutionId::parse(name).ok()) {
                found.push(id);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Removes a transaction's folder and what its slots hold.
    pub(crate) fn remove(&self, execution: &ExecutionId) -> io::Result<()> {
        fault::point("tx.remove")?;
        *self.last_slots() = None;
        // Under another name first: a folder that is half gone must not look like a transaction.
        let doomed = format!(".gone-{execution}");
        match fs::renameat(&self.dir, execution.as_str(), &self.dir, doomed.as_str()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        remove_tree(&self.dir, &doomed)
    }

    /// Makes the folder of a staged tree.
    pub(crate) fn create_view(&self, name: &str) -> io::Result<DirHandle> {
        let private = Mode::from_raw_mode(0o700);
        fault::point("view.mkdir")?;
        fs::mkdirat(&self.dir, name, private)?;
        let view = open_dir(&self.dir, name)?;
        fs::mkdirat(&view, VIEW_TREE, private)?;
        open_dir(&view, VIEW_TREE)
    }

    /// Removes a staged tree, and whatever commands have made of it.
    pub(crate) fn remove_view(&self, name: &str) -> io::Result<()> {
        fault::point("view.remove")?;
        remove_tree(&self.dir, name)
    }

    /// Finishes removals that were cut short, and removes staged trees that nobody looks at any
    /// more.
    pub(crate) fn sweep(&self) -> io::Result<()> {
        let mut doomed = Vec::new();
        for entry in fs::Dir::read_from(&self.dir)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().to_str()
                && (name.starts_with(".gone-") || name.starts_with(VIEW))
            {
                doomed.push(name.to_owned());
            }
        }
        for name in &doomed {
            match remove_tree(&self.dir, name) {
                // A command that outlived a crash may still write into it; it stops nothing.
                Err(error) if name.starts_with(VIEW) => {
                    tracing::warn!(%error, name, "a staged tree could not be removed");
                }
                removed => removed?,
            }
        }
        Ok(())
    }

    /// Removes a transaction's folder for good. That it is gone is durable before the first byte
    /// of it dies, so that a power cut brings it back whole or not at all.
    pub(crate) fn purge(&self, execution: &ExecutionId) -> io::Result<()> {
        fault::point("purge.rename")?;
        *self.last_slots() = None;
        let doomed = format!(".gone-{execution}");
        fs::renameat(&self.dir, execution.as_str(), &self.dir, doomed.as_str())?;
        let swept = fault::point("purge.sync")
            .and_then(|()| Ok(fs::fsync(&self.dir)?))
            .and_then(|()| fault::point("purge.slots"))
            .and_then(|()| remove_tree(&open_dir(&self.dir, &doomed)?, SLOTS))
            .and_then(|()| fault::point("purge.rest"))
            .and_then(|()| remove_tree(&self.dir, &doomed));
        swept.inspect_err(|_| {
            tracing::warn!(%execution, "what is left of a purged record is swept by the next purge");
        })
    }

    /// The bytes that a transaction's folder holds; `None` when there is none.
    pub(crate) fn size(&self, execution: &ExecutionId) -> io::Result<Option<u64>> {
        let Some(dir) = open_existing(&self.dir, execution.as_str())? else { return Ok(None) };
        let slots = open_existing(&dir, SLOTS)?;
        let mut bytes = 0_u64;
        for dir in [Some(&dir), slots.as_ref()].into_iter().flatten() {
            for name in names(dir)? {
                let entry = dir.entry(&name)?.filter(|entry| entry.kind != EntryKind::Directory);
                bytes = bytes.saturating_add(entry.map_or(0, |entry| entry.size));
            }
        }
        Ok(Some(bytes))
    }

    pub(crate) fn read_note(&self) -> io::Result<Option<Vec<u8>>> {
        read_at(&self.dir, PURGE_NOTE)
    }

    pub(crate) fn write_note(&self, text: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o600);
        let file = fs::openat(&self.dir, PURGE_NOTE, flags | OFlags::CLOEXEC, mode)?;
        File::from(file).write_all(text.as_bytes())
    }

    /// Notes an execution that was acknowledged early: behind the next barrier it is closed.
    pub(crate) fn note_behind(&self, execution: &ExecutionId) -> io::Result<()> {
        fault::point("behind.note")?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o600);
        let file = fs::openat(&self.dir, BEHIND, flags | OFlags::CLOEXEC, mode)?;
        File::from(file).write_all(format!("{execution}\n").as_bytes())
    }

    /// The executions that were noted so, and are no longer.
    pub(crate) fn take_behind(&self) -> io::Result<Vec<ExecutionId>> {
        let Some(text) = read_at(&self.dir, BEHIND)? else { return Ok(Vec::new()) };
        fault::point("behind.take")?;
        fs::unlinkat(&self.dir, BEHIND, AtFlags::empty())?;
        let text = String::from_utf8_lossy(&text);
        // A line that was cut short names nothing, and a recovery closes what it meant.
        Ok(text.lines().filter_map(|line| ExecutionId::parse(line).ok()).collect())
    }

    /// Removes a transaction's folder for good: a power cut does not bring it back.
    pub(crate) fn remove_durably(&self, execution: &ExecutionId) -> io::Result<()> {
        self.remove(execution)?;
        fault::point("tx.sync")?;
        Ok(fs::fsync(&self.dir)?)
    }

    /// Everything that was written to this file system, by anybody, is durable when this answers.
    pub(crate) fn barrier(&self) -> io::Result<()> {
        fault::point("barrier")?;
        self.barriers.pass(self.failed_before)
    }
}

impl TxDir {
    pub(crate) fn write_journal(&self, text: &[u8]) -> io::Result<()> {
        fault::point("journal.create")?;
        let mut file = create_file(&self.dir, JOURNAL, 0o600)?;
        fault::point("journal.write")?;
        file.write_all(text)
    }

    /// Adds a line to the journal; `durable` waits for it.
    pub(crate) fn append_journal(&self, line: &str, durable: bool) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(fs::openat(&self.dir, JOURNAL, flags, Mode::empty())?);
        fault::point("journal.append")?;
        file.write_all(&journal::appended(line))?;
        if durable {
            fault::point("journal.sync")?;
            file.sync_data()?;
        }
        Ok(())
    }

    pub(crate) fn read_slot(&self, name: &str) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut bytes = Vec::new();
        File::from(fs::openat(&self.slots, name, flags, Mode::empty())?).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The slots that hold something.
    pub(crate) fn slot_names(&self) -> io::Result<Vec<String>> {
        names(&self.slots)
    }

    /// Whether the directory in a slot is empty.
    pub(crate) fn slot_is_empty(&self, name: &str) -> io::Result<bool> {
        Ok(names(&open_dir(&self.slots, name)?)?.is_empty())
    }

    /// Something in the folder that no transaction makes there.
    pub(crate) fn foreign_entry(&self) -> io::Result<Option<String>> {
        let own = [SLOTS, JOURNAL, crate::bases::FILE];
        Ok(names(&self.dir)?.into_iter().find(|name| !own.contains(&name.as_str())))
    }

    pub(crate) fn has_journal(&self) -> io::Result<bool> {
        Ok(self.dir.entry(JOURNAL)?.is_some())
    }

    pub(crate) fn read_journal(&self) -> io::Result<Option<Vec<u8>>> {
        self.read(JOURNAL)
    }

    /// Whether the journal's last line is this one; only that is read.
    pub(crate) fn journal_ends(&self, line: &str) -> io::Result<bool> {
        let wanted = journal::appended(line);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = match fs::openat(&self.dir, JOURNAL, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let Some(at) = file.metadata()?.len().checked_sub(wanted.len() as u64) else {
            return Ok(false);
        };
        file.seek(SeekFrom::Start(at))?;
        let mut found = Vec::with_capacity(wanted.len());
        file.read_to_end(&mut found)?;
        Ok(found == wanted)
    }

    /// A file beside the slots; `None` when there is none.
    pub(crate) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        read_at(&self.dir, name)
    }
}

fn read_at(dir: &DirHandle, name: &str) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match fs::openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => {
            let mut bytes = Vec::new();
            File::from(fd).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn create_file(
    dir: &DirHandle,
    name: impl rustix::path::Arg,
    mode: u32,
) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(fs::openat(dir, name, flags, Mode::from_raw_mode(mode))?))
}

pub(crate) fn open_dir(dir: &DirHandle, name: impl rustix::path::Arg) -> io::Result<DirHandle> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd: OwnedFd = fs::openat(dir, name, flags, Mode::empty())?;
    Ok(DirHandle::from(fd))
}

fn open_existing(dir: &DirHandle, name: &str) -> io::Result<Option<DirHandle>> {
    match open_dir(dir, name) {
        Ok(dir) => Ok(Some(dir)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Slots hold old secrets, and a version control system must never see them.
fn ignore(dir: &DirHandle) -> io::Result<()> {
    const NAME: &str = ".gitignore";
    if dir.entry(NAME)?.is_some_and(|entry| entry.size > 0) {
        return Ok(());
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::openat(dir, NAME, flags, Mode::from_raw_mode(0o600))?;
    File::from(file).write_all(b"*\n")
}

fn mkdir_if_missing(dir: &DirHandle, name: &str, mode: Mode) -> io::Result<()> {
    match fs::mkdirat(dir, name, mode) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What is in a directory. A name that is no text is shown, and then fits nothing.
fn names(dir: &DirHandle) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Removes a folder with all that is in it, also what its mode does not let us into.
pub(crate) fn remove_tree(
    parent: &DirHandle,
    name: impl rustix::path::Arg + Copy,
) -> io::Result<()> {
    let dir = match open_dir(parent, name) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = fs::openat(parent, name, flags, Mode::empty())?;
            let through = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
            fs::chmod(through, Mode::from_raw_mode(0o700))?;
            open_dir(parent, name)?
        }
        opened => opened?,
    };
    if fs::fstat(&dir)?.st_mode & 0o700 != 0o700 {
        fs::fchmod(&dir, Mode::from_raw_mode(0o700))?;
    }
    let mut children = Vec::new();
    for entry in fs::Dir::read_from(&dir)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            children.push(entry.file_name().to_owned());
        }
    }
    for child in children {
        match fs::unlinkat(&dir, child.as_c_str(), AtFlags::empty()) {
            Ok(()) => {}
            // An empty one goes without being opened: its mode may forbid that.
            Err(Errno::ISDIR | Errno::PERM) => {
                match fs::unlinkat(&dir, child.as_c_str(), AtFlags::REMOVEDIR) {
                    Ok(()) => {}
                    Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS) => {
                        remove_tree(&dir, child.as_c_str())?
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// How things change places on the mount of a workspace. Tried in the folder of transactions.
///
/// # Errors
/// When it cannot be tried.
pub fn means(root: &std::path::Path) -> io::Result<Means> {
    let workspace = Workspace::open(root).map_err(io::Error::other)?;
    TxRoot::open(&workspace)?.probe()
}
