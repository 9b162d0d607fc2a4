//! Where logs are kept. A store keeps lines and says what it keeps; tree, chain, signing and
//! verifying are written once, over it, in [`AuditLog`](crate::AuditLog).

mod jsonl;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod select;
mod sqlite;
mod staged;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::ops::{ControlFlow, Range};
use std::pin::Pin;

use lictor_context::Name;
use lictor_store::{NotCommitted, PendingWrite, ReadError, WriteError, rusqlite};

use crate::ends::SharedEnds;
use crate::error::{AppendError, NotAppended};
use crate::filter::Filter;
use crate::log::{CHAIN_START, Hash, Node, Tree};
use crate::trail::Appended;

pub use jsonl::{JsonlOptions, JsonlStore};
pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
pub(crate) use sqlite::Tables;

/// A store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("SQLite refused")]
    Sqlite(#[from] rusqlite::Error),
    /// What was written was not committed.
    #[error(transparent)]
    NotCommitted(#[from] NotCommitted),
    /// A file could not be read or written.
    #[error("a file could not be read or written")]
    Io(#[from] io::Error),
    /// What is stored does not hold what it should.
    #[error("what is stored is damaged: {0}")]
    Damaged(String),
    /// The end of the log is not the one that was read before.
    #[error("somebody else wrote to the log in the meantime")]
    HeadMoved,
    /// The store cannot do this.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// Another kind of store refused.
    #[error("the store refused")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The end of a log as a store keeps it; nobody believes it before its note was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// How many events the log has.
    pub size: u64,
    /// The running chain over them.
    pub chain: Vec<u8>,
    /// The hashes that the tree needs to go on.
    pub frontier: Vec<u8>,
    /// The signed checkpoint.
    pub note: String,
}

impl Head {
    pub(crate) fn parts(&self) -> Option<(Tree, Hash)> {
        let tree = Tree::from_parts(self.size, &self.frontier)?;
        Some((tree, self.chain.as_slice().try_into().ok()?))
    }
}

/// Where a log begins that was pruned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// The first event that is still there.
    pub first_seq: u64,
    /// The running chain before it.
    pub chain: Vec<u8>,
    /// The hashes that the tree before it needs to go on.
    pub frontier: Vec<u8>,
}

impl Pruned {
    /// The log before its first event; `None` when it is not one.
    pub(crate) fn parts(&self) -> Option<(Tree, Hash)> {
        let tree = Tree::from_parts(self.first_seq, &self.frontier)?;
        Some((tree, self.chain.as_slice().try_into().ok()?))
    }
}

/// The tree and the chain before the first event that is there, and whether they can be had.
pub(crate) fn beginning(pruned: Option<&Pruned>) -> (Tree, Hash, bool) {
    match pruned.map(Pruned::parts) {
        None => (Tree::new(), CHAIN_START, true),
        Some(Some((tree, chain))) => (tree, chain, true),
        Some(None) => (Tree::new(), CHAIN_START, false),
    }
}

/// A line as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct StoredLine<'a> {
    /// Its place in the log, as the store tells it.
    pub seq: u64,
    /// The event.
    pub bytes: &'a [u8],
    /// Its leaf, where the store keeps it beside the line.
    pub leaf: Option<&'a [u8]>,
}

/// A line, and all that a store keeps beside it.
#[derive(Debug, Clone, Copy)]
pub struct StoredRow<'a> {
    /// The line.
    pub line: StoredLine<'a>,
    /// What a store that can be asked for it keeps beside the line.
    pub beside: Option<Beside<'a>>,
}

/// What a store keeps beside a line to find it by. Verifying compares it with the line.
#[derive(Debug, Clone, Copy, Default)]
#[expect(missing_docs, reason = "each is the field of the line that has its name")]
pub struct Beside<'a> {
    pub seq: i64,
    pub session: &'a str,
    pub session_seq: i64,
    pub event_type: &'a str,
    /// Microseconds since 1970.
    pub timestamp: i64,
    pub user: &'a str,
    pub agent: &'a str,
    pub action_name: Option<&'a str>,
    pub execution: Option<&'a str>,
    pub run: Option<&'a str>,
    pub success: Option<bool>,
    pub leaf: &'a [u8],
    pub chain: &'a [u8],
}

/// A line that is to be stored.
#[derive(Debug, Clone, Copy)]
pub struct NewLine<'a> {
    /// The event.
    pub bytes: &'a [u8],
    /// What it is to be found by.
    pub beside: Beside<'a>,
}

/// Takes one line after the other, and says when it wants no more.
pub type TakeLine<'a> = dyn FnMut(StoredLine<'_>) -> ControlFlow<()> + 'a;
/// As [`TakeLine`], with what is kept beside each.
pub type TakeRow<'a> = dyn FnMut(StoredRow<'_>) -> ControlFlow<()> + 'a;
/// As [`TakeLine`], of `seq`, pointer and ciphertext of what was sealed.
pub type TakeSealed<'a> = dyn FnMut((u64, &str, &[u8])) -> ControlFlow<()> + 'a;

/// One snapshot of a store. Of each log it sees what was committed, from an organisation's own
/// events only.
///
/// The last methods are of what only some stores keep; for the others, their answer is none. All
/// of them fail when the store cannot be read.
pub trait TrailReader {
    /// The id of the logs in this store.
    fn log_id(&self) -> Result<Option<String>, StoreError>;

    /// The organisations that have a log, in order.
    fn orgs(&self) -> Result<Vec<String>, StoreError>;

    /// The end of a log.
    fn head(&self, org: &Name) -> Result<Option<Head>, StoreError>;

    /// Where a log begins, when it was pruned.
    fn pruned(&self, org: &Name) -> Result<Option<Pruned>, StoreError>;

    /// The lines of these `seq`, in order.
    fn lines(
        &self,
        org: &Name,
        range: Range<u64>,
        take: &mut TakeLine<'_>,
    ) -> Result<(), StoreError>;

    /// So many hashes from this place on; fewer, when there are not so many.
    fn hashes(&self, org: &Name, from: Node, count: u64) -> Result<Vec<Hash>, StoreError>;

    /// The `session_seq` with which a session goes on.
    fn next_session_seq(&self, org: &Name, session: &str) -> Result<u64, StoreError>;

    /// The holds on a log, in order.
    fn holds(&self, org: &Name) -> Result<Vec<String>, StoreError>;

    /// All lines with what is kept beside them.
    fn rows(&self, org: &Name, take: &mut TakeRow<'_>) -> Result<(), StoreError> {
        self.lines(org, 0..u64::MAX, &mut |line| take(StoredRow { line, beside: None }))
    }

    /// The lines that match, in the order asked for.
    fn select(
        &self,
        org: &Name,
        filter: &Filter,
        take: &mut TakeLine<'_>,
    ) -> Result<(), StoreError>;

    /// How many lines match, whatever the page.
    fn count(&self, org: &Name, filter: &Filter) -> Result<u64, StoreError>;

    /// What the store itself finds wrong with what it keeps around lines, and from which `seq` on.
    fn damage(&self, _org: &Name) -> Result<Option<(u64, String)>, StoreError> {
        Ok(None)
    }

    /// The sessions with what they go on with; none when the store makes that from its lines.
    fn sessions(&self, _org: &Name) -> Result<Option<Vec<(String, u64)>>, StoreError> {
        Ok(None)
    }

    /// How many nodes above the leaves are stored; none when the store makes them from its lines.
    fn count_nodes(&self, _org: &Name) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    /// What was sealed beside an event.
    fn sealed(
        &self,
        _org: &Name,
        _seq: u64,
        _pointer: &str,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    /// How many ciphertexts there are beside events, also beside none.
    fn count_sealed(&self, _org: &Name) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// All that was sealed beside these events: `seq`, pointer and ciphertext, in order.
    fn each_sealed(
        &self,
        _org: &Name,
        _range: Range<u64>,
        _take: &mut TakeSealed<'_>,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    /// The keys of persons who were erased.
    fn erased_keys(&self, _org: &Name) -> Result<HashSet<String>, StoreError> {
        Ok(HashSet::new())
    }

    /// The sizes and checkpoints with which epochs of the signing key ended, of those not pruned.
    fn epochs(&self, _org: &Name) -> Result<Vec<(u64, String)>, StoreError> {
        Ok(Vec::new())
    }

    /// The key that signs, when it was ever rotated.
    fn key(&self) -> Result<Option<String>, StoreError> {
        Ok(None)
    }
}

/// A store that nobody else writes to in the meantime. It reads what it wrote. All methods fail
/// when the store refuses.
pub trait TrailWriter: TrailReader {
    /// Shows what the appends of one transaction share, when this is one of several; `false` when
    /// it is the only one.
    #[doc(hidden)]
    fn share(&mut self, _look: &mut dyn FnMut(&mut SharedEnds)) -> bool {
        false
    }

    /// Adds a line at the end.
    fn insert(&mut self, org: &Name, line: &NewLine<'_>) -> Result<(), StoreError>;

    /// Keeps a node of the tree.
    fn put_node(&mut self, org: &Name, place: Node, hash: &Hash) -> Result<(), StoreError>;

    /// Keeps what a session goes on with.
    fn put_session(&mut self, org: &Name, session: &str, next: u64) -> Result<(), StoreError>;

    /// Makes `head` the end of the log, if its end is still at `before`; 0 is the empty log. Else
    /// it is [`StoreError::HeadMoved`].
    fn put_head(&mut self, org: &Name, before: u64, head: &Head) -> Result<(), StoreError>;

    /// Places a hold, or lifts it.
    fn put_hold(&mut self, org: &Name, name: &str, placed: bool) -> Result<(), StoreError>;

    /// Removes what stands before the first event of `pruned`. Nodes and what sessions go on with
    /// stay.
    fn prune(&mut self, org: &Name, pruned: &Pruned) -> Result<(), StoreError>;

    /// Makes up for what an older version of the store did not keep.
    fn complete(&mut self, _org: &Name, _size: u64) -> Result<(), StoreError> {
        Ok(())
    }

    /// Keeps what was sealed beside an event.
    fn put_sealed(
        &mut self,
        _org: &Name,
        _seq: u64,
        _pointer: &str,
        _ciphertext: &[u8],
    ) -> Result<(), StoreError> {
        Err(StoreError::Unsupported("this store keeps nothing that is sealed"))
    }
}

/// What a store does with nobody else writing: all of it, or nothing.
pub type WriteJob = Box<dyn FnOnce(&mut dyn TrailWriter) -> Result<Appended, AppendError> + Send>;

/// A store of logs. Clones are the same store.
///
/// `lictor_audit::conformance` says whether it is one.
pub trait TrailStore: Clone + fmt::Debug + Send + Sync + 'static {
    /// The id of the logs in this store. When there is none yet, `fresh` becomes it.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    fn log_id(&self, fresh: &str) -> Result<String, StoreError>;

    /// Looks at one snapshot.
    ///
    /// # Errors
    /// When the store cannot be read, or `look` fails.
    fn view<T, E: From<StoreError>>(
        &self,
        look: impl FnOnce(&dyn TrailReader) -> Result<T, E>,
    ) -> Result<T, E>;

    /// Runs a job while nobody else writes, in this process or another one. When the answer is
    /// `Ok`, what it wrote is durable; when it is an error, nothing of it is there.
    fn submit(&self, job: WriteJob) -> Pending;
}

/// An append that is under way, or begins when somebody waits for it.
#[must_use = "it may not have begun"]
pub struct Pending(Under);

enum Under {
    Way(PendingWrite<Appended, AppendError>),
    Wait(Box<dyn FnOnce() -> Result<Appended, NotAppended> + Send>),
}

impl Pending {
    /// Work that blocks a thread.
    pub fn blocking(work: impl FnOnce() -> Result<Appended, NotAppended> + Send + 'static) -> Self {
        Self(Under::Wait(Box::new(work)))
    }

    /// Blocks the thread until it is settled.
    ///
    /// # Errors
    /// When nothing was appended.
    pub fn wait(self) -> Result<Appended, NotAppended> {
        match self.0 {
            Under::Way(pending) => pending.wait().map_err(NotAppended::from),
            Under::Wait(work) => work(),
        }
    }

    /// Waits in a tokio runtime until it is settled. What blocks gets a thread of its own.
    pub(crate) fn settled(
        self,
    ) -> Pin<Box<dyn Future<Output = Result<Appended, NotAppended>> + Send>> {
        match self.0 {
            Under::Way(pending) => {
                Box::pin(async move { pending.await.map_err(NotAppended::from) })
            }
            Under::Wait(work) => Box::pin(async move {
                let done = tokio::task::spawn_blocking(work).await;
                done.unwrap_or(Err(NotAppended::Store(StoreError::Closed)))
            }),
        }
    }
}

impl From<PendingWrite<Appended, AppendError>> for Pending {
    fn from(pending: PendingWrite<Appended, AppendError>) -> Self {
        Self(Under::Way(pending))
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

impl<E> From<WriteError<E>> for StoreError
where
    E: Into<StoreError>,
{
    fn from(error: WriteError<E>) -> Self {
        match error {
            WriteError::Job(error) => error.into(),
            WriteError::NotCommitted(error) => error.into(),
            WriteError::Closed | WriteError::Panicked => Self::Closed,
        }
    }
}

impl<E> From<ReadError<E>> for StoreError
where
    E: Into<StoreError>,
{
    fn from(error: ReadError<E>) -> Self {
        match error {
            ReadError::Query(error) => error.into(),
            ReadError::Unavailable(error) => error.into(),
            ReadError::Closed => Self::Closed,
        }
    }
}
