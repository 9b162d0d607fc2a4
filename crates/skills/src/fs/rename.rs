//! `fs.move`.

use lictor_capability::{Change, Effects, EntryKind, FileMode, WorkspaceView};
use lictor_executor::{HandlerError, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::tree::{Memo, check_ends, moved, walk};
use super::{look, nothing, path};
use crate::skill::{Skill, changing, parse};

#[derive(Deserialize)]
struct Input<'a> {
    from: &'a str,
    to: &'a str,
}

pub(crate) struct Move;

impl Skill for Move {
    fn effects(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let view = Memo::new(request.view);
        let changes = changes(&parse(request.input())?, &view)?;
        changing(&changes, &view)
    }

    fn output(
        &self,
        input: &Value,
        _: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let Input { from, to } = parse(input)?;
        Ok(json!({ "from": from, "to": to }))
    }
}

/// New directories from the top, then the files, then the old directories from the bottom.
fn changes(input: &Input<'_>, view: &dyn WorkspaceView) -> Result<Vec<Change>, HandlerError> {
    let (from, to) = (path("from", input.from)?, path("to", input.to)?);
    check_ends(&from, &to)?;
    let Some(entry) = look(view, &from)? else {
        return Ok(vec![Change::Rename { path: from, to, before: nothing() }]);
    };
    let (mut made, mut renamed, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for node in walk(view, &from, entry)? {
        let to = moved(&node.path, &from, &to)?;
        let path = node.path;
        match node.entry.kind {
            EntryKind::Directory => {
                let mode = Some(FileMode::from_bits(node.entry.mode));
                made.push(Change::Mkdir { path: to, mode });
                gone.push(Change::Rmdir { path });
            }
            EntryKind::File | EntryKind::Symlink => {
                let before = view.digest(&path)?;
                renamed.push(Change::Rename { path, to, before });
            }
            // Resolving makes it a violation.
            EntryKind::Special => renamed.push(Change::Rename { path, to, before: nothing() }),
        }
    }
    Ok(made.into_iter().chain(renamed).chain(gone.into_iter().rev()).collect())
}
