//! A store whose process dies at a save.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use lictor_context::{Event, RunId, Timestamp};
use lictor_workflow::{Claimed, Lease, Owner, RunRecord, RunStore, Save, StoreError, Wish};

/// Fails one save and everything after it, as if the process had died there: before the save was
/// durable, or after it and before anybody knew.
#[derive(Debug)]
pub struct DyingStore<S: ?Sized> {
    dies_at: usize,
    saves_first: bool,
    n_saves: AtomicUsize,
    inner: Arc<S>,
}

impl<S: RunStore + ?Sized> DyingStore<S> {
    /// Dies at the `dies_at`-th save, counted from 1; never when that is 0.
    #[must_use]
    pub fn new(inner: Arc<S>, dies_at: usize, saves_first: bool) -> Self {
        Self { dies_at, saves_first, n_saves: AtomicUsize::new(0), inner }
    }

    /// How many saves were asked for.
    #[must_use]
    pub fn n_saves(&self) -> usize {
        self.n_saves.load(Ordering::SeqCst)
    }

    fn is_dead(&self) -> bool {
        self.dies_at > 0 && self.n_saves() >= self.dies_at
    }

    fn alive(&self) -> Result<(), StoreError> {
        if self.is_dead() { Err(died()) } else { Ok(()) }
    }

    async fn saving<T>(
        &self,
        save: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.alive()?;
        self.n_saves.fetch_add(1, Ordering::SeqCst);
        if !self.is_dead() {
            return save.await;
        }
        if self.saves_first {
            save.await?;
        }
        Err(died())
    }
}

fn died() -> StoreError {
    StoreError::Unavailable("the process died here".to_owned())
}

#[async_trait]
impl<S: RunStore + ?Sized> RunStore for DyingStore<S> {
    async fn create(&self, run: &RunRecord, events: Vec<Event>) -> Result<(), StoreError> {
        self.saving(self.inner.create(run, events)).await
    }

    async fn save(&self, save: Save<'_>) -> Result<Option<Wish>, StoreError> {
        self.saving(self.inner.save(save)).await
    }

    async fn claim(
        &self,
        run_id: &RunId,
        owner: &Owner,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Claimed<RunRecord>, StoreError> {
        self.alive()?;
        self.inner.claim(run_id, owner, now, until).await
    }

    async fn renew(&self, run_id: &RunId, lease: &Lease) -> Result<Option<Wish>, StoreError> {
        self.alive()?;
        self.inner.renew(run_id, lease).await
    }

    async fn release(&self, run_id: &RunId, lease: &Lease) -> Result<(), StoreError> {
        self.alive()?;
        self.inner.release(run_id, lease).await
    }

    async fn ask(&self, run_id: &RunId, wish: Wish) -> Result<(), StoreError> {
        self.alive()?;
        self.inner.ask(run_id, wish).await
    }

    async fn orphans(&self, now: Timestamp, limit: usize) -> Result<Vec<RunId>, StoreError> {
        self.alive()?;
        self.inner.orphans(now, limit).await
    }

    async fn load(&self, run_id: &RunId) -> Result<Option<RunRecord>, StoreError> {
        self.alive()?;
        self.inner.load(run_id).await
    }

    async fn list(&self, limit: usize) -> Result<Vec<RunRecord>, StoreError> {
        self.alive()?;
        self.inner.list(limit).await
    }
}
