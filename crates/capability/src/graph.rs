//! The capability graph: what exists for one session, for its planner and its executor alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use lictor_context::Session;

use crate::action::{Action, Admitted};
use crate::contract::{CapabilityId, Contract, SchemaFinding};

/// What a session can ask for. What is not in it does not exist.
#[derive(Debug, Clone, Default)]
pub struct CapabilityGraph {
    /// The versions of each capability, the newest first and previews last: nobody gets a preview
    /// that did not ask for it.
    by_id: BTreeMap<CapabilityId, Vec<Arc<Contract>>>,
}

impl CapabilityGraph {
    /// The graph of a session over the active contracts of a catalogue: those that its agent's
    /// profile selects and, of MCP servers, those that are connected.
    #[must_use]
    pub fn build<'a>(
        session: &Session,
        active: impl IntoIterator<Item = &'a Arc<Contract>>,
    ) -> Self {
        let profile = session.profile();
        let mut by_id: BTreeMap<CapabilityId, Vec<Arc<Contract>>> = BTreeMap::new();
        for contract in active {
            let connected = match contract.source.strip_prefix("mcp:") {
                Some(server) => profile.mcp_servers.iter().any(|name| name == server),
                None => true,
            };
            if connected && profile.capabilities.contains(contract.id.as_str()) {
                by_id.entry(contract.id.clone()).or_default().push(Arc::clone(contract));
            }
        }
        for versions in by_id.values_mut() {
            versions.sort_by(|a, b| {
                let rank = |contract: &Contract| contract.version.pre.is_empty();
                (rank(b), &b.version).cmp(&(rank(a), &a.version))
            });
        }
        Self { by_id }
    }

    /// Every capability in its newest version, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Contract>> {
        self.by_id.values().filter_map(|versions| versions.first())
    }

    /// The contract that answers to an id, the newest that fits `version`.
    #[must_use]
    pub fn get(
        &self,
        id: &CapabilityId,
        version: Option<&semver::VersionReq>,
    ) -> Option<&Arc<Contract>> {
        let fits = |contract: &&Arc<Contract>| {
            version.is_none_or(|wanted| wanted.matches(&contract.version))
        };
        self.by_id.get(id)?.iter().find(fits)
    }

    /// Admits an action: its capability exists for this session and its input fits the contract.
    ///
    /// # Errors
    /// When it does not; the error names the nearest capability, or what does not fit.
    pub fn admit(&self, action: Action) -> Result<Admitted, AdmitError> {
        let fail = |kind| AdmitError { capability: action.capability().clone(), kind };
        let Some(contract) = self.get(action.capability(), action.version()) else {
            return Err(fail(match self.by_id.get(action.capability()) {
                Some(versions) => AdmitErrorKind::NoSuchVersion {
                    available: versions.iter().map(|contract| contract.version.clone()).collect(),
                },
                None => AdmitErrorKind::Unknown { nearest: self.nearest(action.capability()) },
            }));
        };
        if let Err(findings) = contract.check_input(action.input()) {
            return Err(fail(AdmitErrorKind::Input { findings }));
        }
        let contract = Arc::clone(contract);
        Ok(Admitted::new(action, contract))
    }

    /// The id that looks most like `id`, if any does.
    #[must_use]
    pub fn nearest(&self, id: &CapabilityId) -> Option<CapabilityId> {
        let found = nearest(id.as_str(), self.by_id.keys().map(CapabilityId::as_str))?;
        self.by_id.keys().find(|known| known.as_str() == found).cloned()
    }
}

/// The one of `known` that looks most like `wanted`, if any does.
#[must_use]
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wanted.len() / 3).max(2);
    known
        .into_iter()
        .map(|known| (distance(wanted, known), known))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, known)| known)
}

/// An action is not admitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{capability}` {kind}")]
pub struct AdmitError {
    capability: CapabilityId,
    kind: AdmitErrorKind,
}

impl AdmitError {
    /// Why not.
    #[must_use]
    pub fn kind(&self) -> &AdmitErrorKind {
        &self.kind
    }

    /// The capability that was asked for.
    #[must_use]
    pub fn capability(&self) -> &CapabilityId {
        &self.capability
    }
}

/// Why an action is not admitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AdmitErrorKind {
    /// There is no such capability in this session.
    #[error("does not exist for this session{}", hint(.nearest.as_ref()))]
    Unknown {
        /// The id that looks most like it.
        nearest: Option<CapabilityId>,
    },
    /// There is none in such a version.
    #[error("does not exist in a version that fits; there is {}", list(.available))]
    NoSuchVersion {
        /// The versions that exist.
        available: Vec<semver::Version>,
    },
    /// The input does not fit the contract.
    #[error("does not take this input: {}", list(.findings))]
    Input {
        /// What does not fit.
        findings: Vec<SchemaFinding>,
    },
}

fn hint(nearest: Option<&CapabilityId>) -> String {
    nearest.map_or_else(String::new, |id| format!("; did you mean `{id}`?"))
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Levenshtein's distance, over bytes: ids are ASCII.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(b.bytes()) {
            let best = (diagonal + usize::from(from != to)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = best;
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}
