//! From an admitted action to its effects.

use lictor_capability::{Admitted, Beyond, Described, WorkspaceView};

use crate::handler::{HandlerError, Handlers, Request};

/// An action could not be described.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// The contract names a handler that this runtime does not have.
    #[error("no handler here does `{0}`")]
    NoHandler(String),
    /// The handler could not work it out.
    #[error(transparent)]
    Handler(#[from] HandlerError),
    /// The action would do more than its contract declares.
    #[error(transparent)]
    Beyond(#[from] Beyond),
}

pub(crate) fn describe(
    handlers: &Handlers,
    view: &dyn WorkspaceView,
    admitted: Admitted,
) -> Result<Described, DescribeError> {
    let handler = handlers
        .of(admitted.contract())
        .ok_or_else(|| DescribeError::NoHandler(admitted.contract().id.to_string()))?;
    let effects = handler.describe(Request { action: admitted.action(), view })?;
    Ok(admitted.describe(effects)?)
}
