//! How actions and changes are shown to people.

use std::fmt::Write as _;

use lictor::capability::{ChangeKind, Content, Described, FileChange, Item, WorkspaceView as _};
use lictor::workspace::Workspace;
use similar::TextDiff;

/// The largest file whose old content is shown beside the new one, in bytes.
const MAX_SHOWN: u64 = 1 << 20;

/// An action with everything that it will do.
pub(crate) fn described(described: &Described, workspace: &Workspace) -> String {
    let action = described.action();
    let contract = described.contract();
    let principal = action.session().principal();
    let mut text = format!(
        "{} {} ({})\nasked by {}/{} of {}\n",
        contract.id,
        contract.version,
        contract.title,
        principal.user,
        principal.agent,
        principal.org
    );
    let mut say = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    if let Some(plan) = action.plan().filter(|plan| !plan.intent.is_empty()) {
        say(format!("intent: {}", plan.intent));
    }
    let effects = described.effects();
    for path in &effects.reads {
        say(format!("  read   {path}"));
    }
    for item in effects.changes.items.iter().filter(|item| !item.implicit) {
        say(format!("  {}", line(&FileChange::from(item))));
        if let Some(new) = new_text(item) {
            let old = old_text(item, workspace).unwrap_or_default();
            let (from, to) = (format!("a/{}", item.path()), format!("b/{}", item.path()));
            say(unified(&from, &to, &old, new).trim_end().to_owned());
        }
    }
    for conflict in &effects.conflicts {
        say(format!("  conflict: {conflict}"));
    }
    text
}

/// The new content of an item, whole, when it is text: what is agreed to is never cut.
fn new_text(item: &Item) -> Option<&str> {
    match &item.content {
        Some(Content::Inline(bytes)) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// The old content of an item that is changed in place.
fn old_text(item: &Item, workspace: &Workspace) -> Option<String> {
    let bytes = workspace.read(item.from.as_ref()?, MAX_SHOWN).ok()?;
    String::from_utf8(bytes).ok()
}

/// One changed thing in a line.
pub(crate) fn line(file: &FileChange) -> String {
    let op = match file.op {
        ChangeKind::Create => "create",
        ChangeKind::Modify => "modify",
        ChangeKind::Delete => "delete",
        ChangeKind::Rename => "rename",
        ChangeKind::Chmod => "chmod",
        ChangeKind::Mkdir => "mkdir",
        ChangeKind::Rmdir => "rmdir",
        ChangeKind::Symlink => "symlink",
    };
    let mut text = format!("{op:<7} {}", file.path);
    if let Some(to) = &file.to {
        // Writing to a string cannot fail.
        write!(text, " -> {to}").unwrap_or_default();
    }
    if let (Some(before), Some(after)) = (file.before_mode, file.mode) {
        write!(text, " ({before} -> {after})").unwrap_or_default();
    }
    text
}

/// Changed things, one a line.
pub(crate) fn files(files: &[FileChange]) -> String {
    files.iter().map(|file| format!("  {}\n", line(file))).collect()
}

/// A unified diff of two texts under two names.
pub(crate) fn unified(old_name: &str, new_name: &str, old: &str, new: &str) -> String {
    TextDiff::from_lines(old, new)
        .unified_diff()
        .context_radius(3)
        .header(old_name, new_name)
        .to_string()
}
