//! Undo: the inverse of what a transaction did, as changes that go down the same road.
//!
//! Nothing is copied: the very things that were taken out lie in the slots and come back from
//! there, so that mode, owner, times and links come back with them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use lictor_capability::{
    Changes, Conflict, ConflictReason, Content, Contract, ContractError, EffectKind, Effects, Item,
    KeptContent, State, UndoScope, WorkspaceView as _,
};
use lictor_context::{ExecutionId, WorkspacePath};
use lictor_document::Source;
use lictor_executor::{Granted, Handler, HandlerError, Request};
use lictor_workspace::state_at;
use serde_json::{Value, json};

use crate::history::{History, HistoryError};
use crate::journal::JournalItem;
use crate::operation::leads_nowhere;
use crate::store::SlotRef;
use crate::transaction::Transactions;

/// The id of the capability that undoes.
pub const UNDO_CAPABILITY: &str = "change.undo";

/// The contract of [`UNDO_CAPABILITY`].
///
/// # Errors
/// Never, in a build whose tests have passed: the text is part of the program.
pub fn undo_contract() -> Result<Arc<Contract>, ContractError> {
    let text = include_bytes!("../contracts/change.undo.yaml");
    Contract::from_yaml_lazily(&Source::new("change.undo.yaml", text)).map(Arc::new)
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
    let history = History::open(transactions)?;
    let mut planner = Planner { transactions, history: &history, overlay: HashMap::new() };
    let mut plans = Vec::with_capacity(executions.len());
    for execution in executions {
        let kept = history.get(execution)?.ok_or_else(|| UndoError::NoRecord(execution.clone()))?;
        plans.push(planner.plan(execution, &kept.journal.items)?);
    }
    Ok(plans)
}

struct Planner<'a> {
    transactions: &'a Transactions,
    history: &'a History<'a>,
    /// What paths will hold after the undos that were planned so far.
    overlay: HashMap<WorkspacePath, Option<State>>,
}

impl Planner<'_> {
    fn plan(
        &mut self,
        execution: &ExecutionId,
        items: &[JournalItem],
    ) -> Result<Effects, UndoError> {
        let mut effects = Effects {
            undo: UndoScope::Full,
            takes_back: vec![execution.clone()],
            ..Effects::default()
        };
        let mut after: Vec<(WorkspacePath, Option<State>)> = Vec::new();
        let paths = Paths::of(items);
        for item in items {
            match self.judge(item, &paths)? {
                Judgement::Go => {
                    self.check_kept(execution, item)?;
                    if let Some(to) = &item.to {
                        after.push((to.clone(), None));
                    }
                    if let Some(inverse) = inverse(item) {
                        effects.changes.items.push(inverse);
                    }
                }
                Judgement::AlreadyBack => {}
                Judgement::Conflict(conflict) => {
                    effects.conflicts.push(conflict);
                    let ends = [&item.from, &item.to].into_iter().flatten();
                    effects.intended.extend(ends.map(|path| (EffectKind::FsWrite, path.clone())));
                }
            }
        }
        // What arrives is noted last: a swap leaves and arrives at the same paths.
        for inverse in &effects.changes.items {
            if let Some(to) = &inverse.to {
                after.push((to.clone(), inverse.after));
            }
        }
        self.overlay.extend(after);
        effects.changes = ordered(effects.changes);
        Ok(effects)
    }

    /// What comes back has to be there. Whether it is still what it was is seen when it is done.
    fn check_kept(&self, execution: &ExecutionId, item: &JournalItem) -> Result<(), UndoError> {
        // An undo that is planned before this one may bring it back first.
        if !self.overlay.is_empty() || item.goes_by_slot() {
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
                    let conflict = match self.room_at(item, paths)? {
                        Some(conflict) => Some(conflict),
                        None => self.in_the_way(item, to, paths)?,
                    };
                    return Ok(conflict.map_or(Judgement::Go, Judgement::Conflict));
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
                Ok(Judgement::Conflict(conflict(to, item, found)))
            }
            (Some(from), None) => match self.state(from)? {
                None => Ok(self
                    .nowhere_to(from, item, paths)?
                    .map_or(Judgement::Go, Judgement::Conflict)),
                // What stands there now is ours as well, and leaves by the same undo.
                Some(_) if paths.leave.contains(from) => Ok(Judgement::Go),
                found if like(found, item.before) => Ok(Judgement::AlreadyBack),
                found => Ok(Judgement::Conflict(conflict(from, item, found))),
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
    ) -> Result<Option<Conflict>, UndoError> {
        let Some(from) = item.from.as_ref().filter(|from| item.to.as_ref() != Some(*from)) else {
            return Ok(None);
        };
        if paths.leave.contains(from) {
            return Ok(None);
        }
        let found = self.state(from)?;
        if found.is_some() {
            return Ok(Some(conflict(from, item, found)));
        }
        self.nowhere_to(from, item, paths)
    }

    fn state(&self, path: &WorkspacePath) -> Result<Option<State>, UndoError> {
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
struct Paths<'a> {
    /// What it put something at: that leaves.
    leave: HashSet<&'a WorkspacePath>,
    /// What it took something from: that comes back.
    come_back: HashSet<&'a WorkspacePath>,
}

impl<'a> Paths<'a> {
    fn of(items: &'a [JournalItem]) -> Self {
        Self {
            leave: items.iter().filter_map(|item| item.to.as_ref()).collect(),
            come_back: items.iter().filter_map(|item| item.from.as_ref()).collect(),
        }
    }
}

enum Judgement {
    Go,
    AlreadyBack,
    Conflict(Conflict),
}

fn conflict(path: &WorkspacePath, item: &JournalItem, found: Option<State>) -> Conflict {
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
fn inverse(item: &JournalItem) -> Option<Item> {
    let directory = matches!(item.before.or(item.after), Some(State::Directory { .. }));
    let from_slot = |slot: &SlotRef| {
        Content::Kept(KeptContent { execution: slot.execution.clone(), slot: slot.index })
    };
    // What went by a slot on its way elsewhere is not in it any more.
    let kept = item.keep.as_ref().filter(|_| !item.goes_by_slot()).map(from_slot);
    let mut inverse = Item {
        kind: item.kind,
        from: item.to.clone(),
        to: item.from.clone(),
        before: item.after,
        after: item.before,
        content: kept,
        // A directory of ours goes only if nobody has put anything into it.
        implicit: directory && item.from.is_none(),
    };
    inverse.kind = inverse.final_kind()?;
    Some(inverse)
}

/// Directories first, for readers; the order of operations is worked out later.
fn ordered(mut changes: Changes) -> Changes {
    changes.items.sort_by_key(|item| !matches!(item.after, Some(State::Directory { .. })));
    changes
}

/// Does [`UNDO_CAPABILITY`].
#[derive(Debug)]
pub struct UndoHandler {
    transactions: Transactions,
}

impl UndoHandler {
    /// Over the transactions of a workspace.
    #[must_use]
    pub fn new(transactions: Transactions) -> Self {
        Self { transactions }
    }
}

fn wanted(input: &Value) -> Result<ExecutionId, HandlerError> {
    let text = input.get("execution").and_then(Value::as_str).unwrap_or_default();
    ExecutionId::parse(text).map_err(|error| HandlerError::input(error.to_string()))
}

#[async_trait]
impl Handler for UndoHandler {
    fn describe(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let execution = wanted(request.input())?;
        let plans = plan_undo(&self.transactions, &[execution])
            .map_err(|error| HandlerError::input(error.to_string()))?;
        Ok(plans.into_iter().next().unwrap_or_default())
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        let effects = granted.described().effects();
        Ok(json!({ "undo_of": effects.takes_back, "files": effects.changes.files() }))
    }
}
