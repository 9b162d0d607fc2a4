//! Recovery: settling what crashed transactions left. Safe to be killed at any point itself, and
//! to be done any number of times.
//!
//! Which operations were done is read off the slots and the inodes, never remembered: a slot that
//! holds the old thing's inode says that the exchange has happened.

use lictor_context::ExecutionId;
use lictor_executor::{RecoverError, Recovered, Recovery, Stuck};
use lictor_lock::Lease;

use crate::compile;
use crate::fault;
use crate::journal::{self, End, Journal, JournalError, JournalItem};
use crate::operation::{Hands, Operation, OperationError};
use crate::rollback::roll_back;
use crate::store::{TxDir, TxRoot};
use crate::transaction::{Transactions, close_aborted};

pub(crate) fn recover(
    transactions: &Transactions,
    lease: &Lease,
) -> Result<Vec<Recovered>, RecoverError> {
    let fail = |error: std::io::Error| RecoverError(error.to_string());
    lease.check().map_err(|error| RecoverError(error.to_string()))?;
    let root = transactions.root().map_err(fail)?;
    root.sweep().map_err(fail)?;
    let mut recovered = Vec::new();
    for execution in root.list().map_err(fail)? {
        let recovery = Recover { transactions, root: &root, execution: &execution };
        if let Some(settled) = recovery.settle()? {
            recovered.push(settled);
        }
    }
    Ok(recovered)
}

struct Recover<'a> {
    transactions: &'a Transactions,
    root: &'a TxRoot,
    execution: &'a ExecutionId,
}

impl Recover<'_> {
    fn settle(&self) -> Result<Option<Recovered>, RecoverError> {
        let fail = |error: std::io::Error| RecoverError(format!("{}: {error}", self.execution));
        let tx = self.root.get(self.execution).map_err(fail)?;
        let text = match &tx {
            Some(tx) => tx.read_journal().map_err(fail)?,
            None => None,
        };
        let (Some(tx), Some(text)) = (tx, text) else {
            return self.discard().map(Some);
        };
        let journal = match journal::parse(&text) {
            Ok(journal) => journal,
            Err(JournalError::NotCommitted) => return self.discard().map(Some),
            Err(error) => return Err(RecoverError(format!("{}: {error}", self.execution))),
        };
        match journal.end {
            End::Done => Ok(None),
            End::Aborted => {
                // Only the removal was cut short.
                self.root.remove(self.execution).map_err(fail)?;
                Ok(None)
            }
            End::Open | End::Aborting => self.resolve(&tx, journal).map(Some),
        }
    }

    /// It was never decided: what was prepared goes.
    fn discard(&self) -> Result<Recovered, RecoverError> {
        let removed = self.root.remove(self.execution);
        removed.map_err(|error| RecoverError(format!("{}: {error}", self.execution)))?;
        let (execution_id, recovery) = (self.execution.clone(), Recovery::Discarded);
        Ok(Recovered { execution_id, recovery, record: None, stuck: Vec::new() })
    }

    fn resolve(&self, tx: &TxDir, journal: Journal) -> Result<Recovered, RecoverError> {
        let workspace = self.transactions.workspace();
        let id = workspace.id();
        if journal.header.root.1 != id.inode {
            return Err(RecoverError(format!(
                "{}: its journal belongs to another folder (this workspace was copied or \
                 restored); remove .lictor/tx/{} to go on without it",
                self.execution, self.execution
            )));
        }
        let hands = Hands { workspace, root: self.root, own: (self.execution, tx) };
        let operations = compile::operations(&journal.items);
        let back = journal.end == End::Aborting || journal.header.back_on_crash;
        let (recovery, stuck) = if back {
            self.put_back(&hands, tx, &journal.items, &operations)
        } else {
            self.finish(&hands, tx, &journal.items, &operations)
        };
        Ok(Recovered {
            execution_id: self.execution.clone(),
            recovery,
            record: Some(journal.header.record),
            stuck,
        })
    }

    fn put_back(
        &self,
        hands: &Hands<'_>,
        tx: &TxDir,
        items: &[JournalItem],
        operations: &[(usize, Operation)],
    ) -> (Recovery, Vec<Stuck>) {
        if let Err(error) = tx.append_journal(journal::ABORT, true) {
            return (Recovery::Incomplete, vec![self.stuck(&error.to_string())]);
        }
        let done = really_done(hands, items, operations);
        let report = roll_back(hands, items, &done);
        close_aborted(self.root, tx, self.execution, &report);
        let recovery = if report.is_complete() { Recovery::PutBack } else { Recovery::Incomplete };
        (recovery, report.stuck)
    }

    /// Does what is still to be done. When somebody has changed such a path since, nothing of
    /// theirs is touched, and everything goes back instead.
    fn finish(
        &self,
        hands: &Hands<'_>,
        tx: &TxDir,
        items: &[JournalItem],
        operations: &[(usize, Operation)],
    ) -> (Recovery, Vec<Stuck>) {
        let done = really_done(hands, items, operations);
        for step in operations.iter().filter(|step| !done.contains(step)) {
            if let Err(error) = hands.publish(&step.1) {
                tracing::warn!(%error, execution = %self.execution, "cannot be finished; putting it back");
                return self.put_back(hands, tx, items, operations);
            }
        }
        let closed = fault::point("recover.barrier")
            .and_then(|()| self.root.barrier())
            .and_then(|()| tx.append_journal(journal::DONE, true));
        match closed {
            Ok(()) => (Recovery::Finished, Vec::new()),
            Err(error) => (Recovery::Incomplete, vec![self.stuck(&error.to_string())]),
        }
    }

    fn stuck(&self, reason: &str) -> Stuck {
        let path = format!(".lictor/tx/{}", self.execution);
        Stuck { path, reason: reason.to_owned() }
    }
}

/// Those of the operations whose effect is in the workspace.
pub(crate) fn really_done(
    hands: &Hands<'_>,
    items: &[JournalItem],
    operations: &[(usize, Operation)],
) -> Vec<(usize, Operation)> {
    operations
        .iter()
        .filter(|(index, operation)| {
            items.get(*index).is_some_and(|item| {
                // What cannot be looked at counts as not done: it is then published or reversed
                // only if the workspace still holds exactly what that needs.
                is_done(hands, item, operation).unwrap_or(false)
            })
        })
        .cloned()
        .collect()
}

fn is_done(
    hands: &Hands<'_>,
    item: &JournalItem,
    operation: &Operation,
) -> Result<bool, OperationError> {
    let arrived = |item: &JournalItem| match (&item.to, item.inode) {
        (Some(to), Some(inode)) => Ok(hands.path_inode(to)? == Some(inode)),
        _ => Ok(false),
    };
    Ok(match operation {
        Operation::Put { slot, .. } if item.goes_by_slot() => {
            hands.slot_inode(slot)?.is_none() && arrived(item)?
        }
        Operation::Put { slot, .. } => hands.slot_inode(slot)?.is_none(),
        Operation::Take { slot, .. } if item.goes_by_slot() => {
            hands.slot_inode(slot)?.is_some() || arrived(item)?
        }
        Operation::Take { slot, .. } => hands.slot_inode(slot)?.is_some(),
        Operation::Swap { slot, .. } => {
            item.inode.is_some() && hands.slot_inode(slot)? == item.inode
        }
        Operation::Move { .. } => arrived(item)?,
        Operation::Chmod { path, after, .. } => {
            hands.path_state(path)?.and_then(|state| state.mode()) == Some(*after)
        }
    })
}
