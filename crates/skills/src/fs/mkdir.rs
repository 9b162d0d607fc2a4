//! `fs.mkdir`.

use lictor_capability::{Change, ChangeKind, Effects, EntryKind, FileMode, WorkspaceView};
use lictor_executor::{HandlerError, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{look, mode, path};
use crate::skill::{Skill, changing, parse};

#[derive(Deserialize)]
struct Input<'a> {
    path: &'a str,
    mode: Option<&'a str>,
}

pub(crate) struct Mkdir;

impl Skill for Mkdir {
    fn effects(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let input: Input<'_> = parse(request.input())?;
        let (path, mode) = (path("path", input.path)?, mode(input.mode)?);
        let there = look(request.view, &path)?.filter(|it| it.kind == EntryKind::Directory);
        let change = match (there, mode) {
            (None, mode) => Change::Mkdir { path, mode },
            (Some(entry), Some(mode)) if FileMode::from_bits(entry.mode) != mode => {
                Change::Chmod { path, before_mode: FileMode::from_bits(entry.mode), mode }
            }
            (Some(_), _) => {
                return Ok(Effects { unchanged: vec![path], ..Effects::default() });
            }
        };
        changing(&[change], request.view)
    }

    fn output(
        &self,
        input: &Value,
        effects: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let input: Input<'_> = parse(input)?;
        let items = &effects.changes.items;
        let made = items.iter().any(|item| !item.implicit && item.kind == ChangeKind::Mkdir);
        Ok(json!({ "path": input.path, "created": made }))
    }
}
