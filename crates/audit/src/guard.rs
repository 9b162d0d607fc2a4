//! The rollback guard: outside of the store, how far each log was signed.
//!
//! Whoever puts an older copy of the store back would otherwise hold a log that verifies.

use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lictor_context::Digest;

use crate::log::{Checkpoint, Hash, parse_hash};

/// The rollback guard does not know, or does not agree.
#[derive(Debug, thiserror::Error)]
#[error("the rollback guard in `{}` refuses the log `{origin}`", .folder.display())]
pub struct GuardError {
    folder: PathBuf,
    origin: String,
    #[source]
    kind: GuardErrorKind,
}

/// What is the matter with the rollback guard.
#[derive(Debug, thiserror::Error)]
pub enum GuardErrorKind {
    /// The store is older than what was signed: somebody put a copy back.
    #[error("{signed} events were signed, and the store has {found}")]
    RolledBack {
        /// How many were signed.
        signed: u64,
        /// How many there are.
        found: u64,
    },
    /// The store has another history than the one that was signed.
    #[error("another history of {size} events was signed")]
    Forked {
        /// How long both are.
        size: u64,
    },
    /// A file could not be read or written.
    #[error("a file could not be read or written")]
    Io(#[source] io::Error),
    /// The file does not say what it should.
    #[error("its file is damaged")]
    Damaged,
}

impl GuardError {
    /// What is the matter.
    #[must_use]
    pub fn kind(&self) -> &GuardErrorKind {
        &self.kind
    }

    /// Whether a file could not be read or written, and that is all.
    pub(crate) fn is_io(&self) -> bool {
        matches!(self.kind, GuardErrorKind::Io(_))
    }
}

/// One folder with a small file for each log.
#[derive(Debug)]
pub(crate) struct Guard {
    folder: PathBuf,
    // Open for as long as the guard lives; also keeps this process's threads apart.
    lock: Mutex<File>,
    /// What this process knows of each log. One assignment changes an entry, so that a poisoned
    /// lock guards whole ones.
    logs: Mutex<HashMap<String, Known>>,
    /// The files of the logs, as they were opened last.
    files: Mutex<HashMap<String, Arc<Opened>>>,
}

/// The file of a log, kept open.
#[derive(Debug)]
struct Opened {
    path: PathBuf,
    file: File,
    identity: (u64, u64),
}

/// What a process knows of a log.
#[derive(Debug, Default)]
struct Known {
    /// The last checkpoint that was committed.
    committed: Option<Checkpoint>,
    /// How far the file says, as this process wrote or read it.
    raised: u64,
}

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;
/// What fills the file up to a sector.
const PADDING: char = ' ';

impl Guard {
    pub(crate) fn open(folder: &Path) -> Result<Self, GuardError> {
        let open = || {
            std::fs::create_dir_all(folder)?;
            let path = folder.join("lock");
            OpenOptions::new().write(true).create(true).truncate(false).open(path)
        };
        let lock = open().map_err(|error| GuardError {
            folder: folder.to_owned(),
            origin: "*".to_owned(),
            kind: GuardErrorKind::Io(error),
        })?;
        let (logs, files) = (Mutex::default(), Mutex::default());
        Ok(Self { folder: folder.to_owned(), lock: Mutex::new(lock), logs, files })
    }

    /// The highest size that was signed, and its root.
    pub(crate) fn read(&self, origin: &str) -> Result<Option<(u64, Hash)>, GuardError> {
        match self.peek(origin) {
            // Somebody may be writing just now.
            Err(GuardErrorKind::Damaged) => self.locked(|| self.peek(origin)),
            other => other,
        }
        .map_err(|kind| self.refuse(origin, kind))
    }

    /// Refuses a log that is behind what was signed.
    pub(crate) fn check(&self, origin: &str, size: u64, root: &Hash) -> Result<(), GuardError> {
        let Some((signed, signed_root)) = self.read(origin)? else {
            return Ok(());
        };
        if signed > size {
            let kind = GuardErrorKind::RolledBack { signed, found: size };
            return Err(self.refuse(origin, kind));
        }
        if signed == size && signed_root != *root {
            return Err(self.refuse(origin, GuardErrorKind::Forked { size }));
        }
        Ok(())
    }

    /// Learns of a checkpoint that was committed. Whoever remembers one of the same commit
    /// remembers this one instead, once for all of them.
    pub(crate) fn learn(&self, checkpoint: &Checkpoint) {
        let mut logs = self.logs();
        let known = logs.entry(checkpoint.origin.clone()).or_default();
        if known.committed.as_ref().is_none_or(|committed| committed.size < checkpoint.size) {
            known.committed = Some(checkpoint.clone());
        }
    }

    /// Remembers a checkpoint that was committed. A higher one that somebody remembered in the
    /// meantime stays, in this process or another one.
    pub(crate) fn raise(&self, checkpoint: &Checkpoint) -> Result<(), GuardError> {
        let origin = &checkpoint.origin;
        // One thread after the other: most of those who waited find it done.
        let file = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(newest) = self.to_raise(checkpoint) else { return Ok(()) };
        let raised = locked(&file, || self.raise_file(&newest));
        let signed = raised.map_err(|kind| self.refuse(origin, kind))?;
        self.logs().entry(origin.clone()).or_default().raised = signed;
        Ok(())
    }

    /// What is to be remembered for a checkpoint; nothing when this process has remembered a
    /// higher one.
    fn to_raise(&self, checkpoint: &Checkpoint) -> Option<Checkpoint> {
        let logs = self.logs();
        let Some(known) = logs.get(&checkpoint.origin) else { return Some(checkpoint.clone()) };
        if known.raised > checkpoint.size {
            return None;
        }
        let later = known.committed.as_ref().filter(|known| known.size > checkpoint.size);
        Some(later.unwrap_or(checkpoint).clone())
    }

    /// Writes a checkpoint unless the file says a higher one; says how far it says then.
    fn raise_file(&self, checkpoint: &Checkpoint) -> Result<u64, GuardErrorKind> {
        let Checkpoint { origin, size, root } = checkpoint;
        match self.peek(origin)? {
            Some((signed, _)) if signed > *size => Ok(signed),
            Some((signed, found)) if signed == *size && found == *root => Ok(signed),
            Some((signed, _)) if signed == *size => Err(GuardErrorKind::Forked { size: *size }),
            _ => self.write(checkpoint).map(|()| *size).map_err(GuardErrorKind::Io),
        }
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps other threads and other processes away in the meantime.
    fn locked<T>(
        &self,
        run: impl FnOnce() -> Result<T, GuardErrorKind>,
    ) -> Result<T, GuardErrorKind> {
        let file = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        locked(&file, run)
    }

    fn peek(&self, origin: &str) -> Result<Option<(u64, Hash)>, GuardErrorKind> {
        let Some(opened) = self.opened(origin).map_err(GuardErrorKind::Io)? else {
            return Ok(None);
        };
        let text = opened.text().map_err(GuardErrorKind::Io)?;
        // Made, and then the machine lost power before anything was in it.
        if text.bytes().all(|byte| byte == 0) {
            return Ok(None);
        }
        parse(&text, origin).map(Some).ok_or(GuardErrorKind::Damaged)
    }

    /// The file of a log; nothing when there is none. What stands at its path is looked at each time:
    /// somebody may have put another one there.
    fn opened(&self, origin: &str) -> io::Result<Option<Arc<Opened>>> {
        let known = self.files().get(origin).cloned();
        let path = known.as_ref().map_or_else(|| self.path(origin), |known| known.path.clone());
        let at_path = match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.files().remove(origin);
                return Ok(None);
            }
            found => found?,
        };
        if let Some(known) = known.filter(|known| known.identity == identity(&at_path)) {
            return Ok(Some(known));
        }
        let open = |write| OpenOptions::new().read(true).write(write).open(&path);
        let (opened, writable) = match open(true) {
            Ok(file) => (Ok(file), true),
            // Who may only read it can still hold a log against it; that may be another thing soon.
            Err(_) => (open(false), false),
        };
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let identity = identity(&file.metadata()?);
        let opened = Arc::new(Opened { path, file, identity });
        if writable {
            self.files().insert(origin.to_owned(), Arc::clone(&opened));
        }
        Ok(Some(opened))
    }

    fn files(&self) -> MutexGuard<'_, HashMap<String, Arc<Opened>>> {
        // Whole entries come and go.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Overwrites the file in place, in one write of exactly a sector: its size never changes after
    /// it was made, and that was waited for. So after a power cut it says what it said before or
    /// what was written, and nothing in between. Putting a new file over it would cost a flush on
    /// ext4: four times an append. Whoever reads in the middle of it learns so from the digest.
    fn write(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let text = checkpoint.text();
        let mut text = format!("{text}{}\n", Digest::of(text.as_bytes()));
        let padding = SECTOR.saturating_sub(text.len());
        text.extend(std::iter::repeat_n(PADDING, padding));
        match self.opened(&checkpoint.origin)? {
            Some(opened) if opened.file.metadata()?.len() >= text.len() as u64 => {
                opened.file.write_all_at(text.as_bytes(), 0)
            }
            Some(opened) => make(&opened.file, &text, &self.folder),
            None => {
                let path = self.path(&checkpoint.origin);
                let mut made = OpenOptions::new();
                make(
                    &made.write(true).create(true).truncate(false).open(path)?,
                    &text,
                    &self.folder,
                )
            }
        }
    }

    fn path(&self, origin: &str) -> PathBuf {
        self.folder.join(format!("{}.head", Digest::of(origin.as_bytes()).hex()))
    }

    fn refuse(&self, origin: &str, kind: GuardErrorKind) -> GuardError {
        GuardError { folder: self.folder.clone(), origin: origin.to_owned(), kind }
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

impl Opened {
    fn text(&self) -> io::Result<String> {
        // A line more than a sector holds is read on.
        let (mut bytes, mut filled) = (vec![0; 2 * SECTOR], 0);
        loop {
            let rest = bytes.get_mut(filled..).unwrap_or_default();
            match self.file.read_at(rest, filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if filled == bytes.len() {
                bytes.resize(2 * filled, 0);
            }
        }
        bytes.truncate(filled);
        String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

/// Writes a file that is new, or was shorter before, and waits until it is there.
fn make(file: &File, text: &str, folder: &Path) -> io::Result<()> {
    file.write_all_at(text.as_bytes(), 0)?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}

/// Keeps other processes away in the meantime.
fn locked<T>(
    file: &File,
    run: impl FnOnce() -> Result<T, GuardErrorKind>,
) -> Result<T, GuardErrorKind> {
    file.lock().map_err(GuardErrorKind::Io)?;
    let result = run();
    let unlocked = file.unlock().map_err(GuardErrorKind::Io);
    let result = result?;
    unlocked.map(|()| result)
}

fn parse(text: &str, expected: &str) -> Option<(u64, Hash)> {
    let text = text.trim_end_matches(PADDING);
    let (body, digest) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let body = text.get(..=body.len())?;
    if digest != Digest::of(body.as_bytes()).to_string() {
        return None;
    }
    let mut lines = body.strip_suffix('\n')?.split('\n');
    let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
    if origin != expected || lines.next().is_some() {
        return None;
    }
    Some((size.parse().ok()?, parse_hash(root)?))
}
