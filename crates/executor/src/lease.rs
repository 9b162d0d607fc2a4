//! Taking the workspace's lock from async code.

use std::sync::Arc;
use std::time::Duration;

use lictor_context::{Clock, ExecutionId};
use lictor_lock::{AcquireErrorKind, CancelFlag, Claim, Lease, Predecessor, WorkspaceLock};

use crate::error::{ExecuteError, ExecuteErrorKind};
use crate::port::Recovered;
use crate::service::Executor;

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

/// Calls off the wait when the caller no longer waits.
struct CancelOnDrop(CancelFlag);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

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
    let waited = tokio::task::spawn_blocking(move || {
        settings.lock.acquire(claim, settings.timeout, &cancel, &mut |holder| {
            tracing::warn!("waiting for the workspace lock: held by {holder}");
        })
    })
    .await;
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
    pub async fn settled_lease(&self) -> Result<Lease, ExecuteError> {
        let execution = ExecutionId::generate(self.parts.clock.as_ref());
        let lease = acquire(&self.parts.lock, &execution, None, &self.parts.clock)
            .await
            .map_err(ExecuteError::not_begun)?;
        let (lease, recovered) = self.recover_under(lease, false).await?;
        let stuck: Vec<Recovered> = recovered.into_iter().filter(|one| !one.is_settled()).collect();
        // Not released in good order then: the next one looks again.
        if stuck.is_empty() {
            Ok(lease)
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
