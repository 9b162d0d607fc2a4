//! The broker: asks, takes answers, and hands out what was agreed to, once.

use std::sync::Arc;

use lictor_capability::Described;
use lictor_context::{ApprovalId, Digest, GrantId, Name, Timestamp};
use serde::{Deserialize, Serialize};

use super::approver::{ApproverStore, ApproverStoreError, ProvenApprover};
use super::error::ApprovalError;
use super::grant_store::GrantStore;
use super::plan::{self, PlannedCall, RunPlan};
use super::port::{Answered, ApprovalRequest, Says};
use super::record::{Answer, AnswerRefused, Approval, ApprovalState, nonce, same};
use super::store::{ApprovalStore, ApprovalStoreError, StoredApproval};
use crate::decision::{Decision, Verdict};
use crate::gate::{GateIdentity, Shared, WriteGate};
use crate::judged::{Judged, JudgedError};
use crate::policy::{Channel, PolicySet};

/// How often a change is tried again when somebody else was faster. Every failure of one is a
/// success of another, so a handful is plenty for as many people as ever answer at once.
pub(super) const ATTEMPTS: usize = 64;

/// Asks people on behalf of one gate, by that gate's policies and clock. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Approvals {
    pub(super) gate: Arc<Shared>,
    store: Arc<dyn ApprovalStore>,
    pub(super) grants: Option<Arc<dyn GrantStore>>,
    approvers: Option<Arc<dyn ApproverStore>>,
}

/// An approval that was used up: what [`WriteGate::authorize`] takes. Only [`Approvals::spend`]
/// makes one; it cannot be copied, stored or read back.
#[must_use = "the approval is gone from the store; hand this to the gate"]
#[derive(Debug)]
pub struct SpentApproval {
    pub(super) by: Consented,
    pub(super) action_digest: Digest,
    pub(super) granted_by: Arc<[Answer]>,
    pub(super) expires_at: Timestamp,
    pub(super) gate: GateIdentity,
}

/// Where people's agreement comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consented {
    /// They were asked about this very action.
    Approval(ApprovalId),
    /// They agreed in advance.
    Grant(GrantId),
    /// They agreed to the plan of the run that it is a step of.
    Plan(ApprovalId),
}

/// Who agreed to an action, as its execution records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// The approval or the grant.
    pub by: Consented,
    /// Who.
    pub granted_by: Vec<Answer>,
}

impl SpentApproval {
    /// The approval or the grant.
    #[must_use]
    pub fn by(&self) -> &Consented {
        &self.by
    }

    /// Who agreed, to be recorded.
    #[must_use]
    pub fn agreement(&self) -> Agreement {
        Agreement { by: self.by.clone(), granted_by: self.granted_by.to_vec() }
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
        Self { gate: gate.shared(), store, grants: None, approvers: None }
    }

    /// Takes approvals in advance as well. The store keeps them beside the requests: an agreement to
    /// both is written down in one step.
    #[must_use]
    pub fn with_grants(mut self, grants: Arc<dyn GrantStore>) -> Self {
        self.grants = Some(grants);
        self
    }

    /// Looks up who agreed, each time that it counts: what somebody agreed to in advance ends when they
    /// may not approve any more.
    #[must_use]
    pub fn with_approvers(mut self, approvers: Arc<dyn ApproverStore>) -> Self {
        self.approvers = Some(approvers);
        self
    }

    /// Whether whoever gave a grant may still approve. Nobody knows of a broker without a register.
    pub(super) fn still_approves(&self) -> Result<impl Fn(&Name) -> bool + use<>, ApprovalError> {
        let unavailable = |error: ApproverStoreError| {
            ApprovalStoreError::Unavailable(format!("the register of approvers: {error}"))
        };
        let all = self.approvers.as_ref().map(|all| all.list().map_err(unavailable)).transpose()?;
        Ok(move |name: &Name| {
            let Some(all) = &all else { return true };
            all.iter().any(|one| same(&one.name, name) && one.revoked_at.is_none())
        })
    }

    /// Asks people; gives the open request where there is one for the same digest already.
    /// `contents` are what the changed files hold now, and new content that does not come with the
    /// action: people are shown the difference, and what is not kept cannot be shown.
    ///
    /// # Errors
    /// When the decision does not ask for approval or is about something else, when people could
    /// not be shown all of it, or the store fails.
    pub fn request(
        &self,
        described: &Described,
        decision: &Decision,
        contents: impl IntoIterator<Item = Arc<[u8]>>,
    ) -> Result<Approval, ApprovalError> {
        let now = self.gate.clock.now();
        let record = decision.record();
        let in_force = self.gate.in_force();
        if in_force.policies.digest() != record.policy_digest {
            return Err(ApprovalError::PolicyChanged);
        }
        let judged = in_force.bytes(described);
        let fits = decision.is_from(&self.gate.identity)
            && decision.action_id() == described.action().id()
            && Digest::of(&judged) == record.action_digest;
        if !fits || now >= record.expires_at {
            return Err(ApprovalError::OtherDecision);
        }
        if record.verdict != Verdict::NeedApproval {
            return Err(ApprovalError::NotAsked { verdict: record.verdict });
        }
        let judged = Judged::new(described, judged, contents)?;
        self.sweep(now)?;
        let timeout = in_force.policies.settings().approvals.timeout.as_duration();
        let id = (ApprovalId::generate(&*self.gate.clock), nonce()?);
        let approval =
            Approval::new(id, described, &in_force.hidden, record, now, now.plus(timeout));
        for _ in 0..ATTEMPTS {
            if let Some(open) = self.open(record.action_digest, now)? {
                return Ok(open.approval);
            }
            match self.store.insert(&approval, &judged) {
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
        approver: &ProvenApprover,
        channel: Channel,
    ) -> Result<Approval, ApprovalError> {
        let policies = self.gate.policies();
        self.change(id, |approval, now| self.agree(approval, (approver, channel), &policies, now))
    }

    /// Writes an agreement down in a request, if it counts.
    pub(super) fn agree(
        &self,
        approval: &mut Approval,
        (approver, channel): (&ProvenApprover, Channel),
        policies: &PolicySet,
        now: Timestamp,
    ) -> Result<(), ApprovalError> {
        // The digest that people agree to covers the policy: agreeing would be in vain.
        if approval.decision().policy_digest != policies.digest() {
            return Err(ApprovalError::PolicyChanged);
        }
        if !self.still_approves()?(approver.name()) {
            let approver = approver.name().clone();
            return Err(AnswerRefused::NoLonger { approver }.into());
        }
        Ok(approval.grant(approver, channel, &policies.settings().approvals, now)?)
    }

    /// Answers a decision about a call of a run with what people agreed to when they agreed to the
    /// run's whole plan: `plan` is the action that asked them, made anew, and has to be the very one
    /// that they agreed to; the call has to be what it says. See [`super::RunPlan`].
    ///
    /// # Errors
    /// When the store fails.
    pub fn spend_plan(
        &self,
        (id, plan): (&ApprovalId, &Described),
        (described, call): (&Described, PlannedCall<'_>),
        decision: &Decision,
    ) -> Result<Option<SpentApproval>, ApprovalError> {
        let in_force = self.gate.in_force();
        let record = decision.record();
        let approval = match self.get(id) {
            Ok(approval) => approval,
            Err(ApprovalError::Unknown { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if !decision.is_from(&self.gate.identity)
            || record.policy_digest != in_force.policies.digest()
            || in_force.digest(described) != record.action_digest
            || in_force.digest(plan) != approval.action_digest()
        {
            return Ok(None);
        }
        // Who agreed to the plan was asked for no role that its calls may want.
        let settings = &in_force.policies.settings().approvals;
        let capability = described.contract().id.as_str();
        if settings.missing_role(capability, record.risk_effective, &[]).is_some() {
            return Ok(None);
        }
        let may = self.still_approves()?;
        let agreed = RunPlan::of(plan).filter(|plan| {
            approval.granted_by().iter().all(|answer| may(&answer.approver))
                && plan::answers(&approval, plan, (described, call), record)
        });
        Ok(agreed.map(|_| SpentApproval {
            by: Consented::Plan(id.clone()),
            action_digest: record.action_digest,
            granted_by: Arc::from(approval.granted_by()),
            // For this call; the plan itself holds as long as its run.
            expires_at: record.expires_at,
            gate: self.gate.identity.clone(),
        }))
    }

    /// An open request as it is put to people elsewhere.
    ///
    /// # Errors
    /// When there is none, it is settled, or what is kept of it is not what was judged.
    pub fn question(&self, id: &ApprovalId) -> Result<ApprovalRequest, ApprovalError> {
        let approval = self.get(id)?;
        approval.waits(self.gate.clock.now())?;
        let Some(judged) = self.kept(&approval)? else {
            // Whoever settled it meanwhile is named.
            self.get(id)?.waits(self.gate.clock.now())?;
            return Err(ApprovalStoreError::Conflict.into());
        };
        let view = judged.view()?;
        Ok(ApprovalRequest::new(approval, &view)?)
    }

    /// Takes an answer that came from elsewhere, about this request and the very action in it.
    ///
    /// # Errors
    /// As [`Approvals::grant`] and [`Approvals::deny`]; and when it is about another action.
    pub fn take(&self, id: &ApprovalId, answered: &Answered) -> Result<Approval, ApprovalError> {
        if self.get(id)?.action_digest() != answered.action_digest {
            return Err(ApprovalError::OtherDecision);
        }
        match &answered.says {
            Says::Approve => self.grant(id, &answered.by, answered.channel),
            Says::Deny { reason } => self.deny(id, &answered.by, reason),
        }
    }

    /// A person refuses; one is enough.
    ///
    /// # Errors
    /// When there is none, when it is settled already, or the store fails.
    pub fn deny(
        &self,
        id: &ApprovalId,
        approver: &ProvenApprover,
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
        for _ in 0..ATTEMPTS {
            let opened = self.open(action_digest, self.gate.clock.now())?;
            let Some(StoredApproval { mut approval, revision }) = opened else { return Ok(None) };
            // Later than it was read: what somebody has just asked or answered is not of the future.
            let now = self.gate.clock.now();
            match approval.spend(now) {
                Ok(()) => {}
                Err(refused @ AnswerRefused::ClockWentBack { .. }) => return Err(refused.into()),
                Err(_) => return Ok(None),
            }
            if approval.action_digest() != action_digest {
                return Ok(None);
            }
            // Whoever agreed has to be an approver still, up to the last moment.
            let may = self.still_approves()?;
            if let Some(one) = approval.granted_by().iter().find(|one| !may(&one.approver)) {
                let approver = one.approver.clone();
                return Err(AnswerRefused::NoLonger { approver }.into());
            }
            // What people were shown has to be what they agreed to, up to the last moment.
            let Some(judged) = self.kept(&approval)? else { continue };
            judged.verify()?;
            match self.store.update(approval.id(), revision, &approval) {
                Ok(()) => {
                    let (id, action_digest, granted_by, expires_at) = approval.into_spent_parts();
                    let gate = self.gate.identity.clone();
                    return Ok(Some(SpentApproval {
                        by: Consented::Approval(id),
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

    /// The request as people are shown it, made from what was judged and kept; `None` once it is
    /// settled, because nothing is kept of it then.
    ///
    /// # Errors
    /// When there is none, when what is kept is not what was judged, or the store fails.
    pub fn view(&self, id: &ApprovalId) -> Result<Option<String>, ApprovalError> {
        let judged = self.judged(id)?;
        Ok(judged.map(|judged| judged.view()).transpose()?)
    }

    /// What was judged, as it is kept with a request; `None` once that is settled.
    ///
    /// # Errors
    /// When there is none, when what is kept is not what was judged, or the store fails.
    pub fn judged(&self, id: &ApprovalId) -> Result<Option<Judged>, ApprovalError> {
        let approval = self.get(id)?;
        if !approval.state_at(self.gate.clock.now()).is_open() {
            return Ok(None);
        }
        self.kept(&approval)
    }

    /// What was judged, as it is kept with an open request; `None` when somebody settled that since
    /// it was read, and so took along what was kept.
    ///
    /// # Errors
    /// When it is not there, or is about something else.
    pub(super) fn kept(&self, approval: &Approval) -> Result<Option<Judged>, ApprovalError> {
        let digest = approval.action_digest();
        match self.store.judged(approval.id())? {
            Some(judged) if judged.action_digest() == digest => Ok(Some(judged)),
            None if !self.get(approval.id())?.state().is_open() => Ok(None),
            _ => Err(JudgedError::Damaged { digest }.into()),
        }
    }

    /// Withdraws a request: whoever asked does not want it any more.
    ///
    /// # Errors
    /// When there is none, when it is settled already, or the store fails.
    pub fn cancel(&self, id: &ApprovalId, reason: &str) -> Result<Approval, ApprovalError> {
        self.change(id, |approval, now| Ok(approval.cancel(reason, now)?))
    }

    /// Withdraws every open request that fits; gives those that were withdrawn.
    ///
    /// # Errors
    /// When the store fails.
    pub fn cancel_all(
        &self,
        reason: &str,
        fits: impl Fn(&Approval) -> bool,
    ) -> Result<Vec<Approval>, ApprovalError> {
        let mut cancelled = Vec::new();
        for approval in self.list(true)?.into_iter().filter(|one| fits(one)) {
            match self.cancel(approval.id(), reason) {
                Ok(approval) => cancelled.push(approval),
                // Somebody settled it meanwhile.
                Err(ApprovalError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(cancelled)
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
        self.sweep(now)?;
        let all = self.store.list(only_open)?.into_iter().map(|stored| stored.approval);
        Ok(all.filter(|approval| !only_open || approval.state_at(now).is_open()).collect())
    }

    /// As [`Approvals::list`], and writes nothing down: what has expired is shown so.
    ///
    /// # Errors
    /// When the store fails.
    pub fn look(&self, only_open: bool) -> Result<Vec<Approval>, ApprovalError> {
        let now = self.gate.clock.now();
        let all = self.store.list(only_open)?.into_iter().map(
            |StoredApproval { mut approval, .. }| {
                if approval.state_at(now) == ApprovalState::Expired {
                    approval.expire();
                }
                approval
            },
        );
        Ok(all.filter(|approval| !only_open || approval.state().is_open()).collect())
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

    /// Writes down what has expired: nothing is kept of it from then on.
    fn sweep(&self, now: Timestamp) -> Result<(), ApprovalError> {
        for StoredApproval { mut approval, revision } in self.store.list(true)? {
            if approval.state_at(now).is_open() {
                continue;
            }
            approval.expire();
            match self.store.update(approval.id(), revision, &approval) {
                Ok(()) | Err(ApprovalStoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(super) fn stored(&self, id: &ApprovalId) -> Result<StoredApproval, ApprovalError> {
        self.store.get(id)?.ok_or_else(|| ApprovalError::Unknown { id: id.clone() })
    }

    fn change(
        &self,
        id: &ApprovalId,
        change: impl Fn(&mut Approval, Timestamp) -> Result<(), ApprovalError>,
    ) -> Result<Approval, ApprovalError> {
        for _ in 0..ATTEMPTS {
            let StoredApproval { mut approval, revision } = self.stored(id)?;
            change(&mut approval, self.gate.clock.now())?;
            match self.store.update(id, revision, &approval) {
                Ok(()) => return Ok(approval),
                Err(ApprovalStoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ApprovalStoreError::Conflict.into())
    }
}
