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
//! 6. **Checks**, where something still has to look at it: `verified`, or it all goes back.
//! 7. **Barrier 2**: one `syncfs`. From here on it is durable without a recovery.
//! 8. **Settle**: when the ledger has it, the journal is closed. It stays, with what the slots now
//!    hold, as the record by which it can be undone.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, OnceLock};

use lictor_capability::{Conflict, ConflictReason, Item};
use lictor_context::{ExecutionId, WorkspacePath};
use lictor_executor::{
    Applied, ApplyError, ChangeApplier, ExecutionRecord, GrantedChanges, NotApplied, RecoverError,
    Recovered, RollbackReport, StagedTree, Stuck, ToStage, Unsettled,
};
use lictor_lock::Lease;
use lictor_workspace::Workspace;

use crate::bases;
use crate::compile;
use crate::fault;
use crate::folders;
use crate::journal::{self, Header, JournalItem, VERSION};
use crate::leftover::{self, Undos};
use crate::means::Means;
use crate::operation::{Hands, Operation, OperationError, conflict, differs, io_error, same};
use crate::parent::{Place, arriving};
use crate::published::{Ending, Published};
use crate::recover;
use crate::rollback::roll_back;
use crate::stage::{Attributes, StageError, stage};
use crate::store::{SlotRef, TxDir, TxRoot};
use crate::view;

/// After so many operations it is looked whether the lock is still held.
const FENCED_EVERY: usize = 64;

/// The transactions of one workspace.
#[derive(Debug, Clone)]
pub struct Transactions {
    workspace: Arc<Workspace>,
    /// How things change places on this mount, once that was tried.
    means: Arc<OnceLock<Means>>,
    durability: Durability,
    filter: Option<Arc<dyn RecordFilter>>,
    /// What was read of undos.
    undos: Arc<Undos>,
}

/// What of an execution's record its journal keeps: journals lie in the workspace for as long as what
/// was done can be undone.
pub trait RecordFilter: std::fmt::Debug + Send + Sync {
    /// The record as it is written into the journal. What identifies the execution has to stay.
    fn kept(&self, record: ExecutionRecord) -> ExecutionRecord;
}

/// When a change is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Behind the second barrier: it is durable, without a recovery.
    #[default]
    Strict,
    /// Behind the first barrier: that it will be there is durable, and a recovery may have to
    /// finish it after a power cut. The journal is closed behind the barrier of a later change.
    Lazy,
}

impl Transactions {
    /// Over a workspace.
    #[must_use]
    pub fn new(workspace: Arc<Workspace>) -> Self {
        let (means, undos) = (Arc::default(), Arc::default());
        Self { workspace, means, durability: Durability::Strict, filter: None, undos }
    }

    /// Acknowledges changes this early.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Leaves things out of records before they are written into journals; without a filter, they are
    /// kept whole.
    #[must_use]
    pub fn filter(mut self, filter: Arc<dyn RecordFilter>) -> Self {
        self.filter = Some(filter);
        self
    }

    fn kept(&self, record: ExecutionRecord) -> ExecutionRecord {
        match &self.filter {
            Some(filter) => filter.kept(record),
            None => record,
        }
    }

    pub(crate) fn is_lazy(&self) -> bool {
        self.durability == Durability::Lazy
    }

    /// Closes what was acknowledged early, by whichever process, behind a barrier that has passed.
    fn close_behind(root: &TxRoot) {
        let closed = root.take_behind().and_then(|behind| {
            behind.iter().try_for_each(|execution| match root.get(execution)? {
                Some(tx) => tx.append_journal(journal::DONE, false),
                None => Ok(()),
            })
        });
        if let Err(error) = closed {
            tracing::warn!(%error, "closing was left to recovery");
        }
    }

    /// The workspace.
    #[must_use]
    pub fn workspace(&self) -> &Arc<Workspace> {
        &self.workspace
    }

    pub(crate) fn undos(&self) -> &Undos {
        &self.undos
    }

    pub(crate) fn root(&self) -> io::Result<TxRoot> {
        TxRoot::open(&self.workspace)
    }

    /// The folder of transactions, and how things change places on its mount.
    pub(crate) fn probed_root(&self) -> io::Result<(TxRoot, Means)> {
        let root = self.root()?;
        if let Some(means) = self.means.get() {
            return Ok((root, *means));
        }
        let means = root.probe()?;
        if !means.exchanges() {
            tracing::warn!(%means, "this mount cannot exchange two names: the fallback is used");
        }
        Ok((root, *self.means.get_or_init(|| means)))
    }
}

/// A transaction while it is being done.
pub(crate) struct Doing<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) transactions: &'a Transactions,
    pub(crate) root: TxRoot,
    pub(crate) means: Means,
    pub(crate) tx: TxDir,
    pub(crate) execution: ExecutionId,
    pub(crate) items: Vec<JournalItem>,
    pub(crate) operations: Vec<(usize, Operation)>,
    /// Of each item, what the file has that it replaces.
    pub(crate) replaced: Vec<Option<Attributes>>,
}

impl ChangeApplier for Transactions {
    fn apply(&self, granted: GrantedChanges) -> Result<Box<dyn Applied>, NotApplied> {
        let prepare = |error: io::Error| ApplyError::Prepare(error.to_string());
        let root = match self.probed_root() {
            Ok(root) => root,
            Err(error) => return Err(in_good_order(granted.into_lease(), prepare(error))),
        };
        let mut doing = match Doing::begin(self, root, &granted) {
            Ok(doing) => doing,
            Err((error, true)) => return Err(in_good_order(granted.into_lease(), prepare(error))),
            Err((error, false)) => return Err(prepare(error).into()),
        };
        if let Err(error) = doing.prepare(&granted) {
            return Err(match doing.discard() {
                Ok(()) => in_good_order(granted.into_lease(), error),
                Err(left) => {
                    let error = doing.still_there(&error, &left);
                    let left = doing.into_published(granted, Ending::Stuck);
                    NotApplied { error, unsettled: Some(Unsettled::new(Box::new(left))) }
                }
            });
        }
        // Everything before the barrier that has just passed is durable as well.
        Self::close_behind(&doing.root);
        match doing.publish(granted.lease()) {
            Ok(()) => {
                stands(granted.back_on_crash(), doing.into_published(granted, Ending::Stands))
            }
            Err(error) => {
                let ending = match error {
                    ApplyError::RolledBack { .. } => Ending::Back,
                    _ => Ending::Stuck,
                };
                let left = doing.into_published(granted, ending);
                Err(NotApplied { error, unsettled: Some(Unsettled::new(Box::new(left))) })
            }
        }
    }

    fn recover(&self, lease: &Lease) -> Result<Vec<Recovered>, RecoverError> {
        recover::recover(self, lease)
    }

    fn close(&self, lease: &Lease, recovered: &[Recovered]) -> Result<(), RecoverError> {
        recover::close(self, lease, recovered)
    }

    fn stage_tree(&self, wish: &ToStage) -> Result<Box<dyn StagedTree>, ApplyError> {
        view::stage_tree(self, wish)
    }
}

impl<'a> Doing<'a> {
    /// Makes the transaction's folder. An error says whether nothing of it is left.
    fn begin(
        transactions: &'a Transactions,
        (root, means): (TxRoot, Means),
        granted: &GrantedChanges,
    ) -> Result<Self, (io::Error, bool)> {
        let execution = granted.record().execution_id.clone();
        let undo_of = &granted.record().undo_of;
        let made = homes(&root, undo_of).and_then(|mut homes| {
            leftover::homes(transactions, undo_of, &granted.changes().items, &mut homes)?;
            Ok((root.create(&execution)?, homes))
        });
        let (tx, homes) = match made {
            Ok(made) => made,
            Err(error) => {
                let removed = root.remove(&execution).is_ok();
                return Err((error, removed));
            }
        };
        let items = compile::items(&execution, &granted.changes().items, &homes, means);
        let workspace: &Workspace = &transactions.workspace;
        let (operations, replaced) = (Vec::new(), Vec::new());
        Ok(Self {
            workspace,
            transactions,
            root,
            means,
            tx,
            execution,
            items,
            operations,
            replaced,
        })
    }

    fn into_published(self, granted: GrantedChanges, ending: Ending) -> Published {
        let files = granted.changes().files();
        let Doing { transactions, root, means, tx, execution, items, operations, .. } = self;
        Published {
            transactions: transactions.clone(),
            root,
            means,
            tx,
            execution,
            items,
            operations,
            files,
            lease: granted.into_lease(),
            ending,
        }
    }

    pub(crate) fn hands(&self) -> Hands<'_> {
        let own = (&self.execution, &self.tx);
        Hands { workspace: self.workspace, root: &self.root, own, means: self.means }
    }

    /// Steps 1 to 4. When it fails, nothing was touched.
    fn prepare(&mut self, granted: &GrantedChanges) -> Result<(), ApplyError> {
        let prepare = |error: io::Error| ApplyError::Prepare(error.to_string());
        let mut conflicts = self.preflight()?;
        let undo_of = &granted.record().undo_of;
        let outdated = folders::outdated(self.transactions, undo_of, granted.changes());
        conflicts.extend(outdated.map_err(|error| ApplyError::Prepare(error.to_string()))?);
        if !conflicts.is_empty() {
            return Err(ApplyError::Conflict(conflicts));
        }
        let changes: &[Item] = &granted.changes().items;
        self.stage_all(self.workspace, changes)
            .map_err(|error| ApplyError::Prepare(error.to_string()))?;
        self.note_staged()?;
        bases::keep(&self.root, &self.tx, changes);
        let root = self.workspace.id();
        let header = Header {
            v: VERSION,
            root: (root.device, root.inode),
            token: granted.lease().token(),
            back_on_crash: granted.back_on_crash(),
            means: self.means,
            lazy: self.transactions.is_lazy(),
            record: self.transactions.kept(granted.record().clone()),
        };
        let text = journal::seal(&header, &self.items).map_err(|e| prepare(e.into()))?;
        self.tx.write_journal(&text).map_err(prepare)?;
        self.operations = compile::operations(&self.items);
        // A barrier that failed is never tried again: the kernel has dropped the pages.
        self.root.barrier().map_err(prepare)?;
        fault::point("barrier1.after").map_err(prepare)
    }

    /// Makes the new things in their slots; what is copied is copied from `sources`.
    pub(crate) fn stage_all(
        &self,
        sources: &Workspace,
        changes: &[Item],
    ) -> Result<(), StageError> {
        let replaced = self.replaced.iter().map(Option::as_ref);
        for ((item, planned), replaced) in changes.iter().zip(&self.items).zip(replaced) {
            stage(sources, &self.tx, (item, replaced), planned)?;
        }
        Ok(())
    }

    /// Every path holds what was judged, and every kept slot what the journal says.
    pub(crate) fn preflight(&mut self) -> Result<Vec<Conflict>, ApplyError> {
        let mut conflicts = Vec::new();
        let mut found = Vec::with_capacity(self.items.len());
        let leaving = self.items.iter().filter(|item| item.from != item.to);
        let leaving: HashSet<&WorkspacePath> =
            leaving.filter_map(|item| item.from.as_ref()).collect();
        let mut replaced = Vec::with_capacity(self.items.len());
        for item in &self.items {
            match self.look(item, &leaving) {
                Ok((ends, attributes)) => {
                    found.push(ends);
                    replaced.push(attributes);
                }
                Err(OperationError::Conflict(conflict)) => {
                    conflicts.push(conflict);
                    found.push([Place::default(); 2]);
                    replaced.push(None);
                }
                Err(error @ OperationError::Kept { .. }) => {
                    return Err(ApplyError::Kept(error.to_string()));
                }
                Err(error) => return Err(ApplyError::Prepare(error.to_string())),
            }
        }
        for (item, [from, to]) in self.items.iter_mut().zip(found) {
            item.inode = from.inode;
            item.from_dir = from.dir;
            item.to_dir = to.dir;
        }
        self.replaced = replaced;
        Ok(conflicts)
    }

    /// Preflight of one item; what stands at the path that it leaves and at the one it comes to, and
    /// what the file has that something new takes the place of.
    fn look(
        &self,
        item: &JournalItem,
        leaving: &HashSet<&WorkspacePath>,
    ) -> Result<([Place; 2], Option<Attributes>), OperationError> {
        let hands = self.hands();
        let mut replaced = None;
        let mut ends = [Place::default(); 2];
        let [at_from, at_to] = &mut ends;
        if let (Some(from), Some(before)) = (&item.from, item.before) {
            let (place, file) = hands.place_and_file(from)?;
            *at_from = place;
            let found = at_from.state;
            if !found.is_some_and(|found| item.is_like(&found, &before)) {
                return Err(differs(from, &before, found));
            }
            let new = item.stage.as_ref().is_some_and(|slot| slot.execution == self.execution);
            let file = file.filter(|_| new).map(|file| Attributes::of(&file));
            replaced = file.transpose().map_err(|error| io_error(from, error))?;
        }
        match &item.to {
            Some(to) if item.from.as_ref() != Some(to) => {
                *at_to = hands.bare_place(to)?;
                if !leaving.contains(to) && at_to.inode.is_some() {
                    return Err(conflict(to, ConflictReason::Exists, None, None));
                }
                if at_to.only_grows {
                    let why = "its directory is append-only (chattr +a), and what is put there \
                               could never be taken back";
                    return Err(io_error(to, io::Error::other(why)));
                }
            }
            Some(_) => *at_to = *at_from,
            None => {}
        }
        if let (Some(stage), Some(after)) = (&item.stage, item.after)
            && stage.execution != self.execution
        {
            let found = hands.slot_state(stage)?;
            if !found.is_some_and(|found| same(&found, &after)) {
                let path = item.path().to_owned();
                let why = format!(
                    "what an undo would put back is kept in `.lictor/tx/{}/s/{}`, and that {}",
                    stage.execution,
                    stage.name(),
                    if found.is_some() { "was changed since" } else { "is gone" },
                );
                return Err(OperationError::Kept { path, why });
            }
        }
        Ok((ends, replaced))
    }

    /// Notes the inodes of what will arrive, and of new directories that something arrives in.
    pub(crate) fn note_staged(&mut self) -> Result<(), ApplyError> {
        let mut inodes = Vec::with_capacity(self.items.len());
        for item in &self.items {
            let inode = self.hands().staged_inode(item);
            inodes.push(inode.map_err(|error| ApplyError::Prepare(error.to_string()))?);
        }
        for (item, inode) in self.items.iter_mut().zip(inodes) {
            item.new_inode = inode;
        }
        let arriving = arriving(&self.items);
        let inode = |dir: &WorkspacePath| arriving.get(dir).map(|made| made.arriving_inode());
        let new_dirs: Vec<_> = self
            .items
            .iter()
            .map(|item| {
                item.to.as_ref().and_then(WorkspacePath::parent).and_then(|dir| inode(&dir))
            })
            .collect();
        for (item, new_dir) in self.items.iter_mut().zip(new_dirs) {
            item.to_dir = new_dir.unwrap_or(item.to_dir);
        }
        Ok(())
    }

    /// Step 5.
    fn publish(&self, lease: &Lease) -> Result<(), ApplyError> {
        let hands = self.hands();
        for (n, (_, operation)) in self.operations.iter().enumerate() {
            // Fencing: whoever lost the lock must not write another byte, not even to put things
            // back. Whoever has it settles this transaction first of all.
            if n % FENCED_EVERY == 0
                && let Err(error) = lease.check()
            {
                return Err(self.incomplete(error.to_string(), "left to whoever has the lock now"));
            }
            if let Err(error) = hands.publish(operation) {
                // An operation that failed after its rename is part of what has to go back.
                let begun = self.operations.get(..=n).unwrap_or_default();
                return Err(self.put_back(&hands, begun, error));
            }
        }
        Ok(())
    }

    fn put_back(
        &self,
        hands: &Hands<'_>,
        begun: &[(usize, Operation)],
        error: OperationError,
    ) -> ApplyError {
        let reason = error.to_string();
        let conflicts = match error {
            OperationError::Conflict(conflict) => vec![conflict],
            OperationError::Io { .. }
            | OperationError::Contended { .. }
            | OperationError::Kept { .. } => Vec::new(),
        };
        if let Err(error) = self.tx.append_journal(journal::ABORT, true) {
            tracing::warn!(%error, "the abort could not be noted; a crash now would roll forward");
        }
        let mut report = roll_back(hands, &self.items, begun);
        note_aborted(&self.root, &self.tx, &self.execution, &mut report);
        if report.is_complete() {
            ApplyError::RolledBack { reason, report, conflicts }
        } else {
            ApplyError::Incomplete { reason, report }
        }
    }

    fn incomplete(&self, reason: String, why: &str) -> ApplyError {
        let stuck = all_stuck(&self.items, why);
        ApplyError::Incomplete { reason, report: RollbackReport { restored: Vec::new(), stuck } }
    }

    /// Nothing was touched, and nothing of it may be: not by a recovery after a power cut either,
    /// which could find a journal that was sealed.
    fn discard(&self) -> io::Result<()> {
        if self.tx.has_journal()? {
            let noted = self.tx.append_journal(journal::ABORTED, true);
            return match noted {
                Ok(()) => {
                    if let Err(error) = self.root.remove(&self.execution) {
                        tracing::debug!(%error, "an aborted transaction is left to be removed");
                    }
                    Ok(())
                }
                Err(_) => self.root.remove_durably(&self.execution),
            };
        }
        self.root.remove(&self.execution)
    }

    /// The transaction that was to be discarded could not be.
    fn still_there(&self, error: &ApplyError, left: &io::Error) -> ApplyError {
        let path = format!(".lictor/tx/{}", self.execution);
        let reason =
            format!("nothing was changed, but its preparation could not be removed: {left}");
        let report = RollbackReport { restored: Vec::new(), stuck: vec![Stuck { path, reason }] };
        ApplyError::Incomplete { reason: error.to_string(), report }
    }
}

/// It is in place. Where something still has to look at it, the barrier comes behind that: what is
/// put back needs none.
fn stands(to_be_checked: bool, mut published: Published) -> Result<Box<dyn Applied>, NotApplied> {
    if to_be_checked {
        return Ok(Box::new(published));
    }
    match published.make_durable() {
        Ok(()) => Ok(Box::new(published)),
        Err(error) => {
            let unsettled = Some(Unsettled::new(Box::new(published)));
            Err(NotApplied { error, unsettled })
        }
    }
}

/// The slots that what executions put at paths had come from, as far as they are vacant.
fn homes(root: &TxRoot, taken_back: &[ExecutionId]) -> io::Result<HashMap<WorkspacePath, SlotRef>> {
    let mut homes = HashMap::new();
    for execution in taken_back {
        let Some(tx) = root.get(execution)? else { continue };
        let Some(text) = tx.read_journal()? else { continue };
        let Ok(journal) = journal::parse(&text) else { continue };
        for item in journal.items {
            if let (Some(to), Some(slot)) = (item.to, item.stage)
                && let Some(home) = root.get(&slot.execution)?
                && home.slots.entry(&slot.name())?.is_none()
            {
                homes.insert(to, slot);
            }
        }
    }
    Ok(homes)
}

/// Notes that a transaction was put back; what could not be noted is not called so. Its folder
/// stays until the ledger has it.
pub(crate) fn note_aborted(
    root: &TxRoot,
    tx: &TxDir,
    execution: &ExecutionId,
    report: &mut RollbackReport,
) {
    if !report.is_complete() {
        return;
    }
    let closed = root.barrier().and_then(|()| tx.append_journal(journal::ABORTED, true));
    if let Err(error) = closed {
        let path = format!(".lictor/tx/{execution}");
        let reason = format!("everything is back, but that is perhaps not durable: {error}");
        report.stuck.push(Stuck { path, reason });
    }
}

pub(crate) fn all_stuck(items: &[JournalItem], why: &str) -> Vec<Stuck> {
    let stuck = |item: &JournalItem| Stuck { path: item.path().to_owned(), reason: why.to_owned() };
    items.iter().map(stuck).collect()
}

/// Nothing is left to recover, so the lock goes in good order.
fn in_good_order(lease: Lease, error: ApplyError) -> NotApplied {
    release(lease);
    error.into()
}

pub(crate) fn release(lease: Lease) {
    if let Err(error) = lease.release() {
        tracing::warn!(%error, "the lock was lost before it was given back");
    }
}
