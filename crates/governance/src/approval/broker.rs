//! The broker: asks, takes answers, and hands out what was agreed to, once.

use std::sync::Arc;

use lictor_capability::Described;
use lictor_context::{ApprovalId, Digest, Timestamp};

use super::approver::Approver;
use super::record::{Answer, AnswerRefused, Approval};
use super::store::{ApprovalStore, ApprovalStoreError, StoredApproval};
use crate::decision::{Decision, Verdict};
use crate::gate::{GateIdentity, Shared, WriteGate};
use crate::policy::Channel;

/// How often a change is tried again when somebody else was faster. Every failure of one is a
/// success of another, so a handful is plenty for as many people as ever answer at once.
const ATTEMPTS: usize = 64;

/// Asks people on behalf of one gate, by that gate's policies and clock.
#[derive(Debug)]
pub struct Approvals {
    gate: Arc<Shared>,
    store: Arc<dyn ApprovalStore>,
}

/// An approval that was used up: what [`WriteGate::authorize`] takes. Only [`Approvals::spend`]
/// makes one; it cannot be copied, stored or read back.
#[must_use = "the approval is gone from the store; hand this to the gate"]
#[derive(Debug)]
pub struct SpentApproval {
    id: ApprovalId,
    action_digest: Digest,
    granted_by: Arc<[Answer]>,
    expires_at: Timestamp,
    gate: GateIdentity,
}

impl SpentApproval {
    /// The approval's id.
    #[must_use]
    pub fn id(&self) -> &ApprovalId {
        &self.id
    }

    /// What was agreed to.
    #[must_use]
    pub fn action_digest(&self) -> Digest {
        self.action_digest
    }

    /// Who agreed.
    #[must_use]
    pub fn granted_by(&self) -> &[Answer] {
        &self.granted_by
    }

    /// When it is no longer one.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    pub(crate) fn is_from(&self, gate: &GateIdentity) -> bool {
        self.gate == *gate
    }
}

impl Approvals {
    /// A broker for a gate. What it hands out opens that gate only.
    #[must_use]
    pub fn new(gate: &WriteGate, store: Arc<dyn ApprovalStore>) -> Self {
        Self { gate: gate.shared(), store }
    }

    /// Asks people; gives the open request where there is one for the same digest already.
    ///
    /// # Errors
    /// When the decision does not ask for approval or is about something else, or the store fails.
    pub fn request(
        &self,
        described: &Described,
        decision: &Decision,
    ) -> Result<Approval, ApprovalError> {
        let now = self.gate.clock.now();
        let record = decision.record();
        let fits = decision.is_from(&self.gate.identity)
            && decision.action_id() == described.action().id()
            && crate::binding::action_digest(described, record.policy_digest)
                == record.action_digest;
        if !fits || now >= record.expires_at {
            return Err(ApprovalError::OtherDecision);
        }
        if record.verdict != Verdict::NeedApproval {
            return Err(ApprovalError::NotAsked { verdict: record.verdict });
        }
        let policies = self.gate.policies();
        if policies.digest() != record.policy_digest {
            return Err(ApprovalError::PolicyChanged);
        }
        let timeout = policies.settings().approvals.timeout.as_duration();
        let id = ApprovalId::generate(&*self.gate.clock);
        let approval = Approval::new(id, described, record, now, now.plus(timeout));
        for _ in 0..ATTEMPTS {
            if let Some(open) = self.open(record.action_digest, now)? {
                return Ok(open.approval);
            }
            match self.store.insert(&approval) {
                Ok(()) => return Ok(approval),
                Err(ApprovalStoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ApprovalStoreError::Conflict.into())
    }

    /// A person agrees. Gives the approval as it is then.
    ///
    /// # Errors
    /// When there is none, when the answer does not count, or the store fails.
    pub fn grant(
        &self,
        id: &ApprovalId,
        approver: &Approver,
        channel: Channel,
    ) -> Result<Approval, ApprovalError> {
        let policies = self.gate.policies();
        self.change(id, |approval, now| {
            // The digest that people agree to covers the policy: agreeing would be in vain.
            if approval.decision().policy_digest != policies.digest() {
                return Err(ApprovalError::PolicyChanged);
            }
            let settings = &policies.settings().approvals;
            Ok(approval.grant(approver, channel, settings, now)?)
        })
    }

    /// A person refuses; one is enough.
    ///
    /// # Errors
    /// When there is none, when it is settled already, or the store fails.
    pub fn deny(
        &self,
        id: &ApprovalId,
        approver: &Approver,
        reason: &str,
    ) -> Result<Approval, ApprovalError> {
        self.change(id, |approval, now| Ok(approval.deny(approver, reason, now)?))
    }

    /// Takes the granted approval for a digest, if there is one, and uses it up. Of any number of
    /// callers exactly one gets it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn spend(&self, action_digest: Digest) -> Result<Option<SpentApproval>, ApprovalError> {
        let now = self.gate.clock.now();
        for _ in 0..ATTEMPTS {
            let Some(StoredApproval { mut approval, revision }) = self.open(action_digest, now)?
            else {
                return Ok(None);
            };
            if approval.spend(now).is_err() || approval.action_digest() != action_digest {
                return Ok(None);
            }
            match self.store.update(approval.id(), revision, &approval) {
                Ok(()) => {
                    let (id, action_digest, granted_by, expires_at) = approval.into_spent_parts();
                    let gate = self.gate.identity.clone();
                    return Ok(Some(SpentApproval {
                        id,
                        action_digest,
                        granted_by,
                        expires_at,
                        gate,
                    }));
                }
                Err(ApprovalStoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ApprovalStoreError::Conflict.into())
    }

    /// One approval.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub fn get(&self, id: &ApprovalId) -> Result<Approval, ApprovalError> {
        Ok(self.stored(id)?.approval)
    }

    /// All approvals, the newest first; `only_open`: those that still wait for something.
    ///
    /// # Errors
    /// When the store fails.
    pub fn list(&self, only_open: bool) -> Result<Vec<Approval>, ApprovalError> {
        let now = self.gate.clock.now();
        let all = self.store.list(only_open)?.into_iter().map(|stored| stored.approval);
        Ok(all.filter(|approval| !only_open || approval.state_at(now).is_open()).collect())
    }

    /// The open one for a digest; writes down what has expired on the way.
    fn open(
        &self,
        action_digest: Digest,
        now: Timestamp,
    ) -> Result<Option<StoredApproval>, ApprovalError> {
        for _ in 0..ATTEMPTS {
            let Some(mut stored) = self.store.find_open(action_digest)? else { return Ok(None) };
            if stored.approval.state_at(now).is_open() {
                return Ok(Some(stored));
            }
            stored.approval.expire();
            let id = stored.approval.id();
            match self.store.update(id, stored.revision, &stored.approval) {
                Ok(()) | Err(ApprovalStoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ApprovalStoreError::Conflict.into())
    }

    fn stored(&self, id: &ApprovalId) -> Result<StoredApproval, ApprovalError> {
        self.store.get(id)?.ok_or_else(|| ApprovalError::Unknown { id: id.clone() })
    }

    fn change(
        &self,
        id: &ApprovalId,
        change: impl Fn(&mut Approval, Timestamp) -> Result<(), ApprovalError>,
    ) -> Result<Approval, ApprovalError> {
        let now = self.gate.clock.now();
        for _ in 0..ATTEMPTS {
            let StoredApproval { mut approval, revision } = self.stored(id)?;
            change(&mut approval, now)?;
            match self.store.update(id, revision, &approval) {
                Ok(()) => return Ok(approval),
                Err(ApprovalStoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ApprovalStoreError::Conflict.into())
    }
}

/// The broker did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// There is no such approval.
    #[error("there is no approval `{id}`")]
    Unknown {
        /// The id.
        id: ApprovalId,
    },
    /// The decision does not ask for one.
    #[error("the decision is `{verdict}` and asks for no approval")]
    NotAsked {
        /// What it says.
        verdict: Verdict,
    },
    /// The decision is another gate's, about another action, or expired.
    #[error("the decision is not about this action, or expired")]
    OtherDecision,
    /// The policies were exchanged since people were asked.
    #[error("the policy changed since the request; ask again")]
    PolicyChanged,
    /// The answer does not count.
    #[error(transparent)]
    Refused(#[from] AnswerRefused),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ApprovalStoreError),
}
