//! The contents that people are shown with a request, beside those that the action brings: what
//! the changed files hold now, and new content that is copied or comes back from an undo record.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::Arc;

use lictor_capability::{Content, Described, State, WorkspaceView as _};
use lictor_context::{Digest, WorkspacePath};
use lictor_undo::{Content as Kept, History};

use crate::agent::Agent;

/// Larger contents are not kept with a request. New content of that size cannot be shown, so it
/// cannot be approved; of what a file holds now the digest is shown instead.
const MAX_CONTENT: u64 = 16 << 20;

impl Agent {
    /// Whatever is found; what is missing is missed by whoever keeps the request.
    pub(crate) fn contents(&self, described: &Described) -> Vec<Arc<[u8]>> {
        let effects = described.effects();
        let mut found = Found::default();
        for item in &effects.changes.items {
            if let (Some(path), Some(before)) = (&item.from, item.before) {
                self.take(path, before, &mut found);
            }
            if let (Some(Content::CopyOf(path)), Some(after)) = (&item.content, item.after) {
                self.take(path, after, &mut found);
            }
            if let (Some(Content::Streamed(source)), Some(State::File { bytes, .. })) =
                (&item.content, item.after)
                && bytes <= MAX_CONTENT
                && let Ok(reader) = source.open()
            {
                let mut content = Vec::new();
                if reader.take(MAX_CONTENT).read_to_end(&mut content).is_ok() {
                    found.add(content);
                }
            }
        }
        let kept = |item: &lictor_capability::Item| matches!(item.content, Some(Content::Kept(_)));
        if effects.changes.items.iter().any(kept)
            && let Ok(history) = History::open(&self.runtime().parts.transactions)
        {
            for execution in &effects.takes_back {
                let Ok(Some(record)) = history.get(execution) else { continue };
                for at in 0..record.files().len() {
                    let Ok((old, new)) = history.contents(&record, at) else { continue };
                    for content in [old, new] {
                        if let Kept::Bytes(bytes) = content {
                            found.add(bytes);
                        }
                    }
                }
            }
        }
        found.contents
    }

    fn take(&self, path: &WorkspacePath, state: State, found: &mut Found) {
        let workspace = &self.runtime().parts.workspace;
        let bytes = match state {
            State::File { bytes, .. } if bytes <= MAX_CONTENT => workspace.read(path, MAX_CONTENT),
            State::Symlink { .. } => workspace.read_link(path).map(String::into_bytes),
            State::File { .. } | State::Directory { .. } => return,
        };
        if let Ok(bytes) = bytes {
            found.add(bytes);
        }
    }
}

#[derive(Default)]
struct Found {
    known: BTreeSet<Digest>,
    contents: Vec<Arc<[u8]>>,
}

impl Found {
    fn add(&mut self, bytes: Vec<u8>) {
        if self.known.insert(Digest::of(&bytes)) {
            self.contents.push(Arc::from(bytes));
        }
    }
}
