//! What an execution wrote, kept as text beside its slots: the base of a later merge.
//!
//! The slots hold what was there before. What was written lies in the workspace, and is gone once
//! a person has saved over it; a three-way merge needs it all the same. So the new content of
//! small text files that are changed in place is kept once more, in one file a transaction. It is
//! no part of the protocol: without it there is no merge, and nothing else is missing.

use std::io::{self, Write as _};

use lictor_capability::{Content, Item, State};
use lictor_context::{Digest, ExecutionId};

use crate::store::{SlotRef, TxDir, TxRoot, create_file};

pub(crate) const FILE: &str = "base";

/// The largest text that is kept, and merged, in bytes.
pub(crate) const MAX_TEXT: u64 = 256 << 10;

/// So much is kept of one transaction.
const MAX_ALL: usize = 8 << 20;

/// Keeps what a transaction is about to write. What cannot be kept is left out.
pub(crate) fn keep(root: &TxRoot, tx: &TxDir, changes: &[Item]) {
    let text = collect(root, changes);
    if text.is_empty() {
        return;
    }
    let kept = create_file(&tx.dir, FILE, 0o600).and_then(|mut file| file.write_all(&text));
    if let Err(error) = kept {
        tracing::debug!(%error, "what is written is not kept; it can be undone and not merged");
    }
}

fn collect(root: &TxRoot, changes: &[Item]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut from: Option<(ExecutionId, TxDir)> = None;
    for item in changes {
        let (Some(State::File { .. }), Some(State::File { digest, bytes, .. })) =
            (item.before, item.after)
        else {
            continue;
        };
        if item.from != item.to || bytes > MAX_TEXT {
            continue;
        }
        let slot;
        let content: &[u8] = match &item.content {
            Some(Content::Inline(bytes)) => bytes,
            Some(Content::Kept(kept)) => {
                if from.as_ref().is_none_or(|(execution, _)| *execution != kept.execution) {
                    let opened = root.get(&kept.execution).ok().flatten();
                    from = opened.map(|tx| (kept.execution.clone(), tx));
                }
                let name = SlotRef { execution: kept.execution.clone(), index: kept.slot }.name();
                let read = from.as_ref().and_then(|(_, tx)| tx.read_slot(&name).ok());
                slot = read.unwrap_or_default();
                &slot
            }
            _ => continue,
        };
        if is_text(content) && all.len() + content.len() < MAX_ALL {
            all.extend_from_slice(format!("{digest} {}\n", content.len()).as_bytes());
            all.extend_from_slice(content);
        }
    }
    all
}

/// What a transaction wrote, by its digest, if it was kept.
pub(crate) fn find(tx: &TxDir, wanted: Digest) -> io::Result<Option<Vec<u8>>> {
    let Some(text) = tx.read(FILE)? else { return Ok(None) };
    let mut rest = text.as_slice();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, behind) = rest.split_at(end);
        let line = std::str::from_utf8(line).ok().and_then(|line| line.split_once(' '));
        let Some((digest, Ok(length))) = line.map(|(digest, n)| (digest, n.parse::<usize>()))
        else {
            break;
        };
        let Some(content) = behind.get(1..).and_then(|behind| behind.get(..length)) else { break };
        if digest == wanted.to_string() && Digest::of(content) == wanted {
            return Ok(Some(content.to_vec()));
        }
        rest = behind.get(1 + length..).unwrap_or_default();
    }
    Ok(None)
}

/// Text, as far as merging goes.
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0'))
}
