//! An attempt that found a folder made, or gone, since it was described is described and judged anew.
//!
//! Whoever writes into a folder that is not there yet has described that it makes it. When somebody
//! else has made it meanwhile, that is no conflict about anything that was asked for; it is an outdated
//! description. What is done under a warrant is what was judged, to the letter, so nothing of it is
//! left out: there is a new description, a new decision and a new warrant, and people whose agreement
//! was to the other one are asked again.

use std::collections::HashSet;

use lictor_capability::{
    Action, ChangeKind, Conflict, ConflictReason, Content, Described, Effects, Item,
};
use lictor_executor::{ApplyError, ExecuteErrorKind, Rollback};

use crate::agent::Agent;
use crate::error::{ActError, ActErrorKind};

/// So often is an attempt described anew. Each time somebody else has made or removed a folder in
/// between, so it comes to an end by itself, save where folders come and go all the time.
const MAX_TIMES: u32 = 32;

/// What an attempt was to do, as long as it may be described anew.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    effects: Option<Effects>,
    n_times: u32,
}

impl Attempt {
    /// Notes what is to be done now.
    pub(crate) fn begins(&mut self, described: &Described) {
        let effects = described.effects();
        let into_folder = |item: &Item| {
            item.from != item.to && item.to.as_ref().is_some_and(|to| to.parent().is_some())
        };
        let items = &effects.changes.items;
        let folders = !effects.takes_back.is_empty()
            || items.iter().any(|item| into_folder(item) || is_folder(item));
        self.effects = (folders && self.n_times < MAX_TIMES).then(|| effects.clone());
        self.n_times += 1;
    }
}

impl Agent {
    /// The action as it is described now, when nothing but folders kept it from being done.
    pub(crate) async fn described_anew(
        &self,
        attempt: &Attempt,
        action: &Action,
        error: &ActError,
    ) -> Option<Described> {
        let before = attempt.effects.as_ref()?;
        // Who was let in for one action byte for byte is not let in for another.
        if self.is_bound() || !only_folders_in_the_way(before, error) {
            return None;
        }
        let described = self.description(action).await.ok()?;
        differs_in_folders_only(before, described.effects()).then_some(described)
    }
}

/// Whether nothing was done, or all was put back, and every conflict is about a folder: one that was
/// to be made and is there, or one that something was to be put into and is gone.
fn only_folders_in_the_way(before: &Effects, error: &ActError) -> bool {
    let ActErrorKind::Execution(error) = error.kind() else { return false };
    let ended = match error.kind() {
        ExecuteErrorKind::Apply(ApplyError::Conflict(_)) => *error.rollback() == Rollback::NotBegun,
        ExecuteErrorKind::Apply(ApplyError::RolledBack { .. }) => {
            matches!(error.rollback(), Rollback::Complete(_))
        }
        _ => false,
    };
    let items = || before.changes.items.iter();
    let folders: HashSet<&str> = items().filter(|item| is_folder(item)).map(Item::path).collect();
    let undoes = !before.takes_back.is_empty();
    let arriving: HashSet<&str> = items()
        .filter(|item| item.from != item.to)
        .filter_map(|item| item.to.as_ref().map(|to| to.as_str()))
        .collect();
    let folder = |conflict: &Conflict| match conflict.reason {
        // What an undo would leave of folders is seen again under the lock.
        ConflictReason::Exists => undoes || folders.contains(conflict.path.as_str()),
        ConflictReason::NotEmpty => undoes && folders.contains(conflict.path.as_str()),
        ConflictReason::Missing | ConflictReason::ParentNotADirectory => {
            arriving.contains(conflict.path.as_str())
        }
        _ => false,
    };
    ended && !error.conflicts().is_empty() && error.conflicts().iter().all(folder)
}

/// Whether two descriptions of one action differ in the folders that are made, and in nothing else.
fn differs_in_folders_only(before: &Effects, now: &Effects) -> bool {
    let rest = |effects: &Effects| -> Vec<Item> {
        effects.changes.items.iter().filter(|item| !is_folder(item)).cloned().collect()
    };
    let (old, new) = (rest(before), rest(now));
    now.conflicts.is_empty()
        && now.violations.is_empty()
        && (&before.reads, before.reads_root) == (&now.reads, now.reads_root)
        && (&before.hosts, &before.programs) == (&now.hosts, &now.programs)
        && (&before.executables, &before.tools) == (&now.executables, &now.tools)
        && (before.contained, before.undo) == (now.contained, now.undo)
        && (&before.takes_back, &before.left) == (&now.takes_back, &now.left)
        && old.len() == new.len()
        && old.iter().zip(&new).all(|(old, new)| same(old, new))
}

fn same(one: &Item, other: &Item) -> bool {
    let of = |item: &Item| {
        let Item { kind, from, to, before, after, content, implicit } = item;
        let copied = match content {
            Some(Content::CopyOf(path)) => Some(path.clone()),
            _ => None,
        };
        (*kind, from.clone(), to.clone(), *before, *after, copied, *implicit)
    };
    of(one) == of(other)
}

/// Whether it is a folder that is made, or that goes with what was in it.
fn is_folder(item: &Item) -> bool {
    match item.kind {
        ChangeKind::Mkdir => item.from.is_none(),
        ChangeKind::Rmdir => item.implicit,
        _ => false,
    }
}
