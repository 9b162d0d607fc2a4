//! An undo that merges: a file that somebody has changed since loses what the execution had
//! written, and keeps what they wrote.
//!
//! The base is what the execution wrote; the sides are what stands there now and what was there
//! before. Only text is merged, only line by line, and only where both have changed different
//! lines; anything else stays a conflict, and then nothing at all is undone.

use std::collections::HashMap;

use lictor_capability::{Content, FileMode, Item, State, WorkspaceView as _};
use lictor_context::{Digest, ExecutionId};
use lictor_lines::merge;

use crate::bases::{MAX_TEXT, is_text};
use crate::journal::JournalItem;
use crate::plan::{Hindrance, Judgement, Planner, UndoError};

/// Merges what can be; the rest stays a conflict.
pub(crate) fn merge_all(
    planner: &mut Planner<'_>,
    execution: &ExecutionId,
    items: &[JournalItem],
    judged: &mut [Judgement],
) -> Result<(), UndoError> {
    for (item, judgement) in items.iter().zip(judged.iter_mut()) {
        if !matches!(judgement, Judgement::Conflict(Hindrance::Theirs, _)) {
            continue;
        }
        if let Some(merged) = merge_one(planner, execution, item)? {
            *judgement = Judgement::Instead(merged, None);
        }
    }
    Ok(())
}

/// The change that merges one file; the inner `None` when it holds the merged text already.
fn merge_one(
    planner: &mut Planner<'_>,
    execution: &ExecutionId,
    item: &JournalItem,
) -> Result<Option<Option<Item>>, UndoError> {
    let (Some(path), Some(old), Some(wrote)) = (&item.to, item.before, item.after) else {
        return Ok(None);
    };
    let Some(now) = planner.state(path)? else { return Ok(None) };
    let files = [old, wrote, now].map(|state| match state {
        State::File { digest, mode, bytes } if bytes <= MAX_TEXT => Some((digest, mode)),
        _ => None,
    });
    let [Some((old_digest, old_mode)), Some((base_digest, base_mode)), Some((digest, mode))] =
        files
    else {
        return Ok(None);
    };
    if item.from.as_ref() != Some(path) {
        return Ok(None);
    }
    let theirs = match planner.merged.get(path) {
        Some(bytes) => Some(bytes.clone()),
        None => planner.transactions.workspace().read(path, MAX_TEXT).ok(),
    };
    let theirs = theirs.filter(|bytes| Digest::of(bytes) == digest);
    // Where the text is the same, only modes are merged, and nothing has to be kept for that.
    let base = if base_digest == digest {
        theirs.clone()
    } else {
        planner.history.written(execution, base_digest)?
    };
    let before = planner.history.set_aside(item, old_digest, theirs.as_deref(), base.as_deref())?;
    let (Some(base), Some(theirs), Some(before)) = (base, theirs, before) else { return Ok(None) };
    let Some(merged) = three_way(&base, &theirs, &before) else { return Ok(None) };
    let Some(mode) = merged_mode(base_mode, mode, old_mode) else { return Ok(None) };
    let digest = Digest::of(&merged);
    let bytes = merged.len() as u64;
    let after = State::File { digest, mode, bytes };
    let mut change = Item {
        kind: item.kind,
        from: Some(path.clone()),
        to: Some(path.clone()),
        before: Some(now),
        after: Some(after),
        content: Some(Content::Inline(merged.clone().into())),
        implicit: false,
    };
    planner.merged.insert(path.clone(), merged);
    Ok(Some(change.final_kind().map(|kind| {
        change.kind = kind;
        change
    })))
}

/// Whichever side has changed it wins; both, differently, is a conflict.
fn merged_mode(base: FileMode, theirs: FileMode, old: FileMode) -> Option<FileMode> {
    if theirs == base || theirs == old {
        Some(old)
    } else if old == base {
        Some(theirs)
    } else {
        None
    }
}

fn three_way(base: &[u8], theirs: &[u8], old: &[u8]) -> Option<Vec<u8>> {
    let text = |bytes| std::str::from_utf8(bytes).ok().filter(|_| is_text(bytes));
    let (base, theirs, old) = (text(base)?, text(theirs)?, text(old)?);
    let merged = merge(base, theirs, old)?;
    // Whatever the merge thinks: not a line of theirs may be missing.
    holds_all(base, theirs, &merged).then(|| merged.into_bytes())
}

/// Whether a text has every line that `theirs` has more of than `base`.
fn holds_all(base: &str, theirs: &str, merged: &str) -> bool {
    let mut count: HashMap<&str, (usize, usize, usize)> = HashMap::new();
    base.lines().for_each(|line| count.entry(line).or_default().0 += 1);
    theirs.lines().for_each(|line| count.entry(line).or_default().1 += 1);
    merged.lines().for_each(|line| count.entry(line).or_default().2 += 1);
    count.values().all(|(base, theirs, merged)| theirs <= base || *merged >= theirs - base)
}
