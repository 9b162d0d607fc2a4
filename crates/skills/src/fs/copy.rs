//! `fs.copy`.

use std::collections::HashMap;

use lictor_capability::{
    Body, Change, ChangeKind, Changes, Content, EffectKind, Effects, EntryKind, FileMode, State,
    Violation, WorkspaceView,
};
use lictor_context::WorkspacePath;
use lictor_executor::{HandlerError, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::tree::{Node, check_ends, moved, walk};
use super::{look, nothing, path};
use crate::skill::{Skill, changing, parse};

/// Files up to this size are held in memory, which counts their lines; larger ones are copied from
/// file to file.
const MAX_INLINE: u64 = 64 << 10;
/// The most bytes that are held in memory for one call.
const MAX_INLINE_ALL: u64 = 8 << 20;

#[derive(Deserialize)]
struct Input<'a> {
    from: &'a str,
    to: &'a str,
}

pub(crate) struct Copy;

impl Skill for Copy {
    fn effects(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        describe(&parse(request.input())?, request.view)
    }

    fn output(
        &self,
        input: &Value,
        effects: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let Input { from, to } = parse(input)?;
        let (mut bytes, mut files) = (0, 0_u64);
        let mut output = json!({ "from": from, "to": to });
        for item in effects.changes.items.iter().filter(|item| !item.implicit) {
            let digest = match item.after {
                Some(State::File { digest, bytes: size, .. }) => {
                    bytes += size;
                    digest
                }
                Some(State::Symlink { digest }) => digest,
                Some(State::Directory { .. }) | None => continue,
            };
            files += 1;
            if item.to.as_ref().is_some_and(|path| path.as_str() == to) {
                output = json!({ "from": from, "to": to, "digest": digest });
            }
        }
        if let Some(fields) = output.as_object_mut() {
            fields.insert("bytes".to_owned(), json!(bytes));
            fields.insert("files".to_owned(), json!(files));
        }
        Ok(output)
    }
}

fn describe(input: &Input<'_>, view: &dyn WorkspaceView) -> Result<Effects, HandlerError> {
    let (from, to) = (path("from", input.from)?, path("to", input.to)?);
    check_ends(&from, &to)?;
    let Some(entry) = look(view, &from)? else {
        // Asked as a question only: what is in the way of looking at it?
        let asked = changing(&[Change::Delete { path: from.clone(), before: nothing() }], view)?;
        let intended = vec![(EffectKind::FsWrite, to)];
        return Ok(Effects { reads: vec![from], changes: Changes::default(), intended, ..asked });
    };
    let mut plan = Plan::default();
    let nodes = walk(view, &from, entry)?;
    for node in &nodes {
        plan.add(view, node, moved(&node.path, &from, &to)?)?;
    }
    let mut effects = changing(&plan.changes, view)?;
    plan.stream(&mut effects);
    effects.violations.append(&mut plan.violations);
    effects.reads = nodes.into_iter().map(|node| node.path).collect();
    Ok(effects)
}

/// What a copy is made of. A change has no words for "what that file holds"; so a streamed file is
/// resolved as an empty one, which settles where it may stand, and then becomes what it is.
#[derive(Default)]
struct Plan {
    changes: Vec<Change>,
    streamed: HashMap<WorkspacePath, (WorkspacePath, State, u64)>,
    violations: Vec<Violation>,
    inline: u64,
}

impl Plan {
    fn add(
        &mut self,
        view: &dyn WorkspaceView,
        node: &Node,
        to: WorkspacePath,
    ) -> Result<(), HandlerError> {
        let (from, size) = (&node.path, node.entry.size);
        // Set-id bits are not copied: the copy belongs to somebody else.
        let mode = FileMode::from_bits(node.entry.mode & 0o777);
        match node.entry.kind {
            EntryKind::Directory => {
                self.changes.push(Change::Mkdir { path: to, mode: Some(mode) });
            }
            EntryKind::Symlink => {
                self.changes.push(Change::Symlink { path: to, target: view.read_link(from)? });
            }
            EntryKind::File if size <= MAX_INLINE && self.inline + size <= MAX_INLINE_ALL => {
                let bytes = view.read(from, MAX_INLINE)?;
                self.inline += bytes.len() as u64;
                let content = Body::new(bytes);
                self.changes.push(Change::Create { path: to, content, mode: Some(mode) });
            }
            EntryKind::File => {
                let digest = view.digest(from)?;
                let state = State::File { digest, mode, bytes: size };
                self.streamed.insert(to.clone(), (from.clone(), state, size));
                let content = Body::new(Vec::new());
                self.changes.push(Change::Create { path: to, content, mode: Some(mode) });
            }
            EntryKind::Special => self.violations.push(Violation::new(
                from.as_str(),
                "inside_workspace",
                "it is a FIFO, a socket or a device",
            )),
        }
        Ok(())
    }

    fn stream(&mut self, effects: &mut Effects) {
        for item in &mut effects.changes.items {
            let source = item.to.as_ref().and_then(|to| self.streamed.remove(to));
            if let (ChangeKind::Create, Some((from, state, size))) = (item.kind, source) {
                item.after = Some(state);
                item.content = Some(Content::CopyOf(from));
                effects.changes.bytes += size;
            }
        }
    }
}
