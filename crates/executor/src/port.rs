//! What the executor needs from others: somebody who applies changes so that they can be taken
//! back, and somebody who remembers executions.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use lictor_capability::{Changes, Conflict, Contract, FileChange};
use lictor_context::{Digest, Event, ExecutionId, Timestamp, WorkspacePath};
use lictor_governance::{LifeState, Withheld};
use lictor_lock::Lease;
use serde::{Deserialize, Serialize};

use crate::grant::GrantedChanges;
use crate::record::ExecutionRecord;

/// Says whether a contract may be used at this very moment.
///
/// The executor asks before a handler describes and again right before it runs, so that what was
/// frozen, exchanged or given up between the two is not done.
pub trait ContractGuard: Send + Sync {
    /// Holds a contract against what was let in.
    ///
    /// # Errors
    /// When it was not let in, or is another one than was.
    fn check(&self, contract: &Contract) -> Result<(), Withheld>;
}

/// Lets in what says that it is a builtin, and nothing else: for an executor without a catalogue,
/// whose contracts are all part of its program.
#[derive(Debug, Clone, Copy, Default)]
pub struct BuiltinsOnly;

impl ContractGuard for BuiltinsOnly {
    fn check(&self, contract: &Contract) -> Result<(), Withheld> {
        if contract.source == "builtin" {
            return Ok(());
        }
        let state = LifeState::Proposed;
        Err(Withheld::NotActive { id: contract.id.to_string(), state })
    }
}

/// Applies changes to the workspace, all or nothing, so that they can be taken back.
///
/// Its methods block: the executor calls them on a thread of their own, where no dropped future
/// stops them half-way. Of [`Applied`], `files` and `settle` are called in place, so they do not
/// wait for a disk.
pub trait ChangeApplier: Send + Sync {
    /// Applies what was granted. When it answers `Ok`, every change is in place and durable, and
    /// the record of how to take it back was durable before the first of them. Where something
    /// still has to look at it ([`GrantedChanges::back_on_crash`]) it need not be durable yet:
    /// [`Applied::verified`] follows, or it is taken back.
    ///
    /// # Errors
    /// When nothing was changed, or everything was put back; or, said so, not everything.
    fn apply(&self, granted: GrantedChanges) -> Result<Box<dyn Applied>, NotApplied>;

    /// Settles what crashed executions left, under a lock that is held. Their journals stay open
    /// until the ledger has what became of them: [`close`](ChangeApplier::close) follows, or the
    /// next recovery finds them again.
    ///
    /// # Errors
    /// When it cannot be read what they left.
    fn recover(&self, lease: &Lease) -> Result<Vec<Recovered>, RecoverError>;

    /// Closes the journals of what a recovery settled, once the ledger has it.
    ///
    /// # Errors
    /// When that could not be noted. The next recovery finds and records it again.
    fn close(&self, lease: &Lease, recovered: &[Recovered]) -> Result<(), RecoverError>;

    /// Makes a private copy of the workspace and does the changes in it, for checks that are made
    /// before anything is published. What a crash leaves of it goes with the next recovery.
    ///
    /// # Errors
    /// When it could not be made; nothing of it is left. Unless implemented, always.
    fn stage_tree(&self, _: &ToStage) -> Result<Box<dyn StagedTree>, ApplyError> {
        Err(ApplyError::Prepare("nothing here makes a staged tree for checks".to_owned()))
    }
}

/// What a staged tree is made of.
#[derive(Debug)]
pub struct ToStage {
    /// For which execution.
    pub execution: ExecutionId,
    /// What is changed in it.
    pub changes: Changes,
    /// What need not be in it, with all that it holds, unless the changes touch it.
    pub leave_out: Vec<WorkspacePath>,
    /// Set when nobody wants it any more: the copying ends then.
    pub stop: AtomicBool,
}

/// A private copy of the workspace that has a change in it.
pub trait StagedTree: Send + Sync {
    /// Where it lies.
    fn path(&self) -> &Path;

    /// Removes it.
    ///
    /// # Errors
    /// When something of it is left; the next recovery removes that.
    fn remove(self: Box<Self>) -> std::io::Result<()>;
}

/// Changes that are in place, or were put back, and that the ledger has not recorded yet: the
/// lock is still held. Dropped, they stay open, and whoever comes next settles them.
#[must_use = "applied changes are settled or rolled back"]
pub trait Applied: Send + Sync {
    /// What was changed.
    fn files(&self) -> Vec<FileChange>;

    /// Everything that had to look at the changes has done so and is content: notes it, and
    /// makes both durable. From here on a crash means going on, not going back.
    ///
    /// # Errors
    /// When it could not be noted, and then it is taken back; or it is not known whether it is
    /// durable ([`ApplyError::NotDurable`]).
    fn verified(&mut self) -> Result<(), ApplyError>;

    /// The ledger has how it ended: closes the journal and lets the lock go.
    ///
    /// # Errors
    /// When that could not be noted. It stays as it ended; a recovery will note it.
    fn settle(self: Box<Self>) -> Result<(), ApplyError>;

    /// Puts everything back and verifies that. The lock is held, and the journal open, until the
    /// ledger has it: [`settle`](Applied::settle) follows.
    fn roll_back(&mut self, reason: &str) -> RollbackReport;
}

/// Changes were not applied. Where something had begun, the lock is still held by what is left
/// to settle once the ledger has it.
#[derive(Debug)]
pub struct NotApplied {
    /// Why, and what is left.
    pub error: ApplyError,
    /// What is to be settled when the failure is on record.
    pub unsettled: Option<Unsettled>,
}

impl From<ApplyError> for NotApplied {
    fn from(error: ApplyError) -> Self {
        Self { error, unsettled: None }
    }
}

/// Something that was put back, or could not be, and that holds the lock until it is on record.
/// Dropped, it stays open in the journal, and whoever comes next settles it.
#[must_use = "what failed is settled when it is on record"]
pub struct Unsettled(Box<dyn Applied>);

impl Unsettled {
    /// Of changes that were put back, or could not be.
    pub fn new(applied: Box<dyn Applied>) -> Self {
        Self(applied)
    }

    /// The ledger has it: the journal is closed and the lock goes.
    pub async fn settle(self) {
        let settled = tokio::task::spawn_blocking(move || self.0.settle()).await;
        match settled {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "settling was left to recovery"),
            Err(error) => tracing::warn!(%error, "settling was left to recovery"),
        }
    }
}

impl std::fmt::Debug for Unsettled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unsettled(..)")
    }
}

/// What became of a rollback.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackReport {
    /// The paths that are as they were, verified.
    pub restored: Vec<String>,
    /// What is not.
    pub stuck: Vec<Stuck>,
}

impl RollbackReport {
    /// Nobody came back to say: whoever put things back ended on the way.
    pub(crate) fn unknown(reason: impl std::fmt::Display) -> Self {
        let stuck = Stuck { path: ".".to_owned(), reason: reason.to_string() };
        Self { restored: Vec::new(), stuck: vec![stuck] }
    }

    /// Whether everything is as it was.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.stuck.is_empty()
    }
}

/// Something that could not be put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stuck {
    /// Where.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// Changes were not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The workspace holds something else; nothing was changed.
    #[error("the workspace holds something else than the change expects")]
    Conflict(Vec<Conflict>),
    /// It could not be prepared; nothing was changed.
    #[error("the change could not be prepared: {0}")]
    Prepare(String),
    /// What an undo would put back is not what was set aside; nothing was changed.
    #[error("what would be put back is not what was set aside: {0}")]
    Kept(String),
    /// It failed on the way and everything was put back, verified.
    #[error("the change failed and was put back: {reason}")]
    RolledBack {
        /// Why.
        reason: String,
        /// What was put back.
        report: RollbackReport,
        /// When the reason is that somebody else changed files meanwhile.
        conflicts: Vec<Conflict>,
    },
    /// It failed on the way and not everything could be put back.
    #[error("the change failed and could not be put back: {reason}")]
    Incomplete {
        /// Why.
        reason: String,
        /// What was put back and what was not.
        report: RollbackReport,
    },
    /// It is in place, and it is not known whether the disk has it. Its journal stays open, for a
    /// recovery to look at.
    #[error("it is in place, and perhaps not durable: {reason}")]
    NotDurable {
        /// Why.
        reason: String,
        /// Of what.
        report: RollbackReport,
    },
}

/// How a crashed execution was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// It had not begun; what was prepared is gone.
    Discarded,
    /// It had begun, and was brought to its end.
    Finished,
    /// It was put back.
    PutBack,
    /// Neither worked for all of it.
    Incomplete,
}

/// A crashed execution and what became of it.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// The execution.
    pub execution_id: ExecutionId,
    /// How it was settled.
    pub recovery: Recovery,
    /// Its record, when its journal had been written.
    pub record: Option<ExecutionRecord>,
    /// What could not be settled.
    pub stuck: Vec<Stuck>,
}

impl Recovered {
    /// Whether nothing is left to settle.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.recovery != Recovery::Incomplete
    }
}

/// What crashed executions left could not be read.
#[derive(Debug, thiserror::Error)]
#[error("recovery is not possible: {0}")]
pub struct RecoverError(
    /// Why.
    pub String,
);

/// Remembers executions.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The applied execution under an idempotency key that is not older than `since`.
    ///
    /// # Errors
    /// When it cannot be looked up; then nothing is executed.
    async fn find(
        &self,
        key: Digest,
        since: Timestamp,
    ) -> Result<Option<ExecutionRecord>, LedgerError>;

    /// Records an execution and its events, in one, durably. Recording one that is there already
    /// replaces its record.
    ///
    /// # Errors
    /// When it is not recorded; then the execution is rolled back.
    async fn settle(
        &self,
        record: Option<ExecutionRecord>,
        events: Vec<Event>,
    ) -> Result<(), LedgerError>;

    /// As [`settle`](Self::settle), unless the same is on record already: then nothing is recorded, and it
    /// is given. Whoever asks for the same at the same moment may not get between the two: a ledger that
    /// several share does both in one step.
    ///
    /// # Errors
    /// When it is not recorded, or cannot be looked up.
    async fn settle_once(
        &self,
        once: Once,
        record: ExecutionRecord,
        events: Vec<Event>,
    ) -> Result<Option<ExecutionRecord>, LedgerError> {
        match self.find(once.key, once.since).await? {
            Some(known) => Ok(Some(known)),
            None => self.settle(Some(record), events).await.map(|()| None),
        }
    }

    /// Records, durably, that something outside of the workspace is about to be done: `record` says
    /// that it is not known what became of it, and stands until the end is settled. What it answers
    /// is kept while it is done, and dropped once the end is on record: while somebody keeps it, it
    /// is at work, and when nobody does any more, it is in doubt.
    ///
    /// # Errors
    /// When it is not recorded; then it is not done.
    async fn begin(
        &self,
        record: ExecutionRecord,
        events: Vec<Event>,
    ) -> Result<AtWork, LedgerError> {
        self.settle(Some(record), events).await.map(|()| AtWork::default())
    }

    /// As [`begin`](Self::begin), unless the same is on record as done, or as begun by somebody of whom it
    /// is not known what became. Whoever asks for the same at the same moment may not get between the two: a
    /// ledger that several share does both in one step.
    ///
    /// # Errors
    /// When it is not recorded, or cannot be looked up; then it is not done.
    async fn begin_once(
        &self,
        once: Once,
        record: ExecutionRecord,
        events: Vec<Event>,
    ) -> Result<Beginning, LedgerError> {
        if let Some(id) = self.in_doubt(once.key).await? {
            return Ok(Beginning::InDoubt(id));
        }
        if let Some(done) = self.find(once.key, once.since).await? {
            return Ok(Beginning::Done(Box::new(done)));
        }
        self.begin(record, events).await.map(Beginning::Begun)
    }

    /// The execution under an idempotency key of which it is not known what became of it.
    ///
    /// # Errors
    /// When it cannot be looked up; then nothing is executed.
    async fn in_doubt(&self, _key: Digest) -> Result<Option<ExecutionId>, LedgerError> {
        Ok(None)
    }

    /// Records what a recovery did.
    ///
    /// # Errors
    /// When it is not recorded; it will be found and recorded again.
    async fn recovered(&self, recovered: Vec<Recovered>) -> Result<(), LedgerError>;
}

/// What is meant to be done once, however often it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Once {
    /// The idempotency key.
    pub key: Digest,
    /// What was done before this is forgotten.
    pub since: Timestamp,
}

/// Whether something outside of the workspace may be done now.
#[derive(Debug)]
pub enum Beginning {
    /// It is on record as begun.
    Begun(AtWork),
    /// The same was done before.
    Done(Box<ExecutionRecord>),
    /// The same was begun before, and it is not known what became of that.
    InDoubt(ExecutionId),
}

/// Something outside of the workspace is being done. Whatever a ledger wants told of its end; dropped
/// without that, it stands as something of which nobody knows what became of it.
#[derive(Debug, Default)]
pub struct AtWork(
    /// What is told.
    pub Option<Box<dyn Sign>>,
);

impl AtWork {
    /// Its end is on record.
    pub fn ended(self) {
        if let Some(sign) = self.0 {
            sign.ended();
        }
    }
}

/// The sign of work of one execution: as long as it stands, and nobody alive holds it, nobody knows what
/// became of that.
pub trait Sign: Send + Sync + fmt::Debug {
    /// Takes it down: the end is on record.
    fn ended(self: Box<Self>);
}

#[async_trait]
impl<L: Ledger + ?Sized> Ledger for Arc<L> {
    async fn find(
        &self,
        key: Digest,
        since: Timestamp,
    ) -> Result<Option<ExecutionRecord>, LedgerError> {
        (**self).find(key, since).await
    }

    async fn settle(
        &self,
        record: Option<ExecutionRecord>,
        events: Vec<Event>,
    ) -> Result<(), LedgerError> {
        (**self).settle(record, events).await
    }

    async fn settle_once(
        &self,
        once: Once,
        record: ExecutionRecord,
        events: Vec<Event>,
    ) -> Result<Option<ExecutionRecord>, LedgerError> {
        (**self).settle_once(once, record, events).await
    }

    async fn begin(
        &self,
        record: ExecutionRecord,
        events: Vec<Event>,
    ) -> Result<AtWork, LedgerError> {
        (**self).begin(record, events).await
    }

    async fn begin_once(
        &self,
        once: Once,
        record: ExecutionRecord,
        events: Vec<Event>,
    ) -> Result<Beginning, LedgerError> {
        (**self).begin_once(once, record, events).await
    }

    async fn in_doubt(&self, key: Digest) -> Result<Option<ExecutionId>, LedgerError> {
        (**self).in_doubt(key).await
    }

    async fn recovered(&self, recovered: Vec<Recovered>) -> Result<(), LedgerError> {
        (**self).recovered(recovered).await
    }
}

/// The ledger did not do it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the ledger is not available: {0}")]
pub struct LedgerError(
    /// Why.
    pub String,
);
