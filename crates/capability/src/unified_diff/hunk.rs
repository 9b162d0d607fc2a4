//! Hunks: their header, and as many lines as it promises.

use std::ops::Range;

use super::lines::{Fault, Lines, shown};

/// One hunk.
#[derive(Debug, Clone)]
pub(super) struct Hunk {
    /// The line of its header in the diff.
    pub(super) line: u32,
    /// How many lines of the old file come before it.
    pub(super) n_before: usize,
    pub(super) n_old: usize,
    pub(super) n_new: usize,
    pub(super) lines: Vec<HunkLine>,
}

/// One line of a hunk: what it is, and where its bytes are in the text of the diff.
#[derive(Debug, Clone)]
pub(super) struct HunkLine {
    pub(super) kind: LineKind,
    pub(super) span: Range<usize>,
    /// Its line in the diff.
    pub(super) line: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    Context,
    Removed,
    Added,
}

/// Reads every hunk of a file.
pub(super) fn hunks(lines: &mut Lines<'_>) -> Result<Vec<Hunk>, Fault> {
    let mut all: Vec<Hunk> = Vec::new();
    // Where each side said that its last line has no newline; nothing may follow.
    let mut ended = Ended::default();
    while lines.peek(0).is_some_and(|line| line.starts_with(b"@@ ")) {
        let hunk = hunk(lines, &mut ended)?;
        if let Some(last) = all.last()
            && last.n_before + last.n_old > hunk.n_before
        {
            let message = format!(
                "the hunk begins before the one on line {} ends; accepted here: hunks in order, none over another",
                last.line
            );
            return Err(Fault::new(hunk.line, message));
        }
        all.push(hunk);
    }
    Ok(all)
}

#[derive(Default)]
struct Ended {
    old: bool,
    new: bool,
}

fn hunk(lines: &mut Lines<'_>, ended: &mut Ended) -> Result<Hunk, Fault> {
    let line = lines.number();
    let header = lines.take_header()?;
    let Some((old, new)) = header_ranges(header) else {
        let message = format!(
            "the hunk header {} is not understood; accepted here: `@@ -LINE,COUNT +LINE,COUNT @@`",
            shown(header)
        );
        return Err(Fault::new(line, message));
    };
    let (Some(n_before), Some(_)) = (old.n_before(), new.n_before()) else {
        let message =
            "the hunk header counts lines from line 0; accepted here: line 0 with count 0 only";
        return Err(Fault::new(line, message));
    };
    let mut hunk = Hunk { line, n_before, n_old: old.count, n_new: new.count, lines: Vec::new() };
    body(lines, &mut hunk, ended)?;
    Ok(hunk)
}

fn body(lines: &mut Lines<'_>, hunk: &mut Hunk, ended: &mut Ended) -> Result<(), Fault> {
    let (mut old, mut new) = (0, 0);
    while old < hunk.n_old || new < hunk.n_new {
        let line = lines.number();
        let Some(text) = lines.peek(0) else {
            let message = format!(
                "the hunk ends too early: its header promises {} old and {} new lines, and there are {old} and {new}",
                hunk.n_old, hunk.n_new
            );
            return Err(Fault::new(hunk.line, message));
        };
        let (kind, n_mark) = match text {
            // Some programs take the space away from an empty line of context.
            [] => (LineKind::Context, 0),
            [b' ', ..] => (LineKind::Context, 1),
            [b'-', ..] => (LineKind::Removed, 1),
            [b'+', ..] => (LineKind::Added, 1),
            _ => {
                let message = format!(
                    "{} is no line of a hunk, and {} old and {} new lines are still to come; accepted here: a line that begins with a space, `+`, `-` or `\\`",
                    shown(text),
                    hunk.n_old - old,
                    hunk.n_new - new
                );
                return Err(Fault::new(line, message));
            }
        };
        let (is_old, is_new) = (kind != LineKind::Added, kind != LineKind::Removed);
        old += usize::from(is_old);
        new += usize::from(is_new);
        if old > hunk.n_old || new > hunk.n_new {
            return Err(too_many(line, hunk));
        }
        if (is_old && ended.old) || (is_new && ended.new) {
            let message = "a line follows the one that was said to be the last of its file, without a newline; accepted here: no further line of that side";
            return Err(Fault::new(line, message));
        }
        let span = lines.take()?;
        let mut span = span.start + n_mark..span.end;
        if lines.peek(0).is_some_and(|next| next.starts_with(b"\\ ")) {
            lines.take()?;
            span.end -= 1;
            ended.old |= is_old;
            ended.new |= is_new;
        }
        hunk.lines.push(HunkLine { kind, span, line });
    }
    if lines.peek(0).is_some_and(|next| next.starts_with(b"\\ ")) {
        let message = "nothing stands before this that could lack a newline";
        return Err(Fault::new(lines.number(), message));
    }
    Ok(())
}

/// More lines than the header promises.
pub(super) fn too_many(line: u32, hunk: &Hunk) -> Fault {
    let message = format!(
        "the hunk on line {} has more lines than its header promises: {} old and {} new",
        hunk.line, hunk.n_old, hunk.n_new
    );
    Fault::new(line, message)
}

struct Span {
    start: usize,
    count: usize,
}

impl Span {
    /// How many lines come before; a span of no lines names the line that it follows.
    fn n_before(&self) -> Option<usize> {
        if self.count == 0 { Some(self.start) } else { self.start.checked_sub(1) }
    }
}

fn header_ranges(header: &[u8]) -> Option<(Span, Span)> {
    let text = header.strip_prefix(b"@@ -")?;
    let (old, text) = span(text)?;
    let (new, text) = span(text.strip_prefix(b" +")?)?;
    let rest = text.strip_prefix(b" @@")?;
    (rest.is_empty() || rest.starts_with(b" ")).then_some((old, new))
}

fn span(text: &[u8]) -> Option<(Span, &[u8])> {
    let (start, text) = number(text)?;
    match text.strip_prefix(b",") {
        Some(text) => number(text).map(|(count, text)| (Span { start, count }, text)),
        None => Some((Span { start, count: 1 }, text)),
    }
}

/// A number of lines; nine digits are more than any file that is read here has.
fn number(text: &[u8]) -> Option<(usize, &[u8])> {
    let n_digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(n_digits)?;
    if !(1..=9).contains(&n_digits) {
        return None;
    }
    let value = digits.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    Some((value, rest))
}
