//! From the whole text to the parts of its files: prose is skipped, other formats are refused.

use super::file::{FilePatch, git, plain};
use super::hunk::too_many;
use super::lines::{Fault, Lines, shown};

/// The files that a diff speaks about.
pub(super) fn patches(text: &[u8]) -> Result<Vec<FilePatch>, Fault> {
    let mut lines = Lines::new(text);
    let mut patches: Vec<FilePatch> = Vec::new();
    // Right after a hunk, a line that looks like one of its lines is one too many.
    let mut after_hunk = false;
    while let Some(line) = lines.peek_header(0) {
        let next = lines.peek_header(1).unwrap_or_default();
        refuse_foreign(line, next, lines.number())?;
        if line.starts_with(b"diff --git ") {
            patches.push(git(&mut lines)?);
            after_hunk = patches.last().is_some_and(|patch| !patch.hunks.is_empty());
            continue;
        }
        if line.starts_with(b"--- ") && next.starts_with(b"+++ ") {
            patches.push(plain(&mut lines)?);
            after_hunk = true;
            continue;
        }
        if line.starts_with(b"@@ -") {
            let message = format!(
                "the hunk {} belongs to no file; accepted here: `--- NAME` and `+++ NAME` before it",
                shown(line)
            );
            return Err(Fault::new(lines.number(), message));
        }
        if after_hunk {
            if is_signature(line, next) {
                after_hunk = false;
            } else if matches!(line, [b' ' | b'+' | b'-' | b'\\', ..])
                && let Some(hunk) = patches.last().and_then(|patch| patch.hunks.last())
            {
                return Err(too_many(lines.number(), hunk));
            } else if !line.is_empty() {
                after_hunk = false;
            }
        }
        lines.skip();
    }
    if patches.is_empty() {
        return Err(nothing(text));
    }
    Ok(patches)
}

/// The line that `git format-patch` ends a mail with; mailers take its space away.
fn is_signature(line: &[u8], next: &[u8]) -> bool {
    line == b"-- " || (line == b"--" && next.first().is_some_and(u8::is_ascii_digit))
}

/// Changes in a form that is not understood must not be skipped as prose.
pub(super) fn refuse_foreign(line: &[u8], next: &[u8], number: u32) -> Result<(), Fault> {
    let refuse = |message: &str| Err(Fault::new(number, message));
    if line == b"GIT binary patch" || is_binary_note(line) {
        return refuse(
            "a binary file differs, and its content is not in a unified diff; accepted here: text, or a change set with `content_base64`",
        );
    }
    if line.starts_with(b"diff --cc ") || line.starts_with(b"diff --combined ") {
        return refuse(
            "a combined diff of a merge has no single old side; accepted here: a diff against one parent",
        );
    }
    if line.starts_with(b"@@@ ") {
        return refuse("a hunk of a combined diff; accepted here: a diff against one parent");
    }
    let stars = |line: &[u8]| line.len() >= 15 && line.iter().all(|byte| *byte == b'*');
    if stars(line) || (line.starts_with(b"*** ") && next.starts_with(b"--- ")) {
        return refuse("a context diff; accepted here: a unified diff, `diff -u`");
    }
    if is_script(line) && (next.starts_with(b"< ") || next.starts_with(b"> ")) {
        return refuse("a diff in the normal format; accepted here: a unified diff, `diff -u`");
    }
    let dots = line.windows(2).any(|pair| pair == b"..");
    if line.starts_with(b"Submodule ") && dots && line.ends_with(b":") {
        return refuse("a submodule changes, which a change set cannot hold");
    }
    Ok(())
}

fn is_binary_note(line: &[u8]) -> bool {
    line.strip_prefix(b"Binary files ").is_some_and(|rest| {
        rest.ends_with(b" differ") && rest.windows(5).any(|word| word == b" and ")
    })
}

/// A command of `diff` without options or of `diff -e`: `3c3`, `5a6,7`, `8,9d7`, `4a`.
fn is_script(line: &[u8]) -> bool {
    let span = |text: &[u8]| text.iter().all(|byte| byte.is_ascii_digit() || *byte == b',');
    let Some(at) = line.iter().position(|byte| matches!(byte, b'a' | b'c' | b'd')) else {
        return false;
    };
    let (before, after) =
        (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default());
    before.first().is_some_and(u8::is_ascii_digit) && span(before) && span(after)
}

fn nothing(text: &[u8]) -> Fault {
    let script = text.split(|byte| *byte == b'\n').position(is_script);
    let (line, found) = match script {
        Some(idx) => (idx + 1, "the text looks like an ed script or a normal diff"),
        None => (1, "the text holds no diff"),
    };
    let message =
        format!("{found}; accepted here: a unified diff, as `git diff` or `diff -u` writes it");
    Fault::new(u32::try_from(line).unwrap_or(u32::MAX), message)
}
