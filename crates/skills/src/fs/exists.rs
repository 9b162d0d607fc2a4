//! `fs.exists`.

use lictor_capability::{Effects, ViewErrorKind, WorkspaceView};
use lictor_executor::{HandlerError, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{path, reading};
use crate::skill::{Skill, parse};

#[derive(Deserialize)]
struct Input<'a> {
    path: &'a str,
}

pub(crate) struct Exists;

impl Skill for Exists {
    fn reads_again(&self) -> bool {
        true
    }

    fn effects(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let input: Input<'_> = parse(request.input())?;
        Ok(reading(request.view, path("path", input.path)?))
    }

    fn output(
        &self,
        input: &Value,
        _: &Effects,
        view: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let input: Input<'_> = parse(input)?;
        let path = path("path", input.path)?;
        let entry = match view.entry(&path) {
            // Below a file there is nothing.
            Err(error) if matches!(error.kind(), ViewErrorKind::NotADirectory) => None,
            other => other?,
        };
        Ok(json!({
            "path": path, "exists": entry.is_some(), "kind": entry.map(|entry| entry.kind),
        }))
    }
}
