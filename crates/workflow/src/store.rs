//! Runs kept in memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use lictor_context::{Event, RunId, Timestamp};

use crate::error::StoreError;
use crate::lease::{Claimed, Lease, Owner, Wish};
use crate::port::{RunStore, Save};
use crate::record::RunRecord;

/// Keeps runs in memory: for tests, and for embedders whose runs may end with the process.
#[derive(Debug, Default)]
pub struct MemoryRunStore {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    runs: HashMap<RunId, Kept>,
    events: Vec<Event>,
}

#[derive(Debug)]
struct Kept {
    run: RunRecord,
    token: u64,
    held: Option<(Owner, Timestamp)>,
    wish: Option<Wish>,
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

impl Kept {
    fn is_held_under(&self, lease: &Lease) -> bool {
        self.token == lease.token && self.held.as_ref().is_some_and(|(by, _)| *by == lease.owner)
    }

    fn is_free(&self, now: Timestamp) -> bool {
        self.held.as_ref().is_none_or(|(_, until)| *until <= now)
    }
}

fn stale(run: &RunRecord, found: u64) -> StoreError {
    StoreError::Stale { run_id: run.run_id.clone(), found, given: run.revision }
}

#[async_trait]
impl RunStore for MemoryRunStore {
    async fn create(&self, run: &RunRecord, mut events: Vec<Event>) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let found = inner.runs.get(&run.run_id).map_or(0, |kept| kept.run.revision);
        if run.revision != 1 || found != 0 {
            return Err(stale(run, found));
        }
        let kept = Kept { run: run.clone(), token: 0, held: None, wish: None };
        inner.runs.insert(run.run_id.clone(), kept);
        inner.events.append(&mut events);
        Ok(())
    }

    async fn save(&self, save: Save<'_>) -> Result<Option<Wish>, StoreError> {
        let Save { run, lease, mut events } = save;
        let mut inner = self.lock();
        let held = (!run.status().is_at_rest()).then(|| (lease.owner.clone(), lease.until));
        let wish = match inner.runs.get_mut(&run.run_id) {
            None if run.revision == 1 && lease.token == 1 => {
                let kept = Kept { run: run.clone(), token: 1, held, wish: None };
                inner.runs.insert(run.run_id.clone(), kept);
                None
            }
            None => return Err(stale(run, 0)),
            Some(kept) => {
                if !kept.is_held_under(lease) {
                    return Err(StoreError::Fenced { run_id: run.run_id.clone() });
                }
                if run.revision != kept.run.revision + 1 {
                    return Err(stale(run, kept.run.revision));
                }
                kept.run.clone_from(run);
                kept.held = held;
                kept.wish.take()
            }
        };
        inner.events.append(&mut events);
        Ok(wish)
    }

    async fn claim(
        &self,
        run_id: &RunId,
        owner: &Owner,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Claimed<RunRecord>, StoreError> {
        let mut inner = self.lock();
        let Some(kept) = inner.runs.get_mut(run_id) else { return Ok(Claimed::Missing) };
        if !kept.is_free(now)
            && let Some((by, _)) = &kept.held
            && by != owner
        {
            return Ok(Claimed::Held { by: by.clone() });
        }
        kept.token += 1;
        kept.held = Some((owner.clone(), until));
        let lease = Lease { owner: owner.clone(), token: kept.token, until };
        Ok(Claimed::Had(Box::new(kept.run.clone()), lease))
    }

    async fn renew(&self, run_id: &RunId, lease: &Lease) -> Result<Option<Wish>, StoreError> {
        let mut inner = self.lock();
        match inner.runs.get_mut(run_id) {
            Some(kept) if kept.is_held_under(lease) => {
                kept.held = Some((lease.owner.clone(), lease.until));
                Ok(kept.wish.take())
            }
            _ => Err(StoreError::Fenced { run_id: run_id.clone() }),
        }
    }

    async fn release(&self, run_id: &RunId, lease: &Lease) -> Result<(), StoreError> {
        if let Some(kept) = self.lock().runs.get_mut(run_id)
            && kept.is_held_under(lease)
        {
            kept.held = None;
        }
        Ok(())
    }

    async fn ask(&self, run_id: &RunId, wish: Wish) -> Result<(), StoreError> {
        if let Some(kept) = self.lock().runs.get_mut(run_id) {
            kept.wish = Some(wish.stronger(kept.wish));
        }
        Ok(())
    }

    async fn orphans(&self, now: Timestamp, limit: usize) -> Result<Vec<RunId>, StoreError> {
        let inner = self.lock();
        let orphan = |kept: &&Kept| !kept.run.status().is_at_rest() && kept.is_free(now);
        let mut found: Vec<(Timestamp, RunId)> = inner
            .runs
            .values()
            .filter(orphan)
            .map(|kept| (kept.run.created_at, kept.run.run_id.clone()))
            .collect();
        found.sort();
        Ok(found.into_iter().take(limit).map(|(_, run_id)| run_id).collect())
    }

    async fn load(&self, run_id: &RunId) -> Result<Option<RunRecord>, StoreError> {
        Ok(self.lock().runs.get(run_id).map(|kept| kept.run.clone()))
    }

    async fn list(&self, limit: usize) -> Result<Vec<RunRecord>, StoreError> {
        let mut runs: Vec<RunRecord> =
            self.lock().runs.values().map(|kept| kept.run.clone()).collect();
        runs.sort_by(|a, b| (b.created_at, &b.run_id).cmp(&(a.created_at, &a.run_id)));
        runs.truncate(limit);
        Ok(runs)
    }
}
