//! The port behind which approvals are kept.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use lictor_context::{ApprovalId, Digest};

use super::record::Approval;
use crate::judged::Judged;

/// An approval as it is kept: every change makes a new revision.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredApproval {
    /// The approval.
    pub approval: Approval,
    /// Its revision, from 1.
    pub revision: u64,
}

/// Keeps approvals.
///
/// Implementations keep two promises that approvals are only as good as: at most one *open*
/// (pending or granted) approval for an action digest, and [`ApprovalStore::update`] as an atomic
/// compare-and-set. Both hold across processes.
pub trait ApprovalStore: Send + Sync + std::fmt::Debug {
    /// Keeps a new one, as revision 1, with what was judged.
    ///
    /// # Errors
    /// [`ApprovalStoreError::Conflict`] when the id exists, or another open one has its digest.
    fn insert(&self, approval: &Approval, judged: &Judged) -> Result<(), ApprovalStoreError>;

    /// What was judged; `None` once the approval is not open any more.
    ///
    /// # Errors
    /// When the store fails.
    fn judged(&self, id: &ApprovalId) -> Result<Option<Judged>, ApprovalStoreError>;

    /// The one with this id.
    ///
    /// # Errors
    /// When the store fails.
    fn get(&self, id: &ApprovalId) -> Result<Option<StoredApproval>, ApprovalStoreError>;

    /// All of them, the newest first; `only_open`: those that are written down as pending or granted.
    ///
    /// # Errors
    /// When the store fails.
    fn list(&self, only_open: bool) -> Result<Vec<StoredApproval>, ApprovalStoreError>;

    /// The one for this digest that is written down as pending or granted, whether or not its time
    /// is over: stores have no clock.
    ///
    /// # Errors
    /// When the store fails.
    fn find_open(
        &self,
        action_digest: Digest,
    ) -> Result<Option<StoredApproval>, ApprovalStoreError>;

    /// Exchanges an approval if it still has the revision that the caller saw. One that is not
    /// open any more loses, in the same step, what was kept of what was judged.
    ///
    /// # Errors
    /// [`ApprovalStoreError::Conflict`] when somebody else was faster, or there is none.
    fn update(
        &self,
        id: &ApprovalId,
        expected_revision: u64,
        approval: &Approval,
    ) -> Result<(), ApprovalStoreError>;
}

/// The store of approvals did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalStoreError {
    /// Somebody else was faster.
    #[error("the approval was changed by somebody else meanwhile")]
    Conflict,
    /// The store failed.
    #[error("the store of approvals is unavailable: {0}")]
    Unavailable(String),
}

/// Keeps approvals in memory.
#[derive(Debug, Default)]
pub struct MemoryApprovalStore {
    by_id: Mutex<BTreeMap<ApprovalId, Entry>>,
}

#[derive(Debug)]
struct Entry {
    stored: StoredApproval,
    judged: Option<Judged>,
}

impl MemoryApprovalStore {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ApprovalId, Entry>> {
        // Every change is one insertion, so nothing is half done when a holder panicked.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ApprovalStore for MemoryApprovalStore {
    fn insert(&self, approval: &Approval, judged: &Judged) -> Result<(), ApprovalStoreError> {
        let mut by_id = self.lock();
        let clashes = by_id.values().any(|Entry { stored, .. }| {
            stored.approval.id() == approval.id()
                || (stored.approval.state().is_open()
                    && stored.approval.action_digest() == approval.action_digest())
        });
        if clashes {
            return Err(ApprovalStoreError::Conflict);
        }
        let stored = StoredApproval { approval: approval.clone(), revision: 1 };
        by_id.insert(approval.id().clone(), Entry { stored, judged: Some(judged.clone()) });
        Ok(())
    }

    fn judged(&self, id: &ApprovalId) -> Result<Option<Judged>, ApprovalStoreError> {
        Ok(self.lock().get(id).and_then(|entry| entry.judged.clone()))
    }

    fn get(&self, id: &ApprovalId) -> Result<Option<StoredApproval>, ApprovalStoreError> {
        Ok(self.lock().get(id).map(|entry| entry.stored.clone()))
    }

    fn list(&self, only_open: bool) -> Result<Vec<StoredApproval>, ApprovalStoreError> {
        let by_id = self.lock();
        let all = by_id.values().rev().map(|entry| &entry.stored);
        Ok(all.filter(|kept| !only_open || kept.approval.state().is_open()).cloned().collect())
    }

    fn find_open(
        &self,
        action_digest: Digest,
    ) -> Result<Option<StoredApproval>, ApprovalStoreError> {
        let by_id = self.lock();
        let mut all = by_id.values().map(|entry| &entry.stored.approval);
        let found = all.find(|one| one.state().is_open() && one.action_digest() == action_digest);
        let found = found.and_then(|approval| by_id.get(approval.id()));
        Ok(found.map(|entry| entry.stored.clone()))
    }

    fn update(
        &self,
        id: &ApprovalId,
        expected_revision: u64,
        approval: &Approval,
    ) -> Result<(), ApprovalStoreError> {
        let mut by_id = self.lock();
        match by_id.get_mut(id) {
            Some(Entry { stored, judged })
                if stored.revision == expected_revision && approval.id() == id =>
            {
                stored.approval = approval.clone();
                stored.revision += 1;
                if !approval.state().is_open() {
                    *judged = None;
                }
                Ok(())
            }
            _ => Err(ApprovalStoreError::Conflict),
        }
    }
}
