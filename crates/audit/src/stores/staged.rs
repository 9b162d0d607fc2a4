//! What a job wrote to a store that has no transactions of its own, until it is committed; and what
//! the job sees meanwhile.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use lictor_context::Name;

use super::select;
use super::{Head, NewLine, Pruned, StoreError, TakeLine, TrailReader, TrailWriter};
use crate::filter::Filter;
use crate::log::{Hash, Node};

/// What was written, by organisation.
#[derive(Debug, Default)]
pub(super) struct Staged {
    pub(super) orgs: BTreeMap<String, StagedOrg>,
}

/// What was written to one log.
#[derive(Debug, Default)]
pub(super) struct StagedOrg {
    pub(super) lines: Vec<Vec<u8>>,
    pub(super) leaves: Vec<Hash>,
    pub(super) nodes: Vec<(Node, Hash)>,
    pub(super) sessions: HashMap<String, u64>,
    pub(super) head: Option<Head>,
    pub(super) holds: Vec<(String, bool)>,
    pub(super) pruned: Option<Pruned>,
    /// Up to where its lines were written to a file, when they were.
    pub(super) written: Cell<Option<u64>>,
}

impl Staged {
    pub(super) fn of(&mut self, org: &Name) -> &mut StagedOrg {
        self.orgs.entry(org.as_str().to_owned()).or_default()
    }

    pub(super) fn get(&self, org: &Name) -> Option<&StagedOrg> {
        self.orgs.get(org.as_str())
    }

    pub(super) fn insert(&mut self, org: &Name, line: &NewLine<'_>) {
        let own = self.of(org);
        own.written.set(None);
        own.lines.push(line.bytes.to_vec());
        own.leaves.push(line.beside.leaf.try_into().unwrap_or_default());
    }
}

impl StagedOrg {
    pub(super) fn apply_holds(&self, holds: &mut BTreeSet<String>) {
        for (name, placed) in &self.holds {
            if *placed {
                holds.insert(name.clone());
            } else {
                holds.remove(name);
            }
        }
    }
}

/// The logs of a store as they were committed. What reads lines gets what is staged of the log as well: it
/// stands behind them.
pub(super) trait Committed {
    /// Whether nodes of the tree are kept as they are given, and not made from the lines.
    const KEEPS_NODES: bool;

    fn log_id(&self) -> Result<Option<String>, StoreError>;
    fn orgs(&self) -> Result<Vec<String>, StoreError>;
    fn head(&self, org: &Name) -> Result<Option<Head>, StoreError>;
    fn pruned(&self, org: &Name) -> Result<Option<Pruned>, StoreError>;
    fn session(&self, org: &Name, session: &str) -> Result<Option<u64>, StoreError>;
    fn holds(&self, org: &Name) -> Result<BTreeSet<String>, StoreError>;
    /// The first `seq` that is there, and the one after the last.
    fn ends(&self, org: &Name) -> Result<(u64, u64), StoreError>;
    fn lines(
        &self,
        org: &Name,
        staged: Option<&StagedOrg>,
        range: Range<u64>,
        take: &mut TakeLine<'_>,
    ) -> Result<(), StoreError>;
    fn hashes(
        &self,
        org: &Name,
        staged: Option<&StagedOrg>,
        from: Node,
        count: u64,
    ) -> Result<Vec<Hash>, StoreError>;

    fn damage(&self, _: &Name) -> Result<Option<(u64, String)>, StoreError> {
        Ok(None)
    }
}

/// What was committed, with what a job is writing.
pub(super) struct Staging<C> {
    pub(super) committed: C,
    pub(super) staged: Staged,
}

impl<C: Committed> Staging<C> {
    pub(super) fn new(committed: C) -> Self {
        Self { committed, staged: Staged::default() }
    }

    fn ends(&self, org: &Name) -> Result<(u64, u64), StoreError> {
        let (first, end) = self.committed.ends(org)?;
        let staged = self.staged.get(org).map_or(0, |own| own.lines.len());
        Ok((first, end.saturating_add(u64::try_from(staged).unwrap_or(u64::MAX))))
    }
}

impl<C: Committed> TrailReader for Staging<C> {
    fn log_id(&self) -> Result<Option<String>, StoreError> {
        self.committed.log_id()
    }

    fn orgs(&self) -> Result<Vec<String>, StoreError> {
        self.committed.orgs()
    }

    fn head(&self, org: &Name) -> Result<Option<Head>, StoreError> {
        match self.staged.get(org).and_then(|own| own.head.clone()) {
            Some(head) => Ok(Some(head)),
            None => self.committed.head(org),
        }
    }

    fn pruned(&self, org: &Name) -> Result<Option<Pruned>, StoreError> {
        match self.staged.get(org).and_then(|own| own.pruned.clone()) {
            Some(pruned) => Ok(Some(pruned)),
            None => self.committed.pruned(org),
        }
    }

    fn lines(
        &self,
        org: &Name,
        range: Range<u64>,
        take: &mut TakeLine<'_>,
    ) -> Result<(), StoreError> {
        self.committed.lines(org, self.staged.get(org), range, take)
    }

    fn hashes(&self, org: &Name, from: Node, count: u64) -> Result<Vec<Hash>, StoreError> {
        self.committed.hashes(org, self.staged.get(org), from, count)
    }

    fn damage(&self, org: &Name) -> Result<Option<(u64, String)>, StoreError> {
        self.committed.damage(org)
    }

    fn next_session_seq(&self, org: &Name, session: &str) -> Result<u64, StoreError> {
        match self.staged.get(org).and_then(|own| own.sessions.get(session)) {
            Some(next) => Ok(*next),
            None => Ok(self.committed.session(org, session)?.unwrap_or(0)),
        }
    }

    fn holds(&self, org: &Name) -> Result<Vec<String>, StoreError> {
        let mut all = self.committed.holds(org)?;
        self.staged.get(org).into_iter().for_each(|own| own.apply_holds(&mut all));
        Ok(all.into_iter().collect())
    }

    fn select(
        &self,
        org: &Name,
        filter: &Filter,
        take: &mut TakeLine<'_>,
    ) -> Result<(), StoreError> {
        select::select(self, (org, filter), self.ends(org)?, take)
    }

    fn count(&self, org: &Name, filter: &Filter) -> Result<u64, StoreError> {
        select::count(self, org, filter)
    }
}

impl<C: Committed> TrailWriter for Staging<C> {
    fn insert(&mut self, org: &Name, line: &NewLine<'_>) -> Result<(), StoreError> {
        self.staged.insert(org, line);
        Ok(())
    }

    fn put_node(&mut self, org: &Name, place: Node, hash: &Hash) -> Result<(), StoreError> {
        if C::KEEPS_NODES {
            self.staged.of(org).nodes.push((place, *hash));
        }
        Ok(())
    }

    fn put_session(&mut self, org: &Name, session: &str, next: u64) -> Result<(), StoreError> {
        self.staged.of(org).sessions.insert(session.to_owned(), next);
        Ok(())
    }

    fn put_head(&mut self, org: &Name, before: u64, head: &Head) -> Result<(), StoreError> {
        if self.head(org)?.map_or(0, |head| head.size) != before {
            return Err(StoreError::HeadMoved);
        }
        self.staged.of(org).head = Some(head.clone());
        Ok(())
    }

    fn put_hold(&mut self, org: &Name, name: &str, placed: bool) -> Result<(), StoreError> {
        self.staged.of(org).holds.push((name.to_owned(), placed));
        Ok(())
    }

    fn prune(&mut self, org: &Name, pruned: &Pruned) -> Result<(), StoreError> {
        self.staged.of(org).pruned = Some(pruned.clone());
        Ok(())
    }
}
