//! A changed thing as `git apply`, `patch` and `lictor apply` take it.

use lictor::capability::{Item, State};
use lictor::context::WorkspacePath;
use lictor::undo_records::Content;
use lictor_lines::Comparison;

use crate::output::shown;

/// Between larger sides no lines are matched: one goes whole and the other comes whole.
const MAX_MATCHED: usize = 20_000;
/// So many lines that stay are shown around those that change.
const CONTEXT: usize = 3;

/// One side of a changed thing.
#[derive(Clone, Copy)]
struct Side<'a> {
    path: &'a str,
    mode: &'static str,
    content: &'a Content,
}

/// One changed thing. What the format cannot say, stands in a line that begins with `#`; what nobody can
/// be shown, as what `git` calls binary, so that nobody applies the rest as if it were all.
pub(crate) fn patch(item: &Item, old: &Content, new: &Content) -> String {
    let (before, after) = (item.before.as_ref(), item.after.as_ref());
    let side = |path: Option<&str>, state: Option<&State>| Some((path?.to_owned(), mode(state?)?));
    let from = side(item.from.as_ref().map(WorkspacePath::as_str), before);
    let to = side(item.to.as_ref().map(WorkspacePath::as_str), after);
    let old = from.as_ref().map(|(path, mode)| Side { path, mode, content: old });
    let new = to.as_ref().map(|(path, mode)| Side { path, mode, content: new });
    let mut text = remarks(item);
    match (old, new) {
        // A link is another kind of thing, and the format replaces it as a whole.
        (Some(old), Some(new)) if old.mode != new.mode && [old.mode, new.mode].contains(&LINK) => {
            text += &part(Some(old), None);
            text += &part(None, Some(new));
        }
        (Some(old), Some(new)) if old.mode == LINK && old.content != new.content => {
            text += &part(Some(old), None);
            text += &part(None, Some(new));
        }
        (None, None) => {}
        _ => text += &part(old, new),
    }
    text
}

const LINK: &str = "120000";

/// The modes that `git` knows; nothing for a directory, which it does not know.
fn mode(state: &State) -> Option<&'static str> {
    match state {
        State::File { mode, .. } if mode.bits() & 0o100 != 0 => Some("100755"),
        State::File { .. } => Some("100644"),
        State::Symlink { .. } => Some(LINK),
        State::Directory { .. } => None,
    }
}

/// What `git` has no words for: directories, and most modes.
fn remarks(item: &Item) -> String {
    let bits = |state: Option<&State>| state.and_then(State::mode);
    let (before, after) = (item.before.as_ref(), item.after.as_ref());
    let folder = |state: Option<&State>| matches!(state, Some(State::Directory { .. }));
    let name = |path: Option<&str>| quoted("", path.unwrap_or_default());
    let (from, to) = (
        name(item.from.as_ref().map(WorkspacePath::as_str)),
        name(item.to.as_ref().map(WorkspacePath::as_str)),
    );
    let mut text = match (folder(before), folder(after)) {
        (true, true) if from != to => format!("# directory {from} becomes {to}\n"),
        (true, false) => format!("# directory {from} goes\n"),
        (false, true) => format!("# directory {to} is new\n"),
        _ => String::new(),
    };
    match (bits(before), bits(after)) {
        (Some(old), Some(new)) if old != new => {
            text += &format!("# mode of {to}: {old} becomes {new}\n");
        }
        (None, Some(new)) if !["0644", "0755"].contains(&new.to_string().as_str()) => {
            text += &format!("# mode of {to}: {new}\n");
        }
        _ => {}
    }
    text
}

/// One part of the diff: headers, and the lines.
fn part(old: Option<Side<'_>>, new: Option<Side<'_>>) -> String {
    let path = |side: Option<Side<'_>>| side.map_or(String::new(), |side| side.path.to_owned());
    let (a, b) = (quoted("a/", &path(old.or(new))), quoted("b/", &path(new.or(old))));
    let mut head = String::new();
    match (old, new) {
        (None, Some(new)) => head += &format!("new file mode {}\n", new.mode),
        (Some(old), None) => head += &format!("deleted file mode {}\n", old.mode),
        (Some(old), Some(new)) => {
            if old.mode != new.mode {
                head += &format!("old mode {}\nnew mode {}\n", old.mode, new.mode);
            }
            if old.path != new.path {
                let (from, to) = (quoted("", old.path), quoted("", new.path));
                head += &format!("rename from {from}\nrename to {to}\n");
            }
        }
        (None, None) => {}
    }
    let body = match (text_of(old), text_of(new)) {
        (Some(before), Some(after)) => {
            let name = |side: Option<Side<'_>>, name: &str| match side {
                None => "/dev/null".to_owned(),
                // Where a name has spaces, its end has to be seen.
                Some(_) if name.contains(' ') => format!("{name}\t"),
                Some(_) => name.to_owned(),
            };
            compared(&shown(before), &shown(after)).unified(&name(old, &a), &name(new, &b), CONTEXT)
        }
        _ if old.is_some_and(is_gone) || new.is_some_and(is_gone) => {
            format!(
                "Binary files {a} and {b} differ\n# the content is not shown: it is kept nowhere any more, or out of reach by now\n"
            )
        }
        _ => format!("Binary files {a} and {b} differ\n"),
    };
    if head.is_empty() && body.is_empty() {
        return String::new();
    }
    format!("diff --git {a} {b}\n{head}{body}")
}

fn is_gone(side: Side<'_>) -> bool {
    matches!(side.content, Content::Gone)
}

/// What a side holds as text; a side that is not there holds none.
fn text_of(side: Option<Side<'_>>) -> Option<&str> {
    let Some(side) = side else { return Some("") };
    match side.content {
        Content::Absent => Some(""),
        Content::Bytes(bytes) if bytes.contains(&0) => None,
        Content::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
        Content::Gone => None,
    }
}

/// A name, in quotes where it holds what would end it or what a terminal acts on.
fn quoted(prefix: &str, path: &str) -> String {
    let path = &*shown(path);
    let plain = |c: char| !c.is_control() && c != '"' && c != '\\';
    if path.chars().all(plain) {
        return format!("{prefix}{path}");
    }
    let mut text = format!("\"{prefix}");
    for c in path.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if plain(c) => text.push(c),
            c => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    text += &format!("\\{byte:03o}");
                }
            }
        }
    }
    text.push('"');
    text
}

/// Where there are more lines than can be matched, what is between the ends that both have goes and comes.
fn compared<'a>(old: &'a str, new: &'a str) -> Comparison<'a> {
    let count = |text: &str| text.split_inclusive('\n').count();
    if count(old) + count(new) <= MAX_MATCHED {
        Comparison::matched(old.as_bytes(), new.as_bytes())
    } else {
        Comparison::ends(old.as_bytes(), new.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_can_be_matched_goes_and_comes_whole() {
        let many = |middle: &str| format!("{}{middle}{}", "x\n".repeat(9_999), "y\n".repeat(9_999));
        let (old, new) = (many("a\nb\nc\n"), many("b\nc\nd\n"));
        let comparison = compared(&old, &new);
        assert_eq!((comparison.removed(), comparison.added()), (3, 3));
        let comparison = compared("a\nb\nc\n", "b\nc\nd\n");
        assert_eq!((comparison.removed(), comparison.added()), (1, 1));
    }

    #[test]
    fn names_are_quoted_where_they_would_end_or_act() {
        assert_eq!(quoted("a/", "ü x"), "a/ü x");
        assert_eq!(quoted("a/", "q\"\u{1b}"), "\"a/q\\\"\\033\"");
    }
}
