//! `text.diff`.

use lictor_capability::{Effects, WorkspaceView};
use lictor_context::WorkspacePath;
use lictor_executor::HandlerError;
use serde::Deserialize;
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

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
        // Lines end at a newline only, as in the diffs that are read here.
        let old: Vec<&str> = input.before.split_inclusive('\n').collect();
        let new: Vec<&str> = input.after.split_inclusive('\n').collect();
        let diff = TextDiff::configure().newline_terminated(true).diff_slices(&old, &new);
        let count = |tag| diff.iter_all_changes().filter(|change| change.tag() == tag).count();
        let (removed, added) = (count(ChangeTag::Delete), count(ChangeTag::Insert));
        let text = if added + removed == 0 {
            String::new()
        } else {
            diff.unified_diff()
                .context_radius(input.context.unwrap_or(DEFAULT_CONTEXT))
                .header(&format!("a/{path}"), &format!("b/{path}"))
                .to_string()
        };
        Ok(json!({
            "diff": text, "changed": added + removed > 0, "added": added, "removed": removed,
        }))
    }
}
