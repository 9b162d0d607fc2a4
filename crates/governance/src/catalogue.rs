//! The catalogue: which contracts there are, and which of them may be used.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use lictor_capability::{CapabilityId, Contract};
use lictor_context::{Clock, Digest, Name, Timestamp};
use serde::{Deserialize, Serialize};

use crate::approval::Approver;

/// Where a capability is in its life. Only an active one runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapabilityState {
    /// Somebody would like it.
    Proposed,
    /// It may be used.
    Active,
    /// It may not be used for the time being.
    Frozen,
    /// It is not used any more.
    Deprecated,
    /// It was not wanted.
    Rejected,
}

impl CapabilityState {
    /// The word that files and messages use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Active => "active",
            Self::Frozen => "frozen",
            Self::Deprecated => "deprecated",
            Self::Rejected => "rejected",
        }
    }

    fn leads_to(self, next: Self) -> bool {
        use CapabilityState as S;
        matches!(
            (self, next),
            (S::Proposed, S::Active | S::Rejected)
                | (S::Active, S::Frozen | S::Deprecated)
                | (S::Frozen, S::Active)
        )
    }
}

impl fmt::Display for CapabilityState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One step in a capability's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifeEvent {
    /// The state that it came to.
    pub state: CapabilityState,
    /// Who did it.
    pub by: Name,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: String,
    /// The contract's digest at the time.
    pub digest: Digest,
}

/// A contract in the catalogue.
#[derive(Debug, Clone)]
pub struct CatalogueEntry {
    /// The contract.
    pub contract: Arc<Contract>,
    /// Where it is in its life.
    pub state: CapabilityState,
    /// How it came there, the oldest first; builtins have none.
    pub history: Vec<LifeEvent>,
}

/// The contracts that there are, in memory.
#[derive(Debug)]
pub struct Catalogue {
    entries: RwLock<BTreeMap<Key, CatalogueEntry>>,
    clock: Arc<dyn Clock>,
}

type Key = (CapabilityId, semver::Version);

impl Catalogue {
    /// A catalogue with the builtins, which are active from the start.
    #[must_use]
    pub fn new(builtins: impl IntoIterator<Item = Arc<Contract>>, clock: Arc<dyn Clock>) -> Self {
        let entry = |contract: Arc<Contract>| {
            let key = (contract.id.clone(), contract.version.clone());
            (key, CatalogueEntry { contract, state: CapabilityState::Active, history: Vec::new() })
        };
        Self { entries: RwLock::new(builtins.into_iter().map(entry).collect()), clock }
    }

    /// The contracts that may be used.
    #[must_use]
    pub fn active(&self) -> Vec<Arc<Contract>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let active = entries.values().filter(|entry| entry.state == CapabilityState::Active);
        active.map(|entry| Arc::clone(&entry.contract)).collect()
    }

    /// Everything, by id and version.
    #[must_use]
    pub fn list(&self) -> Vec<CatalogueEntry> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.values().cloned().collect()
    }

    /// One contract.
    #[must_use]
    pub fn get(&self, id: &CapabilityId, version: &semver::Version) -> Option<CatalogueEntry> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(&(id.clone(), version.clone())).cloned()
    }

    /// Proposes a contract. The same one again changes nothing; another one under the same id
    /// and version takes its place and has to be approved anew.
    ///
    /// # Errors
    /// When it would take the place of a builtin, or claims to be one.
    pub fn propose(
        &self,
        contract: Arc<Contract>,
        by: &Name,
        why: &str,
    ) -> Result<CapabilityState, CatalogueError> {
        let key = (contract.id.clone(), contract.version.clone());
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let builtin =
            entries.values().any(|e| e.contract.id == key.0 && e.contract.source == "builtin");
        if builtin || contract.source == "builtin" {
            return Err(CatalogueError::Builtin { id: key.0 });
        }
        let digest = contract.digest();
        let event = LifeEvent {
            state: CapabilityState::Proposed,
            by: by.clone(),
            at: self.clock.now(),
            why: why.to_owned(),
            digest,
        };
        match entries.get_mut(&key) {
            Some(entry) if entry.contract.digest() == digest => Ok(entry.state),
            Some(entry) => {
                entry.contract = contract;
                entry.state = CapabilityState::Proposed;
                entry.history.push(event);
                Ok(entry.state)
            }
            None => {
                let state = CapabilityState::Proposed;
                entries.insert(key, CatalogueEntry { contract, state, history: vec![event] });
                Ok(state)
            }
        }
    }

    /// Brings a contract to another state. `digest` is that of the contract that the person saw.
    ///
    /// # Errors
    /// When there is none, its digest is another, it is a builtin, or its life has no such step.
    pub fn transition(
        &self,
        id: &CapabilityId,
        version: &semver::Version,
        next: CapabilityState,
        digest: Digest,
        by: &Approver,
        why: &str,
    ) -> Result<(), CatalogueError> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let entry = entries
            .get_mut(&(id.clone(), version.clone()))
            .ok_or_else(|| CatalogueError::Unknown { id: id.clone(), version: version.clone() })?;
        let found = entry.contract.digest();
        if found != digest {
            return Err(CatalogueError::OtherContract { seen: digest, found });
        }
        if entry.contract.source == "builtin" {
            return Err(CatalogueError::Builtin { id: id.clone() });
        }
        if !entry.state.leads_to(next) {
            return Err(CatalogueError::NoSuchStep { from: entry.state, to: next });
        }
        entry.state = next;
        entry.history.push(LifeEvent {
            state: next,
            by: by.name().clone(),
            at: self.clock.now(),
            why: why.to_owned(),
            digest,
        });
        Ok(())
    }
}

/// The catalogue did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// There is no such contract.
    #[error("there is no `{id}` {version} in the catalogue")]
    Unknown {
        /// The id.
        id: CapabilityId,
        /// The version.
        version: semver::Version,
    },
    /// Builtins are as they are.
    #[error("`{id}` is a builtin, or claims to be one; builtins stay as they are")]
    Builtin {
        /// The id.
        id: CapabilityId,
    },
    /// The contract is not the one that the person saw.
    #[error("the contract is not the one that was looked at: {seen} was, this is {found}")]
    OtherContract {
        /// The digest that the person saw.
        seen: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// The life of a capability has no such step.
    #[error("a capability that is {from} does not become {to}")]
    NoSuchStep {
        /// Where it is.
        from: CapabilityState,
        /// Where it should go.
        to: CapabilityState,
    },
}
