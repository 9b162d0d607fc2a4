//! How many lines a change touches, as limits and escalations count them.

use super::items::{Content, Item, State};

/// Files up to this size are held in memory while their changed lines are counted.
pub(super) const MAX_COUNTED: u64 = 16 << 20;
/// What a line of a larger file is taken to have, in bytes: fewer than most lines, so that the
/// number is rather too high than too low.
const BYTES_A_LINE: u64 = 16;

/// Lines between the first and the last that differ, of both sides: exact for one hunk, and never
/// less than a real diff would say.
pub(super) fn changed_lines(item: &Item, old: Option<&[u8]>) -> u64 {
    let new: Option<&[u8]> = match &item.content {
        Some(Content::Inline(bytes)) => Some(bytes),
        _ => None,
    };
    match (old, new) {
        (Some(old), Some(new)) => {
            let old: Vec<&[u8]> = old.split_inclusive(|byte| *byte == b'\n').collect();
            let new: Vec<&[u8]> = new.split_inclusive(|byte| *byte == b'\n').collect();
            let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
            let shorter = old.len().min(new.len()) - head;
            let tail =
                old.iter().rev().zip(new.iter().rev()).take(shorter).take_while(|(a, b)| a == b);
            (old.len() + new.len() - 2 * (head + tail.count())) as u64
        }
        (None, Some(bytes)) => lines(bytes) + estimated(item.before),
        (Some(bytes), None) if item.to.is_none() => lines(bytes),
        (None, None) if item.to.is_none() => estimated(item.before),
        _ => 0,
    }
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.split_inclusive(|byte| *byte == b'\n').count() as u64
}

/// The lines of something that was too large to be looked at.
fn estimated(before: Option<State>) -> u64 {
    match before {
        Some(State::File { bytes, .. }) if bytes > MAX_COUNTED => bytes / BYTES_A_LINE,
        _ => 0,
    }
}
