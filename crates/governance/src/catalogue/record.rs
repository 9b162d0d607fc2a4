//! The life of one version of one document, as people decided it.

use lictor_context::{Digest, Principal, Timestamp};
use serde::{Deserialize, Serialize};

use super::document::{CatalogueKey, Document};
use super::error::CatalogueError;
use super::life::{LifeEvent, LifeState};
use super::rules::CatalogueRules;
use crate::approval::ProvenApprover;

/// The life of one version of one document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueRecord {
    /// Which.
    #[serde(flatten)]
    pub key: CatalogueKey,
    /// Where it is.
    pub state: LifeState,
    /// The digest of the document that the state is about.
    pub digest: Digest,
    /// Who proposed that document.
    pub proposed_by: Principal,
    /// How it came there, the oldest first.
    pub history: Vec<LifeEvent>,
    /// One above that of the record before it, from 1.
    pub revision: u64,
}

impl CatalogueRecord {
    /// Somebody proposes a document. `None` when that changes nothing: the same document was
    /// proposed before, whatever became of it. Another document under the same id and version
    /// begins anew.
    ///
    /// # Errors
    /// When they may not.
    pub fn propose(
        known: Option<&Self>,
        document: &Document,
        by: &Principal,
        rules: &CatalogueRules,
        at: Timestamp,
        why: &str,
    ) -> Result<Option<Self>, CatalogueError> {
        let (key, digest) = (document.key(), document.digest());
        if !rules.may_propose(by) {
            return Err(CatalogueError::MayNotPropose { who: by.user.clone() });
        }
        if known.is_some_and(|known| known.digest == digest) {
            return Ok(None);
        }
        let mut history = known.map(|known| known.history.clone()).unwrap_or_default();
        let state = LifeState::Proposed;
        history.push(LifeEvent { state, by: by.user.clone(), at, why: why.to_owned(), digest });
        let revision = known.map_or(0, |known| known.revision) + 1;
        Ok(Some(Self { key, state, digest, proposed_by: by.clone(), history, revision }))
    }

    /// An approver brings it to another state. `seen` is the digest of the document that they
    /// looked at.
    ///
    /// # Errors
    /// When that is not the one that was proposed, they may not, or a life has no such step.
    pub fn transition(
        &self,
        next: LifeState,
        seen: Digest,
        by: &ProvenApprover,
        rules: &CatalogueRules,
        at: Timestamp,
        why: &str,
    ) -> Result<Self, CatalogueError> {
        if seen != self.digest {
            return Err(CatalogueError::OtherDocument { seen, proposed: self.digest });
        }
        if !self.state.leads_to(next) {
            return Err(CatalogueError::NoSuchStep { from: self.state, to: next });
        }
        if let Some(needed) = rules.missing_roles(next, by) {
            return Err(CatalogueError::MissingRole {
                who: by.name().clone(),
                needed: needed.to_vec(),
            });
        }
        let own = by.name().as_str().eq_ignore_ascii_case(self.proposed_by.user.as_str());
        if next == LifeState::Active && own && !rules.proposer_may_approve {
            return Err(CatalogueError::OwnProposal { who: by.name().clone() });
        }
        let mut moved = self.clone();
        moved.state = next;
        moved.revision += 1;
        let by = by.name().clone();
        moved.history.push(LifeEvent { state: next, by, at, why: why.to_owned(), digest: seen });
        Ok(moved)
    }

    /// Whether it was active at some time, as the document that it speaks of.
    #[must_use]
    pub fn was_let_in(&self) -> bool {
        let active =
            |step: &LifeEvent| step.state == LifeState::Active && step.digest == self.digest;
        self.history.iter().any(active)
    }
}
