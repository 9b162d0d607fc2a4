//! Where the database of a workspace lies, written down in the workspace: whoever could bring
//! another one along would bring other approvers, no halts and no counts.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::options::{OpenError, RuntimeOptions};

/// A symbolic link to the folder of the database, in `.lictor`; made in one step, read in one.
const PIN: &str = "state-dir";

/// Where the database of a workspace is.
enum Pin {
    /// In `.lictor`.
    Here,
    /// Elsewhere.
    At(PathBuf),
    /// There is none yet.
    Nowhere,
}

fn failed(path: &Path) -> impl Fn(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::StateFolder { path: path.clone(), source }
}

fn read(own: &Path) -> Result<Pin, OpenError> {
    let pin = own.join(PIN);
    match std::fs::read_link(&pin) {
        Ok(folder) => Ok(Pin::At(folder)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let there = own.join("lictor.db").try_exists().map_err(failed(own))?;
            Ok(if there { Pin::Here } else { Pin::Nowhere })
        }
        Err(error) => Err(failed(&pin)(error)),
    }
}

/// The folder by its real name; it is made when it is not there.
fn real(folder: &Path) -> Result<PathBuf, OpenError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.and_then(|()| folder.canonicalize()).map_err(failed(folder))
}

/// The folder of a workspace's database, where it is not `.lictor`: the one that is pinned. The
/// first folder that is named is pinned; another one later is refused.
///
/// # Errors
/// When another one is named than is pinned, or it cannot be told.
pub(crate) fn settle(options: &RuntimeOptions) -> Result<Option<PathBuf>, OpenError> {
    let own = options.workspace.join(".lictor");
    let named = match &options.shared {
        Some(shared) => Some(&shared.folder),
        None => options.state_dir.as_ref(),
    };
    let pinned = match (read(&own)?, named) {
        (Pin::Here | Pin::Nowhere, None) => return Ok(None),
        (Pin::At(folder), None) => return Ok(Some(folder)),
        (Pin::Nowhere, Some(named)) => {
            let folder = real(named)?;
            if folder == own.canonicalize().map_err(failed(&own))? {
                return Ok(None);
            }
            match symlink(&folder, own.join(PIN)) {
                Ok(()) => return Ok(Some(folder)),
                // Somebody was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return settle(options);
                }
                Err(error) => return Err(failed(&own)(error)),
            }
        }
        (Pin::Here, Some(_)) => own,
        (Pin::At(folder), Some(_)) => folder,
    };
    // What cannot be found is another one.
    let same = |named: &PathBuf| {
        let found = named.canonicalize();
        found.is_ok_and(|found| pinned.canonicalize().is_ok_and(|pinned| pinned == found))
    };
    match named.filter(|named| !same(named)) {
        None if pinned == options.workspace.join(".lictor") => Ok(None),
        None => Ok(Some(pinned)),
        Some(named) => Err(OpenError::OtherState { pinned, named: named.clone() }),
    }
}

/// Pins another folder. Whoever calls this has made sure that an approver of the old one wants it.
///
/// # Errors
/// When it cannot be written.
#[expect(clippy::disallowed_methods, reason = "the pin is Lictor's own, and replaced in one step")]
pub fn rebind_state(workspace: &Path, folder: &Path) -> Result<(), OpenError> {
    let own = workspace.join(".lictor");
    let folder = real(folder)?;
    let new = own.join(format!("{PIN}.new"));
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&new)(error)),
        _ => {}
    }
    symlink(&folder, &new).map_err(failed(&new))?;
    std::fs::rename(&new, own.join(PIN)).map_err(failed(&own))
}
