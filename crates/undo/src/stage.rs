//! Staging: the new things are made in slots, whole, before anything is touched.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;

use lictor_capability::{Content, FileMode, Item, State, ViewError};
use lictor_context::{Digest, Hasher, WorkspacePath};
use lictor_workspace::Workspace;
use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;

use crate::compile::open_mode;
use crate::fault;
use crate::journal::JournalItem;
use crate::store::{SlotRef, TxDir, create_file, open_dir};

const ACCESS_ACL: &str = "system.posix_acl_access";
const DEFAULT_ACL: &str = "system.posix_acl_default";
const SET_GROUP_ID: u32 = 0o2000;

/// How much of a file is copied at a time.
const BUFFER: usize = 256 * 1024;

/// The most that Linux gives for the names of a file's extended attributes, and for one's value.
const MAX_ATTRIBUTE: usize = 64 * 1024;

/// What is tried first.
const FEW: usize = 512;

/// Attributes that say something about the bytes: capabilities, signatures, a file system's own.
const VOUCHING: [&[u8]; 4] =
    [b"security.capability", b"security.ima", b"security.evm", b"trusted.overlay."];

/// Staging failed; nothing was touched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StageError {
    #[error("`{path}` could not be prepared: {source}")]
    Io { path: String, source: io::Error },
    #[error("`{path}` could not be prepared: {source}")]
    View { path: String, source: ViewError },
    #[error("the content of `{path}` comes from something that has changed since it was judged")]
    SourceChanged { path: String },
}

/// Makes the new thing of an item in its slot, when it has one of its own.
pub(crate) fn stage(
    workspace: &Workspace,
    tx: &TxDir,
    (item, replaced): (&Item, Option<&Attributes>),
    planned: &JournalItem,
) -> Result<(), StageError> {
    let (Some(slot), Some(after)) = (&planned.stage, planned.after) else { return Ok(()) };
    if matches!(item.content, Some(Content::Kept(_))) {
        return Ok(());
    }
    let io = |source| StageError::Io { path: item.path().to_owned(), source };
    fault::point("stage.before").map_err(io)?;
    match (&item.content, after) {
        (_, State::Directory { mode }) => {
            make_directory(tx, slot, open_mode(mode).bits()).map_err(io)?;
            let made = open_dir(&tx.slots, slot.name()).map_err(io)?;
            inherit(workspace, planned, &made, mode).map_err(io)?;
        }
        (Some(Content::Target(target)), _) => {
            fs::symlinkat(target.as_str(), &tx.slots, slot.name()).map_err(|e| io(e.into()))?;
        }
        (Some(Content::Inline(bytes)), State::File { mode, .. }) => {
            let mut file = create_file(&tx.slots, slot.name(), 0o600).map_err(io)?;
            fault::point("stage.write").map_err(io)?;
            file.write_all(bytes).map_err(io)?;
            finish(&file, item.path(), replaced, mode.bits()).map_err(io)?;
            inherit(workspace, planned, &file, mode).map_err(io)?;
        }
        (Some(Content::CopyOf(source)), State::File { mode, digest, .. }) => {
            let mut file = create_file(&tx.slots, slot.name(), 0o600).map_err(io)?;
            let from = open_source(workspace, source, item.path())?;
            copy(from, &mut file, digest, item.path())?;
            finish(&file, item.path(), replaced, mode.bits()).map_err(io)?;
            inherit(workspace, planned, &file, mode).map_err(io)?;
        }
        (Some(Content::Streamed(source)), State::File { mode, digest, .. }) => {
            let mut file = create_file(&tx.slots, slot.name(), 0o600).map_err(io)?;
            copy(source.open().map_err(io)?, &mut file, digest, item.path())?;
            finish(&file, item.path(), replaced, mode.bits()).map_err(io)?;
            inherit(workspace, planned, &file, mode).map_err(io)?;
        }
        _ => return Err(io(io::Error::other("the change says nothing of its content"))),
    }
    fault::point("stage.after").map_err(io)
}

fn make_directory(tx: &TxDir, slot: &SlotRef, mode: u32) -> io::Result<()> {
    fs::mkdirat(&tx.slots, slot.name(), Mode::from_raw_mode(0o700))?;
    // After the fact, because the process's umask takes bits away from mkdir.
    Ok(fs::chmodat(&tx.slots, slot.name(), Mode::from_raw_mode(mode), AtFlags::empty())?)
}

/// What a file has beside its bytes and its mode: its owner, and its extended attributes, access lists
/// among them. Those that vouch for its bytes are left behind.
#[derive(Debug)]
pub(crate) struct Attributes {
    owner: (u32, u32),
    extended: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    /// Of a file that is going to be replaced.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let stat = fs::fstat(file)?;
        let owner = (stat.st_uid, stat.st_gid);
        let listed = match attribute(|room| fs::flistxattr(file, room)) {
            Ok(listed) => listed,
            Err(Errno::OPNOTSUPP) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let mut extended = Vec::new();
        for name in listed.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            if VOUCHING.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            match attribute(|room| fs::fgetxattr(file, name, room)) {
                Ok(value) => extended.push((name.to_vec(), value)),
                Err(Errno::NODATA) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self { owner, extended })
    }

    /// Gives them to what replaces it, as far as whoever runs this may.
    fn give(&self, to: &File, path: &str) -> io::Result<()> {
        let new = fs::fstat(to)?;
        if (new.st_uid, new.st_gid) != self.owner {
            let (uid, gid) = (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1));
            // Only a privileged process may; anybody else leaves the file their own.
            if let Err(error) = fs::fchown(to, Some(uid), Some(gid)) {
                tracing::debug!(%error, path, "the owner could not be kept");
            }
        }
        for (name, value) in &self.extended {
            match fs::fsetxattr(to, name.as_slice(), value, XattrFlags::empty()) {
                Ok(()) => {}
                // Only a privileged process may; anybody else leaves it behind.
                Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => {
                    let name = String::from_utf8_lossy(name);
                    tracing::debug!(path, %name, "an extended attribute could not be kept");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// An attribute, or their names: most are small.
fn attribute(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut room = vec![0_u8; FEW];
    let n = match read(&mut room) {
        Err(Errno::RANGE) => {
            room.resize(MAX_ATTRIBUTE, 0);
            read(&mut room)?
        }
        read => read?,
    };
    room.truncate(n);
    Ok(room)
}

/// Owner and extended attributes of what is replaced, where it can be, and the mode.
fn finish(file: &File, path: &str, replaced: Option<&Attributes>, mode: u32) -> io::Result<()> {
    if let Some(replaced) = replaced {
        replaced.give(file, path)?;
    }
    // Last: a change of owner takes set-id bits away, and an access list has a say in the mode.
    fs::fchmod(file, Mode::from_raw_mode(mode))?;
    Ok(())
}

/// What a new thing gets from its directory, as the kernel would have given it there: the group of
/// a set-group-id directory, and its default access list. The private folder that it is staged in
/// has neither. Where the directory is new itself, both come from the nearest that is there.
fn inherit(
    workspace: &Workspace,
    planned: &JournalItem,
    to: impl AsFd,
    mode: FileMode,
) -> io::Result<()> {
    let (None, Some(path)) = (&planned.from, &planned.to) else { return Ok(()) };
    let mut parent = path.parent();
    let dir = loop {
        match workspace.dir(parent.as_ref()) {
            Ok(Some(dir)) => break dir,
            Ok(None) if parent.is_some() => parent = parent.and_then(|path| path.parent()),
            // A path that is not what was judged is found out when it is published.
            Ok(None) | Err(_) => return Ok(()),
        }
    };
    let stat = fs::fstat(&dir)?;
    let shared = stat.st_mode & SET_GROUP_ID != 0;
    if shared {
        // Only who is in the group may; anybody else leaves the thing to their own.
        if let Err(error) = fs::fchown(&to, None, Some(Gid::from_raw(stat.st_gid))) {
            tracing::debug!(%error, %path, "the directory's group could not be given");
        }
    }
    let list = match attribute(|room| fs::fgetxattr(&dir, DEFAULT_ACL, room)) {
        Ok(list) => list,
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let is_directory = matches!(planned.after, Some(State::Directory { .. }));
    if !list.is_empty() {
        fs::fsetxattr(&to, ACCESS_ACL, &list, XattrFlags::empty())?;
        if is_directory {
            fs::fsetxattr(&to, DEFAULT_ACL, &list, XattrFlags::empty())?;
        }
    }
    if shared || !list.is_empty() {
        // The mode that was judged, which is the list's mask as well. A directory hands its group
        // on, but where it is closed to us at last: its mode is compared on the way.
        let staged = if is_directory { open_mode(mode) } else { mode };
        let hands_on = shared && is_directory && staged == mode;
        let bits = staged.bits() | if hands_on { SET_GROUP_ID } else { 0 };
        fs::fchmod(&to, Mode::from_raw_mode(bits))?;
    }
    Ok(())
}

fn open_source(
    workspace: &Workspace,
    source: &WorkspacePath,
    path: &str,
) -> Result<File, StageError> {
    let parent = workspace
        .parent(source)
        .map_err(|error| StageError::View { path: path.to_owned(), source: error })?
        .ok_or_else(|| StageError::SourceChanged { path: path.to_owned() })?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = fs::openat(&parent, source.name(), flags, Mode::empty());
    let io = |error: Errno| StageError::Io { path: path.to_owned(), source: error.into() };
    Ok(File::from(opened.map_err(io)?))
}

/// Copies a piece at a time, and checks that it is what was judged.
fn copy(
    mut from: impl io::Read,
    target: &mut File,
    expected: Digest,
    path: &str,
) -> Result<(), StageError> {
    let io = |source| StageError::Io { path: path.to_owned(), source };
    let mut hasher = Hasher::new();
    let mut buffer = vec![0_u8; BUFFER];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(io(error)),
        };
        let chunk = buffer.get(..n).unwrap_or_default();
        hasher.update(chunk);
        fault::point("stage.copy").map_err(io)?;
        target.write_all(chunk).map_err(io)?;
    }
    if hasher.finish() == expected {
        Ok(())
    } else {
        Err(StageError::SourceChanged { path: path.to_owned() })
    }
}
