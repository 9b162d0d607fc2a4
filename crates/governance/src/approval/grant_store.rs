//! The port behind which grants are kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use lictor_context::GrantId;

use super::grant::Grant;
use super::store::{ApprovalStore as _, ApprovalStoreError, MemoryApprovalStore, StoredApproval};

/// A grant as it is kept: every change makes a new revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGrant {
    /// The grant.
    pub grant: Grant,
    /// Its revision, from 1.
    pub revision: u64,
}

/// Keeps grants, beside the approvals that they come from. [`GrantStore::update`] is an atomic
/// compare-and-set, across processes.
pub trait GrantStore: Send + Sync + std::fmt::Debug {
    /// Keeps a new one, as revision 1, and in the same step exchanges the approval that it comes from,
    /// if that still has the revision that the caller saw. Either both are done or neither: nobody
    /// agreed to the one without the other.
    ///
    /// # Errors
    /// [`ApprovalStoreError::Conflict`] when somebody else changed the approval, or there is none.
    fn insert(&self, grant: &Grant, agreed: &StoredApproval) -> Result<(), ApprovalStoreError>;

    /// All of them, the newest first.
    ///
    /// # Errors
    /// When the store fails.
    fn list(&self) -> Result<Vec<StoredGrant>, ApprovalStoreError>;

    /// Exchanges a grant if it still has the revision that the caller saw.
    ///
    /// # Errors
    /// [`ApprovalStoreError::Conflict`] when somebody else was faster, or there is none.
    fn update(&self, expected_revision: u64, grant: &Grant) -> Result<(), ApprovalStoreError>;
}

/// Keeps grants in memory.
#[derive(Debug)]
pub struct MemoryGrantStore {
    approvals: Arc<MemoryApprovalStore>,
    by_id: Mutex<BTreeMap<GrantId, StoredGrant>>,
}

impl MemoryGrantStore {
    /// Beside the approvals that grants come from.
    #[must_use]
    pub fn new(approvals: Arc<MemoryApprovalStore>) -> Self {
        Self { approvals, by_id: Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<GrantId, StoredGrant>> {
        // Every change is one insertion, so nothing is half done when a holder panicked.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GrantStore for MemoryGrantStore {
    fn insert(&self, grant: &Grant, agreed: &StoredApproval) -> Result<(), ApprovalStoreError> {
        let mut by_id = self.lock();
        let StoredApproval { approval, revision } = agreed;
        self.approvals.update(approval.id(), *revision, approval)?;
        by_id.insert(grant.id().clone(), StoredGrant { grant: grant.clone(), revision: 1 });
        Ok(())
    }

    fn list(&self) -> Result<Vec<StoredGrant>, ApprovalStoreError> {
        Ok(self.lock().values().rev().cloned().collect())
    }

    fn update(&self, expected_revision: u64, grant: &Grant) -> Result<(), ApprovalStoreError> {
        match self.lock().get_mut(grant.id()) {
            Some(kept) if kept.revision == expected_revision => {
                *kept = StoredGrant { grant: grant.clone(), revision: expected_revision + 1 };
                Ok(())
            }
            _ => Err(ApprovalStoreError::Conflict),
        }
    }
}
