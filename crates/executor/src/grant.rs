//! The second key: without a grant no handler runs and no change is applied. Only the executor
//! makes one, from a warrant, for one run.

use std::any::Any;
use std::marker::PhantomData;
use std::time::Duration;

use lictor_capability::{Change, Changes, Described, Entry, Listed, ViewError, WorkspaceView};
use lictor_context::{Digest, RunId, Usage, WorkspacePath};
use lictor_governance::{UsageMeter, UsageStoreError};
use lictor_lock::Lease;
use serde_json::Value;

use crate::landing::Staging;
use crate::prepared::Ready;
use crate::record::ExecutionRecord;
use crate::run_time::RunTime;

/// Leave to run a handler once, for the action that was judged. It ends with the run.
#[must_use = "a grant does nothing until a handler uses it"]
#[derive(Debug)]
pub struct Granted<'run> {
    described: &'run Described,
    view: DeclaredView<'run>,
    meter: &'run UsageMeter,
    limit: Duration,
    staging: &'run Staging,
    ready: &'run Ready,
    // Invariant in 'run: a grant can be kept neither longer nor as something shorter-lived.
    _run: PhantomData<&'run mut &'run ()>,
}

impl<'run> Granted<'run> {
    pub(crate) fn new(
        described: &'run Described,
        view: &'run dyn WorkspaceView,
        meter: &'run UsageMeter,
        (limit, staging, ready): (Duration, &'run Staging, &'run Ready),
    ) -> Self {
        let view = DeclaredView { inner: view, described };
        Self { described, view, meter, limit, staging, ready, _run: PhantomData }
    }

    /// How long the run may take.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// The run's time, which stands still while somebody is asked: [`RunTime::hold`]. A handler that
    /// says that it [keeps time](crate::Handler::keeps_time) ends its run when it is
    /// [over](RunTime::over).
    #[must_use]
    pub fn time(&self) -> &RunTime {
        self.staging.time()
    }

    /// Comes back when nobody waits for the run any more, and never while somebody does. A handler
    /// that says that it [stops](crate::Handler::stops) ends its run then.
    pub async fn unwanted(&self) {
        self.staging.unwanted().told().await;
    }

    /// What the handler made ready for this run ([`Handler::prepare`](crate::Handler::prepare)), once.
    #[must_use]
    pub fn prepared<T: Any>(&self) -> Option<T> {
        self.ready.take()
    }

    /// Hands over what was changed in a copy of the workspace. None of it is done by this: it goes
    /// down the road as an action of its own, once this one is on record.
    pub fn stage(&self, changes: Vec<Change>) {
        self.staging.put(changes);
    }

    /// Begins a run of a workflow. None of it is done by this: it is driven once this action is on
    /// record, each of its steps is judged by itself, and its output is the action's.
    pub fn begin_run(&self, run: RunId) {
        self.staging.begin(run);
    }

    /// Reports what doing it costs, as soon as it is known: it counts against budgets from then
    /// on, whether or not the run succeeds.
    ///
    /// # Errors
    /// When it cannot be counted.
    pub fn report_usage(&self, usage: Usage) -> Result<(), UsageStoreError> {
        self.meter.report(usage)
    }

    /// The input that the gate saw.
    #[must_use]
    pub fn input(&self) -> &Value {
        self.described.action().input()
    }

    /// The action, its contract and its effects.
    #[must_use]
    pub fn described(&self) -> &Described {
        self.described
    }

    /// The workspace, as far as the action said that it reads it.
    #[must_use]
    pub fn view(&self) -> &dyn WorkspaceView {
        &self.view
    }
}

/// Shows what the effects declare, and nothing else.
struct DeclaredView<'run> {
    inner: &'run dyn WorkspaceView,
    described: &'run Described,
}

impl std::fmt::Debug for DeclaredView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeclaredView(..)")
    }
}

impl DeclaredView<'_> {
    fn check(&self, path: Option<&WorkspacePath>) -> Result<(), ViewError> {
        let effects = self.described.effects();
        let declared = match path {
            Some(path) => effects.reads.iter().any(|read| path.is_within(read)),
            None => effects.reads_root,
        };
        if declared {
            return Ok(());
        }
        let path = path.map_or(".", WorkspacePath::as_str);
        Err(ViewError::new(path, lictor_capability::ViewErrorKind::Undeclared))
    }
}

impl WorkspaceView for DeclaredView<'_> {
    fn entry(&self, path: &WorkspacePath) -> Result<Option<Entry>, ViewError> {
        // Whoever may read the names in the root may know what they name, not what that holds.
        let in_listed_root = self.described.effects().reads_root && path.parent().is_none();
        if !in_listed_root {
            self.check(Some(path))?;
        }
        self.inner.entry(path)
    }

    fn digest(&self, path: &WorkspacePath) -> Result<Digest, ViewError> {
        self.check(Some(path))?;
        self.inner.digest(path)
    }

    fn read(&self, path: &WorkspacePath, max_bytes: u64) -> Result<Vec<u8>, ViewError> {
        self.check(Some(path))?;
        self.inner.read(path, max_bytes)
    }

    fn read_link(&self, path: &WorkspacePath) -> Result<String, ViewError> {
        self.check(Some(path))?;
        self.inner.read_link(path)
    }

    fn list(&self, dir: Option<&WorkspacePath>) -> Result<Vec<Listed>, ViewError> {
        self.check(dir)?;
        self.inner.list(dir)
    }
}

/// Leave to apply the changes that were judged, once, under the workspace's lock. The lock
/// travels with it: whoever applies holds it until the outcome is settled.
#[must_use = "a grant does nothing until the changes are applied"]
#[derive(Debug)]
pub struct GrantedChanges {
    described: Described,
    record: Box<ExecutionRecord>,
    lease: Lease,
    back_on_crash: bool,
}

impl GrantedChanges {
    pub(crate) fn new(
        described: Described,
        record: impl Into<Box<ExecutionRecord>>,
        lease: Lease,
        back_on_crash: bool,
    ) -> Self {
        let record = record.into();
        Self { described, record, lease, back_on_crash }
    }

    /// The changes.
    #[must_use]
    pub fn changes(&self) -> &Changes {
        &self.described.effects().changes
    }

    /// What will be recorded of the execution. It goes into the journal, so that a recovery can
    /// record it when this process cannot.
    #[must_use]
    pub fn record(&self) -> &ExecutionRecord {
        &self.record
    }

    /// Whether a crash before the outcome is settled means going back: something that would have
    /// looked at the change had not done so yet.
    #[must_use]
    pub fn back_on_crash(&self) -> bool {
        self.back_on_crash
    }

    /// The lock.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Takes the lock out, to be kept until the outcome is settled.
    pub fn into_lease(self) -> Lease {
        self.lease
    }
}
