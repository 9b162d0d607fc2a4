//! Lines of a view: every one begins with a mark that content cannot make.

use lictor_lines::{Comparison, Hunk, Part};

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
        let ends = Comparison::ends(old, new);
        let comparison = if ends.removed() + ends.added() <= MAX_MATCHED {
            Comparison::matched(old, new)
        } else {
            ends
        };
        for hunk in comparison.hunks(CONTEXT) {
            self.hunk(&hunk);
        }
    }

    fn hunk(&mut self, hunk: &Hunk<'_>) {
        self.say(&format!(
            "  lines {} to {} become {} to {}",
            hunk.old.start + 1,
            hunk.old.end,
            hunk.new.start + 1,
            hunk.new.end
        ));
        for part in &hunk.parts {
            match part {
                Part::Same(lines) => self.content(' ', lines),
                Part::Changed { gone, come } => {
                    self.content('-', gone);
                    self.content('+', come);
                }
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
