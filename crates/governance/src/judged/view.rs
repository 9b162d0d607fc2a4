//! An action as people are shown it.

use lictor_capability::{ChangeKind, Executable, State, UndoScope};
use lictor_context::Digest;

use super::lines::Lines;
use super::text::{quoted, visible};
use super::{Judged, JudgedAction, JudgedItem, JudgedValue};

/// See [`Judged::view`]. Everything is said in a fixed order under fixed words, so that the text
/// could be read back.
pub(super) fn view(judged: &Judged, action: &JudgedAction) -> String {
    let JudgedAction {
        capability,
        version,
        contract,
        org,
        user,
        agent,
        policy,
        input,
        risk,
        approvals,
        rolls_back,
        plan,
        reads,
        reads_root,
        items,
        lines,
        bytes,
        hosts,
        programs,
        executables,
        tools,
        undo,
        takes_back,
    } = action;
    let mut to = Lines::default();
    to.say(&format!("action {}", judged.digest));
    to.say(&format!("capability {} {}, contract {contract}", name(capability), name(version)));
    to.say(&format!("asked by {}, agent {}, of {}", name(user), name(agent), name(org)));
    to.say(&format!("policy {policy}"));
    let risk = risk.map_or("none".to_owned(), |risk| risk.to_string());
    to.say(&format!("risk that is proposed: {risk}"));
    if *approvals > 0 {
        to.say(&format!("people who are to agree at least: {approvals}"));
    }
    if let Some(execution) = rolls_back {
        to.say(&format!("because what came after it failed, it takes back {}", name(execution)));
    }
    to.say("input");
    to.shown(&input_text(judged, input, items));
    if let Some(plan) = plan {
        to.say("the plan promises");
        list(&mut to, "verification", &plan.verification);
        list(&mut to, "health check", &plan.health_checks);
        to.say("  to take it back");
        to.text(&plan.rollback_plan);
    }
    if *reads_root {
        to.say("reads the names in the root of the workspace");
    }
    list(&mut to, "reads", reads);
    let n = items.len();
    to.say(&format!("changes {n} thing(s): {lines} line(s), {bytes} byte(s) of new content"));
    for (at, one) in items.iter().enumerate() {
        item(&mut to, judged, at + 1, one);
    }
    list(&mut to, "talks to", hosts);
    list(&mut to, "starts", programs);
    for Executable { program, path, digest } in executables {
        to.say(&format!("  {} is {}, {digest}", name(program), name(path)));
    }
    list(&mut to, "calls the tool", tools);
    list(&mut to, "takes back", takes_back);
    to.say(match undo {
        UndoScope::Full => "everything can be undone",
        UndoScope::Partial => "the file changes can be undone, and not everything else",
        UndoScope::None => "nothing can be undone",
    });
    to.finish()
}

fn name(text: &str) -> String {
    quoted(text, '`')
}

fn list(to: &mut Lines, what: &str, items: &[String]) {
    for item in items {
        to.say(&format!("  {what} {}", name(item)));
    }
}

fn item(to: &mut Lines, judged: &Judged, at: usize, item: &JudgedItem) {
    let JudgedItem { kind, from, to: new_path, before, after, new_content, implicit } = item;
    let word = match kind {
        ChangeKind::Create => "create",
        ChangeKind::Modify => "modify",
        ChangeKind::Delete => "delete",
        ChangeKind::Rename => "rename",
        ChangeKind::Chmod => "change the mode of",
        ChangeKind::Mkdir => "make the directory",
        ChangeKind::Rmdir => "remove the directory",
        ChangeKind::Symlink => "link",
    };
    let paths = match (from, new_path) {
        (Some(from), Some(new)) if from != new => format!("{} to {}", name(from), name(new)),
        (Some(path), Some(_)) => name(path),
        (Some(path), None) => format!("{}, which goes", name(path)),
        (None, Some(path)) => format!("{}, which is new", name(path)),
        (None, None) => "nothing".to_owned(),
    };
    let implicit = if *implicit { " (because something goes into it)" } else { "" };
    to.say(&format!("change {at}: {word} {paths}{implicit}"));
    to.say(&format!("  before: {}", state(judged, *before)));
    let content = if *new_content { ", new content" } else { "" };
    to.say(&format!("  after: {}{content}", state(judged, *after)));
    contents(to, judged, *before, *after);
}

/// The lines that go and come.
fn contents(to: &mut Lines, judged: &Judged, before: Option<State>, after: Option<State>) {
    let digest = |state: Option<State>| match state {
        Some(State::File { digest, .. }) => Some(digest),
        Some(State::Directory { .. } | State::Symlink { .. }) | None => None,
    };
    let (old, new) = (digest(before), digest(after));
    if old == new {
        return;
    }
    let old_bytes = old.map(|digest| judged.part(digest));
    let new_bytes = new.map(|digest| judged.part(digest));
    if old_bytes == Some(None) {
        to.say("  what it holds now is too large to be kept with the request, or cannot be read");
    }
    match (old_bytes.flatten(), new_bytes.flatten()) {
        (Some(old), Some(new)) => to.diff(old, new),
        (Some(old), None) => to.whole('-', old),
        (None, Some(new)) => to.whole('+', new),
        (None, None) => {}
    }
}

fn state(judged: &Judged, state: Option<State>) -> String {
    match state {
        None => "nothing".to_owned(),
        Some(State::File { digest, mode, bytes }) => {
            format!("a file of {bytes} byte(s), mode {mode}, {digest}")
        }
        Some(State::Directory { mode }) => format!("a directory, mode {mode}"),
        Some(State::Symlink { digest }) => match judged.part(digest) {
            Some(target) => {
                let target = String::from_utf8_lossy(target);
                format!("a symbolic link to {}, {digest}", name(&target))
            }
            None => format!("a symbolic link, {digest}"),
        },
    }
}

/// The input as JSON. A text that is the new content of a file is named instead of shown twice; a
/// hidden value stands by its digest. Neither can be mistaken for a text, which has quotes.
fn input_text(judged: &Judged, input: &JudgedValue, items: &[JudgedItem]) -> String {
    let mut text = String::new();
    write_value(&mut text, 0, input, &|content| {
        let digest = Digest::of(content.as_bytes());
        judged.part(digest)?;
        let new = |item: &JudgedItem| item.new_content && digest_of(item) == Some(digest);
        let at = items.iter().position(new)?;
        Some(format!("the new content of change {}, {digest}", at + 1))
    });
    text
}

fn digest_of(item: &JudgedItem) -> Option<Digest> {
    item.after.and_then(|state| state.digest())
}

fn write_value(
    to: &mut String,
    depth: usize,
    value: &JudgedValue,
    known: &dyn Fn(&str) -> Option<String>,
) {
    let indent = |to: &mut String, depth: usize| {
        to.push('\n');
        to.extend(std::iter::repeat_n("  ", depth));
    };
    match value {
        JudgedValue::Null => to.push_str("null"),
        JudgedValue::Bool(value) => to.push_str(if *value { "true" } else { "false" }),
        JudgedValue::Integer(value) => to.push_str(&value.to_string()),
        JudgedValue::Float(value) => to.push_str(&format!("{value:?}")),
        JudgedValue::Text(text) => match known(text) {
            Some(named) => to.push_str(&format!("({named})")),
            None => to.push_str(&string(text)),
        },
        JudgedValue::Hidden(digest) => to.push_str(&format!("(not shown, {digest})")),
        JudgedValue::List(items) => {
            to.push('[');
            for item in items {
                indent(to, depth + 1);
                write_value(to, depth + 1, item, known);
                to.push(',');
            }
            if !items.is_empty() {
                indent(to, depth);
            }
            to.push(']');
        }
        JudgedValue::Object(entries) => {
            to.push('{');
            for (key, value) in entries {
                indent(to, depth + 1);
                to.push_str(&string(key));
                to.push_str(": ");
                write_value(to, depth + 1, value, known);
                to.push(',');
            }
            if !entries.is_empty() {
                indent(to, depth);
            }
            to.push('}');
        }
    }
}

/// A text in quotes, on one line: JSON's own escapes first, so that the bar in front of every line
/// is all that is left to add.
fn string(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 2);
    shown.push('"');
    shown.push_str(&visible(text).replace('"', "\\u{22}"));
    shown.push('"');
    shown
}
