//! What is done outside of the workspace: signs of work that survive a crash, and secrets.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lictor_context::{Clock, Event, EventFacts, EventType, ExecutionId};
use lictor_executor::{AtWork, ExecutionRecord, ExecutionStatus, LedgerError};
use lictor_handlers::SecretSource;
use lictor_lock::{Claim, WorkspaceLock};

use crate::runtime::Runtime;

/// The folder of the signs of work: one locked file for each execution that does something
/// elsewhere. Who finds one that nobody holds has found a crash.
#[derive(Debug, Clone)]
pub(crate) struct Signs {
    folder: PathBuf,
}

impl Signs {
    pub(crate) fn new(state: &Path) -> Self {
        Self { folder: state.join("outside") }
    }

    /// Puts up the sign of an execution.
    pub(crate) fn put_up(&self, record: &ExecutionRecord) -> Result<AtWork, LedgerError> {
        let fail = |error: &dyn std::fmt::Display| LedgerError(error.to_string());
        let id = record.execution_id.as_str();
        let lock = WorkspaceLock::new(self.folder.join(id));
        let lease = lock.try_acquire(Claim::new("lictor", id)).or_else(|error| {
            // The folder is there but for the first time.
            std::fs::create_dir_all(&self.folder).map_err(|_| fail(&error))?;
            lock.try_acquire(Claim::new("lictor", id)).map_err(|error| fail(&error))
        });
        lease.map(|lease| AtWork(Some(Box::new(lease))))
    }

    /// The executions whose signs nobody holds, with the signs.
    fn abandoned(&self) -> Vec<(ExecutionId, AtWork)> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let ids = entries.filter_map(|entry| {
            let name = entry.ok()?.file_name();
            ExecutionId::parse(name.to_str()?).ok()
        });
        let take = |id: ExecutionId| {
            let lock = WorkspaceLock::new(self.folder.join(id.as_str()));
            let lease = lock.try_acquire(Claim::new("lictor recovery", id.as_str())).ok()?;
            Some((id, AtWork(Some(Box::new(lease)))))
        };
        ids.filter_map(take).collect()
    }
}

impl Runtime {
    /// Says of what a crash left outside of the workspace that nobody knows what became of it. It
    /// is not done again by anybody but a person.
    pub(crate) async fn doubt_abandoned(&self) -> Result<(), LedgerError> {
        let clock: &dyn Clock = self.clock().as_ref();
        for (id, at_work) in self.parts.signs.abandoned() {
            let stored = self.executions().get(&id);
            let stored = stored.map_err(|error| LedgerError(error.to_string()))?;
            let open = stored.filter(|one| one.record.status == ExecutionStatus::Incomplete);
            if let Some(stored) = open {
                let record = stored.record;
                let why = "the process ended while it was done; it may or may not have happened";
                let facts = EventFacts { error_message: Some(why.to_owned()), ..record.facts() };
                let event = Event::new(&record.session(), EventType::ActionUnknown, facts, clock);
                lictor_executor::Ledger::settle(self.parts.ledger.as_ref(), None, vec![event])
                    .await?;
            }
            at_work.ended();
        }
        Ok(())
    }
}

/// Secrets from the environment: `LICTOR_SECRET_<NAME>`.
#[derive(Debug, Clone, Copy, Default)]
pub struct EnvironmentSecrets;

impl SecretSource for EnvironmentSecrets {
    #[expect(clippy::disallowed_methods, reason = "this is where secrets come from")]
    fn secret(&self, name: &str) -> Option<String> {
        std::env::var(format!("LICTOR_SECRET_{name}")).ok().filter(|secret| !secret.is_empty())
    }
}

/// Secrets as a runtime has them, unless its options say otherwise.
pub(crate) fn environment() -> Arc<dyn SecretSource> {
    Arc::new(EnvironmentSecrets)
}
