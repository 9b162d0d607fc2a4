//! The file skills. None of them writes: each says what is to change, and the executor does it.

mod copy;
mod delete;
mod exists;
mod find;
mod list;
mod mkdir;
mod patch;
mod read;
mod rename;
pub(crate) mod tree;
mod write;

use lictor_capability::{
    Effects, Entry, EntryKind, FileMode, ViewError, ViewErrorKind, Violation, WorkspaceView,
};
use lictor_context::{Digest, WorkspacePath};
use lictor_executor::HandlerError;

pub(crate) use copy::Copy;
pub(crate) use delete::Delete;
pub(crate) use exists::Exists;
pub(crate) use find::{GlobNames, Search};
pub(crate) use list::List;
pub(crate) use mkdir::Mkdir;
pub(crate) use patch::Patch;
pub(crate) use read::{Hash, Read};
pub(crate) use rename::Move;
pub(crate) use write::Write;

/// A path out of an input.
pub(crate) fn path(key: &str, text: &str) -> Result<WorkspacePath, HandlerError> {
    WorkspacePath::parse(text).map_err(|error| HandlerError::input(format!("`{key}`: {error}")))
}

/// The digest that the caller saw.
fn before(text: Option<&str>) -> Result<Option<Digest>, HandlerError> {
    text.map(Digest::parse)
        .transpose()
        .map_err(|error| HandlerError::input(format!("`before`: {error}")))
}

/// Permission bits out of an input.
fn mode(text: Option<&str>) -> Result<Option<FileMode>, HandlerError> {
    text.map(|mode| FileMode::try_from(mode.to_owned()))
        .transpose()
        .map_err(|error| HandlerError::input(format!("`mode`: {error}")))
}

/// What stands at a path that is going to be changed. What is in the way of getting there counts
/// as absence here, because resolving the change says it better: as a conflict or a violation.
pub(crate) fn look(
    view: &dyn WorkspaceView,
    path: &WorkspacePath,
) -> Result<Option<Entry>, ViewError> {
    match view.entry(path) {
        Err(error)
            if matches!(
                error.kind(),
                ViewErrorKind::ThroughSymlink { .. } | ViewErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        other => other,
    }
}

/// The effects of reading one path. A way through a link is a violation, so that the gate can say
/// so; everything else that is wrong with the path is said when it is read.
fn reading(view: &dyn WorkspaceView, path: WorkspacePath) -> Effects {
    let violations = match view.entry(&path) {
        Err(error) if matches!(error.kind(), ViewErrorKind::ThroughSymlink { .. }) => {
            vec![Violation::new(path.as_str(), "inside_workspace", error.kind().to_string())]
        }
        _ => Vec::new(),
    };
    Effects { reads: vec![path], violations, ..Effects::default() }
}

/// The effects of opening what stands at a path, as opposed to looking at it: a link there is not
/// followed either, wherever it leads.
pub(crate) fn opening(view: &dyn WorkspaceView, path: WorkspacePath) -> Effects {
    let link = view.entry(&path).ok().flatten().is_some_and(|it| it.kind == EntryKind::Symlink);
    let mut effects = reading(view, path.clone());
    if link {
        let why = "it is a symbolic link, and links are not followed";
        effects.violations.push(Violation::new(path.as_str(), "inside_workspace", why));
    }
    effects
}

/// Stands for the digest of what has none: there is nothing, or nothing that may be read. Resolving
/// reports that before it compares digests.
fn nothing() -> Digest {
    Digest::of(b"")
}
