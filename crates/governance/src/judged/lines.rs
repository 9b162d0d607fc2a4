//! Lines of a view: every one begins with a mark that content cannot make.

use similar::{Algorithm, DiffOp, capture_diff_slices, group_diff_ops};

use super::text::{visible, visible_bytes};

/// Longer lines go on in the next one, under a mark: where a terminal would wrap them by itself,
/// the rest could pass for a line of the view.
const WIDTH: usize = 120;
/// Between larger sides no lines are matched: both are shown whole.
const MAX_MATCHED: usize = 2_000;
/// So many lines that stay are shown around those that change.
const CONTEXT: usize = 3;

/// A view in the making.
#[derive(Default)]
pub(super) struct Lines(String);

impl Lines {
    pub(super) fn finish(self) -> String {
        self.0
    }

    /// A line of the view itself; what of it is not ours was made visible before.
    pub(super) fn say(&mut self, line: &str) {
        self.wrapped("", line);
    }

    /// Text from outside, line by line behind a bar.
    pub(super) fn text(&mut self, text: &str) {
        for line in text.split('\n') {
            self.wrapped("  │ ", &visible(line));
        }
    }

    /// Lines that were made visible before, behind the same bar.
    pub(super) fn shown(&mut self, text: &str) {
        for line in text.split('\n') {
            self.wrapped("  │ ", line);
        }
    }

    fn wrapped(&mut self, mark: &str, line: &str) {
        self.0.push_str(mark);
        for (at, c) in line.chars().enumerate() {
            if at > 0 && at % WIDTH == 0 {
                self.0.push_str("\n  ┊ ");
            }
            self.0.push(c);
        }
        self.0.push('\n');
    }

    fn content(&mut self, sign: char, lines: &[&[u8]]) {
        for line in lines {
            let (text, ended) = match line.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (*line, false),
            };
            self.wrapped(&format!("  │{sign}"), &visible_bytes(text));
            if !ended {
                self.0.push_str("  ╵ no newline at the end\n");
            }
        }
    }

    /// What changes between two contents; every line that goes and every line that comes.
    pub(super) fn diff(&mut self, old: &[u8], new: &[u8]) {
        let (old, new) = (split(old), split(new));
        let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
        let behind = |lines: &[&[u8]]| lines.len().saturating_sub(same);
        let (old_rest, new_rest) =
            (old.get(same..).unwrap_or_default(), new.get(same..).unwrap_or_default());
        let tail = old_rest.iter().rev().zip(new_rest.iter().rev());
        let tail = tail.take_while(|(a, b)| a == b).count();
        let (old_mid, new_mid) = (behind(&old) - tail, behind(&new) - tail);
        let ops = if old_mid + new_mid <= MAX_MATCHED {
            capture_diff_slices(Algorithm::Myers, &old, &new)
        } else {
            vec![
                DiffOp::Equal { old_index: 0, new_index: 0, len: same },
                DiffOp::Replace {
                    old_index: same,
                    old_len: old_mid,
                    new_index: same,
                    new_len: new_mid,
                },
                DiffOp::Equal { old_index: same + old_mid, new_index: same + new_mid, len: tail },
            ]
        };
        for group in group_diff_ops(ops, CONTEXT) {
            self.group(&group, &old, &new);
        }
    }

    fn group(&mut self, group: &[DiffOp], old: &[&[u8]], new: &[&[u8]]) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return };
        let (old_range, new_range) = (first.old_range().start, first.new_range().start);
        self.say(&format!(
            "  lines {} to {} become {} to {}",
            old_range + 1,
            last.old_range().end,
            new_range + 1,
            last.new_range().end
        ));
        for op in group {
            let gone = old.get(op.old_range()).unwrap_or_default();
            let come = new.get(op.new_range()).unwrap_or_default();
            if matches!(op, DiffOp::Equal { .. }) {
                self.content(' ', gone);
            } else {
                self.content('-', gone);
                self.content('+', come);
            }
        }
    }

    /// A whole content that comes or goes.
    pub(super) fn whole(&mut self, sign: char, bytes: &[u8]) {
        if bytes.is_empty() {
            self.say("  (empty)");
        }
        self.content(sign, &split(bytes));
    }
}

fn split(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}
