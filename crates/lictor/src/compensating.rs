//! Making up for what an execution did elsewhere: the document of its run says what to call, or its
//! contract does, and that goes down the road as an action of its own.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

use lictor_capability::{Action, Contract, Origin, UndoScope};
use lictor_context::{Digest, ExecutionId, RunId, Timestamp};
use lictor_executor::{ExecutionRecord, ExecutionStatus, Ledger as _};
use lictor_governance::{CatalogueKey, CatalogueKind, LifeState};
use lictor_undo::OnConflict;
use lictor_workflow::{
    RunRecord, RunStatus, StepCompensation, StoreError, UndoCall, UndoFailure, fill,
};
use serde_json::Value;

use crate::agent::Agent;
use crate::error::{ActError, ActErrorKind, ErrorCode};
use crate::outputs::{Kept, output_of};
use crate::runtime::Runtime;
use crate::undo::unreadable;

/// How executions are taken back.
#[derive(Debug)]
pub(crate) struct WayBack {
    /// The executions: one, and the other attempts of its step that the same call makes up for.
    pub(crate) executions: Vec<ExecutionId>,
    /// What makes up for what was done elsewhere, where that has not been done yet.
    pub(crate) compensation: Option<Action>,
    /// Whether files are put back.
    pub(crate) files: bool,
}

impl WayBack {
    /// Itself, unless there is nothing left to do.
    fn unless_done(self) -> Result<Self, ActError> {
        match self.executions.as_slice() {
            [execution] if self.compensation.is_none() && !self.files => {
                Err(invalid(format!("`{execution}` was made up for already")))
            }
            _ => Ok(self),
        }
    }
}

/// What the run of a workflow has made up for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MadeUp {
    /// Everything.
    Done,
    /// It has not ended.
    NotYet,
    /// Nothing, and it has left nothing.
    NothingLeft,
    /// Not all of it, and this is left.
    Left(String),
}

impl MadeUp {
    /// What it means for whoever asked for the run, and is told that it failed.
    pub(crate) fn told(self, mut kind: ActErrorKind) -> ActErrorKind {
        if let ActErrorKind::RunEnded(ended) = &mut kind {
            match self {
                Self::NothingLeft => ended.code = ErrorCode::Failed,
                Self::Left(what) => {
                    ended.message = format!(
                        "{}; it is not begun anew while something of it is left: {what}",
                        ended.message
                    );
                }
                Self::Done | Self::NotYet => {}
            }
        }
        kind
    }
}

/// One execution, one compensation: whoever asks again finds it done.
fn key(execution: &ExecutionId) -> Digest {
    Digest::of(format!("lictor/compensation/v1/{execution}").as_bytes())
}

impl Runtime {
    /// Whether what an execution did elsewhere is made up for by what its contract says.
    pub(crate) fn is_made_up_for(&self, record: &ExecutionRecord) -> bool {
        self.making_up_for(record).is_some()
    }

    /// The contract that says what makes up for an execution. What lands the changes of a command did
    /// nothing elsewhere itself.
    fn making_up_for(&self, record: &ExecutionRecord) -> Option<Arc<Contract>> {
        if record.undo == UndoScope::Full || record.lands.is_some() {
            return None;
        }
        self.contract_of(record).filter(|contract| contract.undo.compensate.is_some())
    }

    /// The contract that an execution went by, as it stands in the catalogue: whatever became of it,
    /// people let in what it says of taking back. One that was changed since says something else.
    fn contract_of(&self, record: &ExecutionRecord) -> Option<Arc<Contract>> {
        let key = CatalogueKey {
            kind: CatalogueKind::Capability,
            id: record.capability.clone(),
            version: record.capability_facts.version.parse().ok()?,
        };
        let entry = self.catalogue().get(&key)?;
        let let_in = match entry.state {
            LifeState::Active | LifeState::Frozen | LifeState::Deprecated => true,
            LifeState::Proposed | LifeState::Rejected => false,
        };
        entry.document.contract().filter(|_| let_in).cloned()
    }

    /// Those of a step's executions that stand as undone once something has made up for the step: what
    /// has changed files stands until they are put back.
    pub(crate) fn settled_by(
        &self,
        executions: &[ExecutionId],
    ) -> Result<Vec<ExecutionId>, ActError> {
        let mut settled = Vec::new();
        for id in executions {
            let Some(stored) = self.executions().get(id).map_err(unreadable)? else { continue };
            let record = stored.record;
            if record.status == ExecutionStatus::Applied && !has_files(&record) {
                settled.push(record.execution_id);
            }
        }
        Ok(settled)
    }
}

impl Agent {
    /// How executions are taken back, in this order. What makes up for a step with several attempts is
    /// called once for all of them.
    pub(crate) fn ways_back(&self, executions: &[ExecutionId]) -> Result<Vec<WayBack>, ActError> {
        let mut runs = HashMap::new();
        let mut ways: Vec<WayBack> = Vec::with_capacity(executions.len());
        for id in executions {
            let record = self.stored(id)?.record;
            let Some(own) = self.own_compensation(&record, &mut runs)? else {
                ways.push(self.way_back(&record)?.unless_done()?);
                continue;
            };
            let called = |way: &&mut WayBack| {
                way.compensation.as_ref().and_then(Action::idempotency_key) == Some(own.key)
            };
            let files = has_files(&record);
            match ways.iter_mut().find(called) {
                Some(_) if files => {
                    ways.push(WayBack { executions: vec![id.clone()], compensation: None, files });
                }
                Some(way) => way.executions.push(id.clone()),
                None => ways.push(self.way_back_of_step(&record, own)?.unless_done()?),
            }
        }
        Ok(ways)
    }

    /// What the document of a run says makes up for the step that an execution was an attempt of.
    fn own_compensation<'r>(
        &self,
        record: &ExecutionRecord,
        runs: &'r mut HashMap<RunId, Vec<StepCompensation>>,
    ) -> Result<Option<&'r StepCompensation>, ActError> {
        let Some(run_id) = &record.run_id else { return Ok(None) };
        let known = match runs.entry(run_id.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => match self.runtime().run_record(run_id) {
                Ok(Some(run)) => unknown.insert(run.compensations().map_err(invalid)?),
                Ok(None) => return Ok(None),
                // Its secrets are not kept any more. Files can be put back without them.
                Err(StoreError::Gone { .. }) if record.undo == UndoScope::Full => return Ok(None),
                Err(error) => return Err(invalid(error)),
            },
        };
        Ok(known.iter().find(|one| one.takes_back.contains(&record.execution_id)))
    }

    /// How an execution is taken back whose step names what makes up for it.
    fn way_back_of_step(
        &self,
        record: &ExecutionRecord,
        own: &StepCompensation,
    ) -> Result<WayBack, ActError> {
        let (execution, step) = (&record.execution_id, &own.step_id);
        let files = has_files(record);
        if own.done || self.is_done(own.key)? {
            return Ok(WayBack { executions: vec![execution.clone()], compensation: None, files });
        }
        let input = own.input.clone().map_err(|error| {
            let capability = &own.capability;
            invalid(format!("what `{capability}` needs to make up for the step `{step}`: {error}"))
        })?;
        let origin = Origin {
            run_id: record.run_id.clone(),
            step_id: Some(step.clone()),
            compensates: self.runtime().settled_by(&own.takes_back)?,
            ..Origin::default()
        };
        let action = self.action(own.capability.clone(), input).with_origin(origin);
        let action = match &own.version {
            Some(version) => action.with_version(version.clone()),
            None => action,
        };
        let compensation = Some(action.with_idempotency_key(own.key));
        Ok(WayBack { executions: vec![execution.clone()], compensation, files })
    }

    /// How an execution is taken back whose contract says so, or nothing does.
    fn way_back(&self, record: &ExecutionRecord) -> Result<WayBack, ActError> {
        let (executions, files) = (vec![record.execution_id.clone()], has_files(record));
        let Some(contract) = self.runtime().making_up_for(record) else {
            if files {
                return Ok(WayBack { executions, compensation: None, files });
            }
            return Err(invalid(stays(record)));
        };
        let compensation = match self.is_done(key(&record.execution_id))? {
            true => None,
            false => Some(self.compensation(record, &contract, !files)?),
        };
        Ok(WayBack { executions, compensation, files })
    }

    /// Whether a compensation is done: a run that it began has come to its end as well.
    pub(crate) fn is_done(&self, key: Digest) -> Result<bool, ActError> {
        let found = self.runtime().executions().find_key(key, Timestamp::from_micros(0));
        let found = found.map_err(unreadable)?;
        Ok(found.is_some_and(|done| done.began.is_none() || !done.undo_of.is_empty()))
    }

    /// The action that makes up for an execution; the one that `settles` it is recorded as its undo.
    fn compensation(
        &self,
        record: &ExecutionRecord,
        contract: &Contract,
        settles: bool,
    ) -> Result<Action, ActError> {
        let execution = &record.execution_id;
        let Some(call) = &contract.undo.compensate else { return Err(invalid(stays(record))) };
        let capability = &call.capability;
        let input = fill(call.with.as_value(), &self.answered(record)?).map_err(|error| {
            invalid(format!("what `{capability}` needs to make up for `{execution}`: {error}"))
        })?;
        let origin = Origin {
            run_id: record.run_id.clone(),
            step_id: record.step_id.clone(),
            compensates: settles.then(|| execution.clone()).into_iter().collect(),
            ..Origin::default()
        };
        let action = self.action(capability.clone(), input);
        Ok(action.with_origin(origin).with_idempotency_key(key(execution)))
    }

    /// Records what a run came to that makes up for executions: these are undone once it has
    /// completed, and not before. One that has left nothing has made up for nothing, and another may be
    /// begun; one that failed and has left something says what.
    pub(crate) async fn settle_compensation(
        &self,
        action: &Action,
        mut record: ExecutionRecord,
        run: &RunRecord,
    ) -> Result<MadeUp, ActError> {
        if !record.undo_of.is_empty() {
            return Ok(MadeUp::Done);
        }
        let mut events = Vec::new();
        let made_up = match run.status() {
            RunStatus::Completed => MadeUp::Done,
            RunStatus::RolledBack => MadeUp::NothingLeft,
            RunStatus::Failed => match self.left_by(run)? {
                None => MadeUp::NothingLeft,
                Some(what) => return Ok(MadeUp::Left(what)),
            },
            RunStatus::Pending
            | RunStatus::Running
            | RunStatus::Paused
            | RunStatus::RollingBack => {
                return Ok(MadeUp::NotYet);
            }
        };
        if made_up == MadeUp::Done {
            record.undo_of.clone_from(&action.origin().compensates);
            events.push(record.undo_completed(self.session(), self.clock()));
        } else {
            record.status = ExecutionStatus::RolledBack;
            record.error = run.error.as_ref().map(|error| error.message.clone());
        }
        let settled = self.runtime().parts.ledger.settle(Some(record), events).await;
        settled.map_err(|error| ActErrorKind::NotRecorded(error.to_string()))?;
        Ok(made_up)
    }

    /// Whether what was to make up for executions has ended since it was asked for, and left nothing: then
    /// it is begun anew.
    pub(crate) async fn has_left_nothing(
        &self,
        action: &Action,
        record: &ExecutionRecord,
    ) -> Result<bool, ActError> {
        let Some(run_id) =
            record.began.as_ref().filter(|_| !action.origin().compensates.is_empty())
        else {
            return Ok(false);
        };
        let run = self.runtime().run_store().load(run_id).await;
        let run = run.map_err(|error| ActErrorKind::NotRecorded(error.to_string()))?;
        let ended = run.filter(|run| run.status().is_final());
        let Some(run) = ended else { return Ok(false) };
        let made_up = self.settle_compensation(action, record.clone(), &run).await?;
        Ok(made_up == MadeUp::NothingLeft)
    }

    /// What an execution answered, whole.
    fn answered(&self, record: &ExecutionRecord) -> Result<Value, ActError> {
        let runtime = self.runtime();
        let kept = output_of(runtime.audit(), runtime.executions(), record);
        match kept.map_err(|error| ActErrorKind::NotRecorded(error.to_string()))? {
            Kept::InClear => Ok(record.output.clone()),
            Kept::Output(output) => Ok(output),
            Kept::Gone => {
                let why = format!(
                    "what `{}` answered held secrets, which are not kept any more, and what makes \
                     up for it is told by that",
                    record.execution_id
                );
                Err(invalid(why))
            }
        }
    }

    /// Makes up for what a step of a run did elsewhere, if its contract says how and nothing else
    /// did, and puts back its files.
    pub(crate) async fn take_back(
        &self,
        record: &ExecutionRecord,
        call: &UndoCall,
    ) -> Result<(), UndoFailure> {
        let compensation = match call.compensated {
            true => None,
            false => self.way_back(record).map_err(failure)?.compensation,
        };
        if let Some(compensation) = compensation {
            self.act(compensation, None).await.map_err(failure)?;
        }
        if has_files(record) { self.put_back(call).await } else { Ok(()) }
    }

    async fn put_back(&self, call: &UndoCall) -> Result<(), UndoFailure> {
        let origin = Origin {
            run_id: Some(call.run_id.clone()),
            step_id: Some(call.step_id.clone()),
            rolls_back: Some(call.execution_id.clone()),
            ..Origin::default()
        };
        let action = self.undo_action(&call.execution_id, OnConflict::Refuse).map_err(failure)?;
        self.act(action.with_origin(origin), None).await.map(drop).map_err(failure)
    }
}

/// Whether an execution is undone by putting back files, be it none of them.
fn has_files(record: &ExecutionRecord) -> bool {
    !record.files.is_empty() || record.undo == UndoScope::Full
}

fn invalid(why: impl fmt::Display) -> ActError {
    ActErrorKind::Invalid(why.to_string()).into()
}

fn failure(error: ActError) -> UndoFailure {
    UndoFailure {
        reason: error.to_string(),
        retryable: matches!(error.code(), ErrorCode::Busy | ErrorCode::Failed),
    }
}

/// Why nothing of an execution can be taken back.
fn stays(record: &ExecutionRecord) -> String {
    let execution = &record.execution_id;
    let because: Vec<&str> = record.decision.undo_because.iter().map(AsRef::as_ref).collect();
    let because = match because.as_slice() {
        [] => format!("what `{}` did stays done", record.capability),
        because => because.join("; "),
    };
    let gone = "its contract is not the one any more that said what makes up for it";
    let why = if record.undo == UndoScope::Partial { gone } else { "no compensation is known" };
    format!("`{execution}` cannot be undone: {because}; {why}")
}
