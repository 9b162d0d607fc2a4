//! What every skill is made of: a description, and an output that follows from input, effects and
//! what may be read. Both are plain functions; only [`Builtin`] meets a grant.

use async_trait::async_trait;
use lictor_capability::{Change, Effects, WorkspaceView};
use lictor_executor::{Granted, Handler, HandlerError, Request};
use serde::Deserialize;
use serde_json::Value;

/// A skill without the road around it.
pub(crate) trait Skill: Send + Sync {
    /// What it would do. The default is nothing.
    fn effects(&self, _: Request<'_>) -> Result<Effects, HandlerError> {
        Ok(Effects::default())
    }

    /// Whether making the output reads files: it does where it looks at `view`.
    fn reads_again(&self) -> bool {
        false
    }

    /// The output. It changes nothing: the executor applies what `effects` says.
    fn output(
        &self,
        input: &Value,
        effects: &Effects,
        view: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError>;
}

/// A skill as a handler.
pub(crate) struct Builtin(pub(crate) Box<dyn Skill>);

#[async_trait]
impl Handler for Builtin {
    fn describe(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        self.0.effects(request)
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        self.0.output(granted.input(), granted.described().effects(), granted.view())
    }

    fn blocks(&self) -> bool {
        self.0.reads_again()
    }
}

/// The input as the skill's own type. The contract's schema has accepted it already, so a failure
/// is ours; serde's message could quote the input, and so it is not passed on.
pub(crate) fn parse<'de, T: Deserialize<'de>>(input: &'de Value) -> Result<T, HandlerError> {
    T::deserialize(input)
        .map_err(|_| HandlerError::input("the input does not fit the skill's contract"))
}

/// Effects that are changes and nothing else.
pub(crate) fn changing(
    changes: &[Change],
    view: &dyn WorkspaceView,
) -> Result<Effects, HandlerError> {
    Ok(Effects::changing(changes, view)?)
}
