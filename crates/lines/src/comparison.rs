//! Which lines of two texts are the same.

use std::collections::HashMap;

use similar::DiffOp;
use similar::algorithms::{Capture, Compact, Replace, myers};

/// Two texts, and which of their lines are the same.
#[derive(Debug, Clone)]
pub struct Comparison<'a> {
    pub(crate) old: Vec<&'a [u8]>,
    pub(crate) new: Vec<&'a [u8]>,
    pub(crate) ops: Vec<DiffOp>,
}

impl<'a> Comparison<'a> {
    /// Finds the fewest lines that go and come. Takes the number of lines times their difference.
    #[must_use]
    pub fn matched(old: &'a [u8], new: &'a [u8]) -> Self {
        let (old, new) = (split(old), split(new));
        let ops = matched(&old, &new);
        Self { old, new, ops }
    }

    /// Lets stay what both begin with and what both end with; the rest goes and comes whole.
    #[must_use]
    pub fn ends(old: &'a [u8], new: &'a [u8]) -> Self {
        let (old, new) = (split(old), split(new));
        let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
        let rest = |lines: &[&'a [u8]]| lines.iter().skip(same).rev().copied().collect::<Vec<_>>();
        let (old_rest, new_rest) = (rest(&old), rest(&new));
        let tail = old_rest.iter().zip(&new_rest).take_while(|(a, b)| a == b).count();
        let (old_len, new_len) = (old_rest.len() - tail, new_rest.len() - tail);
        let mut ops = vec![
            DiffOp::Equal { old_index: 0, new_index: 0, len: same },
            DiffOp::Replace { old_index: same, old_len, new_index: same, new_len },
            DiffOp::Equal { old_index: same + old_len, new_index: same + new_len, len: tail },
        ];
        ops.retain(|op| !op.old_range().is_empty() || !op.new_range().is_empty());
        Self { old, new, ops }
    }

    /// How many lines go.
    #[must_use]
    pub fn removed(&self) -> usize {
        self.changes().map(|op| op.old_range().len()).sum()
    }

    /// How many lines come.
    #[must_use]
    pub fn added(&self) -> usize {
        self.changes().map(|op| op.new_range().len()).sum()
    }

    fn changes(&self) -> impl Iterator<Item = &DiffOp> {
        self.ops.iter().filter(|op| !stays(op))
    }
}

/// The fewest lines that go and come.
pub(crate) fn matched<'a>(old: &[&'a [u8]], new: &[&'a [u8]]) -> Vec<DiffOp> {
    // Numbers instead of lines: each is compared many times.
    let mut seen = HashMap::new();
    let mut number = |lines: &[&'a [u8]]| -> Vec<usize> {
        let one = |line: &&'a [u8]| {
            let next = seen.len();
            *seen.entry(*line).or_insert(next)
        };
        lines.iter().map(one).collect()
    };
    let (old, new) = (number(old), number(new));
    let mut hook = Compact::new(Replace::new(Capture::new()), &*old, &*new);
    // Named, because by its value every other algorithm is compiled as well. Capturing cannot fail.
    let Ok(()) = myers::diff(&mut hook, &*old, 0..old.len(), &*new, 0..new.len());
    hook.into_inner().into_inner().into_ops()
}

pub(crate) fn stays(op: &DiffOp) -> bool {
    matches!(op, DiffOp::Equal { .. })
}

/// Lines end with a line feed, and nothing else; the last one perhaps with nothing.
fn split(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}
