//! Whoever waits for an execution, and what happens when they stop.

use tokio::sync::oneshot;

use crate::error::ExecuteError;
use crate::executed::Outcome;
use crate::service::Executor;
use crate::under_way::UnderWay;

/// Somebody who waits for an execution that runs on its own. When they stop waiting after it has
/// answered and before they took the answer, it is abandoned like any other.
pub(crate) struct Waiting {
    pub(crate) executor: Executor,
    pub(crate) outcome: oneshot::Receiver<Result<Outcome, ExecuteError>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.outcome.close();
        if let Ok(outcome) = self.outcome.try_recv()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let executor = self.executor.clone();
            let under_way = executor.under_way().begin();
            drop(runtime.spawn(async move {
                executor.abandon(outcome).await;
                drop(under_way);
            }));
        }
    }
}

impl Executor {
    /// What runs on its own: executions that have begun, whoever waits for them.
    #[must_use]
    pub fn under_way(&self) -> &UnderWay {
        &self.parts.under_way
    }
}
