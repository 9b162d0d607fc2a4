//! What a job wrote to a store that has no transactions of its own, until it is committed.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use lictor_context::Name;

use super::{Head, NewLine, Pruned};
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

    /// The holds as they are with what was written.
    pub(super) fn holds(&self, org: &Name, before: &BTreeSet<String>) -> Vec<String> {
        let mut all = before.clone();
        self.get(org).into_iter().for_each(|own| own.apply_holds(&mut all));
        all.into_iter().collect()
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
