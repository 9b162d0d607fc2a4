//! What was changed in a copy of the workspace, on its way to the workspace itself.
//!
//! The effects of a program are not known before it runs. So it runs in a copy, as an action that is
//! judged by what it starts; and what it changed there is landed by another action, which is judged
//! by these changes. Between the two lies the gate, as between any wish and its deed.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lictor_capability::{
    Action, Admitted, Beyond, CapabilityId, Change, ChangeDocument, ChangeSet, Described, Effects,
    EntryKind, FileMode, Plan, UndoScope, WorkspaceView,
};
use lictor_context::{Clock, Digest, ExecutionId, PlanId, Principal, RunId, WorkspacePath};
use serde_json::{Value, json};

use crate::error::ExecuteErrorKind;
use crate::handler::HandlerError;
use crate::record::{ExecutionRecord, ExecutionStatus};
use crate::run_time::RunTime;
use crate::unwanted::Unwanted;

/// So many are kept for being landed; older ones are given up.
const MAX_KEPT: usize = 32;

/// What a handler and the executor have between them during a run: where it puts what is to follow
/// on it, once, whether the run is still wanted, and how much time it has.
#[derive(Debug)]
pub(crate) struct Staging {
    to_follow: Mutex<ToFollow>,
    unwanted: Unwanted,
    time: RunTime,
}

/// What follows on the run of a handler, each of it judged by itself.
#[derive(Debug, Default)]
pub(crate) struct ToFollow {
    /// The changes that it found.
    pub(crate) changes: Vec<Change>,
    /// The run that it begins.
    pub(crate) run: Option<RunId>,
}

impl Staging {
    pub(crate) fn new(unwanted: Unwanted, limit: Duration) -> Self {
        Self { to_follow: Mutex::default(), unwanted, time: RunTime::new(limit) }
    }

    pub(crate) fn unwanted(&self) -> &Unwanted {
        &self.unwanted
    }

    pub(crate) fn time(&self) -> &RunTime {
        &self.time
    }

    // Only exchanges happen under the lock, so a poisoned one holds a whole value.
    fn held(&self) -> MutexGuard<'_, ToFollow> {
        self.to_follow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, changes: Vec<Change>) {
        self.held().changes = changes;
    }

    pub(crate) fn begin(&self, run: RunId) {
        self.held().run = Some(run);
    }

    pub(crate) fn take(self) -> ToFollow {
        self.to_follow.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a run of a handler gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) output: Value,
    pub(crate) changes: Vec<Change>,
    /// The run that it begins, whose output is the action's.
    pub(crate) run: Option<RunId>,
}

impl Ran {
    /// What has nothing to stage: it starts nothing.
    pub(crate) fn without_changes(self) -> Result<Self, ExecuteErrorKind> {
        if self.changes.is_empty() {
            return Ok(self);
        }
        let why = "its handler staged changes, and the action did not say that it starts a program";
        Err(ExecuteErrorKind::Handler(HandlerError::failed(why)))
    }
}

/// What an execution changed in its staging copy. Only an executor makes one, from what a handler
/// that had a grant found, or from what it has on record.
#[derive(Debug, Clone, PartialEq)]
pub struct StagedChanges {
    execution_id: ExecutionId,
    capability: CapabilityId,
    contract: Digest,
    principal: Principal,
    input: Arc<Value>,
    salt: String,
    plan: Plan,
    changes: ChangeSet,
    output: Value,
    undo: UndoScope,
}

/// What nobody can guess, so that a digest says nothing of an input to whoever has only that.
fn fresh_salt() -> Result<String, HandlerError> {
    let mut bytes = [0; 16];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|error| HandlerError::failed(error.to_string()))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// The digest by which an input is known again of which the record leaves something out.
fn digest_of(input: &Value, salt: &str) -> Result<Digest, HandlerError> {
    let digest = Digest::of_json(&json!({ "lictor": "staged/v1", "salt": salt, "input": input }));
    digest.map_err(|error| HandlerError::failed(error.to_string()))
}

/// Changes do not belong to the execution that is said to have made them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{execution_id}` did not stage these changes: {problem}")]
pub struct NotStaged {
    execution_id: ExecutionId,
    problem: &'static str,
}

impl StagedChanges {
    pub(crate) fn new(
        described: &Described,
        record: &ExecutionRecord,
        changes: Vec<Change>,
        clock: &dyn Clock,
    ) -> Result<Self, HandlerError> {
        let action = described.action();
        let plan = action.plan().cloned();
        let plan = plan.unwrap_or_else(|| Plan::bare(PlanId::generate(clock)));
        let document = ChangeDocument::seal(Some(plan), changes)?;
        Ok(Self {
            execution_id: record.execution_id.clone(),
            capability: action.capability().clone(),
            contract: described.contract().digest(),
            principal: record.principal.clone(),
            input: Arc::new(action.input().clone()),
            salt: fresh_salt()?,
            plan: document.plan,
            changes: document.change_set,
            output: record.output.clone(),
            undo: described.effects().undo,
        })
    }

    /// What the record of the execution says of them: the digests of the changes and of the input.
    pub(crate) fn digests(&self) -> Result<(Digest, Digest), HandlerError> {
        Ok((self.changes.checksum(), digest_of(&self.input, &self.salt)?))
    }

    /// What is to be kept with the input, so that it is known again.
    #[must_use]
    pub fn salt(&self) -> &str {
        &self.salt
    }

    /// The execution that made the changes.
    #[must_use]
    pub fn execution_id(&self) -> &ExecutionId {
        &self.execution_id
    }

    /// The changes.
    #[must_use]
    pub fn changes(&self) -> &ChangeSet {
        &self.changes
    }

    /// The plan that they belong to.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The action that lands them, for the action whose execution made them.
    #[must_use]
    pub fn landing(&self, of: &Action, clock: &dyn Clock) -> Action {
        of.landing(self.execution_id.clone(), self.plan.clone(), self.changes.clone(), clock)
    }

    fn belongs_to(&self, admitted: &Admitted) -> Result<(), &'static str> {
        let action = admitted.action();
        if *action.capability() != self.capability || admitted.contract().digest() != self.contract
        {
            return Err("the capability is another one, or was changed since");
        }
        if *action.session().principal() != self.principal {
            return Err("somebody else asks");
        }
        if *action.input() != *self.input {
            return Err("the input is another one");
        }
        if action.change_set() != Some(&self.changes) {
            return Err("they are other changes");
        }
        Ok(())
    }
}

/// What executions staged and nobody has landed yet.
#[derive(Debug, Default)]
pub(crate) struct Landings(Mutex<BTreeMap<ExecutionId, Arc<StagedChanges>>>);

impl Landings {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<ExecutionId, Arc<StagedChanges>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn keep(&self, staged: StagedChanges) {
        let mut kept = self.kept();
        kept.insert(staged.execution_id.clone(), Arc::new(staged));
        while kept.len() > MAX_KEPT {
            // Ids are ordered by time.
            kept.pop_first();
        }
    }

    pub(crate) fn forget(&self, id: &ExecutionId) {
        self.kept().remove(id);
    }

    pub(crate) fn output(&self, id: &ExecutionId) -> Option<Value> {
        self.kept().get(id).map(|staged| staged.output.clone())
    }

    /// What landing would do: the changes, and nothing else.
    pub(crate) fn describe(
        &self,
        id: &ExecutionId,
        admitted: Admitted,
        view: &dyn WorkspaceView,
    ) -> Result<Described, LandError> {
        let other = |problem| LandError::NotStaged(NotStaged { execution_id: id.clone(), problem });
        let staged = self.kept().get(id).cloned();
        let staged = staged.ok_or_else(|| other("nothing of it is kept here"))?;
        staged.belongs_to(&admitted).map_err(other)?;
        let (wanted, there) = without_folders_that_are_there(staged.changes.changes(), view);
        let described = Effects::changing(&wanted, view);
        let mut described = described.map_err(|error| LandError::Handler(error.into()))?;
        described.unchanged.extend(there);
        // What the program did elsewhere stays done when its changes are taken back.
        let undo = if staged.undo == UndoScope::Full { staged.undo } else { UndoScope::Partial };
        let effects = Effects { undo, ..described };
        admitted.describe(effects).map_err(LandError::Beyond)
    }
}

/// A folder that was made in the copy, and that somebody else has made here since, with the same mode,
/// is as it was asked to be. Of everything else that is there the changes say that it should not be.
fn without_folders_that_are_there(
    changes: &[Change],
    view: &dyn WorkspaceView,
) -> (Vec<Change>, Vec<WorkspacePath>) {
    // What goes to make room for a folder is held against what is here by itself.
    let others = changes.iter().filter(|change| !matches!(change, Change::Mkdir { .. }));
    let others: HashSet<&WorkspacePath> = others.map(Change::path).collect();
    let (mut wanted, mut there) = (Vec::with_capacity(changes.len()), Vec::new());
    for change in changes {
        match change {
            Change::Mkdir { path, mode }
                if !others.contains(path)
                    && is_folder(path, mode.unwrap_or(FileMode::DIRECTORY), view) =>
            {
                there.push(path.clone());
            }
            other => wanted.push(other.clone()),
        }
    }
    (wanted, there)
}

fn is_folder(path: &WorkspacePath, mode: FileMode, view: &dyn WorkspaceView) -> bool {
    // Where it cannot be told, resolving the changes says why.
    matches!(view.entry(path), Ok(Some(entry))
        if entry.kind == EntryKind::Directory && FileMode::from_bits(entry.mode) == mode)
}

/// Staged changes cannot be landed.
pub(crate) enum LandError {
    NotStaged(NotStaged),
    Handler(HandlerError),
    Beyond(Beyond),
}

/// Changes that were kept beside the record of the execution that made them.
#[derive(Debug)]
pub struct Kept<'a> {
    /// The action that was executed, as it is asked for again.
    pub admitted: &'a Admitted,
    /// The record of its execution. Of its input it may leave out what is secret.
    pub record: &'a ExecutionRecord,
    /// [`StagedChanges::salt`].
    pub salt: String,
    /// The plan and the changes.
    pub document: ChangeDocument,
}

impl Kept<'_> {
    /// Held against the record, whose digest of the changes is the truth.
    pub(crate) fn into_staged(self) -> Result<StagedChanges, NotStaged> {
        let Self { admitted, record, salt, document } = self;
        let fail = |problem| Err(NotStaged { execution_id: record.execution_id.clone(), problem });
        let action = admitted.action();
        if record.status != ExecutionStatus::Applied
            || record.staged != Some(document.change_set.checksum())
        {
            return fail("they are other changes than its record says");
        }
        if record.capability != action.capability().as_str() {
            return fail("the capability is another one");
        }
        if record.staged_for.is_none() || digest_of(action.input(), &salt).ok() != record.staged_for
        {
            return fail("the input is another one");
        }
        if record.principal != *action.session().principal() {
            return fail("somebody else asks");
        }
        Ok(StagedChanges {
            execution_id: record.execution_id.clone(),
            capability: action.capability().clone(),
            contract: admitted.contract().digest(),
            principal: record.principal.clone(),
            input: Arc::new(action.input().clone()),
            salt,
            plan: document.plan,
            changes: document.change_set,
            output: record.output.clone(),
            undo: record.undo,
        })
    }
}
