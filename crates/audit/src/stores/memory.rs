//! Logs in memory: for tests, and for whoever sends checkpoints and exports elsewhere.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lictor_context::Name;

use super::staged::{Committed, StagedOrg, Staging};
use super::{
    Head, Pending, Pruned, StoreError, StoredLine, TakeLine, TrailReader, TrailStore, WriteJob,
};
use crate::error::NotAppended;
use crate::log::{Hash, Node};
use crate::trail::Appended;

/// Logs in memory, gone with the last clone of the store. What was read looks at one moment, and
/// keeps nobody from writing.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    log_id: Option<String>,
    orgs: Orgs,
}

type Orgs = BTreeMap<String, Arc<Org>>;

#[derive(Debug, Clone, Default)]
struct Org {
    lines: Vec<Arc<[u8]>>,
    leaves: Vec<Hash>,
    /// How many were removed before the first of them.
    first_seq: u64,
    nodes: HashMap<Node, Hash>,
    sessions: HashMap<String, u64>,
    head: Option<Head>,
    pruned: Option<Pruned>,
    holds: BTreeSet<String>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // What is committed is put in place by steps that cannot fail.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, job: WriteJob) -> Result<Appended, NotAppended> {
        let mut memory = self.lock();
        let log_id = memory.log_id.clone();
        let mut writer = Staging::new(Logs { log_id, orgs: &memory.orgs });
        let appended = job(&mut writer).map_err(NotAppended::Refused)?;
        for (org, staged) in writer.staged.orgs {
            Arc::make_mut(memory.orgs.entry(org).or_default()).commit(staged);
        }
        Ok(appended)
    }
}

impl TrailStore for MemoryStore {
    fn log_id(&self, fresh: &str) -> Result<String, StoreError> {
        Ok(self.lock().log_id.get_or_insert_with(|| fresh.to_owned()).clone())
    }

    fn view<T, E: From<StoreError>>(
        &self,
        look: impl FnOnce(&dyn TrailReader) -> Result<T, E>,
    ) -> Result<T, E> {
        let (log_id, orgs) = {
            let memory = self.lock();
            (memory.log_id.clone(), memory.orgs.clone())
        };
        look(&Staging::new(Logs { log_id, orgs: &orgs }))
    }

    fn submit(&self, job: WriteJob) -> Pending {
        let store = self.clone();
        Pending::blocking(move || store.run(job))
    }
}

impl Org {
    fn commit(&mut self, staged: StagedOrg) {
        staged.apply_holds(&mut self.holds);
        self.lines.extend(staged.lines.into_iter().map(Arc::from));
        self.leaves.extend(staged.leaves);
        self.nodes.extend(staged.nodes);
        self.sessions.extend(staged.sessions);
        self.head = staged.head.or(self.head.take());
        if let Some(pruned) = staged.pruned {
            let gone = pruned.first_seq.saturating_sub(self.first_seq);
            let gone = usize::try_from(gone).unwrap_or(usize::MAX).min(self.lines.len());
            self.lines.drain(..gone);
            self.leaves.drain(..gone);
            self.first_seq = pruned.first_seq;
            self.pruned = Some(pruned);
        }
    }
}

/// What was committed at one moment.
struct Logs<'a> {
    log_id: Option<String>,
    orgs: &'a Orgs,
}

impl Logs<'_> {
    fn org(&self, org: &Name) -> Option<&Org> {
        self.orgs.get(org.as_str()).map(|org| &**org)
    }

    fn first_seq(&self, org: &Name) -> u64 {
        self.org(org).map_or(0, |org| org.first_seq)
    }

    /// Where a range of `seq` lies among the lines that are there: how many before it, and how many.
    fn places(&self, org: &Name, range: &Range<u64>) -> (usize, usize) {
        let first = self.first_seq(org);
        let place = |seq: u64| usize::try_from(seq.saturating_sub(first)).unwrap_or(usize::MAX);
        (place(range.start), place(range.end).saturating_sub(place(range.start)))
    }
}

impl Committed for Logs<'_> {
    const KEEPS_NODES: bool = true;

    fn log_id(&self) -> Result<Option<String>, StoreError> {
        Ok(self.log_id.clone())
    }

    fn orgs(&self) -> Result<Vec<String>, StoreError> {
        let of = self.orgs.iter().filter(|(_, org)| org.head.is_some());
        Ok(of.map(|(name, _)| name.clone()).collect())
    }

    fn head(&self, org: &Name) -> Result<Option<Head>, StoreError> {
        Ok(self.org(org).and_then(|org| org.head.clone()))
    }

    fn pruned(&self, org: &Name) -> Result<Option<Pruned>, StoreError> {
        Ok(self.org(org).and_then(|org| org.pruned.clone()))
    }

    fn session(&self, org: &Name, session: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.org(org).and_then(|org| org.sessions.get(session)).copied())
    }

    fn holds(&self, org: &Name) -> Result<BTreeSet<String>, StoreError> {
        Ok(self.org(org).map(|org| org.holds.clone()).unwrap_or_default())
    }

    fn ends(&self, org: &Name) -> Result<(u64, u64), StoreError> {
        let (first, count) = self.org(org).map_or((0, 0), |org| (org.first_seq, org.lines.len()));
        Ok((first, first + u64::try_from(count).unwrap_or(u64::MAX)))
    }

    fn lines(
        &self,
        org: &Name,
        staged: Option<&StagedOrg>,
        range: Range<u64>,
        take: &mut TakeLine<'_>,
    ) -> Result<(), StoreError> {
        let (skip, count) = self.places(org, &range);
        let own = self.org(org);
        let lines = own.iter().flat_map(|org| org.lines.iter().map(|line| &**line));
        let lines = lines.chain(staged.iter().flat_map(|own| own.lines.iter().map(Vec::as_slice)));
        let leaves = own.iter().flat_map(|org| &org.leaves);
        let leaves = leaves.chain(staged.iter().flat_map(|own| &own.leaves));
        let seqs = self.first_seq(org)..;
        let mut all = seqs.zip(lines.zip(leaves)).skip(skip).take(count);
        // To be told that enough was seen is no error.
        let _enough: ControlFlow<()> = all
            .try_for_each(|(seq, (bytes, leaf))| take(StoredLine { seq, bytes, leaf: Some(leaf) }));
        Ok(())
    }

    fn hashes(
        &self,
        org: &Name,
        staged: Option<&StagedOrg>,
        from: Node,
        count: u64,
    ) -> Result<Vec<Hash>, StoreError> {
        if from.level == 0 {
            let (skip, count) = self.places(org, &(from.index..from.index + count));
            let before = self.first_seq(org) > from.index;
            let own = self.org(org).into_iter().flat_map(|org| &org.leaves);
            let all = own.chain(staged.into_iter().flat_map(|own| &own.leaves));
            let all = all.skip(skip).take(count);
            return Ok(if before { Vec::new() } else { all.copied().collect() });
        }
        let places =
            (from.index..from.index + count).map(|index| Node { level: from.level, index });
        let Some(own) = self.org(org) else { return Ok(Vec::new()) };
        Ok(places.map_while(|place| own.nodes.get(&place)).copied().collect())
    }
}
