//! From step 6 on: what is in place, or was put back, until the ledger has it.

use lictor_capability::FileChange;
use lictor_context::ExecutionId;
use lictor_executor::{Applied, ApplyError, RollbackReport};
use lictor_lock::Lease;

use crate::journal::{self, JournalItem};
use crate::means::Means;
use crate::operation::{Hands, Operation};
use crate::rollback::roll_back;
use crate::store::{TxDir, TxRoot};
use crate::transaction::{Transactions, all_stuck, note_aborted, release};

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is in place.
    Stands,
    /// It was put back.
    Back,
    /// Neither, or it is not known which.
    Stuck,
}

/// Changes that are in place or were put back; the lock is held until they are settled.
pub(crate) struct Published {
    pub(crate) transactions: Transactions,
    pub(crate) root: TxRoot,
    pub(crate) means: Means,
    pub(crate) tx: TxDir,
    pub(crate) execution: ExecutionId,
    pub(crate) items: Vec<JournalItem>,
    pub(crate) operations: Vec<(usize, Operation)>,
    pub(crate) files: Vec<FileChange>,
    pub(crate) lease: Lease,
    pub(crate) ending: Ending,
}

impl Published {
    /// Step 7, barrier 2: behind it, what is in place needs no recovery.
    pub(crate) fn make_durable(&mut self) -> Result<(), ApplyError> {
        // Acknowledged early, it waits for the barrier of a later change.
        if self.transactions.is_lazy() {
            return Ok(());
        }
        self.root.barrier().map_err(|error| {
            self.ending = Ending::Stuck;
            let reason = format!("the barrier after publishing failed: {error}");
            let stuck = all_stuck(&self.items, "in place, but perhaps not durable");
            let report = RollbackReport { restored: Vec::new(), stuck };
            ApplyError::NotDurable { reason, report }
        })
    }

    /// Whoever lost the lock does not write into the journal any more: somebody else may be
    /// settling this very transaction.
    fn note(&self, line: &str, durable: bool) -> Result<(), ApplyError> {
        self.lease.check().map_err(|error| ApplyError::Prepare(error.to_string()))?;
        self.tx
            .append_journal(line, durable)
            .map_err(|error| ApplyError::Prepare(error.to_string()))
    }
}

impl Applied for Published {
    fn files(&self) -> Vec<FileChange> {
        self.files.clone()
    }

    fn verified(&mut self) -> Result<(), ApplyError> {
        // The barrier makes the line durable as well, so it is synced only where none comes.
        self.note(journal::VERIFIED, self.transactions.is_lazy())?;
        self.make_durable()
    }

    fn settle(self: Box<Self>) -> Result<(), ApplyError> {
        match self.ending {
            // Not synced: a recovery that does not find it notes it again.
            // Acknowledged early, it is not noted: the line could reach the disk before the changes.
            Ending::Stands if self.transactions.is_lazy() => {
                self.lease.check().map_err(|error| ApplyError::Prepare(error.to_string()))?;
                if let Err(error) = self.root.note_behind(&self.execution) {
                    tracing::warn!(%error, "closing was left to recovery");
                }
            }
            Ending::Stands => self.note(journal::DONE, false)?,
            Ending::Back => {
                self.lease.check().map_err(|error| ApplyError::Prepare(error.to_string()))?;
                if let Err(error) = self.root.remove(&self.execution) {
                    tracing::warn!(%error, "an aborted transaction is left for recovery to remove");
                }
            }
            // The lock goes as that of somebody who crashed: whoever has it next recovers.
            Ending::Stuck => return Ok(()),
        }
        release(self.lease);
        Ok(())
    }

    fn roll_back(&mut self, reason: &str) -> RollbackReport {
        self.ending = Ending::Stuck;
        tracing::info!(execution = %self.execution, reason, "rolling back");
        if let Err(error) = self.lease.check() {
            let why = format!("left to whoever has the lock now: {error}");
            return RollbackReport { restored: Vec::new(), stuck: all_stuck(&self.items, &why) };
        }
        if let Err(error) = self.tx.append_journal(journal::ABORT, true) {
            tracing::warn!(%error, "the abort could not be noted; a crash now would roll forward");
        }
        let own = (&self.execution, &self.tx);
        let means = self.means;
        let workspace = self.transactions.workspace();
        let hands = Hands { workspace, root: &self.root, own, means };
        let mut report = roll_back(&hands, &self.items, &self.operations);
        note_aborted(&self.root, &self.tx, &self.execution, &mut report);
        if report.is_complete() {
            self.ending = Ending::Back;
        }
        report
    }
}
