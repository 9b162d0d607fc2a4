//! `fs.read` and `fs.hash`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lictor_capability::{Effects, FileMode, ViewError, ViewErrorKind, WorkspaceView};
use lictor_context::{Digest, WorkspacePath};
use lictor_executor::{HandlerError, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{opening, path, reading};
use crate::skill::{Skill, parse};

/// How much is read unless the input says.
const DEFAULT_BYTES: u64 = 1 << 20;

#[derive(Deserialize)]
struct Input<'a> {
    path: &'a str,
    max_bytes: Option<u64>,
}

pub(crate) struct Read;

impl Skill for Read {
    fn reads_again(&self) -> bool {
        true
    }

    fn effects(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let input: Input<'_> = parse(request.input())?;
        Ok(opening(request.view, path("path", input.path)?))
    }

    fn output(
        &self,
        input: &Value,
        _: &Effects,
        view: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let input: Input<'_> = parse(input)?;
        let path = path("path", input.path)?;
        let entry = view.entry(&path)?.ok_or_else(|| missing(&path))?;
        let bytes = view.read(&path, input.max_bytes.unwrap_or(DEFAULT_BYTES))?;
        let mut output = json!({
            "path": path, "digest": Digest::of(&bytes), "bytes": bytes.len(),
            "mode": FileMode::from_bits(entry.mode),
        });
        let (key, content) = match String::from_utf8(bytes) {
            Ok(text) => ("content", text),
            Err(error) => ("content_base64", BASE64.encode(error.as_bytes())),
        };
        if let Some(fields) = output.as_object_mut() {
            fields.insert(key.to_owned(), Value::String(content));
        }
        Ok(output)
    }
}

pub(crate) struct Hash;

impl Skill for Hash {
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
        let size = |view: &dyn WorkspaceView| -> Result<u64, HandlerError> {
            Ok(view.entry(&path)?.ok_or_else(|| missing(&path))?.size)
        };
        let bytes = size(view)?;
        let digest = view.digest(&path)?;
        if size(view)? != bytes {
            return Err(ViewError::new(path.as_str(), ViewErrorKind::Changed).into());
        }
        Ok(json!({ "path": path, "digest": digest, "bytes": bytes }))
    }
}

fn missing(path: &WorkspacePath) -> ViewError {
    ViewError::new(path.as_str(), ViewErrorKind::NotFound)
}
