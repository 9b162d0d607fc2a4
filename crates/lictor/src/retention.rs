//! Purging undo records as the policy says: asked for, or by itself after a change.

use std::time::Duration;

use lictor_context::{BoxFuture, Event, EventFacts, EventType, ExecutionId};
use lictor_lock::{Lease, Status};
use lictor_undo::{PurgePlan, Purged, Retention};
use serde_json::json;

use crate::agent::Agent;
use crate::error::{ActError, ActErrorKind};
use crate::runtime::Runtime;

/// The name of a purge in the trail. No capability: nobody but whoever has the workspace can ask
/// for it, and by no more than the policy says.
const PURGE: &str = "undo.purge";

/// How often a runtime purges by itself.
const EVERY: Duration = Duration::from_secs(3_600);

/// So many records go in one purge that nobody asked for.
const AT_ONCE: usize = 100;

/// How runs stand that take nothing back any more by themselves.
const OVER: [&str; 3] = ["completed", "failed", "rolled_back"];

impl Agent {
    /// Removes the undo records that the policy does not keep. An execution whose record went
    /// cannot be undone any more.
    ///
    /// # Errors
    /// When the lock is not had, a record cannot be read, or it cannot be recorded. Nothing was
    /// removed then, unless the error says so.
    pub fn purge_undo(&self, dry_run: bool) -> BoxFuture<'_, Result<Purged, ActError>> {
        Box::pin(async move {
            if dry_run {
                return self.blocking_plan(usize::MAX).await.map(|plan| plan.outcome());
            }
            let forgotten = self.runtime().forget_runs().await;
            forgotten.map_err(|error| failed(std::io::Error::other(error)))?;
            self.purge(usize::MAX).await
        })
    }

    /// Purges after a change, once in a while, when nobody else is at work. What does not succeed
    /// is done by the next one.
    pub(crate) async fn purge_when_due(&self) {
        if !self.purge_is_due()
            || !matches!(self.runtime().lock().status(), Ok(Status::Free { .. }))
        {
            return;
        }
        let (transactions, now) = (self.runtime().transactions(), self.runtime().clock().now());
        if let Err(error) = transactions.note_purge(now) {
            tracing::warn!(%error, "undo records are not purged");
            return;
        }
        match self.runtime().forget_runs().await {
            Ok(0) => {}
            Ok(runs) => tracing::info!(runs, "what was sealed of old runs is destroyed"),
            Err(error) => tracing::warn!(%error, "what is sealed of old runs is kept on"),
        }
        // Looked at without the lock first: mostly there is nothing to do.
        match self.blocking_plan(AT_ONCE).await {
            Ok(plan) if plan.due().is_empty() => {}
            Ok(_) => match self.purge(AT_ONCE).await {
                Ok(purged) => {
                    tracing::info!(records = purged.purged.len(), bytes = purged.bytes, "purged");
                }
                Err(error) => tracing::warn!(%error, "undo records could not be purged"),
            },
            Err(error) => tracing::warn!(%error, "undo records could not be looked at"),
        }
    }

    /// Whether there may be something to record once a change is.
    pub(crate) fn purge_is_due(&self) -> bool {
        let (transactions, now) = (self.runtime().transactions(), self.runtime().clock().now());
        let last = transactions.last_purge();
        last.is_none_or(|last| last > now || now.since(last) >= EVERY)
    }

    async fn purge(&self, at_most: usize) -> Result<Purged, ActError> {
        let lease = self.runtime().parts.executor.settled_lease().await;
        let (lease, taken) = lease.map_err(|error| ActErrorKind::Execution(Box::new(error)))?;
        let plan = self.blocking_plan(at_most).await;
        let outcome = match &plan {
            Ok(plan) => plan.outcome(),
            Err(_) => Purged::default(),
        };
        let plan = match plan {
            Ok(plan) if !outcome.purged.is_empty() => plan,
            nothing => {
                release(lease);
                return nothing.map(|_| outcome);
            }
        };
        // On record before anything dies, and again with what has died.
        let about = EventFacts { action_name: Some(PURGE.to_owned()), ..EventFacts::default() };
        let locked = taken.event(self.session(), about, self.clock());
        let event = self.purge_event(EventType::ActionStarted, &outcome, None);
        if let Err(error) = self.runtime().record(vec![locked, event]).await {
            release(lease);
            return Err(error);
        }
        let transactions = self.runtime().transactions().clone();
        let done = tokio::task::spawn_blocking(move || {
            let done = transactions.purge(&lease, plan);
            release(lease);
            done
        });
        let done = done.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let (kind, purged, why) = match &done {
            Ok(purged) => (EventType::ActionCompleted, purged.clone(), None),
            Err(error) => (EventType::ActionFailed, Purged::default(), Some(error.to_string())),
        };
        let event = self.purge_event(kind, &purged, why);
        self.runtime().record(vec![event]).await?;
        done.map_err(failed)
    }

    fn purge_event(&self, kind: EventType, purged: &Purged, why: Option<String>) -> Event {
        let mut facts = EventFacts {
            action_name: Some(PURGE.to_owned()),
            success: (kind != EventType::ActionStarted).then_some(why.is_none()),
            error_message: why,
            ..EventFacts::default()
        };
        facts.metadata.insert("purge".to_owned(), json!(purged));
        Event::new(self.session(), kind, facts, self.runtime().clock().as_ref())
    }

    async fn blocking_plan(&self, at_most: usize) -> Result<PurgePlan, ActError> {
        let runtime = self.runtime().clone();
        let planned = tokio::task::spawn_blocking(move || {
            let policy = runtime.gate().policies().settings().undo_retention;
            let retention = Retention {
                age: policy.age.map(lictor_document::HumanDuration::as_duration),
                count: policy.count,
                bytes: policy.bytes.map(lictor_document::ByteSize::as_bytes),
            };
            let held = |id: &_| held(&runtime, id);
            let now = runtime.clock().now();
            runtime.transactions().plan_purge(&retention, now, at_most, &held)
        });
        let planned = planned.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        planned.map_err(failed)
    }
}

/// Why a record has to stay, whatever its age: it is not on record, or a run may still roll back.
fn held(runtime: &Runtime, id: &ExecutionId) -> Option<String> {
    let stored = match runtime.executions().get(id) {
        Ok(Some(stored)) => stored,
        Ok(None) => return Some("the ledger does not have it".to_owned()),
        Err(error) => return Some(format!("the ledger cannot be asked: {error}")),
    };
    let run = stored.record.run_id?;
    let over = match runtime.runs().get(&run) {
        Ok(Some(run)) => {
            let status = run.get("status").and_then(|status| status.as_str());
            status.is_some_and(|status| OVER.contains(&status))
        }
        Ok(None) => true,
        Err(_) => false,
    };
    (!over).then(|| format!("the workflow run `{run}` is not over"))
}

fn release(lease: Lease) {
    if let Err(error) = lease.release() {
        tracing::warn!(%error, "the lock was lost during a purge");
    }
}

fn failed(error: std::io::Error) -> ActError {
    ActErrorKind::Invalid(error.to_string()).into()
}
