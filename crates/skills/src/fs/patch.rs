//! `fs.patch`: a unified diff as input.

use lictor_capability::{
    Conflict, DiffError, DiffErrorKind, EffectKind, Effects, UnifiedDiff, ViewErrorKind, Violation,
    WorkspaceView,
};
use lictor_document::{DocumentError, Limits, Source};
use lictor_executor::{HandlerError, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::look;
use crate::skill::{Skill, changing, parse};

/// The most bytes of a diff.
const MAX_DIFF: u64 = 1 << 20;

#[derive(Deserialize)]
struct Input<'a> {
    diff: &'a str,
}

pub(crate) struct Patch;

impl Skill for Patch {
    /// Holding a hunk against a file tells what the file holds, so every file that is there is
    /// read as well as written.
    fn effects(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let Input { diff } = parse(request.input())?;
        let limits = Limits::default().with_max_bytes(MAX_DIFF);
        let diff = UnifiedDiff::parse(&Source::new("diff", diff.as_bytes()), &limits)
            .map_err(|error| refused(&error))?;
        let view = request.view;
        let mut reads = Vec::new();
        for path in diff.paths() {
            if !reads.contains(path) && look(view, path)?.is_some() {
                reads.push(path.clone());
            }
        }
        let named: Vec<_> = diff.paths().into_iter().cloned().collect();
        let effects = match diff.into_changes(view) {
            Ok(changes) => changing(&changes, view)?,
            Err(error) => {
                let intended = named.into_iter().map(|path| (EffectKind::FsWrite, path)).collect();
                Effects { intended, ..unfit(error)? }
            }
        };
        Ok(Effects { reads, ..effects })
    }

    fn output(
        &self,
        _: &Value,
        effects: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        Ok(json!({ "files": effects.changes.files() }))
    }
}

/// The workspace is not as the diff says. Of a line that differs only the place in the diff is
/// told: its text belongs to a file.
fn unfit(error: DiffError) -> Result<Effects, HandlerError> {
    let line = error.line();
    match error.kind() {
        DiffErrorKind::Conflict(conflict) => {
            let expected = Some(format!("what line {line} of the diff says"));
            let conflict = Conflict { expected, found: None, ..conflict.clone() };
            Ok(Effects { conflicts: vec![conflict], ..Effects::default() })
        }
        DiffErrorKind::View(inner)
            if matches!(inner.kind(), ViewErrorKind::ThroughSymlink { .. }) =>
        {
            let why = inner.kind().to_string();
            let violation = Violation::new(inner.path(), "inside_workspace", why);
            Ok(Effects { violations: vec![violation], ..Effects::default() })
        }
        kind => {
            Err(HandlerError::input(format!("the diff does not fit at its line {line}: {kind}")))
        }
    }
}

/// What the parser accepts, without what it found: lines of a diff are lines of files.
fn refused(error: &DocumentError) -> HandlerError {
    let accepted = error.message().split_once("accepted here: ").map(|(_, accepted)| accepted);
    HandlerError::input(format!(
        "`diff` is not understood at line {}; accepted there: {}",
        error.line(),
        accepted.unwrap_or("a unified diff, as `git diff` or `diff -u` writes it"),
    ))
}
