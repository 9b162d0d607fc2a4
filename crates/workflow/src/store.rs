//! Runs kept in memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use lictor_context::{Event, RunId};

use crate::error::StoreError;
use crate::port::RunStore;
use crate::record::RunRecord;

/// Keeps runs in memory: for tests, and for embedders whose runs may end with the process.
#[derive(Debug, Default)]
pub struct MemoryRunStore {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    runs: HashMap<RunId, RunRecord>,
    events: Vec<Event>,
}

impl MemoryRunStore {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the events that were recorded so far.
    #[must_use]
    pub fn drain_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.lock().events)
    }
}

#[async_trait]
impl RunStore for MemoryRunStore {
    async fn save(&self, run: &RunRecord, mut events: Vec<Event>) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let found = inner.runs.get(&run.run_id).map_or(0, |stored| stored.revision);
        if run.revision != found + 1 {
            let (run_id, given) = (run.run_id.clone(), run.revision);
            return Err(StoreError::Stale { run_id, found, given });
        }
        inner.runs.insert(run.run_id.clone(), run.clone());
        inner.events.append(&mut events);
        Ok(())
    }

    async fn load(&self, run_id: &RunId) -> Result<Option<RunRecord>, StoreError> {
        Ok(self.lock().runs.get(run_id).cloned())
    }

    async fn list(&self, limit: usize) -> Result<Vec<RunRecord>, StoreError> {
        let mut runs: Vec<RunRecord> = self.lock().runs.values().cloned().collect();
        runs.sort_by(|a, b| (b.created_at, &b.run_id).cmp(&(a.created_at, &a.run_id)));
        runs.truncate(limit);
        Ok(runs)
    }
}
