//! Staging: the new things are made in slots, whole, before anything is touched.

use std::fs::File;
use std::io::{self, Read as _, Write as _};

use lictor_capability::{Content, Item, State, ViewError};
use lictor_context::{Digest, Hasher, WorkspacePath};
use lictor_workspace::Workspace;
use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, Uid};

use crate::fault;
use crate::journal::JournalItem;
use crate::store::{SlotRef, TxDir, create_file};

/// How much of a file is copied at a time.
const BUFFER: usize = 256 * 1024;

/// Staging failed; nothing was touched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StageError {
    #[error("`{path}` could not be prepared: {source}")]
    Io { path: String, source: io::Error },
    #[error("`{path}` could not be prepared: {source}")]
    View { path: String, source: ViewError },
    #[error("`{path}` is copied from a file that has changed since it was judged")]
    SourceChanged { path: String },
}

/// Makes the new thing of an item in its slot, when it has one of its own.
pub(crate) fn stage(
    workspace: &Workspace,
    tx: &TxDir,
    item: &Item,
    planned: &JournalItem,
) -> Result<(), StageError> {
    let (Some(slot), Some(after)) = (&planned.stage, planned.after) else { return Ok(()) };
    if matches!(item.content, Some(Content::Kept(_))) {
        return Ok(());
    }
    let io = |source| StageError::Io { path: item.path().to_owned(), source };
    fault::point("stage.before").map_err(io)?;
    match (&item.content, after) {
        (_, State::Directory { mode }) => make_directory(tx, slot, mode.bits()).map_err(io)?,
        (Some(Content::Target(target)), _) => {
            fs::symlinkat(target.as_str(), &tx.slots, slot.name()).map_err(|e| io(e.into()))?;
        }
        (Some(Content::Inline(bytes)), State::File { mode, .. }) => {
            let mut file = create_file(&tx.slots, &slot.name(), 0o600).map_err(io)?;
            fault::point("stage.write").map_err(io)?;
            file.write_all(bytes).map_err(io)?;
            finish(workspace, &file, item.from.as_ref(), mode.bits()).map_err(io)?;
        }
        (Some(Content::CopyOf(source)), State::File { mode, digest, .. }) => {
            let mut file = create_file(&tx.slots, &slot.name(), 0o600).map_err(io)?;
            copy(workspace, source, &mut file, digest, item.path())?;
            finish(workspace, &file, item.from.as_ref(), mode.bits()).map_err(io)?;
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

/// Owner and mode: those of what is replaced, where it can be.
fn finish(
    workspace: &Workspace,
    file: &File,
    replaces: Option<&WorkspacePath>,
    mode: u32,
) -> io::Result<()> {
    if let Some(path) = replaces
        && let Ok(Some(parent)) = workspace.parent(path)
        && let Ok(old) = fs::statat(&parent, path.name(), AtFlags::SYMLINK_NOFOLLOW)
    {
        let new = fs::fstat(file)?;
        if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid) {
            let (uid, gid) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
            // Only a privileged process may; anybody else leaves the file their own.
            if let Err(error) = fs::fchown(file, Some(uid), Some(gid)) {
                tracing::debug!(%error, %path, "the owner could not be kept");
            }
        }
    }
    fs::fchmod(file, Mode::from_raw_mode(mode))?;
    Ok(())
}

fn copy(
    workspace: &Workspace,
    source: &WorkspacePath,
    target: &mut File,
    expected: Digest,
    path: &str,
) -> Result<(), StageError> {
    let io = |source| StageError::Io { path: path.to_owned(), source };
    let parent = workspace
        .parent(source)
        .map_err(|error| StageError::View { path: path.to_owned(), source: error })?
        .ok_or_else(|| StageError::SourceChanged { path: path.to_owned() })?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = fs::openat(&parent, source.name(), flags, Mode::empty());
    let mut from = File::from(opened.map_err(|error| io(error.into()))?);
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
