//! Making up for what an execution did elsewhere: its contract says what to call, and that goes down
//! the road as an action of its own.

use std::sync::Arc;

use lictor_capability::{Action, Contract, Origin, UndoScope};
use lictor_context::{Digest, ExecutionId, Timestamp};
use lictor_executor::ExecutionRecord;
use lictor_governance::{CatalogueKey, CatalogueKind, LifeState};
use lictor_undo::OnConflict;
use lictor_workflow::{UndoCall, UndoFailure, fill};
use serde_json::Value;

use crate::agent::Agent;
use crate::error::{ActError, ActErrorKind, ErrorCode};
use crate::outputs::{Kept, output_of};
use crate::runtime::Runtime;
use crate::undo::unreadable;

/// How one execution is taken back.
#[derive(Debug)]
pub(crate) struct WayBack {
    /// What makes up for what it did elsewhere, where that has not been done yet.
    pub(crate) compensation: Option<Action>,
    /// Whether files are put back.
    pub(crate) files: bool,
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
}

impl Agent {
    /// How an execution is taken back.
    pub(crate) fn way_back(&self, record: &ExecutionRecord) -> Result<WayBack, ActError> {
        let files = has_files(record);
        let Some(contract) = self.runtime().making_up_for(record) else {
            if files {
                return Ok(WayBack { compensation: None, files });
            }
            return Err(ActErrorKind::Invalid(stays(record)).into());
        };
        let key = key(&record.execution_id);
        let done = self.runtime().executions().find_key(key, Timestamp::from_micros(0));
        let compensation = match done.map_err(unreadable)? {
            Some(_) => None,
            None => Some(self.compensation(record, &contract, !files)?),
        };
        Ok(WayBack { compensation, files })
    }

    /// The action that makes up for an execution; the one that `settles` it is recorded as its undo.
    fn compensation(
        &self,
        record: &ExecutionRecord,
        contract: &Contract,
        settles: bool,
    ) -> Result<Action, ActError> {
        let execution = &record.execution_id;
        let invalid = |why: String| ActError::from(ActErrorKind::Invalid(why));
        let Some(call) = &contract.undo.compensate else {
            return Err(invalid(stays(record)));
        };
        let capability = &call.capability;
        if self.graph().get(capability, None).is_some_and(|it| it.calls_workflow().is_some()) {
            return Err(invalid(format!(
                "what makes up for `{execution}` is the workflow `{capability}`: call that, it is \
                 a run of its own"
            )));
        }
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
                Err(ActErrorKind::Invalid(why).into())
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
        let way = match call.compensated {
            true => WayBack { compensation: None, files: has_files(record) },
            false => self.way_back(record).map_err(failure)?,
        };
        if let Some(compensation) = way.compensation {
            self.act(compensation, None).await.map_err(failure)?;
        }
        if way.files { self.put_back(call).await } else { Ok(()) }
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
