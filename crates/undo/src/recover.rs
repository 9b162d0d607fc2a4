//! Recovery: settling what crashed transactions left. Safe to be killed at any point itself, and
//! to be done any number of times.
//!
//! Which operations were done is read off the slots and the inodes, never remembered: a slot that
//! holds the old thing's inode says that the exchange has happened.

use lictor_capability::State;
use lictor_context::ExecutionId;
use lictor_executor::{RecoverError, Recovered, Recovery, Stuck};
use lictor_lock::Lease;

use crate::behind::Earlier;
use crate::compile;
use crate::journal::{self, End, Journal, JournalError, JournalItem};
use crate::operation::{Hands, Operation, OperationError, same};
use crate::parent::AWAY;
use crate::rollback::roll_back;
use crate::standing::Standing;
use crate::store::{TxDir, TxRoot};
use crate::transaction::{Transactions, note_aborted};

pub(crate) fn recover(
    transactions: &Transactions,
    lease: &Lease,
) -> Result<Vec<Recovered>, RecoverError> {
    let fail = |error: std::io::Error| RecoverError(error.to_string());
    let root = transactions.root().map_err(fail)?;
    root.sweep().map_err(fail)?;
    let mut recovered = Vec::new();
    let all = root.list().map_err(fail)?;
    for (n, execution) in all.iter().enumerate() {
        let later = all.get(n + 1..).unwrap_or_default();
        lease.check().map_err(|error| RecoverError(error.to_string()))?;
        let recovery = Recover { transactions, root: &root, execution, later };
        if let Some(settled) = recovery.settle()? {
            recovered.push(settled);
        }
    }
    Ok(recovered)
}

/// Closes what was settled, when the ledger has it. Until then a recovery that is cut short is
/// done again, and finds everything that the ledger may not have.
pub(crate) fn close(
    transactions: &Transactions,
    lease: &Lease,
    recovered: &[Recovered],
) -> Result<(), RecoverError> {
    let root = transactions.root().map_err(|error| RecoverError(error.to_string()))?;
    for one in recovered {
        lease.check().map_err(|error| RecoverError(error.to_string()))?;
        let execution = &one.execution_id;
        let closed = match one.recovery {
            Recovery::Finished => root.get(execution).and_then(|tx| match tx {
                Some(tx) => tx.append_journal(journal::DONE, true),
                None => Ok(()),
            }),
            Recovery::PutBack | Recovery::Discarded => root.remove(execution),
            Recovery::Incomplete => Ok(()),
        };
        closed.map_err(|error| RecoverError(format!("{execution}: {error}")))?;
    }
    Ok(())
}

struct Recover<'a> {
    transactions: &'a Transactions,
    root: &'a TxRoot,
    execution: &'a ExecutionId,
    /// Those that came after it.
    later: &'a [ExecutionId],
}

impl Recover<'_> {
    fn settle(&self) -> Result<Option<Recovered>, RecoverError> {
        let fail = |error: std::io::Error| RecoverError(format!("{}: {error}", self.execution));
        let tx = self.root.get(self.execution).map_err(fail)?;
        let text = match &tx {
            // Most are, and they grow with what they changed.
            Some(tx) if tx.journal_ends(journal::DONE).map_err(fail)? => return Ok(None),
            Some(tx) => tx.read_journal().map_err(fail)?,
            None => None,
        };
        let (Some(tx), Some(text)) = (tx, text) else {
            return Ok(Some(self.never_begun()));
        };
        let journal = match journal::parse(&text) {
            Ok(journal) => journal,
            Err(JournalError::NotCommitted) => return Ok(Some(self.never_begun())),
            Err(error) => return Err(RecoverError(format!("{}: {error}", self.execution))),
        };
        match journal.end {
            End::Done => Ok(None),
            End::Aborted => Ok(Some(Recovered {
                execution_id: self.execution.clone(),
                recovery: Recovery::PutBack,
                record: Some(journal.header.record),
                stuck: Vec::new(),
            })),
            End::Open | End::Aborting => self.resolve(&tx, journal).map(Some),
        }
    }

    /// It was never decided: what was prepared goes when it is closed.
    fn never_begun(&self) -> Recovered {
        let (execution_id, recovery) = (self.execution.clone(), Recovery::Discarded);
        Recovered { execution_id, recovery, record: None, stuck: Vec::new() }
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
        let means = journal.header.means;
        let hands = Hands { workspace, root: self.root, own: (self.execution, tx), means };
        let operations = compile::operations(&journal.items);
        let back = journal.end == End::Aborting || journal.header.back_on_crash;
        let (recovery, stuck) = if back {
            self.put_back(&hands, tx, &journal.items, &operations)
        } else if journal.header.lazy
            && self.is_behind(&Earlier { items: &journal.items, operations: &operations })?
        {
            // Only its line was lost. What the later one has made of its paths is none of its own.
            self.made_durable(Vec::new())
        } else {
            self.finish(&hands, tx, &journal, &operations)
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
        let mut report = roll_back(hands, items, operations);
        note_aborted(self.root, tx, self.execution, &mut report);
        let recovery = if report.is_complete() { Recovery::PutBack } else { Recovery::Incomplete };
        (recovery, report.stuck)
    }

    /// Does what is still to be done. When somebody has changed such a path since, nothing of
    /// theirs is touched, and everything goes back instead.
    fn finish(
        &self,
        hands: &Hands<'_>,
        tx: &TxDir,
        journal: &Journal,
        operations: &[(usize, Operation)],
    ) -> (Recovery, Vec<Stuck>) {
        let items = &journal.items;
        let mut left = Vec::new();
        // What takes two calls here, an undo may have half put back already.
        let mut halves = operations.iter().filter(|_| journal.header.lazy);
        let whole = halves.try_for_each(|(_, operation)| match operation {
            Operation::Take { path, slot, .. } => hands.finish_put(path, slot),
            _ => Ok(()),
        });
        let seen = match whole.and_then(|()| Seen::look(hands, items, operations)) {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!(%error, execution = %self.execution, "cannot be looked at");
                return (Recovery::Incomplete, vec![self.stuck(&error.to_string())]);
            }
        };
        if seen.broken && !seen.begun {
            // The crash came before the first barrier had ended, so what was staged is not whole;
            // and nothing was touched yet. Noted durably, so that a later recovery does not judge
            // it anew, by what others have made of the paths since.
            return match tx.append_journal(journal::ABORTED, true) {
                Ok(()) => (Recovery::Discarded, Vec::new()),
                Err(error) => (Recovery::Incomplete, vec![self.stuck(&error.to_string())]),
            };
        }
        // Whether that was ever done is only to be seen where it was done.
        if !seen.begun && !seen.away.is_empty() {
            return (Recovery::Incomplete, seen.away);
        }
        if seen.broken || seen.foreign {
            return self.put_back(hands, tx, items, operations);
        }
        for (index, operation) in seen.todo {
            let item = items.get(*index).filter(|_| journal.header.lazy);
            let mended = item.map_or(Ok(()), |item| mode_before_move(hands, item, operation));
            if let Err(error) = mended.and_then(|()| hands.publish(operation)) {
                // Perhaps somebody was told that it stands: then theirs stays, and so does the rest.
                if journal.header.lazy
                    && let OperationError::Conflict(conflict) = &error
                {
                    let (path, reason) = (conflict.path.clone(), error.to_string());
                    left.push(Stuck { path, reason });
                    continue;
                }
                tracing::warn!(%error, execution = %self.execution, "cannot be finished; putting it back");
                return self.put_back(hands, tx, items, operations);
            }
        }
        self.made_durable(left)
    }

    fn made_durable(&self, left: Vec<Stuck>) -> (Recovery, Vec<Stuck>) {
        match self.root.barrier() {
            Ok(()) => (Recovery::Finished, left),
            Err(error) => (Recovery::Incomplete, vec![self.stuck(&error.to_string())]),
        }
    }

    /// Whether a later transaction has begun to publish: its first barrier had ended then, and with
    /// it all that this one did was durable.
    fn is_behind(&self, earlier: &Earlier<'_>) -> Result<bool, RecoverError> {
        for execution in self.later {
            let fail =
                |error: &dyn std::fmt::Display| RecoverError(format!("{execution}: {error}"));
            let Some(tx) = self.root.get(execution).map_err(|error| fail(&error))? else {
                continue;
            };
            let text = tx.read_journal().map_err(|error| fail(&error))?.unwrap_or_default();
            let Ok(journal) = journal::parse(&text) else { continue };
            if journal.end == End::Aborted {
                continue;
            }
            let (workspace, means) = (self.transactions.workspace(), journal.header.means);
            let hands = Hands { workspace, root: self.root, own: (execution, &tx), means };
            for (index, operation) in compile::operations(&journal.items) {
                let Some(item) = journal.items.get(index) else { continue };
                if earlier.is_behind(&hands, item, &operation).map_err(|error| fail(&error))? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn stuck(&self, reason: &str) -> Stuck {
        let path = format!(".lictor/tx/{}", self.execution);
        Stuck { path, reason: reason.to_owned() }
    }
}

/// Of a rename with another mode, the mode may be on the disk and the rename not; and a half-done undo
/// leaves the same: the thing is where it was, and its mode is still to go back. It gets the mode that
/// it had first, and then goes the whole way.
fn mode_before_move(
    hands: &Hands<'_>,
    item: &JournalItem,
    operation: &Operation,
) -> Result<(), OperationError> {
    let mode = |state: Option<State>| state.and_then(|state| state.mode());
    let (Operation::Take { path, .. }, Some(before), Some(after)) =
        (operation, mode(item.before), mode(item.after))
    else {
        return Ok(());
    };
    let changes = item.goes_by_slot() && !item.is_directory() && before != after;
    if !changes || hands.path_mode(path, item.inode)? != Some(after) {
        return Ok(());
    }
    let (path, inode) = (path.clone(), item.inode);
    let back = Operation::Chmod { path, inode, before: after, after: before, if_there: false };
    hands.publish(&back)
}

/// What a crash left of a transaction.
#[derive(Default)]
struct Seen<'a> {
    todo: Vec<&'a (usize, Operation)>,
    /// Something was done.
    begun: bool,
    /// Something of somebody else's was taken and never given back.
    foreign: bool,
    /// Something that is still to arrive is not whole, or is nowhere.
    broken: bool,
    /// What was put somewhere, or lost, and whose directory is not there to tell which.
    away: Vec<Stuck>,
}

impl<'a> Seen<'a> {
    fn look(
        hands: &Hands<'_>,
        items: &[JournalItem],
        operations: &'a [(usize, Operation)],
    ) -> Result<Self, OperationError> {
        let mut seen = Self::default();
        let mut lost = false;
        for step in operations {
            let Some(item) = items.get(step.0) else { continue };
            match hands.standing(item, &step.1)? {
                Standing::Todo => {
                    seen.todo.push(step);
                    seen.broken |= !is_whole(hands, item, &step.1)?;
                }
                Standing::Done => seen.begun = true,
                Standing::Foreign => {
                    seen.begun = true;
                    seen.foreign = true;
                }
                Standing::Lost => match &item.to {
                    Some(to) if hands.is_away(item, to, item.arriving_inode())? => {
                        let (path, reason) = (to.to_string(), AWAY.to_owned());
                        seen.away.push(Stuck { path, reason });
                    }
                    _ => lost = true,
                },
            }
        }
        // The first barrier had ended if anything was done, and then it was whole: whoever took it
        // away since did so at its path.
        seen.broken |= lost && !seen.begun;
        Ok(seen)
    }
}

/// Whether the slot of an operation that is still to be done holds what it should.
fn is_whole(
    hands: &Hands<'_>,
    item: &JournalItem,
    operation: &Operation,
) -> Result<bool, OperationError> {
    let (Operation::Put { slot, .. } | Operation::Swap { slot, .. }) = operation else {
        return Ok(true);
    };
    let (Some(_), Some(after)) = (&item.stage, item.after) else { return Ok(true) };
    Ok(hands.slot_state(slot)?.is_some_and(|found| same(&found, &after)))
}
