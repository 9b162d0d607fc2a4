//! The engine: takes runs from submission to their end, one save before every effect.

mod begin; // what can begin
mod control; // submit, resume, pause, cancel, recover
mod documents; // workflows, read once
mod driver; // one run on its way
mod going; // what it has under way
mod making_up; // for a step, by somebody else
mod plan; // agreement to a whole run
mod preview; // dry runs
mod rollback; // and back
mod scope; // what templates see
mod seat; // where a driver is reached
mod settle; // what came of a step
mod slots; // how much at a time

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use lictor_context::{Clock, RunId};
use serde_json::Value;

pub use control::{Resume, SubRun, TakenUp};
use documents::Documents;
pub use making_up::StepCompensation;
pub use preview::Preview;
use seat::Seat;
use slots::Slots;

use crate::lease::Owner;
use crate::port::{
    FailureKind, Hooks, NoHooks, Road, RunStore, StepCall, StepDone, StepFailure, Timer, TokioTimer,
};

/// How much an engine does at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps of one run.
    pub per_run: usize,
    /// Calls of all runs; runs take turns when there are more.
    pub per_process: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_run: 16, per_process: 64 }
    }
}

/// Runs workflows. It has no state of its own that matters: what counts is in the store.
pub struct Engine {
    road: Arc<dyn Road>,
    store: Arc<dyn RunStore>,
    clock: Arc<dyn Clock>,
    timer: Arc<dyn Timer>,
    hooks: Arc<dyn Hooks>,
    owner: Owner,
    limits: Limits,
    slots: Slots,
    documents: Documents,
    seats: Mutex<HashMap<RunId, Arc<Seat>>>,
}

impl Engine {
    /// An engine that waits by tokio's clock.
    #[must_use]
    pub fn new(road: Arc<dyn Road>, store: Arc<dyn RunStore>, clock: Arc<dyn Clock>) -> Self {
        let limits = Limits::default();
        Self {
            road,
            store,
            timer: Arc::new(TokioTimer),
            hooks: Arc::new(NoHooks),
            // Nobody else has this name.
            owner: Owner(RunId::generate(clock.as_ref()).to_string()),
            clock,
            limits,
            slots: Slots::new(limits.per_process),
            documents: Documents::default(),
            seats: Mutex::default(),
        }
    }

    /// The same engine with another timer.
    #[must_use]
    pub fn with_timer(mut self, timer: Arc<dyn Timer>) -> Self {
        self.timer = timer;
        self
    }

    /// The same engine with somebody who looks at runs as they go.
    #[must_use]
    pub fn with_hooks(mut self, hooks: Arc<dyn Hooks>) -> Self {
        self.hooks = hooks;
        self
    }

    /// The same engine under another name. No two engines may drive runs of one store under the
    /// same name.
    #[must_use]
    pub fn with_owner(mut self, owner: Owner) -> Self {
        self.owner = owner;
        self
    }

    /// The same engine, doing more or less at a time.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self.slots = Slots::new(limits.per_process);
        self
    }

    /// Takes a call down the road when it is the run's turn; nothing when there is no answer in
    /// time.
    async fn perform(&self, call: StepCall) -> Option<Result<StepDone, StepFailure>> {
        let _slot = self.slots.take(&call.run_id).await;
        if let Err(reason) = self.hooks.pre_step(&call).await {
            return Some(Err(StepFailure {
                kind: FailureKind::Denied,
                message: format!("a hook refused it: {reason}"),
                retryable: false,
                execution_id: None,
                decision: Value::Null,
            }));
        }
        let limit = call.timeout;
        let answer = self.within(limit, self.road.act(call.clone())).await;
        if let Some(answer) = &answer {
            self.hooks.post_step(&call, answer).await;
        }
        answer
    }

    /// Waits for a call as long as it may take, and the road's own stopping of it.
    async fn within<T>(&self, limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
        /// How long the engine waits for a road that should have stopped a call by itself.
        const GRACE: Duration = Duration::from_secs(5);
        let Some(limit) = limit else { return Some(work.await) };
        let mut work = pin!(work);
        let mut alarm = self.timer.sleep(limit.saturating_add(GRACE));
        std::future::poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            alarm.as_mut().poll(context).map(|()| None)
        })
        .await
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<RunId, Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("owner", &self.owner)
            .field("driving", &self.seats().len())
            .finish_non_exhaustive()
    }
}
