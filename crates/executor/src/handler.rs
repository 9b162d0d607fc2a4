//! Handlers: who knows how a capability is done.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use lictor_capability::{
    Action, CapabilityId, ChangeSetError, Contract, Effects, HandlerSpec, ResolveError, ViewError,
    WorkspaceView,
};
use serde_json::Value;

use crate::grant::Granted;
use crate::prepared::Prepared;

/// What a handler sees while it works out what an action would do.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The action; its input fits the contract.
    pub action: &'a Action,
    /// The workspace, to look at.
    pub view: &'a dyn WorkspaceView,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("action", &self.action).finish_non_exhaustive()
    }
}

impl Request<'_> {
    /// The input.
    #[must_use]
    pub fn input(&self) -> &Value {
        self.action.input()
    }
}

/// Knows how a capability is done.
///
/// A handler describes first and runs later, and between the two lies the gate. What it changes
/// in the workspace it only *describes*: the executor makes the changes, so that no handler can
/// forget an undo.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot do anything",
    note = "implement `lictor_executor::Handler`: `describe` says what would happen, `run` needs a grant"
)]
#[async_trait]
pub trait Handler: Send + Sync {
    /// What the action would do, without doing it.
    ///
    /// # Errors
    /// When that cannot be worked out from the input and the workspace.
    fn describe(&self, request: Request<'_>) -> Result<Effects, HandlerError>;

    /// Does it, as far as it is not a change of the workspace, and makes the output. Changes that
    /// were described are applied after this, and only if the output fits the contract.
    ///
    /// # Errors
    /// When it did not work; then nothing is changed.
    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError>;

    /// Whether its run may block the thread that it is on, by reading files, hashing or packing. Then
    /// it gets a thread that may be blocked, and comes to its end there even when nobody waits for it
    /// any more. What waits for others without blocking has no need of that.
    fn blocks(&self) -> bool {
        false
    }

    /// What its run needs, where getting that may block: copying, hashing. It is asked for on a thread
    /// that may be blocked, right before the run, within the same time; the run takes it by
    /// [`Granted::prepared`]. Nothing may be begun by it: what nobody takes is dropped.
    ///
    /// # Errors
    /// When it could not be got; then there is no run.
    fn prepare(&self, _granted: &Granted<'_>) -> Result<Option<Prepared>, HandlerError> {
        Ok(None)
    }

    /// Whether it has to be asked for that. What does not say so is spared the change of threads.
    fn prepares(&self) -> bool {
        false
    }

    /// What has to be done first, as an action of its own: a program to be started, say, that this
    /// speaks to.
    fn first(&self) -> Option<CapabilityId> {
        None
    }

    /// Whether it ends its run by itself when [`Granted::time`] is over, and says what became of
    /// it. Then it gets a moment longer to do so.
    fn keeps_time(&self) -> bool {
        false
    }

    /// Whether it ends its run by itself when nobody waits for it any more, which
    /// [`Granted::unwanted`] tells, and says what became of it. It gets a moment to do so. Any other
    /// comes to its end, whoever waits.
    fn stops(&self) -> bool {
        false
    }
}

/// A handler could not describe or do an action.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct HandlerError {
    kind: HandlerErrorKind,
}

/// Why a handler could not.
#[derive(Debug, thiserror::Error)]
pub enum HandlerErrorKind {
    /// The input fits the contract and still makes no sense.
    #[error("{0}")]
    Input(String),
    /// The workspace could not be looked at.
    #[error(transparent)]
    View(ViewError),
    /// The changes contradict themselves.
    #[error(transparent)]
    Changes(ChangeSetError),
    /// What was to be done did not work.
    #[error("{0}")]
    Failed(String),
    /// What it would reach is not what was let in; nothing was done.
    #[error("{0}")]
    Changed(String),
    /// It was begun at the other end of something, and it is not known what became of it.
    #[error("it may or may not have happened: {0}")]
    Unknown(String),
}

impl HandlerError {
    /// The input makes no sense.
    #[must_use]
    pub fn input(message: impl Into<String>) -> Self {
        Self { kind: HandlerErrorKind::Input(message.into()) }
    }

    /// It did not work.
    #[must_use]
    pub fn failed(message: impl std::fmt::Display) -> Self {
        Self { kind: HandlerErrorKind::Failed(message.to_string()) }
    }

    /// What it would reach is not what was let in.
    #[must_use]
    pub fn changed(message: impl Into<String>) -> Self {
        Self { kind: HandlerErrorKind::Changed(message.into()) }
    }

    /// It may have happened.
    #[must_use]
    pub fn unknown(message: impl Into<String>) -> Self {
        Self { kind: HandlerErrorKind::Unknown(message.into()) }
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> &HandlerErrorKind {
        &self.kind
    }
}

impl From<ViewError> for HandlerError {
    fn from(error: ViewError) -> Self {
        Self { kind: HandlerErrorKind::View(error) }
    }
}

impl From<ChangeSetError> for HandlerError {
    fn from(error: ChangeSetError) -> Self {
        Self { kind: HandlerErrorKind::Changes(error) }
    }
}

impl From<ResolveError> for HandlerError {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Set(error) => error.into(),
            ResolveError::View(error) => error.into(),
        }
    }
}

/// Makes the handlers of contracts that are no builtins: a request, a command, a workflow.
pub trait HandlerFactory: Send + Sync {
    /// The handler of a contract; `None` when it is not of this factory's kind.
    fn handler(&self, contract: &Contract) -> Option<Arc<dyn Handler>>;
}

/// The handlers of a runtime: builtins by the name that contracts use, and factories of others.
#[derive(Clone, Default)]
pub struct Handlers {
    builtin: HashMap<String, Arc<dyn Handler>>,
    factories: Vec<Arc<dyn HandlerFactory>>,
}

impl Handlers {
    /// Adds a handler under a name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, handler: Arc<dyn Handler>) -> Self {
        self.builtin.insert(name.into(), handler);
        self
    }

    /// Adds somebody who makes handlers.
    #[must_use]
    pub fn with_factory(mut self, factory: Arc<dyn HandlerFactory>) -> Self {
        self.factories.push(factory);
        self
    }

    /// The handler that a contract names.
    #[must_use]
    pub fn of(&self, contract: &Contract) -> Option<Arc<dyn Handler>> {
        match &contract.handler {
            HandlerSpec::Builtin(name) => self.builtin.get(name).cloned(),
            HandlerSpec::Command(_)
            | HandlerSpec::Http(_)
            | HandlerSpec::Mcp(_)
            | HandlerSpec::McpServer(_)
            | HandlerSpec::Workflow(_) => {
                self.factories.iter().find_map(|factory| factory.handler(contract))
            }
        }
    }
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.builtin.keys()).finish()
    }
}
