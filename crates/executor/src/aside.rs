//! What may block goes to a thread that may be blocked. What is cheap stays where it is: a change of
//! threads costs more than telling the time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lictor_capability::{Admitted, Contract, Described};

use crate::describe::DescribeError;
use crate::error::ExecuteErrorKind;
use crate::grant::Granted;
use crate::handler::{Handler, HandlerError};
use crate::landing::{Ran, Staging};
use crate::prepared::{Prepared, Ready};
use crate::service::Executor;
use crate::unwanted::Asker;

/// Whether finding out what an action would do may read files, by its contract: it reads or changes
/// some, or starts a program, whose file is hashed.
fn describing_blocks(contract: &Contract) -> bool {
    let most = &contract.effects;
    let fs = &most.fs;
    !(fs.read.is_empty() && fs.write.is_empty() && fs.delete.is_empty() && most.process.is_empty())
}

impl Executor {
    /// As [`Executor::describe`], for callers whose thread must not be blocked.
    ///
    /// # Errors
    /// As [`Executor::describe`].
    pub async fn describe_aside(&self, admitted: Admitted) -> Result<Described, DescribeError> {
        let lands = admitted.action().origin().lands.is_some();
        if !lands && !describing_blocks(admitted.contract()) {
            return self.describe(admitted);
        }
        let executor = self.clone();
        let described = self.aside(move || executor.describe(admitted)).await;
        described.unwrap_or_else(|error| Err(HandlerError::failed(error).into()))
    }

    /// How often something was moved to a thread that may be blocked, by this executor: what only
    /// computes never is.
    #[must_use]
    pub fn n_moved(&self) -> u64 {
        self.parts.n_moved.load(Ordering::Relaxed)
    }

    /// Runs a handler that may block. It comes to its end, or to its time limit, also when nobody
    /// waits for it any more: it only looks.
    pub(crate) async fn run_aside(
        &self,
        handler: Arc<dyn Handler>,
        described: &Described,
        asker: &Asker,
    ) -> Result<Ran, ExecuteErrorKind> {
        let (executor, described, asker) = (self.clone(), described.clone(), asker.clone());
        let runtime = tokio::runtime::Handle::current();
        let ran =
            self.aside(move || runtime.block_on(executor.run_here(handler, &described, &asker)));
        ran.await.unwrap_or_else(|error| Err(ExecuteErrorKind::Stopped(error)))
    }

    /// What a handler's run needs and may block to get.
    pub(crate) async fn prepare_aside(
        &self,
        handler: &Arc<dyn Handler>,
        described: &Described,
        asker: &Asker,
        limit: Duration,
    ) -> Result<Option<Prepared>, HandlerError> {
        if !handler.prepares() {
            return Ok(None);
        }
        let (executor, handler) = (self.clone(), Arc::clone(handler));
        let (described, asker) = (described.clone(), asker.clone());
        let prepared = self.aside(move || {
            let view = executor.parts.run_view.as_ref().unwrap_or(&executor.parts.view);
            let (staging, ready) = (Staging::new(asker.unwanted.clone(), limit), Ready::default());
            let granted =
                Granted::new(&described, view.as_ref(), &asker.meter, (limit, &staging, &ready));
            handler.prepare(&granted)
        });
        prepared.await.unwrap_or_else(|error| Err(HandlerError::failed(error)))
    }

    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        self.parts.n_moved.fetch_add(1, Ordering::Relaxed);
        let span = tracing::Span::current();
        let moved = tokio::task::spawn_blocking(move || span.in_scope(work));
        moved.await.map_err(|error| error.to_string())
    }
}
