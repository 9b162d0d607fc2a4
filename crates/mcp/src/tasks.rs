//! Calls that wait for people, as tasks, for clients that declare them: a client asks from time to time
//! how it stands, and what was agreed to is done then. Agreeing is done elsewhere, as always.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lictor::context::{ApprovalId, Timestamp};
use lictor::governance::{Approval, ApprovalState};
use lictor::{ActError, ActErrorKind};
use rmcp::model::{
    CallToolResult, CreateTaskResult, DetailedTask, ErrorData, JsonObject, Task, TaskPayload,
    TaskStatus,
};
use serde_json::Value;
use tokio::task::AbortHandle;

use crate::call::Wish;
use crate::door::Door;

/// So many are known at a time; of older ones the person's answer counts for the same call, made again.
const MAX: usize = 256;
/// How often a client had better ask.
const POLL_MS: u64 = 5_000;

#[derive(Default)]
pub(crate) struct Tasks {
    held: Mutex<BTreeMap<ApprovalId, Held>>,
}

/// A call that waits, or did.
struct Held {
    call: Call,
    created_at: Timestamp,
    changed_at: Timestamp,
    state: State,
}

/// What is to be done once people agree.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) wish: Wish,
}

enum State {
    Waits,
    Runs(AbortHandle),
    Ended(JsonObject),
    Cancelled,
}

/// The approval that an error says is waited for.
pub(crate) fn waited_for(error: &ActError) -> Option<&ApprovalId> {
    match error.kind() {
        // A command that ran does not run again for an answer about its changes.
        ActErrorKind::ApprovalRequired(approval) if error.ran().is_none() => Some(approval.id()),
        ActErrorKind::RunWaits(waits) => waits.approval_id.as_ref(),
        _ => None,
    }
}

fn unknown() -> ErrorData {
    ErrorData::invalid_params("there is no such task", None)
}

impl Tasks {
    fn held(&self) -> MutexGuard<'_, BTreeMap<ApprovalId, Held>> {
        // Every change is one step, so nothing is half done when a holder panicked.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a call until people have answered. Its task has the approval's id: whoever is shown the
    /// one can find the other.
    pub(crate) fn keep(&self, id: &ApprovalId, call: Call, now: Timestamp) -> CreateTaskResult {
        let mut held = self.held();
        if held.len() >= MAX && !held.contains_key(id) {
            held.pop_first();
        }
        let one = held.entry(id.clone()).or_insert_with(|| Held {
            call: call.clone(),
            created_at: now,
            changed_at: now,
            state: State::Waits,
        });
        if !matches!(one.state, State::Waits | State::Runs(_)) {
            // It was asked for again.
            (one.call, one.changed_at, one.state) = (call, now, State::Waits);
        }
        CreateTaskResult::new(one.task(id, TaskStatus::Working).with_status_message(waits(id)))
    }

    /// How a task stands. What people have agreed to meanwhile is begun.
    pub(crate) fn look(&self, door: &Door, id: &str) -> Result<DetailedTask, ErrorData> {
        let id = ApprovalId::parse(id).map_err(|_| unknown())?;
        let mut held = self.held();
        let one = held.get_mut(&id).ok_or_else(unknown)?;
        if matches!(one.state, State::Waits) {
            one.state = one.answered(door, &id)?;
        }
        let payload = match &one.state {
            State::Waits | State::Runs(_) => TaskPayload::Working,
            State::Ended(result) => TaskPayload::Completed { result: result.clone() },
            State::Cancelled => TaskPayload::Cancelled,
        };
        let mut task = one.task(&id, TaskStatus::Working);
        if matches!(one.state, State::Waits) {
            task = task.with_status_message(waits(&id));
        }
        Ok(DetailedTask::new(task, payload))
    }

    /// What a call came to.
    fn end(&self, id: &ApprovalId, result: &CallToolResult, now: Timestamp) {
        if let Some(one) = self.held().get_mut(id)
            && matches!(one.state, State::Runs(_))
        {
            (one.state, one.changed_at) = (State::Ended(object(result)), now);
        }
    }

    /// Gives a task up: what waits is withdrawn, and what runs is stopped.
    pub(crate) async fn cancel(&self, door: &Door, id: &str) -> Result<(), ErrorData> {
        let id = ApprovalId::parse(id).map_err(|_| unknown())?;
        let waited = {
            let mut held = self.held();
            let one = held.get_mut(&id).ok_or_else(unknown)?;
            let waited = match &one.state {
                State::Waits => true,
                State::Runs(run) => {
                    run.abort();
                    false
                }
                State::Ended(_) | State::Cancelled => return Ok(()),
            };
            (one.state, one.changed_at) = (State::Cancelled, door.now());
            waited
        };
        if waited {
            let (why, agent) = ("the client cancelled its task", door.agent());
            let gone = agent.runtime().withdraw_approval(&id, why, agent.session()).await;
            if let Err(error) = gone {
                // Somebody was quicker; nothing of it is done by this client any more.
                tracing::debug!(%error, "a request was not withdrawn");
            }
        }
        Ok(())
    }
}

impl Held {
    fn task(&self, id: &ApprovalId, status: TaskStatus) -> Task {
        let (created, changed) = (self.created_at.to_string(), self.changed_at.to_string());
        Task::new(id.as_str(), status, created, changed).with_poll_interval_ms(POLL_MS)
    }

    /// The state that follows on what people have answered.
    fn answered(&mut self, door: &Door, id: &ApprovalId) -> Result<State, ErrorData> {
        let now = door.now();
        let found = door.agent().runtime().approvals().get(id);
        let approval = found.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let state = approval.state_at(now);
        if state.is_open() && state != ApprovalState::Granted {
            return Ok(State::Waits);
        }
        self.changed_at = now;
        if state == ApprovalState::Granted || state == ApprovalState::Spent {
            return Ok(State::Runs(self.begin(door.clone(), id.clone())));
        }
        let error = ActError::from(ActErrorKind::ApprovalRefused(refusal(&approval, state)));
        Ok(State::Ended(object(&door.refusal(&error, &self.call))))
    }

    fn begin(&self, door: Door, id: ApprovalId) -> AbortHandle {
        let call = self.call.clone();
        let run = async move {
            if let Some(result) = door.finish(&call).await {
                door.tasks().end(&id, &result, door.now());
            }
        };
        tokio::spawn(run).abort_handle()
    }
}

fn waits(id: &ApprovalId) -> String {
    format!("it waits for people: `lictor approvals show {id}`")
}

fn refusal(approval: &Approval, state: ApprovalState) -> String {
    match approval.denial() {
        Some(denial) => format!("it was denied: {}", denial.reason),
        None => format!("the request is {}", state.as_str()),
    }
}

fn object(result: &CallToolResult) -> JsonObject {
    match serde_json::to_value(result) {
        Ok(Value::Object(fields)) => fields,
        // A result is an object.
        _ => JsonObject::new(),
    }
}
