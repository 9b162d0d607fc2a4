//! Middleware of our own; everything else is tower's.

use std::task::{Context, Poll};

use lictor_governance::Warrant;
use tower::{Layer, Service};
use tracing::Instrument as _;
use tracing::instrument::Instrumented;

/// Puts a span around every execution.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceLayer;

/// See [`TraceLayer`].
#[derive(Debug, Clone)]
pub struct TraceService<S> {
    inner: S,
}

impl<S> Layer<S> for TraceLayer {
    type Service = TraceService<S>;

    fn layer(&self, inner: S) -> TraceService<S> {
        TraceService { inner }
    }
}

impl<S: Service<Warrant>> Service<Warrant> for TraceService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Instrumented<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, warrant: Warrant) -> Self::Future {
        let action = warrant.described().action();
        let span = tracing::info_span!(
            "execute",
            capability = %action.capability(),
            action = %action.id(),
            session = %action.session().id(),
        );
        self.inner.call(warrant).instrument(span)
    }
}
