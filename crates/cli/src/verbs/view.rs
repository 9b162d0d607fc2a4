//! How actions and changes are shown to people.

use std::fmt::Write as _;

use lictor::capability::{ChangeKind, FileChange};
use lictor::governance::visible;
use lictor::{Agent, Checked};

use crate::output::name;

/// An action with everything that it will do, as people are shown it who are asked about it.
pub(crate) fn described(agent: &Agent, checked: &Checked) -> String {
    let effects = checked.described.effects();
    let mut text = match agent.view(checked) {
        Ok(view) => view,
        // It could not be approved either; the names of what it touches are all there is to say.
        Err(error) => format!("{error}\n{}", asked_about(&effects.changes.files())),
    };
    for conflict in &effects.conflicts {
        // Writing to a string cannot fail.
        writeln!(text, "  conflict: {}", visible(&conflict.to_string())).unwrap_or_default();
    }
    text
}

/// One changed thing in a line.
fn line(file: &FileChange, name: fn(&str) -> String) -> String {
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
    let mut text = format!("{op:<7} {}", name(&file.path));
    if let Some(to) = &file.to {
        // Writing to a string cannot fail.
        write!(text, " -> {}", name(to)).unwrap_or_default();
    }
    if let (Some(before), Some(after)) = (file.before_mode, file.mode) {
        write!(text, " ({before} -> {after})").unwrap_or_default();
    }
    text
}

/// Things that were changed, one a line.
pub(crate) fn files(files: &[FileChange]) -> String {
    files.iter().map(|file| format!("  {}\n", line(file, name))).collect()
}

/// Things that would be changed, as people are shown them who are asked about it.
pub(crate) fn asked_about(files: &[FileChange]) -> String {
    files.iter().map(|file| format!("  {}\n", line(file, visible))).collect()
}
