//! The executor behind its standard layers.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use lictor_governance::Warrant;
use tower::limit::{ConcurrencyLimit, ConcurrencyLimitLayer};
use tower::timeout::error::Elapsed;
use tower::timeout::{Timeout, TimeoutLayer};
use tower::{BoxError, Layer as _, Service};

use crate::error::{ExecuteError, ExecuteErrorKind, Rollback};
use crate::executed::Outcome;
use crate::layer::{TraceLayer, TraceService};
use crate::port::RollbackReport;
use crate::service::Executor;

/// The executor behind a concurrency limit, a time limit and a span for each execution, in this
/// order from the outside. Further middleware is a [`tower::Layer`] around it.
///
/// The time limit is the last resort, for an execution that none of its own limits has ended: who
/// waits is told that the outcome is not known yet, and the executor takes back what it began.
#[derive(Debug, Clone)]
pub struct ExecutorService {
    inner: ConcurrencyLimit<Timeout<TraceService<Executor>>>,
    limit: Option<Duration>,
}

/// Longer than any process lives.
const NO_LIMIT: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 10);

impl ExecutorService {
    pub(crate) fn new(executor: Executor, at_once: usize, limit: Option<Duration>) -> Self {
        let traced = TraceLayer.layer(executor);
        let timed = TimeoutLayer::new(limit.unwrap_or(NO_LIMIT)).layer(traced);
        Self { inner: ConcurrencyLimitLayer::new(at_once).layer(timed), limit }
    }
}

impl Service<Warrant> for ExecutorService {
    type Response = Outcome;
    type Error = ExecuteError;
    type Future = Pin<Box<dyn Future<Output = Result<Outcome, ExecuteError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExecuteError>> {
        let limit = self.limit;
        self.inner.poll_ready(cx).map_err(|error| unboxed(error, limit))
    }

    fn call(&mut self, warrant: Warrant) -> Self::Future {
        let limit = self.limit;
        let answer = self.inner.call(warrant);
        Box::pin(async move { answer.await.map_err(|error| unboxed(error, limit)) })
    }
}

fn unboxed(error: BoxError, limit: Option<Duration>) -> ExecuteError {
    match ExecuteError::try_from(error) {
        Ok(error) => error,
        Err(error) if error.is::<Elapsed>() => {
            let limit_ms = limit.unwrap_or(NO_LIMIT).as_millis();
            let kind = ExecuteErrorKind::NoAnswer { limit_ms };
            let report = RollbackReport::unknown(&kind);
            ExecuteError::not_begun(kind).left(Rollback::Incomplete(report))
        }
        Err(error) => ExecuteError::not_begun(ExecuteErrorKind::Stopped(error.to_string())),
    }
}
