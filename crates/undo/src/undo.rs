//! Undo as a capability: it goes down the same road as anything else.

use std::sync::Arc;

use async_trait::async_trait;
use lictor_capability::{Content, Contract, ContractError, Effects};
use lictor_context::ExecutionId;
use lictor_document::Source;
use lictor_executor::{Granted, Handler, HandlerError, Request};
use serde_json::{Value, json};

use crate::plan::{OnConflict, plan_undo_or};
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

fn on_conflict(input: &Value) -> Result<OnConflict, HandlerError> {
    let Some(wish) = input.get("on_conflict") else { return Ok(OnConflict::default()) };
    serde_json::from_value(wish.clone()).map_err(|error| HandlerError::input(error.to_string()))
}

#[async_trait]
impl Handler for UndoHandler {
    fn describe(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let execution = wanted(request.input())?;
        let on_conflict = on_conflict(request.input())?;
        let plans = plan_undo_or(&self.transactions, &[execution], on_conflict)
            .map_err(|error| HandlerError::input(error.to_string()))?;
        Ok(plans.into_iter().next().unwrap_or_default())
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        let effects = granted.described().effects();
        // Only a merge makes new content; everything else comes out of slots.
        let items = &effects.changes.items;
        let merged = items.iter().filter(|item| matches!(item.content, Some(Content::Inline(_))));
        let merged: Vec<&str> = merged.map(|item| item.path()).collect();
        Ok(json!({
            "undo_of": effects.takes_back, "files": effects.changes.files(),
            "kept": effects.left, "merged": merged,
        }))
    }
}
