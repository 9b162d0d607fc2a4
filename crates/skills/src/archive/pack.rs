//! `archive.zip`.

use std::io::{Cursor, Write as _};

use lictor_capability::{Body, Change, EffectKind, Effects, EntryKind, FileMode, WorkspaceView};
use lictor_context::{Digest, WorkspacePath};
use lictor_executor::{HandlerError, Request};
use serde::Deserialize;
use serde_json::{Value, json};
use zip::write::{SimpleFileOptions, ZipWriter};
use zip::{CompressionMethod, DateTime};

use super::{MAX_ARCHIVE, MAX_CONTENT, MAX_ENTRIES};
use crate::fs::tree::{Node, walk};
use crate::fs::{look, opening, path};
use crate::skill::{Skill, changing, parse};

#[derive(Deserialize)]
struct Input<'a> {
    from: &'a str,
    to: &'a str,
    #[serde(default)]
    replace: bool,
}

pub(crate) struct Zip;

impl Skill for Zip {
    fn reads_again(&self) -> bool {
        true
    }

    fn effects(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let (input, view): (Input<'_>, _) = (parse(request.input())?, request.view);
        let (from, to) = (path("from", input.from)?, path("to", input.to)?);
        if to.is_within(&from) {
            return Err(HandlerError::input(format!(
                "`{to}` lies inside of `{from}`, and an archive does not hold itself"
            )));
        }
        let mut asked = opening(view, from.clone());
        asked.intended = vec![(EffectKind::FsWrite, to.clone())];
        if !asked.violations.is_empty() {
            return Ok(asked);
        }
        let Some(entry) = look(view, &from)? else {
            return Err(HandlerError::input(format!("there is nothing at `{from}`")));
        };
        let nodes = walk(view, &from, entry)?;
        let bytes = pack(view, &from, &nodes)?;
        let change = placed(view, to, bytes, input.replace)?;
        let reads = nodes.into_iter().map(|node| node.path).collect();
        Ok(Effects { reads, ..changing(&[change], view)? })
    }

    fn output(
        &self,
        input: &Value,
        effects: &Effects,
        view: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        use lictor_capability::State;
        let input: Input<'_> = parse(input)?;
        let after = |to: &str| {
            let mut items = effects.changes.items.iter();
            items.find(|item| item.to.as_ref().is_some_and(|path| path.as_str() == to))
        };
        let mut files = 0;
        for path in &effects.reads {
            let kind = view.entry(path)?.map(|entry| entry.kind);
            files += u64::from(kind == Some(EntryKind::File));
        }
        let mut output = json!({ "from": input.from, "to": input.to, "files": files });
        let state = after(input.to).and_then(|item| item.after);
        if let (Some(State::File { digest, bytes, .. }), Some(fields)) =
            (state, output.as_object_mut())
        {
            fields.insert("digest".to_owned(), json!(digest));
            fields.insert("bytes".to_owned(), json!(bytes));
        }
        Ok(output)
    }
}

/// The change that puts the archive where it is wanted; the same bytes again change nothing.
fn placed(
    view: &dyn WorkspaceView,
    path: WorkspacePath,
    bytes: Vec<u8>,
    replace: bool,
) -> Result<Change, HandlerError> {
    let file = look(view, &path)?.filter(|entry| entry.kind == EntryKind::File);
    let content = Body::new(bytes);
    match file {
        Some(_) if replace => {
            let before: Digest = view.digest(&path)?;
            Ok(Change::Modify { path, before, content, mode: None })
        }
        _ => Ok(Change::Create { path, content, mode: None }),
    }
}

/// The archive. It holds no times and its names are sorted, so the same files give the same bytes.
fn pack(
    view: &dyn WorkspaceView,
    from: &WorkspacePath,
    nodes: &[Node],
) -> Result<Vec<u8>, HandlerError> {
    if nodes.len() > MAX_ENTRIES {
        return Err(HandlerError::input(format!(
            "`{from}` holds more than {MAX_ENTRIES} files and directories; take parts of it"
        )));
    }
    let too_large = || {
        HandlerError::input(format!(
            "`{from}` does not fit: at most {MAX_CONTENT} bytes of files are taken, and at most \
             {MAX_ARCHIVE} bytes of archive are made"
        ))
    };
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let mut left = MAX_CONTENT;
    for node in nodes {
        let name = match node.path.as_str().strip_prefix(from.as_str()) {
            Some(rest) if !rest.is_empty() => rest.trim_start_matches('/'),
            _ if node.entry.kind == EntryKind::File => from.name(),
            _ => continue, // the directory itself
        };
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::default())
            .unix_permissions(FileMode::from_bits(node.entry.mode & 0o777).bits());
        match node.entry.kind {
            EntryKind::Directory => {
                archive.add_directory(name, options).map_err(HandlerError::failed)?;
            }
            EntryKind::File => {
                if node.entry.size > left {
                    return Err(too_large());
                }
                let bytes = view.read(&node.path, left)?;
                left = left.saturating_sub(bytes.len() as u64);
                archive.start_file(name, options).map_err(HandlerError::failed)?;
                archive.write_all(&bytes).map_err(HandlerError::failed)?;
            }
            EntryKind::Symlink | EntryKind::Special => {
                return Err(HandlerError::input(format!(
                    "`{}` is neither a file nor a directory; archives are made of these only",
                    node.path
                )));
            }
        }
    }
    let bytes = archive.finish().map_err(HandlerError::failed)?.into_inner();
    if bytes.len() as u64 > MAX_ARCHIVE { Err(too_large()) } else { Ok(bytes) }
}
