//! The files of a workspace that fit a glob.

use globset::{GlobBuilder, GlobMatcher};
use lictor_capability::{EntryKind, ViewErrorKind, WorkspaceView};
use lictor_context::WorkspacePath;
use lictor_executor::HandlerError;

/// The most names that are looked at for one glob.
const MAX_SCANNED: usize = 100_000;

/// The files and links that fit, each named: a rule about one of them is heard. A name that a
/// leading dot hides fits only where the glob writes the dot.
pub(super) fn find(
    glob: &str,
    view: &dyn WorkspaceView,
) -> Result<Vec<WorkspacePath>, HandlerError> {
    let built = GlobBuilder::new(glob).literal_separator(true).build();
    let matcher = built.map_err(|error| HandlerError::input(error.to_string()))?.compile_matcher();
    let parts: Vec<&str> = glob.split('/').collect();
    let plain = parts.iter().take_while(|part| !part.contains(['*', '?', '[', '{', '\\']));
    let plain: Vec<&str> = plain.copied().collect();
    let base = match plain.as_slice() {
        [] => None,
        plain => {
            let base = WorkspacePath::parse(&plain.join("/"));
            Some(base.map_err(|error| HandlerError::input(error.to_string()))?)
        }
    };
    let hidden = parts.iter().any(|part| part.starts_with('.'));
    let mut walk = Walk { view, matcher, hidden, found: Vec::new(), left: MAX_SCANNED };
    walk.folder(base)?;
    if walk.found.is_empty() {
        let glob = glob.escape_debug();
        let problem = format!("nothing fits `{glob}`, so there is nothing to copy for the command");
        return Err(HandlerError::input(problem));
    }
    walk.found.sort();
    Ok(walk.found)
}

struct Walk<'a> {
    view: &'a dyn WorkspaceView,
    matcher: GlobMatcher,
    hidden: bool,
    found: Vec<WorkspacePath>,
    left: usize,
}

impl Walk<'_> {
    fn folder(&mut self, top: Option<WorkspacePath>) -> Result<(), HandlerError> {
        let mut waiting = vec![top];
        while let Some(folder) = waiting.pop() {
            let names = match self.view.list(folder.as_ref()) {
                Ok(names) => names,
                Err(error)
                    if matches!(
                        error.kind(),
                        ViewErrorKind::NotFound | ViewErrorKind::NotADirectory
                    ) =>
                {
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for listed in names {
                self.left = self.left.checked_sub(1).ok_or_else(|| {
                    HandlerError::input(format!(
                        "more than {MAX_SCANNED} names would be looked at for a glob; narrow it"
                    ))
                })?;
                let path = match &folder {
                    Some(folder) => folder.join(&listed.name),
                    None => WorkspacePath::parse(&listed.name),
                };
                // A name that Lictor does not accept cannot be asked for either.
                let Ok(path) = path else { continue };
                if listed.name.starts_with('.') && !self.hidden {
                    continue;
                }
                match listed.kind {
                    EntryKind::Directory => waiting.push(Some(path)),
                    EntryKind::File | EntryKind::Symlink
                        if self.matcher.is_match(path.as_str()) =>
                    {
                        self.found.push(path);
                    }
                    EntryKind::File | EntryKind::Symlink | EntryKind::Special => {}
                }
            }
        }
        Ok(())
    }
}
