//! Undo: the inverse of what a transaction did, as changes that go down the same road.
//!
//! Nothing is copied: the very things that were taken out lie in the slots and come back from
//! there, so that mode, owner, times and links come back with them.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use lictor_capability::{
    Changes, Conflict, ConflictReason, Content, Contract, ContractError, Effects, Item,
    KeptContent, State, UndoScope,
};
use lictor_context::{ExecutionId, WorkspacePath};
use lictor_document::Source;
use lictor_executor::{Granted, Handler, HandlerError, Request};
use lictor_workspace::state_at;
use serde_json::{Value, json};

use crate::history::{History, HistoryError};
use crate::journal::JournalItem;
use crate::operation::same;
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
    let mut planner = Planner { transactions, overlay: HashMap::new() };
    let mut plans = Vec::with_capacity(executions.len());
    for execution in executions {
        let kept = history.get(execution)?.ok_or_else(|| UndoError::NoRecord(execution.clone()))?;
        plans.push(planner.plan(execution, &kept.journal.items)?);
    }
    Ok(plans)
}

struct Planner<'a> {
    transactions: &'a Transactions,
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
        let leaves: Vec<&WorkspacePath> =
            items.iter().filter_map(|item| item.to.as_ref()).collect();
        for item in items {
            match self.judge(item, &leaves)? {
                Judgement::Go => {
                    if let Some(to) = &item.to {
                        after.push((to.clone(), None));
                    }
                    if let Some(inverse) = inverse(item) {
                        effects.changes.items.push(inverse);
                    }
                }
                Judgement::AlreadyBack => {}
                Judgement::Conflict(conflict) => effects.conflicts.push(conflict),
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

    fn judge(&self, item: &JournalItem, leaves: &[&WorkspacePath]) -> Result<Judgement, UndoError> {
        let directory = matches!(item.before.or(item.after), Some(State::Directory { .. }));
        match (&item.from, &item.to) {
            (_, Some(to)) => {
                let found = self.state(to)?;
                let left = found.zip(item.after).is_some_and(|(found, left)| same(&found, &left));
                if left {
                    return Ok(self
                        .room_at(item, leaves)?
                        .map_or(Judgement::Go, Judgement::Conflict));
                }
                let back = match &item.from {
                    None => found.is_none(),
                    Some(from) => {
                        let old = self.state(from)?;
                        let same = old.zip(item.before).is_some_and(|(old, was)| same(&old, &was));
                        same && (from == to || found.is_none())
                    }
                };
                if back || (directory && found.is_none()) {
                    return Ok(Judgement::AlreadyBack);
                }
                Ok(Judgement::Conflict(conflict(to, item, found)))
            }
            (Some(from), None) => match self.state(from)? {
                None => Ok(Judgement::Go),
                Some(found) if item.before.is_some_and(|was| same(&found, &was)) => {
                    Ok(Judgement::AlreadyBack)
                }
                found => Ok(Judgement::Conflict(conflict(from, item, found))),
            },
            (None, None) => Ok(Judgement::AlreadyBack),
        }
    }

    /// A thing that was renamed needs its old path free, or freed by the same undo.
    fn room_at(
        &self,
        item: &JournalItem,
        leaves: &[&WorkspacePath],
    ) -> Result<Option<Conflict>, UndoError> {
        let Some(from) = item.from.as_ref().filter(|from| item.to.as_ref() != Some(*from)) else {
            return Ok(None);
        };
        if leaves.contains(&from) {
            return Ok(None);
        }
        let found = self.state(from)?;
        Ok(found.is_some().then(|| conflict(from, item, found)))
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
            Err(error) => match error.kind() {
                lictor_capability::ViewErrorKind::NotADirectory
                | lictor_capability::ViewErrorKind::ThroughSymlink { .. } => Ok(None),
                _ => Err(UndoError::Io(io::Error::other(error.to_string()))),
            },
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
        (Some(State::File { .. }), Some(State::File { .. })) => ConflictReason::ContentDiffers,
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
