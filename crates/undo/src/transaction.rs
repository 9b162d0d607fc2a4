//! The protocol: how a change set of any size gets into the workspace whole, or not at all.
//!
//! 1. **Preflight**: every path is looked at through a handle beneath the root and must hold what
//!    was judged. Nothing is written.
//! 2. **Stage**: the new things are made in slots beside the workspace.
//! 3. **Journal**: what is about to happen, sealed by its digest.
//! 4. **Barrier 1**: one `syncfs`. From here on the set is decided: a recovery finishes it (or
//!    takes it back, when something still had to look at it).
//! 5. **Publish**: one `renameat2` for each thing; what comes out must be what was judged, or it
//!    all goes back.
//! 6. **Barrier 2**: one `syncfs`. From here on it is durable without a recovery.
//! 7. **Settle**: when the ledger has it, the journal is closed. It stays, with what the slots now
//!    hold, as the record by which it can be undone.

use std::io;
use std::sync::Arc;

use lictor_capability::{Conflict, FileChange, Item};
use lictor_context::ExecutionId;
use lictor_executor::{
    Applied, ApplyError, ChangeApplier, GrantedChanges, RecoverError, Recovered, RollbackReport,
    Stuck,
};
use lictor_lock::Lease;
use lictor_workspace::Workspace;

use crate::compile;
use crate::fault;
use crate::journal::{self, Header, JournalItem, VERSION};
use crate::operation::{Hands, Operation, OperationError, differs, same};
use crate::recover;
use crate::rollback::roll_back;
use crate::stage::stage;
use crate::store::{TxDir, TxRoot};

/// The transactions of one workspace.
#[derive(Debug, Clone)]
pub struct Transactions {
    workspace: Arc<Workspace>,
}

impl Transactions {
    /// Over a workspace.
    #[must_use]
    pub fn new(workspace: Arc<Workspace>) -> Self {
        Self { workspace }
    }

    /// The workspace.
    #[must_use]
    pub fn workspace(&self) -> &Arc<Workspace> {
        &self.workspace
    }

    pub(crate) fn root(&self) -> io::Result<TxRoot> {
        TxRoot::open(&self.workspace)
    }
}

/// A transaction while it is being done.
struct Doing<'a> {
    workspace: &'a Workspace,
    root: TxRoot,
    tx: TxDir,
    execution: ExecutionId,
    items: Vec<JournalItem>,
    operations: Vec<(usize, Operation)>,
}

impl ChangeApplier for Transactions {
    fn apply(&self, granted: GrantedChanges) -> Result<Box<dyn Applied>, ApplyError> {
        let prepare = |error: io::Error| ApplyError::Prepare(error.to_string());
        let execution = granted.record().execution_id.clone();
        let root = self.root().map_err(prepare)?;
        let tx = root.create(&execution).map_err(prepare)?;
        let items = compile::items(&execution, &granted.changes().items);
        let mut doing = Doing {
            workspace: &self.workspace,
            root,
            tx,
            execution,
            items,
            operations: Vec::new(),
        };
        if let Err(error) = doing.prepare(&granted) {
            doing.discard();
            // The lease goes with `granted`; nothing is left, so it goes in good order.
            release(granted.into_lease());
            return Err(error);
        }
        if let Err(error) = doing.publish(granted.lease()) {
            let in_order = !matches!(error, ApplyError::Incomplete { .. });
            let lease = granted.into_lease();
            if in_order {
                release(lease);
            }
            return Err(error);
        }
        let files = granted.changes().files();
        let Doing { root, tx, execution, items, operations, .. } = doing;
        Ok(Box::new(Published {
            workspace: Arc::clone(&self.workspace),
            root,
            tx,
            execution,
            items,
            operations,
            files,
            lease: granted.into_lease(),
        }))
    }

    fn recover(&self, lease: &Lease) -> Result<Vec<Recovered>, RecoverError> {
        recover::recover(self, lease)
    }
}

impl Doing<'_> {
    fn hands(&self) -> Hands<'_> {
        Hands { workspace: self.workspace, root: &self.root, own: (&self.execution, &self.tx) }
    }

    /// Steps 1 to 4. When it fails, nothing was touched.
    fn prepare(&mut self, granted: &GrantedChanges) -> Result<(), ApplyError> {
        let prepare = |error: io::Error| ApplyError::Prepare(error.to_string());
        let conflicts = self.preflight()?;
        if !conflicts.is_empty() {
            return Err(ApplyError::Conflict(conflicts));
        }
        let changes: &[Item] = &granted.changes().items;
        for (item, planned) in changes.iter().zip(&self.items) {
            stage(self.workspace, &self.tx, item, planned)
                .map_err(|error| ApplyError::Prepare(error.to_string()))?;
        }
        let root = self.workspace.id();
        let header = Header {
            v: VERSION,
            root: (root.device, root.inode),
            token: granted.lease().token(),
            back_on_crash: granted.back_on_crash(),
            record: granted.record().clone(),
        };
        let text = journal::seal(&header, &self.items).map_err(|e| prepare(e.into()))?;
        self.tx.write_journal(&text).map_err(prepare)?;
        self.operations = compile::operations(&self.items);
        fault::point("barrier1.before").map_err(prepare)?;
        // A barrier that failed is never tried again: the kernel has dropped the pages.
        self.root.barrier().map_err(prepare)?;
        fault::point("barrier1.after").map_err(prepare)
    }

    /// Every path holds what was judged, and every kept slot what the journal says.
    fn preflight(&mut self) -> Result<Vec<Conflict>, ApplyError> {
        let mut conflicts = Vec::new();
        let mut inodes = Vec::with_capacity(self.items.len());
        for item in &self.items {
            match self.hands().look(item) {
                Ok(inode) => inodes.push(inode),
                Err(OperationError::Conflict(conflict)) => {
                    conflicts.push(conflict);
                    inodes.push(None);
                }
                Err(error) => return Err(ApplyError::Prepare(error.to_string())),
            }
        }
        for (item, inode) in self.items.iter_mut().zip(inodes) {
            item.inode = inode;
        }
        Ok(conflicts)
    }

    /// Steps 5 and 6.
    fn publish(&self, lease: &Lease) -> Result<(), ApplyError> {
        let hands = self.hands();
        for (n, (_, operation)) in self.operations.iter().enumerate() {
            // Fencing: whoever lost the lock must not write another byte.
            let published = match n % 64 {
                0 => lease.check().map_err(|error| (error.to_string(), None)),
                _ => Ok(()),
            }
            .and_then(|()| {
                hands.publish(operation).map_err(|error| match error {
                    OperationError::Conflict(conflict) => (conflict.to_string(), Some(conflict)),
                    other => (other.to_string(), None),
                })
            });
            if let Err((reason, conflict)) = published {
                // An operation that failed after its rename is part of what has to go back.
                let done = self.operations.get(..=n).unwrap_or_default();
                return Err(self.put_back(&hands, done, reason, conflict));
            }
        }
        let barrier = fault::point("barrier2.before").and_then(|()| self.root.barrier());
        match barrier {
            Ok(()) => Ok(()),
            Err(error) => {
                let stuck = self.items.iter().map(|item| Stuck {
                    path: item.path().to_owned(),
                    reason: "in place, but perhaps not durable".to_owned(),
                });
                let reason = format!("the barrier after publishing failed: {error}");
                let report = RollbackReport { restored: Vec::new(), stuck: stuck.collect() };
                Err(ApplyError::Incomplete { reason, report })
            }
        }
    }

    fn put_back(
        &self,
        hands: &Hands<'_>,
        done: &[(usize, Operation)],
        reason: String,
        conflict: Option<Conflict>,
    ) -> ApplyError {
        if let Err(error) = self.tx.append_journal(journal::ABORT, true) {
            tracing::warn!(%error, "the abort could not be noted; a recovery would roll forward");
        }
        let done = recover::really_done(hands, &self.items, done);
        let report = roll_back(hands, &self.items, &done);
        close_aborted(&self.root, &self.tx, &self.execution, &report);
        let conflicts = conflict.into_iter().collect();
        if report.is_complete() {
            ApplyError::RolledBack { reason, report, conflicts }
        } else {
            ApplyError::Incomplete { reason, report }
        }
    }

    fn discard(&self) {
        if let Err(error) = self.root.remove(&self.execution) {
            tracing::warn!(%error, "a discarded transaction is left for recovery to remove");
        }
    }
}

impl Hands<'_> {
    /// Preflight of one item; the old thing's inode, when there is one.
    fn look(&self, item: &JournalItem) -> Result<Option<u64>, OperationError> {
        let mut inode = None;
        if let (Some(from), Some(before)) = (&item.from, item.before) {
            let found = self.path_state(from)?;
            if !found.is_some_and(|found| same(&found, &before)) {
                return Err(differs(from, &before, found));
            }
            inode = self.path_inode(from)?;
        }
        if let (Some(stage), Some(after)) = (&item.stage, item.after)
            && stage.execution != *self.own.0
        {
            let found = self.slot_state(stage)?;
            if !found.is_some_and(|found| same(&found, &after)) {
                let path = item.path().to_owned();
                let source = io::Error::other("the undo record does not hold what it should");
                return Err(OperationError::Io { path, source });
            }
        }
        Ok(inode)
    }
}

/// Ends a transaction that was put back. What could not be put back keeps its folder.
pub(crate) fn close_aborted(
    root: &TxRoot,
    tx: &TxDir,
    execution: &ExecutionId,
    report: &RollbackReport,
) {
    let closed = root.barrier().and_then(|()| {
        if report.is_complete() {
            tx.append_journal(journal::ABORTED, true)?;
            root.remove(execution)
        } else {
            Ok(())
        }
    });
    if let Err(error) = closed {
        tracing::warn!(%error, "an aborted transaction is left for recovery to close");
    }
}

/// Changes that are in place; the lock is held until they are settled.
struct Published {
    workspace: Arc<Workspace>,
    root: TxRoot,
    tx: TxDir,
    execution: ExecutionId,
    items: Vec<JournalItem>,
    operations: Vec<(usize, Operation)>,
    files: Vec<FileChange>,
    lease: Lease,
}

impl Applied for Published {
    fn files(&self) -> Vec<FileChange> {
        self.files.clone()
    }

    fn verified(&mut self) -> Result<(), ApplyError> {
        self.tx
            .append_journal(journal::VERIFIED, true)
            .map_err(|error| ApplyError::Prepare(error.to_string()))
    }

    fn settle(self: Box<Self>) -> Result<(), ApplyError> {
        // Not synced: a recovery that does not find it notes it again.
        self.tx
            .append_journal(journal::DONE, false)
            .map_err(|error| ApplyError::Prepare(error.to_string()))?;
        release(self.lease);
        Ok(())
    }

    fn roll_back(self: Box<Self>, reason: &str) -> RollbackReport {
        tracing::info!(execution = %self.execution, reason, "rolling back");
        if let Err(error) = self.tx.append_journal(journal::ABORT, true) {
            tracing::warn!(%error, "the abort could not be noted; a crash now would roll forward");
        }
        let own = (&self.execution, &self.tx);
        let hands = Hands { workspace: &self.workspace, root: &self.root, own };
        let report = roll_back(&hands, &self.items, &self.operations);
        close_aborted(&self.root, &self.tx, &self.execution, &report);
        if report.is_complete() {
            release(self.lease);
        }
        report
    }
}

fn release(lease: Lease) {
    if let Err(error) = lease.release() {
        tracing::warn!(%error, "the lock was lost before it was given back");
    }
}
