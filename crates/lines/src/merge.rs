//! Three texts into one.

use std::cmp::{max, min};
use std::iter::Peekable;
use std::ops::Range;

use crate::comparison::{matched, stays};

/// What two sides made of one base, put together. Nothing where both changed the same lines, or lines beside each other,
/// differently.
#[must_use]
pub fn merge(base: &str, ours: &str, theirs: &str) -> Option<String> {
    let (base, ours, theirs) = (split(base), split(ours), split(theirs));
    let (ours, theirs) = (Side::of(&base, &ours), Side::of(&base, &theirs));
    let (mut from_ours, mut from_theirs) =
        (ours.edits.iter().peekable(), theirs.edits.iter().peekable());
    let (mut merged, mut done) = (String::new(), 0);
    while let Some(start) = first(&mut from_ours, &mut from_theirs) {
        let mut place = start..start;
        let (mut our_part, mut their_part) = (None, None);
        while take(&mut from_ours, &mut place, &mut our_part)
            || take(&mut from_theirs, &mut place, &mut their_part)
        {}
        merged.extend(base.get(done..place.start)?.iter().copied());
        let our_part = our_part.and_then(|edits| ours.within(&edits, &place));
        let their_part = their_part.and_then(|edits| theirs.within(&edits, &place));
        let lines = match (our_part, their_part) {
            (Some(ours), Some(theirs)) if ours != theirs => return None,
            (lines, None) | (None, lines) | (lines, Some(_)) => lines?,
        };
        merged.extend(lines.iter().copied());
        done = place.end;
    }
    merged.extend(base.get(done..)?.iter().copied());
    Some(merged)
}

/// Lines of the base, and what is in their place.
struct Edit {
    base: Range<usize>,
    side: Range<usize>,
}

struct Side<'a> {
    lines: &'a [&'a str],
    edits: Vec<Edit>,
}

impl<'a> Side<'a> {
    fn of(base: &[&str], lines: &'a [&'a str]) -> Self {
        let bytes =
            |lines: &[&'a str]| lines.iter().map(|line| line.as_bytes()).collect::<Vec<_>>();
        let old: Vec<&[u8]> = base.iter().map(|line| line.as_bytes()).collect();
        let mut edits: Vec<Edit> = Vec::new();
        for op in matched(&old, &bytes(lines)).iter().filter(|op| !stays(op)) {
            match edits.last_mut() {
                Some(edit) if edit.base.end == op.old_range().start => {
                    edit.base.end = op.old_range().end;
                    edit.side.end = op.new_range().end;
                }
                _ => edits.push(Edit { base: op.old_range(), side: op.new_range() }),
            }
        }
        Self { lines, edits }
    }

    /// What is in the place of these lines of the base, of which the edits from the first to the last changed some.
    fn within(&self, edits: &(&Edit, &Edit), base: &Range<usize>) -> Option<&'a [&'a str]> {
        let (first, last) = edits;
        let start = first.side.start.checked_sub(first.base.start - base.start)?;
        self.lines.get(start..last.side.end + (base.end - last.base.end))
    }
}

type Edits<'a> = Peekable<std::slice::Iter<'a, Edit>>;

/// Where the next edit of either begins.
fn first(ours: &mut Edits<'_>, theirs: &mut Edits<'_>) -> Option<usize> {
    let start = |edit: Option<&&Edit>| edit.map(|edit| edit.base.start);
    [start(ours.peek()), start(theirs.peek())].into_iter().flatten().min()
}

/// Takes the next edit when it overlaps the place or stands beside it: no line that stays is between them.
fn take<'a>(
    edits: &mut Edits<'a>,
    place: &mut Range<usize>,
    taken: &mut Option<(&'a Edit, &'a Edit)>,
) -> bool {
    let Some(edit) = edits.next_if(|edit| edit.base.start <= place.end) else { return false };
    *place = min(place.start, edit.base.start)..max(place.end, edit.base.end);
    *taken = Some((taken.map_or(edit, |(first, _)| first), edit));
    true
}

/// Lines with what ends them: a line feed, or a carriage return, or both.
fn split(text: &str) -> Vec<&str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = match rest.find(['\r', '\n']) {
            Some(at) if rest.get(at..)?.starts_with("\r\n") => at + 2,
            Some(at) => at + 1,
            None if rest.is_empty() => return None,
            None => rest.len(),
        };
        let (line, behind) = rest.split_at_checked(end)?;
        rest = behind;
        Some(line)
    })
    .collect()
}
