//! `fs.delete`.

use lictor_capability::{Change, Effects, Entry, EntryKind, WorkspaceView};
use lictor_context::WorkspacePath;
use lictor_executor::{HandlerError, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::tree::{Memo, walk};
use super::{before, look, nothing, path};
use crate::skill::{Skill, changing, parse};

#[derive(Deserialize)]
struct Input<'a> {
    path: &'a str,
    before: Option<&'a str>,
    #[serde(default)]
    recursive: bool,
}

pub(crate) struct Delete;

impl Skill for Delete {
    fn effects(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let view = Memo::new(request.view);
        let changes = changes(&parse(request.input())?, &view)?;
        changing(&changes, &view)
    }

    fn output(
        &self,
        input: &Value,
        effects: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let input: Input<'_> = parse(input)?;
        let deleted: Vec<&WorkspacePath> =
            effects.changes.items.iter().filter_map(|item| item.from.as_ref()).collect();
        Ok(json!({ "path": input.path, "deleted": deleted }))
    }
}

fn changes(input: &Input<'_>, view: &dyn WorkspaceView) -> Result<Vec<Change>, HandlerError> {
    let path = path("path", input.path)?;
    let seen = before(input.before)?;
    let entry = match (look(view, &path)?, seen) {
        // Missing, or another kind of thing than a digest was seen of: resolving says so.
        (None, seen) => {
            return Ok(vec![Change::Delete { path, before: seen.unwrap_or_else(nothing) }]);
        }
        (Some(_), Some(before)) => return Ok(vec![Change::Delete { path, before }]),
        (Some(entry), None) => entry,
    };
    if entry.kind == EntryKind::Directory && !input.recursive {
        return Ok(vec![Change::Rmdir { path }]);
    }
    let nodes = walk(view, &path, entry)?;
    nodes.into_iter().rev().map(|node| delete(view, node.path, node.entry)).collect()
}

fn delete(
    view: &dyn WorkspaceView,
    path: WorkspacePath,
    entry: Entry,
) -> Result<Change, HandlerError> {
    Ok(match entry.kind {
        EntryKind::Directory => Change::Rmdir { path },
        EntryKind::File | EntryKind::Symlink => {
            let before = view.digest(&path)?;
            Change::Delete { path, before }
        }
        EntryKind::Special => Change::Delete { path, before: nothing() },
    })
}
