//! Reading what a name in an open directory holds.

use std::fs::File;
use std::io::{self, Read};

use lictor_capability::{Entry, EntryKind, FileMode, State};
use lictor_context::{Digest, Hasher};
use rustix::fs::{self, AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::beneath::{DirHandle, entry_of};

/// How much is read at a time.
const BUFFER: usize = 128 * 1024;

/// A name could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is a FIFO, a socket, a device.
    #[error("it is not a regular file, a directory or a symbolic link")]
    Special,
    /// It was replaced, or written to, while it was read.
    #[error("it changed while it was read")]
    Changed,
    /// The file system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Errno> for ReadError {
    fn from(error: Errno) -> Self {
        match error {
            // Opened without following: it became a link after it was looked at.
            Errno::LOOP | Errno::NOENT => Self::Changed,
            other => Self::Io(other.into()),
        }
    }
}

/// The state of what stands at a name; `None` when nothing does. A file is hashed as a stream.
///
/// # Errors
/// When it is no file, directory or link, changed meanwhile, or the file system fails.
pub fn state_at(dir: &DirHandle, name: &str) -> Result<Option<State>, ReadError> {
    Ok(seen_at(dir, name)?.map(|seen| seen.state))
}

/// What stands at a name, all of it seen of the very same thing.
#[derive(Debug)]
pub struct Seen {
    /// Its state.
    pub state: State,
    /// Its inode.
    pub inode: u64,
    /// A regular file as it was opened to be read, at its end.
    pub file: Option<File>,
}

/// The state of what stands at a name, and which thing it is; `None` when nothing does.
///
/// # Errors
/// As [`state_at`].
pub fn seen_at(dir: &DirHandle, name: &str) -> Result<Option<Seen>, ReadError> {
    let stat = match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(ReadError::Io(error.into())),
    };
    let (entry, inode) = (entry_of(&stat), stat.st_ino);
    let mode = FileMode::from_bits(entry.mode);
    let state = match entry.kind {
        EntryKind::Directory => State::Directory { mode },
        EntryKind::Symlink => {
            let target = fs::readlinkat(dir, name, Vec::new())?;
            State::Symlink { digest: Digest::of(target.as_bytes()) }
        }
        EntryKind::File => {
            let (mut file, stat) = open_regular(dir, name)?;
            let entry = entry_of(&stat);
            let (digest, bytes) = hash(&mut file, entry.size)?;
            let state = State::File { digest, mode: FileMode::from_bits(entry.mode), bytes };
            return Ok(Some(Seen { state, inode: stat.st_ino, file: Some(file) }));
        }
        EntryKind::Special => return Err(ReadError::Special),
    };
    Ok(Some(Seen { state, inode, file: None }))
}

/// The state of an open regular file.
///
/// # Errors
/// When the file system fails.
pub fn file_state(file: &mut File) -> Result<State, ReadError> {
    let entry = entry_of(&fs::fstat(&*file)?);
    let (digest, bytes) = hash(file, entry.size)?;
    Ok(State::File { digest, mode: FileMode::from_bits(entry.mode), bytes })
}

/// Opens a regular file for reading, in a way that neither follows a link nor waits on a FIFO.
pub(crate) fn open_file(dir: &DirHandle, name: &str) -> Result<(File, Entry), ReadError> {
    open_regular(dir, name).map(|(file, stat)| (file, entry_of(&stat)))
}

fn open_regular(dir: &DirHandle, name: &str) -> Result<(File, Stat), ReadError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(fs::openat(dir, name, flags, Mode::empty())?);
    let stat = fs::fstat(&file)?;
    let regular = entry_of(&stat).kind == EntryKind::File;
    if regular { Ok((file, stat)) } else { Err(ReadError::Changed) }
}

fn hash(file: &mut File, size: u64) -> Result<(Digest, u64), ReadError> {
    let mut hasher = Hasher::new();
    // Most files are small, and clearing a large buffer takes longer than hashing one of them. One
    // byte more than there is to read, so that the end shows in the same read.
    let room = usize::try_from(size).map_or(BUFFER, |size| size.saturating_add(1));
    let mut buffer = vec![0_u8; room.clamp(4096, BUFFER)];
    let mut total = 0_u64;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finish(), total)),
            Ok(n) => {
                hasher.update(buffer.get(..n).unwrap_or_default());
                total += n as u64;
                // Less than there was room for, and all that there was to read: its end.
                if n < buffer.len() && total >= size {
                    return Ok((hasher.finish(), total));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
