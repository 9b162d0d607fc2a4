//! What an undo would do: the inverse of what a transaction did, compared with what stands there.
//!
//! Nothing is copied: the very things that were taken out lie in the slots and come back from
//! there, so that mode, owner, times and links come back with them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use lictor_capability::{
    Changes, Conflict, ConflictReason, Content, EffectKind, Effects, Item, KeptContent, LeftAlone,
    State, UndoScope, WorkspaceView as _,
};
use lictor_context::{ExecutionId, WorkspacePath};
use lictor_workspace::state_at;
use serde::{Deserialize, Serialize};

use crate::history::{History, HistoryError};
use crate::journal::{Journal, JournalItem};
use crate::leftover::Undone;
use crate::operation::leads_nowhere;
use crate::store::SlotRef;
use crate::transaction::Transactions;
use crate::{beside, folders, merge};

/// What an undo does about a path that somebody has changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// Nothing at all is undone, and every such path is named.
    #[default]
    Refuse,
    /// Theirs stays where it is, and what the undo would have put back goes beside it.
    KeepBoth,
    /// Both are merged, line by line. Where they cannot be, nothing at all is undone.
    Merge,
}

/// An undo could not be planned.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// There is no record of the execution.
    #[error(
        "there is no undo record of `{0}`: it changed nothing, was rolled back, or its record was \
         purged"
    )]
    NoRecord(ExecutionId),
    /// The record cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// What was set aside is not there any more.
    #[error("what `{execution}` set aside of `{path}` is gone, so it cannot be put back")]
    Gone {
        /// The execution that is to be undone.
        execution: ExecutionId,
        /// What was set aside.
        path: String,
    },
    /// The workspace cannot be read.
    #[error("the workspace cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Plans to undo executions, in this order (the newest first), as one: what each would have to
/// find is checked against what the ones before it leave. Conflicts are in the answer; when
/// there are any, nothing of it should be done.
///
/// # Errors
/// When a record is missing or damaged, or the workspace cannot be read.
pub fn plan_undo(
    transactions: &Transactions,
    executions: &[ExecutionId],
) -> Result<Vec<Effects>, UndoError> {
    plan_undo_or(transactions, executions, OnConflict::Refuse)
}

/// The same, with something else to do about conflicts than to refuse. What cannot be done about
/// is a conflict in the answer all the same.
///
/// # Errors
/// As [`plan_undo`].
pub fn plan_undo_or(
    transactions: &Transactions,
    executions: &[ExecutionId],
    on_conflict: OnConflict,
) -> Result<Vec<Effects>, UndoError> {
    let history = History::open(transactions)?;
    let mut planner = Planner { on_conflict, ..Planner::alone(transactions, &history) };
    let mut plans = Vec::with_capacity(executions.len());
    for execution in executions {
        let kept = history.get(execution)?.ok_or_else(|| UndoError::NoRecord(execution.clone()))?;
        plans.push(planner.plan(execution, &kept.journal)?);
    }
    Ok(plans)
}

pub(crate) struct Planner<'a> {
    pub(crate) transactions: &'a Transactions,
    pub(crate) history: &'a History<'a>,
    on_conflict: OnConflict,
    /// What paths will hold after the undos that were planned so far.
    pub(crate) overlay: HashMap<WorkspacePath, Option<State>>,
    /// The texts that these merge, which are nowhere yet.
    pub(crate) merged: HashMap<WorkspacePath, Vec<u8>>,
    /// The undos that were planned so far.
    pub(crate) planned: Vec<Arc<Undone>>,
}

impl<'a> Planner<'a> {
    /// Of an undo that no other is planned before.
    pub(crate) fn alone(transactions: &'a Transactions, history: &'a History<'a>) -> Self {
        Self {
            transactions,
            history,
            on_conflict: OnConflict::Refuse,
            overlay: HashMap::new(),
            merged: HashMap::new(),
            planned: Vec::new(),
        }
    }

    fn plan(&mut self, execution: &ExecutionId, journal: &Journal) -> Result<Effects, UndoError> {
        let items = &journal.items;
        let mut effects = Effects {
            undo: UndoScope::Full,
            takes_back: vec![execution.clone()],
            ..Effects::default()
        };
        let paths = Paths::of(items);
        let judged: Result<Vec<_>, _> = items.iter().map(|item| self.judge(item, &paths)).collect();
        let mut judged = judged?;
        match self.on_conflict {
            OnConflict::Refuse => {}
            OnConflict::KeepBoth => beside::keep_both(self, execution, items, &mut judged)?,
            OnConflict::Merge => merge::merge_all(self, execution, items, &mut judged)?,
        }
        for (item, judgement) in items.iter().zip(judged) {
            let planned = match judgement {
                Judgement::AlreadyBack => None,
                Judgement::Go => inverse(item),
                Judgement::Instead(instead, left) => {
                    effects.intended.extend(ends(item));
                    effects.left.extend(left);
                    instead
                }
                Judgement::Conflict(_, conflict) => {
                    effects.intended.extend(ends(item));
                    effects.conflicts.push(conflict);
                    continue;
                }
            };
            if let Some(planned) = planned {
                self.check_kept(execution, item, &planned)?;
                effects.changes.items.push(planned);
            }
        }
        let stay = match effects.conflicts.is_empty() {
            true => folders::end(self, execution, journal, &mut effects.changes)?,
            false => HashSet::new(),
        };
        let undone = Undone::planned(execution, items, &effects.changes.items);
        self.planned.push(Arc::new(undone));
        for planned in &effects.changes.items {
            let from = planned.from.clone().filter(|from| !stay.contains(from));
            self.overlay.extend(from.map(|from| (from, None)));
        }
        // What arrives is noted last: a swap leaves and arrives at the same paths.
        for planned in &effects.changes.items {
            self.overlay.extend(planned.to.clone().map(|to| (to, planned.after)));
        }
        effects.changes = ordered(effects.changes);
        Ok(effects)
    }

    /// What comes back has to be there. Whether it is still what it was is seen when it is done.
    fn check_kept(
        &self,
        execution: &ExecutionId,
        item: &JournalItem,
        planned: &Item,
    ) -> Result<(), UndoError> {
        // An undo that is planned before this one may bring it back first.
        if !self.overlay.is_empty() || !matches!(planned.content, Some(Content::Kept(_))) {
            return Ok(());
        }
        match &item.keep {
            Some(keep) if !self.history.holds(keep)? => {
                let (execution, path) = (execution.clone(), item.path().to_owned());
                Err(UndoError::Gone { execution, path })
            }
            _ => Ok(()),
        }
    }

    fn judge(&self, item: &JournalItem, paths: &Paths<'_>) -> Result<Judgement, UndoError> {
        let like = |found: Option<State>, state: Option<State>| {
            found.zip(state).is_some_and(|(found, state)| item.is_like(&found, &state))
        };
        match (&item.from, &item.to) {
            (_, Some(to)) => {
                let found = self.state(to)?;
                if like(found, item.after) {
                    let hindered = match self.room_at(item, paths)? {
                        Some(hindered) => Some(hindered),
                        None => {
                            self.in_the_way(item, to, paths)?.map(|one| (Hindrance::Filled, one))
                        }
                    };
                    return Ok(hindered.map_or(Judgement::Go, Judgement::hindered));
                }
                let back = match &item.from {
                    None => found.is_none(),
                    Some(from) => {
                        like(self.state(from)?, item.before) && (from == to || found.is_none())
                    }
                };
                if back {
                    return Ok(Judgement::AlreadyBack);
                }
                let hindrance = if found.is_some() { Hindrance::Theirs } else { Hindrance::Gone };
                Ok(Judgement::Conflict(hindrance, conflict(to, item, found)))
            }
            (Some(from), None) => match self.state(from)? {
                None => Ok(self
                    .nowhere_to(from, item, paths)?
                    .map_or(Judgement::Go, |one| Judgement::Conflict(Hindrance::NoParent, one))),
                // What stands there now is ours as well, and leaves by the same undo.
                Some(_) if paths.leave.contains(from) => Ok(Judgement::Go),
                found if like(found, item.before) => Ok(Judgement::AlreadyBack),
                found => Ok(Judgement::Conflict(Hindrance::Taken, conflict(from, item, found))),
            },
            (None, None) => Ok(Judgement::AlreadyBack),
        }
    }

    /// A directory of ours that has to make room for what was there before, and that somebody has
    /// put something into.
    fn in_the_way(
        &self,
        item: &JournalItem,
        to: &WorkspacePath,
        paths: &Paths<'_>,
    ) -> Result<Option<Conflict>, UndoError> {
        if !item.is_directory() || item.from.is_some() || !paths.come_back.contains(to) {
            return Ok(None);
        }
        let workspace = self.transactions.workspace();
        let listed = workspace.list(Some(to)).map_err(|e| io::Error::other(e.to_string()))?;
        let theirs = listed
            .iter()
            .filter_map(|child| to.join(&child.name).ok())
            .find(|child| !paths.leave.contains(child) && !self.overlay.contains_key(child));
        Ok(theirs.map(|path| Conflict {
            path: path.to_string(),
            reason: ConflictReason::NotEmpty,
            expected: None,
            found: None,
            restores: None,
        }))
    }

    /// The directory that something was deleted from may be gone since.
    fn nowhere_to(
        &self,
        path: &WorkspacePath,
        item: &JournalItem,
        paths: &Paths<'_>,
    ) -> Result<Option<Conflict>, UndoError> {
        let Some(parent) = path.parent() else { return Ok(None) };
        if paths.come_back.contains(&parent)
            || matches!(self.state(&parent)?, Some(State::Directory { .. }))
        {
            return Ok(None);
        }
        let missing = conflict(path, item, None);
        Ok(Some(Conflict { reason: ConflictReason::ParentNotADirectory, ..missing }))
    }

    /// A thing that was renamed needs its old path free, or freed by the same undo.
    fn room_at(
        &self,
        item: &JournalItem,
        paths: &Paths<'_>,
    ) -> Result<Option<(Hindrance, Conflict)>, UndoError> {
        let Some(from) = item.from.as_ref().filter(|from| item.to.as_ref() != Some(*from)) else {
            return Ok(None);
        };
        if paths.leave.contains(from) {
            return Ok(None);
        }
        let found = self.state(from)?;
        if found.is_some() {
            return Ok(Some((Hindrance::Taken, conflict(from, item, found))));
        }
        let missing = self.nowhere_to(from, item, paths)?;
        Ok(missing.map(|missing| (Hindrance::NoParent, missing)))
    }

    pub(crate) fn state(&self, path: &WorkspacePath) -> Result<Option<State>, UndoError> {
        if let Some(planned) = self.overlay.get(path) {
            return Ok(*planned);
        }
        let workspace = self.transactions.workspace();
        match workspace.parent(path) {
            Ok(None) => Ok(None),
            Ok(Some(parent)) => state_at(&parent, path.name())
                .map_err(|error| UndoError::Io(io::Error::other(error.to_string()))),
            // A parent that is a file or a link now: the path itself holds nothing.
            Err(error) if leads_nowhere(&error) => Ok(None),
            Err(error) => Err(UndoError::Io(io::Error::other(error.to_string()))),
        }
    }
}

/// The paths of an execution, as its undo sees them.
pub(crate) struct Paths<'a> {
    /// What it put something at: that leaves.
    pub(crate) leave: HashSet<&'a WorkspacePath>,
    /// What it took something from: that comes back.
    pub(crate) come_back: HashSet<&'a WorkspacePath>,
}

impl<'a> Paths<'a> {
    pub(crate) fn of(items: &'a [JournalItem]) -> Self {
        Self {
            leave: items.iter().filter_map(|item| item.to.as_ref()).collect(),
            come_back: items.iter().filter_map(|item| item.from.as_ref()).collect(),
        }
    }
}

/// What is to become of one item.
pub(crate) enum Judgement {
    /// It is taken back.
    Go,
    /// It is as it was before already.
    AlreadyBack,
    /// Somebody has changed something since.
    Conflict(Hindrance, Conflict),
    /// Something else is done instead, and perhaps theirs left alone.
    Instead(Option<Item>, Option<LeftAlone>),
}

impl Judgement {
    fn hindered((hindrance, conflict): (Hindrance, Conflict)) -> Self {
        Self::Conflict(hindrance, conflict)
    }
}

/// What keeps an item from being taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hindrance {
    /// Where the execution left something stands something else.
    Theirs,
    /// Where the execution left something is nothing.
    Gone,
    /// A directory that the execution made, and that has to go, holds something of somebody else.
    Filled,
    /// Where something has to come back stands something of somebody else.
    Taken,
    /// Where something has to come back, its directory is gone.
    NoParent,
}

fn ends(item: &JournalItem) -> impl Iterator<Item = (EffectKind, WorkspacePath)> {
    [&item.from, &item.to].into_iter().flatten().map(|path| (EffectKind::FsWrite, path.clone()))
}

pub(crate) fn conflict(path: &WorkspacePath, item: &JournalItem, found: Option<State>) -> Conflict {
    let text = |state: Option<State>| match state {
        Some(State::Directory { .. }) => Some("a directory".to_owned()),
        Some(state) => state.digest().map(|digest| digest.to_string()),
        None => Some("nothing".to_owned()),
    };
    let reason = match (found, item.after) {
        (None, _) => ConflictReason::Missing,
        (Some(_), None) => ConflictReason::Exists,
        (Some(found), Some(left)) if found.digest() == left.digest() => ConflictReason::ModeDiffers,
        (Some(State::File { .. }), Some(State::File { .. }))
        | (Some(State::Symlink { .. }), Some(State::Symlink { .. })) => {
            ConflictReason::ContentDiffers
        }
        _ => ConflictReason::KindDiffers,
    };
    let mode = |state: Option<State>| state.and_then(|s| s.mode()).map(|mode| mode.to_string());
    let (expected, found) = if reason == ConflictReason::ModeDiffers {
        (mode(item.after), mode(found))
    } else {
        (text(item.after), text(found))
    };
    Conflict { path: path.to_string(), reason, expected, found, restores: text(item.before) }
}

/// What takes one item back.
pub(crate) fn inverse(item: &JournalItem) -> Option<Item> {
    let directory = matches!(item.before.or(item.after), Some(State::Directory { .. }));
    let mut inverse = Item {
        kind: item.kind,
        from: item.to.clone(),
        to: item.from.clone(),
        before: item.after,
        after: item.before,
        content: kept_content(item),
        // A directory of ours goes only if nobody has put anything into it.
        implicit: directory && item.from.is_none(),
    };
    inverse.kind = inverse.final_kind()?;
    Some(inverse)
}

/// What an item has set aside.
pub(crate) fn kept_content(item: &JournalItem) -> Option<Content> {
    let from_slot = |slot: &SlotRef| {
        Content::Kept(KeptContent { execution: slot.execution.clone(), slot: slot.index })
    };
    // What went by a slot on its way elsewhere is not in it any more.
    item.keep.as_ref().filter(|_| !item.goes_by_slot()).map(from_slot)
}

/// Directories first, for readers; the order of operations is worked out later.
fn ordered(mut changes: Changes) -> Changes {
    changes.items.sort_by_key(|item| !matches!(item.after, Some(State::Directory { .. })));
    changes
}
