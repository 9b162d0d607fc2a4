//! Agreeing in advance: giving grants, using them, taking them back.

use std::sync::Arc;

use lictor_capability::Described;
use lictor_context::{ApprovalId, GrantId, Name};

use super::approver::ProvenApprover;
use super::broker::{ATTEMPTS, Approvals, Consented, SpentApproval};
use super::error::ApprovalError;
use super::grant::{Facts, Grant, GrantTerms, Revocation};
use super::grant_store::StoredGrant;
use super::record::{Answer, Approval, same};
use super::store::{ApprovalStoreError, StoredApproval};
use crate::decision::Decision;
use crate::policy::Channel;

impl Approvals {
    /// A person agrees to a request, and in advance to what is like it: see [`Grant`]. Gives the
    /// approval as it is then, and the grant.
    ///
    /// # Errors
    /// As [`Approvals::grant`]; and when the terms are not narrow, have no end, do not cover the
    /// request itself, or the decision takes several people or a person each time. Nothing is agreed
    /// to then, neither the request nor what is like it.
    pub fn grant_in_advance(
        &self,
        id: &ApprovalId,
        approver: &ProvenApprover,
        channel: Channel,
        terms: &GrantTerms,
    ) -> Result<(Approval, Grant), ApprovalError> {
        let grants = self.grants.as_ref().ok_or(ApprovalError::NoGrants)?;
        let (clock, policies) = (&*self.gate.clock, self.gate.policies());
        for _ in 0..ATTEMPTS {
            let StoredApproval { approval: mut asked, revision } = self.stored(id)?;
            let now = clock.now();
            let Some(judged) = self.kept(&asked)? else {
                // Whoever settled it meanwhile was first; the refusal says so.
                self.agree(&mut self.get(id)?, (approver, channel), &policies, now)?;
                continue;
            };
            let judged = judged.verify()?;
            let answer = Answer { approver: approver.name().clone(), channel, at: now };
            let grant = Grant::new(&asked, &Facts::of_judged(&judged), answer, terms, clock)?;
            self.agree(&mut asked, (approver, channel), &policies, now)?;
            let agreed = StoredApproval { approval: asked, revision };
            match grants.insert(&grant, &agreed) {
                Ok(()) => return Ok((agreed.approval, grant)),
                Err(ApprovalStoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ApprovalStoreError::Conflict.into())
    }

    /// Uses an open grant that answers a decision, if there is one. Of any number of callers not
    /// more get it than it has uses.
    ///
    /// # Errors
    /// When the store fails.
    pub fn spend_grant(
        &self,
        described: &Described,
        decision: &Decision,
    ) -> Result<Option<(SpentApproval, Grant)>, ApprovalError> {
        let Some(grants) = &self.grants else { return Ok(None) };
        let in_force = self.gate.in_force();
        let record = decision.record();
        if !decision.is_from(&self.gate.identity)
            || record.policy_digest != in_force.policies.digest()
            || in_force.digest(described) != record.action_digest
        {
            return Ok(None);
        }
        let facts = Facts::of(described);
        let principal = described.action().session().principal();
        for _ in 0..ATTEMPTS {
            let now = self.gate.clock.now();
            let may = self.still_approves()?;
            let answers = |one: &StoredGrant| {
                may(&one.grant.granted_by().approver)
                    && one.grant.answers(&facts, principal, record, now).is_ok()
            };
            let Some(StoredGrant { mut grant, revision }) =
                grants.list()?.into_iter().find(answers)
            else {
                return Ok(None);
            };
            grant.uses = grant.uses.saturating_add(1);
            match grants.update(revision, &grant) {
                Ok(()) => {
                    let spent = SpentApproval {
                        by: Consented::Grant(grant.id.clone()),
                        action_digest: record.action_digest,
                        granted_by: Arc::from([grant.granted_by.clone()]),
                        expires_at: grant.until,
                        gate: self.gate.identity.clone(),
                    };
                    return Ok(Some((spent, grant)));
                }
                Err(ApprovalStoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ApprovalStoreError::Conflict.into())
    }

    /// All grants, the newest first, each with its state in a word.
    ///
    /// # Errors
    /// When the store fails.
    pub fn grants(&self) -> Result<Vec<(Grant, &'static str)>, ApprovalError> {
        let Some(grants) = &self.grants else { return Ok(Vec::new()) };
        let (now, policy) = (self.gate.clock.now(), self.gate.policies().digest());
        let all = grants.list()?.into_iter().map(|stored| stored.grant);
        Ok(all.map(|grant| (grant.clone(), grant.state(now, policy))).collect())
    }

    /// Takes a grant back. Anybody may: the most that comes of it is that people are asked.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub fn revoke_grant(&self, id: &GrantId, by: &Name) -> Result<Grant, ApprovalError> {
        let grants = self.grants.as_ref().ok_or(ApprovalError::NoGrants)?;
        for _ in 0..ATTEMPTS {
            let found = grants.list()?.into_iter().find(|stored| stored.grant.id == *id);
            let found = found.ok_or_else(|| ApprovalError::UnknownGrant { id: id.clone() })?;
            let StoredGrant { mut grant, revision } = found;
            let at = self.gate.clock.now();
            grant.revoked.get_or_insert(Revocation { by: by.clone(), at });
            match grants.update(revision, &grant) {
                Ok(()) => return Ok(grant),
                Err(ApprovalStoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ApprovalStoreError::Conflict.into())
    }

    /// Ends all grants that somebody gave; gives those that were open.
    ///
    /// # Errors
    /// When the store fails; what was ended by then stays so.
    pub fn revoke_grants_of(&self, name: &Name, by: &Name) -> Result<Vec<Grant>, ApprovalError> {
        let theirs = |grant: &Grant| same(&grant.granted_by().approver, name);
        let open = self.grants()?.into_iter().map(|(grant, _)| grant);
        let open = open.filter(|grant| theirs(grant) && grant.revoked.is_none());
        open.map(|grant| self.revoke_grant(&grant.id, by)).collect()
    }
}
