//! The tool that takes back: what this session did, and nothing else.

use lictor::context::ExecutionId;
use lictor::executor::ExecutionStatus;
use lictor::{ActError, ActErrorKind, Agent, OnConflict, UndoDone, UndoRequest};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The definition of the tool.
pub(crate) fn definition() -> Value {
    json!({
        "title": "Take back what this session did",
        "description": "Put files back as they were before executions of this session: the one that \
            `execution` names, or the last so many (`last`, 1 unless given). Where somebody has \
            changed such a file since, nothing is done and every such path is named, unless \
            `on_conflict` says otherwise. An undo is an execution itself, so it can be undone.",
        "inputSchema": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "execution": { "type": "string", "description": "The id, `exe_…`, as results and `log` show it." },
                "last": { "type": "integer", "minimum": 1, "maximum": 1000, "description": "So many of the last executions of this session; not together with `execution`." },
                "on_conflict": {
                    "enum": ["refuse", "keep_both", "merge"],
                    "description": "`refuse` (the default) does nothing; `keep_both` puts the old content beside the new; `merge` merges text line by line, or does nothing where that is not clean.",
                },
            },
        },
        "outputSchema": {
            "type": "object",
            "required": ["undo_of", "executions", "files"],
            "properties": {
                "undo_of": { "type": "array", "items": { "type": "string" } },
                "executions": { "type": "array", "items": { "type": "string" } },
                "files": { "type": "array", "items": { "type": "object" } },
                "kept": { "type": "array", "items": { "type": "object" } },
                "merged": { "type": "array", "items": { "type": "string" } },
            },
        },
        "annotations": {
            "title": "Take back what this session did",
            "readOnlyHint": false, "destructiveHint": true, "idempotentHint": false,
            "openWorldHint": false,
        },
    })
}

/// What is to be taken back.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    execution: Option<ExecutionId>,
    last: Option<u32>,
    on_conflict: Option<OnConflict>,
}

impl Wanted {
    pub(crate) fn read(given: Map<String, Value>) -> Result<Self, ActError> {
        let invalid = |why: String| ActError::from(ActErrorKind::Invalid(why));
        let wanted: Self = serde_json::from_value(Value::Object(given))
            .map_err(|error| invalid(format!("`undo` does not take this: {error}")))?;
        match (&wanted.execution, wanted.last) {
            (Some(_), Some(_)) => Err(invalid("give `execution` or `last`, not both".to_owned())),
            (_, Some(0 | 1001..)) => Err(invalid("`last` is 1 to 1000".to_owned())),
            _ => Ok(wanted),
        }
    }

    /// Which executions are meant; what another session did is not seen from here.
    pub(crate) fn undoing(&self, agent: &Agent) -> Result<Undoing, ActError> {
        let executions = self.executions(agent)?;
        Ok(Undoing { executions, on_conflict: self.on_conflict.unwrap_or(OnConflict::Refuse) })
    }

    fn executions(&self, agent: &Agent) -> Result<Vec<ExecutionId>, ActError> {
        let session = agent.session().id().clone();
        if let Some(id) = &self.execution {
            let stored = agent.runtime().executions().get(id);
            let stored = stored.map_err(|error| ActErrorKind::NotRecorded(error.to_string()))?;
            let own = stored.filter(|stored| stored.record.session_id == session);
            let Some(own) = own else {
                let why = format!("this session has no execution `{id}` that changed anything");
                return Err(ActErrorKind::NotFound(why).into());
            };
            // What a call of a workflow did is what its run did.
            if own.record.status == ExecutionStatus::Applied && own.record.began.is_none() {
                return Ok(vec![id.clone()]);
            }
            return agent.to_undo(&UndoRequest::Execution(id.clone()));
        }
        let mut all = agent.to_undo(&UndoRequest::Session(session))?;
        let last = usize::try_from(self.last.unwrap_or(1)).unwrap_or(usize::MAX);
        if all.len() < last {
            let why = format!(
                "there is nothing to undo: {} execution(s) of this session stand",
                all.len()
            );
            return Err(ActErrorKind::NotFound(why).into());
        }
        all.truncate(last);
        Ok(all)
    }
}

/// Executions of this session that are taken back, the newest first.
#[derive(Debug, Clone)]
pub(crate) struct Undoing {
    executions: Vec<ExecutionId>,
    on_conflict: OnConflict,
}

impl Undoing {
    /// Takes back those that still stand.
    pub(crate) async fn go(&self, agent: &Agent) -> Result<UndoDone, ActError> {
        agent.undo(&self.left(agent), self.on_conflict, None).await
    }

    /// Those that still stand.
    fn left(&self, agent: &Agent) -> Vec<ExecutionId> {
        let stands = |id: &&ExecutionId| {
            let stored = agent.runtime().executions().get(id);
            // What cannot be read is tried, and refused with its reason.
            stored.map_or(true, |stored| {
                stored.is_none_or(|stored| stored.record.status == ExecutionStatus::Applied)
            })
        };
        self.executions.iter().filter(stands).cloned().collect()
    }

    /// What to say when it stopped on its way: which are undone, and how to go on with the others.
    /// The same call again would mean other executions by then.
    pub(crate) fn stopped(&self, agent: &Agent) -> Option<String> {
        let left = self.left(agent);
        let n_undone = self.executions.len().saturating_sub(left.len());
        let left: Vec<&str> = left.iter().map(ExecutionId::as_str).collect();
        (n_undone > 0 && !left.is_empty()).then(|| {
            format!(
                "{n_undone} of {} are undone. Do not repeat this call; for what is left call `undo` \
                 with `execution`, in this order: {}.",
                self.executions.len(),
                left.join(", ")
            )
        })
    }
}
