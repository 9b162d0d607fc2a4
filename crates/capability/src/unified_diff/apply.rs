//! Hunks against a file: they fit exactly, or not at all.

use super::hunk::{Hunk, LineKind};

/// A hunk does not fit.
#[derive(Debug)]
pub(super) struct Mismatch {
    /// The line of the diff.
    pub(super) line: u32,
    pub(super) expected: String,
    pub(super) found: String,
}

/// The new content of a file whose old content is `old`.
pub(super) fn apply(hunks: &[Hunk], text: &[u8], old: &[u8]) -> Result<Vec<u8>, Mismatch> {
    let lines: Vec<&[u8]> = old.split_inclusive(|byte| *byte == b'\n').collect();
    let mut out = Output { bytes: Vec::with_capacity(old.len()), line: 0 };
    let mut n_done = 0;
    for hunk in hunks {
        let Some(kept) = lines.get(n_done..hunk.n_before) else {
            return Err(Mismatch {
                line: hunk.line,
                expected: format!("at least {} lines", hunk.n_before),
                found: format!("{} lines", lines.len()),
            });
        };
        for line in kept {
            out.push(line)?;
        }
        n_done = hunk.n_before;
        for line in &hunk.lines {
            let bytes = text.get(line.span.clone()).unwrap_or_default();
            if line.kind != LineKind::Added {
                let found = lines.get(n_done).copied();
                n_done += 1;
                if found != Some(bytes) {
                    return Err(Mismatch {
                        line: line.line,
                        expected: format!("{} on line {n_done}", shown_line(bytes)),
                        found: found.map_or_else(|| "the end of the file".to_owned(), shown_line),
                    });
                }
            }
            if line.kind != LineKind::Removed {
                out.push(bytes)?;
                out.line = line.line;
            }
        }
    }
    for line in lines.get(n_done..).unwrap_or_default() {
        out.push(line)?;
    }
    Ok(out.bytes)
}

struct Output {
    bytes: Vec<u8>,
    /// The line of the diff that the last line came from.
    line: u32,
}

impl Output {
    fn push(&mut self, line: &[u8]) -> Result<(), Mismatch> {
        if self.bytes.last().is_some_and(|byte| *byte != b'\n') {
            // What the diff calls the last line of the file is not: two lines would run together.
            return Err(Mismatch {
                line: self.line,
                expected: "the end of the file".to_owned(),
                found: shown_line(line),
            });
        }
        self.bytes.extend_from_slice(line);
        Ok(())
    }
}

fn shown_line(line: &[u8]) -> String {
    match line.strip_suffix(b"\n") {
        Some(line) => super::lines::shown(line).to_string(),
        None => format!("{} without a newline", super::lines::shown(line)),
    }
}
