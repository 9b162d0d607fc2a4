//! From an admitted action to its effects.

use lictor_capability::{Admitted, Beyond, Described, WorkspaceView};
use lictor_governance::Withheld;

use crate::handler::{HandlerError, Handlers, Request};
use crate::port::ContractGuard;

/// An action could not be described.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// The contract names a handler that this runtime does not have.
    #[error("no handler here does `{0}`")]
    NoHandler(String),
    /// The handler could not work it out.
    #[error(transparent)]
    Handler(#[from] HandlerError),
    /// The contract is not one that may be used, or not the one that was let in.
    #[error(transparent)]
    Withheld(Box<Withheld>),
    /// The action would do more than its contract declares.
    #[error(transparent)]
    Beyond(#[from] Beyond),
}

pub(crate) fn describe(
    handlers: &Handlers,
    view: &dyn WorkspaceView,
    guard: &dyn ContractGuard,
    admitted: Admitted,
) -> Result<Described, DescribeError> {
    guard.check(admitted.contract()).map_err(|why| DescribeError::Withheld(Box::new(why)))?;
    let handler = handlers
        .of(admitted.contract())
        .ok_or_else(|| DescribeError::NoHandler(admitted.contract().id.to_string()))?;
    let effects = handler.describe(Request { action: admitted.action(), view })?;
    Ok(admitted.describe(effects)?)
}
