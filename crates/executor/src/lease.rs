//! Taking the workspace's lock from async code.

use std::sync::Arc;
use std::time::Duration;

use lictor_context::{Clock, Event, EventFacts, EventType, ExecutionId, Session};
use lictor_lock::{AcquireErrorKind, CancelFlag, Claim, Lease, Predecessor, WorkspaceLock};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{ExecuteError, ExecuteErrorKind};
use crate::port::Recovered;
use crate::service::{Executor, micros};

/// The lock of a workspace, and how long to wait for it.
#[derive(Debug, Clone)]
pub struct LockSettings {
    /// The lock.
    pub lock: WorkspaceLock,
    /// How long to wait.
    pub timeout: Duration,
    /// Who asks, for whoever has to wait.
    pub holder: String,
}

/// How the workspace's lock was taken: what stands in the event of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockTaken {
    /// Who has it.
    pub holder: String,
    /// The number of this holding; each one is higher than those before it.
    pub fencing_token: u64,
    /// How long was waited for it, in microseconds.
    pub waited_us: u64,
    /// How the holder before left it.
    pub predecessor: LeftBehind,
}

/// How a holder left the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftBehind {
    /// There was none.
    Nobody,
    /// It gave it back.
    Released,
    /// It ended without giving it back.
    Crashed,
    /// So did its machine.
    Restarted,
    /// It was taken from it by force.
    Broken,
    /// The lock file does not say.
    Unknown,
}

impl LockTaken {
    pub(crate) fn of(lease: &Lease, waited: Duration) -> Self {
        let predecessor = match lease.predecessor() {
            None => LeftBehind::Nobody,
            Some(Predecessor::Clean(_)) => LeftBehind::Released,
            Some(Predecessor::Crashed(_)) => LeftBehind::Crashed,
            Some(Predecessor::OtherBoot(_)) => LeftBehind::Restarted,
            Some(Predecessor::Broken(_)) => LeftBehind::Broken,
            Some(Predecessor::Unknown) => LeftBehind::Unknown,
        };
        Self {
            holder: lease.holder().holder.clone(),
            fencing_token: lease.token(),
            waited_us: micros(waited),
            predecessor,
        }
    }

    /// The event of it, about whatever the lock was taken for.
    #[must_use]
    pub fn event(&self, session: &Session, mut facts: EventFacts, clock: &dyn Clock) -> Event {
        if let Value::Object(lock) = json!(self) {
            facts.metadata.extend(lock);
        }
        Event::new(session, EventType::LockAcquired, facts, clock)
    }
}

/// Calls off the wait when the caller no longer waits.
struct CancelOnDrop(CancelFlag);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Steps side by side wait for each other all the time; longer than this, people want to know for whom.
const UNREMARKABLE: Duration = Duration::from_secs(1);

pub(crate) async fn acquire(
    settings: &LockSettings,
    execution: &ExecutionId,
    plan: Option<String>,
    clock: &Arc<dyn Clock>,
) -> Result<Lease, ExecuteErrorKind> {
    let claim = Claim::new(settings.holder.clone(), execution.as_str())
        .acquired_at(clock.now().to_string());
    let claim = match plan {
        Some(plan) => claim.plan(plan),
        None => claim,
    };
    if let Ok(lease) = settings.lock.try_acquire(claim.clone()) {
        return Ok(lease);
    }
    let settings = settings.clone();
    let cancel = CancelFlag::new();
    let guard = CancelOnDrop(cancel.clone());
    let (told, holder) = tokio::sync::watch::channel(None);
    let mut waiting = tokio::task::spawn_blocking(move || {
        settings.lock.acquire(claim, settings.timeout, &cancel, &mut |holder| {
            told.send_replace(Some(holder.to_string()));
        })
    });
    let waited = match tokio::time::timeout(UNREMARKABLE, &mut waiting).await {
        Ok(waited) => waited,
        Err(_) => {
            let holder =
                holder.borrow().clone().unwrap_or_else(|| "one who says no name".to_owned());
            tracing::warn!("waiting for the workspace lock: held by {holder}");
            waiting.await
        }
    };
    drop(guard);
    match waited {
        Ok(Ok(lease)) => Ok(lease),
        Ok(Err(error)) => Err(match error.kind() {
            AcquireErrorKind::Busy { .. } | AcquireErrorKind::Cancelled => {
                ExecuteErrorKind::Busy(error.kind().to_string())
            }
            AcquireErrorKind::Unsupported(_) | AcquireErrorKind::Io(_) => {
                ExecuteErrorKind::Lock(error.kind().to_string())
            }
        }),
        Err(error) => Err(ExecuteErrorKind::Stopped(error.to_string())),
    }
}

impl Executor {
    /// The workspace's lock, for what changes nothing in the workspace itself, with everything
    /// settled that a crash had left.
    ///
    /// # Errors
    /// When the lock is not had, or what was left cannot be settled.
    pub async fn settled_lease(&self) -> Result<(Lease, LockTaken), ExecuteError> {
        let clock = &self.parts.clock;
        let (execution, asked) = (ExecutionId::generate(clock.as_ref()), clock.monotonic());
        let lease = acquire(&self.parts.lock, &execution, None, &self.parts.clock)
            .await
            .map_err(ExecuteError::not_begun)?;
        let taken = LockTaken::of(&lease, clock.monotonic().saturating_sub(asked));
        let (lease, recovered) = self.recover_under(lease, false).await?;
        let stuck: Vec<Recovered> = recovered.into_iter().filter(|one| !one.is_settled()).collect();
        // Not released in good order then: the next one looks again.
        if stuck.is_empty() {
            Ok((lease, taken))
        } else {
            Err(ExecuteError::not_begun(ExecuteErrorKind::Stuck(stuck)))
        }
    }
}

/// Whether somebody may have left work unfinished: a holder that did not release, or a machine
/// that was started anew since (the lock file is never synced, so what it says may be old).
pub(crate) fn needs_recovery(lease: &Lease) -> bool {
    match lease.predecessor() {
        None => true,
        Some(predecessor) => {
            let boot = predecessor.holder().and_then(|holder| holder.boot_id.as_deref());
            predecessor.needs_recovery()
                || boot != lease.holder().boot_id.as_deref()
                || matches!(predecessor, Predecessor::Unknown)
        }
    }
}
