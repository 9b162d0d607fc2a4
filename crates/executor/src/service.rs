//! The executor: a tower service from a warrant to an outcome, and the only caller of handlers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};
use std::time::Duration;

use lictor_capability::{Admitted, CapabilityId, Contract, Described, WorkspaceView};
use lictor_context::{Clock, ExecutionId};
use lictor_governance::{Decision, GateIdentity, Halts, SpentApproval, Warrant, WarrantParts};
use lictor_lock::Lease;
use tokio::sync::oneshot;
use tower::Service;

use crate::check::{Check, CheckReport, CheckSource, Deadline, NoChecks, look_before, run_all};
use crate::describe::{DescribeError, check, describe};
use crate::error::{ExecuteError, ExecuteErrorKind, Rollback};
use crate::executed::{Executed, Outcome, put_back, roll_back_failed_check};
use crate::grant::GrantedChanges;
use crate::handler::Handlers;
use crate::landing::{Landings, Ran};
use crate::lease::{LockSettings, LockTaken, acquire, needs_recovery};
use crate::port::{
    Applied, ApplyError, BuiltinsOnly, ChangeApplier, ContractGuard, Ledger, LedgerError,
    NotApplied, Once, Recovered, Unsettled,
};
use crate::record::ExecutionRecord;
use crate::stack::ExecutorService;
use crate::to_its_end::to_its_end;
use crate::under_way::UnderWay;
use crate::unwanted::{Asker, Unwanted};
use crate::waiting::Waiting;

/// How often somebody who waits for the lock looks at the kill switch.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What an executor is made of.
pub struct ExecutorBuilder {
    gate: GateIdentity,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) handlers: Handlers,
    pub(crate) view: Arc<dyn WorkspaceView>,
    pub(crate) run_view: Option<Arc<dyn WorkspaceView>>,
    pub(crate) applier: Arc<dyn ChangeApplier>,
    pub(crate) ledger: Arc<dyn Ledger>,
    checks: Arc<dyn CheckSource>,
    pub(crate) guard: Arc<dyn ContractGuard>,
    pub(crate) lock: LockSettings,
    pub(crate) idempotency_ttl: Duration,
    pub(crate) limits: TimeLimits,
    pub(crate) landings: Landings,
    pub(crate) under_way: UnderWay,
    pub(crate) n_moved: AtomicU64,
    halts: Option<Arc<Halts>>,
}

/// How long things may take, beside what contracts and checks say for themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeLimits {
    /// A whole execution, from the moment it has the lock.
    pub execution: Option<Duration>,
    /// The run of a handler.
    pub step: Option<Duration>,
    /// An answer to whoever waits, as a last resort; longer than everything that has a limit of
    /// its own together.
    pub answer: Option<Duration>,
}

/// Does what warrants allow. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    pub(crate) parts: Arc<ExecutorBuilder>,
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("handlers", &self.parts.handlers).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ExecutorBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecutorBuilder").field("handlers", &self.handlers).finish_non_exhaustive()
    }
}

impl ExecutorBuilder {
    /// Sets who looks at changes after they were made.
    #[must_use]
    pub fn checks(mut self, checks: Arc<dyn CheckSource>) -> Self {
        self.checks = checks;
        self
    }

    /// Sets who says which contracts may be used; only builtins unless set.
    #[must_use]
    pub fn guard(mut self, guard: Arc<dyn ContractGuard>) -> Self {
        self.guard = guard;
        self
    }

    /// Sets a narrower view for handlers while they run: one without what nobody may look into.
    #[must_use]
    pub fn run_view(mut self, view: Arc<dyn WorkspaceView>) -> Self {
        self.run_view = Some(view);
        self
    }

    /// Sets how long a duplicate is answered from the record; an hour unless set.
    #[must_use]
    pub fn idempotency_ttl(mut self, ttl: Duration) -> Self {
        self.idempotency_ttl = ttl;
        self
    }

    /// Sets how long things may take; what takes longer is taken back.
    #[must_use]
    pub fn time_limits(mut self, limits: TimeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the kill switch: it is looked at while somebody waits for the lock, and again right
    /// before anything is done.
    #[must_use]
    pub fn halts(mut self, halts: Arc<Halts>) -> Self {
        self.halts = Some(halts);
        self
    }

    /// The executor.
    #[must_use]
    pub fn build(self) -> Executor {
        Executor { parts: Arc::new(self) }
    }
}

impl Executor {
    /// Begins an executor for warrants of one gate.
    #[must_use]
    pub fn builder(
        gate: GateIdentity,
        clock: Arc<dyn Clock>,
        handlers: Handlers,
        view: Arc<dyn WorkspaceView>,
        applier: Arc<dyn ChangeApplier>,
        ledger: Arc<dyn Ledger>,
        lock: LockSettings,
    ) -> ExecutorBuilder {
        ExecutorBuilder {
            gate,
            clock,
            handlers,
            view,
            run_view: None,
            applier,
            ledger,
            checks: Arc::new(NoChecks),
            guard: Arc::new(BuiltinsOnly),
            lock,
            idempotency_ttl: Duration::from_secs(3600),
            limits: TimeLimits::default(),
            landings: Landings::default(),
            under_way: UnderWay::default(),
            n_moved: AtomicU64::new(0),
            halts: None,
        }
    }

    /// Works out what an admitted action would do, without doing it. It may read files on this
    /// thread; [`Executor::describe_aside`] does that elsewhere.
    ///
    /// # Errors
    /// When there is no handler for it, the handler cannot say, or it would do more than its
    /// contract declares.
    pub fn describe(&self, admitted: Admitted) -> Result<Described, DescribeError> {
        let parts = &self.parts;
        if let Some(execution) = admitted.action().origin().lands.clone() {
            check(parts.guard.as_ref(), &admitted)?;
            let described = parts.landings.describe(&execution, admitted, parts.view.as_ref());
            return described.map_err(DescribeError::from);
        }
        describe(&parts.handlers, parts.view.as_ref(), parts.guard.as_ref(), admitted)
    }

    /// What has to be done before an action of this contract, as an action of its own.
    #[must_use]
    pub fn first(&self, contract: &Contract) -> Option<CapabilityId> {
        self.parts.handlers.of(contract)?.first()
    }

    /// The executor behind its standard layers, for at most `at_once` executions at a time.
    #[must_use]
    pub fn service(&self, at_once: usize) -> ExecutorService {
        ExecutorService::new(self.clone(), at_once, self.parts.limits.answer)
    }

    /// Takes the lock and settles what a crash left, if it left anything.
    ///
    /// # Errors
    /// When the lock is not had, or it cannot be read what was left. What could be read and not be
    /// settled is in the answer, and stops all new work.
    pub async fn recover(&self) -> Result<Vec<Recovered>, ExecuteError> {
        let execution = ExecutionId::generate(self.parts.clock.as_ref());
        let lease = acquire(&self.parts.lock, &execution, None, &self.parts.clock)
            .await
            .map_err(ExecuteError::not_begun)?;
        let (lease, recovered) = self.recover_under(lease, true).await?;
        // What is not settled is looked at again by whoever has the lock next.
        if recovered.iter().all(Recovered::is_settled)
            && let Err(error) = lease.release()
        {
            tracing::warn!(%error, "the lock was lost during recovery");
        }
        Ok(recovered)
    }

    pub(crate) async fn recover_under(
        &self,
        lease: Lease,
        always: bool,
    ) -> Result<(Lease, Vec<Recovered>), ExecuteError> {
        if !always && !needs_recovery(&lease) {
            return Ok((lease, Vec::new()));
        }
        let applier = Arc::clone(&self.parts.applier);
        let (lease, recovered) = blocking(move || {
            let recovered = applier.recover(&lease);
            (lease, recovered)
        })
        .await?;
        let recovered =
            recovered.map_err(|error| ExecuteError::not_begun(ExecuteErrorKind::Recover(error)))?;
        if recovered.is_empty() {
            return Ok((lease, recovered));
        }
        let settled = self.parts.ledger.recovered(recovered.clone()).await;
        settled.map_err(|error| ExecuteError::not_begun(ExecuteErrorKind::Ledger(error)))?;
        // Only now: a journal that was closed is not looked at again, and until here the ledger
        // might not have had it.
        let applier = Arc::clone(&self.parts.applier);
        let (lease, recovered, closed) = blocking(move || {
            let closed = applier.close(&lease, &recovered);
            (lease, recovered, closed)
        })
        .await?;
        closed.map_err(|error| ExecuteError::not_begun(ExecuteErrorKind::Recover(error)))?;
        Ok((lease, recovered))
    }

    async fn execute(self, warrant: Warrant) -> Result<Outcome, ExecuteError> {
        let parts = &self.parts;
        let now = parts.clock.now();
        if !warrant.is_from(&parts.gate) {
            return Err(ExecuteError::not_begun(ExecuteErrorKind::ForeignWarrant));
        }
        if warrant.expired(now) {
            return Err(ExecuteError::not_begun(ExecuteErrorKind::ExpiredWarrant));
        }
        let expires_at = warrant.expires_at();
        let WarrantParts { described, decision, approval, meter, .. } = warrant.into_parts();
        let asker = Asker { meter, unwanted: Unwanted::default() };
        let agreement = approval.as_ref().map(SpentApproval::agreement);
        if !described.effects().conflicts.is_empty() {
            let conflicts = described.effects().conflicts.clone();
            return Err(ExecuteError::not_begun(ExecuteErrorKind::Conflict(conflicts)));
        }
        let execution = ExecutionId::generate(parts.clock.as_ref());
        let mut record = ExecutionRecord::begin(execution, &described, &decision, agreement, now);
        if described.effects().is_read_only() {
            // Dropped with whoever waits: it only looks.
            return self.call_handler(described, record, &asker).await;
        }
        let lease = match described.effects().changes.items.is_empty() {
            true => None,
            false => {
                let asked = parts.clock.monotonic();
                let lease = self.lock(&described, &record).await?;
                let waited = parts.clock.monotonic().saturating_sub(asked);
                record.lock = Some(LockTaken::of(&lease, waited));
                // The wait may have been long.
                if parts.clock.now() >= expires_at {
                    release(lease);
                    let expired = ExecuteError::not_begun(ExecuteErrorKind::ExpiredWarrant);
                    return Err(expired.with_record(record));
                }
                Some(lease)
            }
        };
        // From here on there is something to take back, or to answer for: it runs to its end, whether
        // or not somebody still waits for it.
        let (mut answer, outcome) = oneshot::channel();
        let executor = self.clone();
        let begun = record.clone();
        let under_way = parts.under_way.begin();
        let holds_the_lock = lease.is_some();
        let task = async move {
            let work = async {
                match lease {
                    Some(lease) => {
                        executor.change(described, (&decision, &asker), record, lease).await
                    }
                    None => executor.call_handler(described, record, &asker).await,
                }
            };
            tokio::pin!(work);
            let outcome = tokio::select! {
                biased;
                outcome = &mut work => outcome,
                () = answer.closed() => {
                    asker.unwanted.tell();
                    work.await
                }
            };
            if let Err(outcome) = answer.send(outcome) {
                executor.abandon(outcome).await;
            }
            drop(under_way);
        };
        let mut waiting = Waiting { executor: self.clone(), outcome };
        to_its_end(task, holds_the_lock).await;
        (&mut waiting.outcome).await.unwrap_or_else(|_| {
            let kind = ExecuteErrorKind::Stopped("its task ended early".to_owned());
            Err(ExecuteError::not_begun(kind).in_doubt(begun))
        })
    }

    /// Takes the lock, unless a halt comes first.
    async fn lock(
        &self,
        described: &Described,
        record: &ExecutionRecord,
    ) -> Result<Lease, ExecuteError> {
        let plan = record.plan_id.as_ref().map(ToString::to_string);
        let lease = acquire(&self.parts.lock, &record.execution_id, plan, &self.parts.clock);
        let halted = async {
            loop {
                if let Err(kind) = self.not_halted(described) {
                    return kind;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let lease = tokio::select! {
            biased;
            lease = lease => lease,
            kind = halted => Err(kind),
        };
        lease.map_err(|kind| ExecuteError::not_begun(kind).with_record(record.clone()))
    }

    /// The kill switch, looked at once.
    pub(crate) fn not_halted(&self, described: &Described) -> Result<(), ExecuteErrorKind> {
        let Some(halts) = &self.parts.halts else { return Ok(()) };
        let session = described.action().session();
        halts.check(session.principal(), session.id()).map_err(ExecuteErrorKind::Halted)
    }

    /// Nobody waits for it any more, so nobody will settle it. What changed the workspace is taken
    /// back. What was done elsewhere cannot be, so it is recorded as done.
    pub(crate) async fn abandon(&self, outcome: Result<Outcome, ExecuteError>) {
        let (ledger, clock) = (self.parts.ledger.as_ref(), self.parts.clock.as_ref());
        let settled = match outcome {
            Ok(Outcome::Duplicate(_)) => Ok(()),
            Ok(Outcome::Executed(executed)) if executed.changed() => executed
                .roll_back(ledger, clock, Vec::new(), "whoever asked for it stopped waiting")
                .await
                .map(|_| ())
                .map_err(|(report, error)| format!("{error}; {report:?}")),
            Ok(Outcome::Executed(executed)) => executed
                .commit(ledger, clock, Vec::new())
                .await
                .map(|_| ())
                .map_err(|error| error.to_string()),
            Err(mut error) => {
                let recorded = self.record_failed(&error).await;
                if let Some(unsettled) = error.take_unsettled()
                    && recorded.is_ok()
                {
                    unsettled.settle().await;
                }
                if let Some(at_work) = error.take_at_work()
                    && recorded.is_ok()
                {
                    at_work.ended();
                }
                recorded.map_err(|error| error.to_string())
            }
        };
        if let Err(error) = settled {
            tracing::error!(%error, "an abandoned execution could not be recorded");
        }
    }

    async fn record_failed(&self, error: &ExecuteError) -> Result<(), LedgerError> {
        let Some(session) = error.record().map(ExecutionRecord::session) else { return Ok(()) };
        let mut events = Vec::new();
        let record = error.record_failure(&session, self.parts.clock.as_ref(), &mut events);
        let begun = error.is_on_record() || *error.rollback() != Rollback::NotBegun;
        self.parts.ledger.settle(record.filter(|_| begun), events).await
    }

    /// An action that changes the workspace.
    async fn change(
        &self,
        described: Described,
        judged: (&Decision, &Asker),
        mut record: Box<ExecutionRecord>,
        lease: Lease,
    ) -> Result<Outcome, ExecuteError> {
        let clock = self.parts.clock.as_ref();
        let session = described.action().session().clone();
        let began = clock.monotonic();
        let recovered = self.recover_under(lease, false).await;
        let (lease, recovered) = recovered.map_err(|error| error.with_record(record.clone()))?;
        let stuck: Vec<Recovered> = recovered.into_iter().filter(|one| !one.is_settled()).collect();
        if !stuck.is_empty() {
            // The lock goes without its being released in good order: the next one looks again.
            let kind = ExecuteErrorKind::Stuck(stuck);
            return Err(ExecuteError::not_begun(kind).with_record(record));
        }
        match self.duplicate(&described, &record).await {
            Ok(None) => {}
            Ok(Some(duplicate)) => {
                release(lease);
                return Ok(Outcome::Duplicate(Box::new(duplicate)));
            }
            Err(error) => {
                release(lease);
                return Err(error);
            }
        }
        let prepared = self.prepare(&described, judged, &record).await;
        let (output, (staged, checks)) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                release(lease);
                return Err(error);
            }
        };
        record.output = output;
        let until = self.parts.limits.execution.map(|limit| began + limit);
        let deadline = Deadline { clock, until };
        let before = look_before(&checks, deadline).await;
        let mut reports = match self.check_staged(&described, &record, &staged, deadline).await {
            Ok(reports) => reports,
            Err(error) => {
                release(lease);
                return Err(error);
            }
        };
        // All that may have taken long; from here on it is done or taken back.
        let may_go_on = self.not_halted(&described).and_then(|()| self.in_time(&record, deadline));
        if let Err(kind) = may_go_on {
            release(lease);
            return Err(ExecuteError::not_begun(kind).with_record(record));
        }
        let started = record.begin_events(&session, record.facts(), clock);
        let mut applied = self.apply(described, &record, lease, !checks.is_empty()).await?;
        record.files = applied.files();
        let (made, mut passed) = run_all(&checks, &before, deadline, None).await;
        reports.extend(made);
        if passed && !checks.is_empty() {
            let noted = blocking(move || (applied.verified(), applied)).await;
            let (verified, unsettled) = noted.map_err(|error| error.in_doubt(record.clone()))?;
            applied = unsettled;
            match verified {
                Ok(()) => {}
                Err(error @ ApplyError::NotDurable { .. }) => {
                    record.duration_us = micros(clock.monotonic().saturating_sub(began));
                    let unsettled = Some(Unsettled::new(applied));
                    let error = ExecuteError::not_applied(NotApplied { error, unsettled }, record);
                    return Err(error.checked(reports));
                }
                Err(error) => {
                    passed = false;
                    reports.push(CheckReport::failed("note the verification", error.to_string()));
                }
            }
        }
        record.duration_us = micros(clock.monotonic().saturating_sub(began));
        if !passed {
            return Err(roll_back_failed_check(applied, record, reports).await);
        }
        if let Err(kind) = self.in_time(&record, deadline) {
            let (report, unsettled) = put_back(applied, &kind.to_string()).await;
            let error = ExecuteError::not_begun(kind).with_record(record);
            return Err(error.left(Rollback::of(report)).checked(reports).holding(unsettled));
        }
        Ok(Outcome::Executed(Executed::new(record, session, Some(applied), reports, started)))
    }

    /// Whether the time of the whole execution is not over.
    pub(crate) fn in_time(
        &self,
        record: &ExecutionRecord,
        deadline: Deadline<'_>,
    ) -> Result<(), ExecuteErrorKind> {
        match self.parts.limits.execution {
            Some(limit) if deadline.is_over() => Err(ExecuteErrorKind::TimedOut {
                capability: record.capability.to_string(),
                limit_ms: limit.as_millis(),
            }),
            _ => Ok(()),
        }
    }

    async fn duplicate(
        &self,
        described: &Described,
        record: &ExecutionRecord,
    ) -> Result<Option<ExecutionRecord>, ExecuteError> {
        let Some(Once { key, since }) = self.once(described) else { return Ok(None) };
        let found = self.parts.ledger.find(key, since).await;
        found.map_err(|error| {
            ExecuteError::not_begun(ExecuteErrorKind::Ledger(error)).with_record(record.clone())
        })
    }

    /// Everything that can fail before the workspace is touched; the checks that want the staged
    /// tree come first.
    async fn prepare(
        &self,
        described: &Described,
        (decision, asker): (&Decision, &Asker),
        record: &ExecutionRecord,
    ) -> Result<(serde_json::Value, (Vec<Check>, Vec<Check>)), ExecuteError> {
        let fail = |kind| ExecuteError::not_begun(kind).with_record(record.clone());
        let checks = self.parts.checks.checks(described, decision.risk_effective());
        let checks = checks.map_err(|failure| {
            let detail = failure.to_string();
            fail(ExecuteErrorKind::Check { name: "plan".to_owned(), detail })
        })?;
        let ran = self.run_handler(described, asker).await.and_then(Ran::without_changes);
        let output = ran.map_err(fail)?.output;
        Ok((output, checks.into_iter().partition(|check| check.staged.is_some())))
    }

    async fn apply(
        &self,
        described: Described,
        record: &ExecutionRecord,
        lease: Lease,
        back_on_crash: bool,
    ) -> Result<Box<dyn Applied>, ExecuteError> {
        let granted = GrantedChanges::new(described, record.clone(), lease, back_on_crash);
        let applier = Arc::clone(&self.parts.applier);
        let applied = blocking(move || applier.apply(granted)).await;
        let applied = applied.map_err(|error| error.in_doubt(record.clone()))?;
        applied.map_err(|error| ExecuteError::not_applied(error, record.clone()))
    }
}

fn release(lease: Lease) {
    if let Err(error) = lease.release() {
        tracing::warn!(%error, "the lock was lost before anything was done");
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ExecuteError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ExecuteError::not_begun(ExecuteErrorKind::Stopped(error.to_string())))
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn micros_i64(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Service<Warrant> for Executor {
    type Response = Outcome;
    type Error = ExecuteError;
    type Future = Pin<Box<dyn Future<Output = Result<Outcome, ExecuteError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ExecuteError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, warrant: Warrant) -> Self::Future {
        Box::pin(self.clone().execute(warrant))
    }
}
