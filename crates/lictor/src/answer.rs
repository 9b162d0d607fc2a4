//! What every door answers, as JSON: one shape for the command, MCP and whoever embeds the runtime.

use serde_json::{Map, Value, json};

use crate::agent::Done;
use crate::error::ActError;

impl Done {
    /// What is said of something that was done.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let record = &self.record;
        let mut said = json!({
            "execution_id": record.execution_id, "status": self.status(),
            "decision": record.decision, "files": record.files, "output": record.output,
            "checks": self.checks, "plan_id": record.plan_id,
            "change_set_id": record.change_set_id,
        });
        if let (Some(said), Some(run)) = (said.as_object_mut(), &record.began) {
            said.insert("run_id".to_owned(), json!(run));
        }
        said
    }

    /// In a word: `applied`, or `duplicate` when it had been done before.
    #[must_use]
    pub fn status(&self) -> &'static str {
        if self.duplicate { "duplicate" } else { "applied" }
    }
}

impl ActError {
    /// What is known beside the error itself: `decision`, `execution_id`.
    #[must_use]
    pub fn known(&self) -> Map<String, Value> {
        let mut known = Map::new();
        if let Some(decision) = self.decision() {
            known.insert("decision".to_owned(), json!(decision));
        }
        if let Some(execution) = self.execution_id() {
            known.insert("execution_id".to_owned(), json!(execution));
        }
        known
    }

    /// What is said of something that was not done: `error`, beside what is known.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = self.known();
        let error = json!({
            "code": self.code(), "message": self.to_string(), "details": self.details(),
            "next_steps": self.next_steps(),
        });
        object.insert("error".to_owned(), error);
        Value::Object(object)
    }
}
