//! `text.diff`.

use lictor_capability::{Effects, WorkspaceView};
use lictor_context::WorkspacePath;
use lictor_executor::HandlerError;
use lictor_lines::Comparison;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::skill::{Skill, parse};

/// The most lines of both texts together: comparing takes their number times their difference.
const MAX_LINES: usize = 20_000;
/// Lines around a change unless the input says.
const DEFAULT_CONTEXT: usize = 3;

#[derive(Deserialize)]
struct Input<'a> {
    before: &'a str,
    after: &'a str,
    path: Option<&'a str>,
    context: Option<usize>,
}

pub(crate) struct Diff;

impl Skill for Diff {
    fn output(
        &self,
        input: &Value,
        _: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let input: Input<'_> = parse(input)?;
        if input.before.lines().count() + input.after.lines().count() > MAX_LINES {
            return Err(HandlerError::input(format!(
                "`before` and `after` hold more than {MAX_LINES} lines together"
            )));
        }
        let path = input.path.map(WorkspacePath::parse).transpose();
        let path = path.map_err(|error| HandlerError::input(format!("`path`: {error}")))?;
        let path = path.as_ref().map_or("text", WorkspacePath::as_str);
        let comparison = Comparison::matched(input.before.as_bytes(), input.after.as_bytes());
        let (removed, added) = (comparison.removed(), comparison.added());
        let context = input.context.unwrap_or(DEFAULT_CONTEXT);
        let text = comparison.unified(&format!("a/{path}"), &format!("b/{path}"), context);
        Ok(json!({
            "diff": text, "changed": added + removed > 0, "added": added, "removed": removed,
        }))
    }
}
