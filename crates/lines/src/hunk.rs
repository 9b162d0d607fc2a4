//! Changed lines with those around them.

use std::ops::Range;

use similar::group_diff_ops;

use crate::comparison::{Comparison, stays};

/// Changes that stand close together, and the lines around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk<'a> {
    /// Its lines in the old text, counted from 0.
    pub old: Range<usize>,
    /// Its lines in the new text, counted from 0.
    pub new: Range<usize>,
    /// What stays, goes and comes, in order.
    pub parts: Vec<Part<'a>>,
}

/// Lines that stand beside each other, each with its line feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'a> {
    /// They stay.
    Same(&'a [&'a [u8]]),
    /// Some go and some come in their place; one of both may be empty.
    Changed {
        /// What goes.
        gone: &'a [&'a [u8]],
        /// What comes.
        come: &'a [&'a [u8]],
    },
}

impl Comparison<'_> {
    /// The changes, each with so many lines around it as `context` says. None where nothing changes.
    #[must_use]
    pub fn hunks(&self, context: usize) -> Vec<Hunk<'_>> {
        let groups = group_diff_ops(self.ops.clone(), context);
        let hunk = |group: Vec<similar::DiffOp>| {
            let (first, last) = (group.first()?, group.last()?);
            let (old, new) = (
                first.old_range().start..last.old_range().end,
                first.new_range().start..last.new_range().end,
            );
            let part = |op: &similar::DiffOp| {
                let gone = self.old.get(op.old_range()).unwrap_or_default();
                let come = self.new.get(op.new_range()).unwrap_or_default();
                if stays(op) { Part::Same(gone) } else { Part::Changed { gone, come } }
            };
            Some(Hunk { old, new, parts: group.iter().map(part).collect() })
        };
        groups.into_iter().filter_map(hunk).collect()
    }

    /// A unified diff under two names. Empty where nothing changes.
    #[must_use]
    pub fn unified(&self, old_name: &str, new_name: &str, context: usize) -> String {
        let hunks = self.hunks(context);
        if hunks.is_empty() {
            return String::new();
        }
        let mut text = format!("--- {old_name}\n+++ {new_name}\n");
        for hunk in hunks {
            text += &format!("@@ -{} +{} @@\n", span(&hunk.old), span(&hunk.new));
            for part in hunk.parts {
                match part {
                    Part::Same(lines) => write(&mut text, ' ', lines),
                    Part::Changed { gone, come } => {
                        write(&mut text, '-', gone);
                        write(&mut text, '+', come);
                    }
                }
            }
        }
        text
    }
}

/// The lines of a hunk on one side; one that has none stands behind the line before it.
fn span(lines: &Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => format!("{}", lines.start + 1),
        n => format!("{},{n}", lines.start + 1),
    }
}

fn write(text: &mut String, sign: char, lines: &[&[u8]]) {
    for line in lines {
        text.push(sign);
        text.push_str(&String::from_utf8_lossy(line));
        if !line.ends_with(b"\n") {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}
