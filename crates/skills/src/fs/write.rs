//! `fs.write`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lictor_capability::{Body, Change, ChangeKind, Effects, EntryKind, FileMode, WorkspaceView};
use lictor_context::Digest;
use lictor_executor::{HandlerError, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{before, look, mode, nothing, path};
use crate::skill::{Skill, changing, parse};

#[derive(Deserialize)]
struct Input<'a> {
    path: &'a str,
    content: Option<&'a str>,
    content_base64: Option<&'a str>,
    mode: Option<&'a str>,
    before: Option<&'a str>,
    #[serde(default)]
    create_only: bool,
}

impl Input<'_> {
    fn bytes(&self) -> Result<Vec<u8>, HandlerError> {
        match (self.content, self.content_base64) {
            (Some(text), None) => Ok(text.as_bytes().to_vec()),
            (None, Some(encoded)) => BASE64
                .decode(encoded)
                .map_err(|_| HandlerError::input("`content_base64` is not padded standard base64")),
            _ => Err(HandlerError::input("give either `content` or `content_base64`")),
        }
    }
}

pub(crate) struct Write;

impl Skill for Write {
    fn effects(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let input: Input<'_> = parse(request.input())?;
        changing(&[change(&input, request.view)?], request.view)
    }

    fn output(
        &self,
        input: &Value,
        effects: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let input: Input<'_> = parse(input)?;
        let bytes = input.bytes()?;
        let created = effects
            .changes
            .items
            .iter()
            .any(|item| !item.implicit && item.kind == ChangeKind::Create);
        Ok(json!({
            "path": input.path, "digest": Digest::of(&bytes), "bytes": bytes.len(),
            "created": created,
        }))
    }
}

/// The change that makes the file what the input says; one that changes nothing resolves to
/// nothing.
fn change(input: &Input<'_>, view: &dyn WorkspaceView) -> Result<Change, HandlerError> {
    let path = path("path", input.path)?;
    let (bytes, mode, seen) = (input.bytes()?, mode(input.mode)?, before(input.before)?);
    if input.create_only && seen.is_some() {
        return Err(HandlerError::input(
            "`before` names what is there, and `create_only` wants nothing to be there; give one",
        ));
    }
    let entry = look(view, &path)?;
    if input.create_only || (entry.is_none() && seen.is_none()) {
        return Ok(Change::Create { path, content: Body::new(bytes), mode });
    }
    let file = entry.filter(|entry| entry.kind == EntryKind::File);
    let Some(file) = file else {
        // Resolving it says what is wrong: nothing there, or no file.
        let before = seen.unwrap_or_else(nothing);
        return Ok(Change::Modify { path, before, content: Body::new(bytes), mode });
    };
    let before = seen.map_or_else(|| view.digest(&path), Ok)?;
    let old_mode = FileMode::from_bits(file.mode);
    if before == Digest::of(&bytes)
        && let Some(mode) = mode.filter(|mode| *mode != old_mode)
        && view.digest(&path)? == before
    {
        // Said as what it is, and so judged as what it is: a mode reaches every name of the file.
        return Ok(Change::Chmod { path, before_mode: old_mode, mode });
    }
    Ok(Change::Modify { path, before, content: Body::new(bytes), mode })
}
