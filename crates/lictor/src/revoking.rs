//! Enrolling approvers, and striking them off with everything that rests on their word.

use lictor_context::{BoxFuture, Event, EventFacts, EventType, Name, Session};
use lictor_governance::{
    Approval, ApproverError, ApproverRecord, ApproverToken, Grant, ProvenApprover,
};
use serde_json::json;

use crate::consent::refused;
use crate::error::ActError;
use crate::runtime::Runtime;

/// What ended with an approver.
#[derive(Debug, Clone, PartialEq)]
pub struct Revoked {
    /// The grants that they gave.
    pub grants: Vec<Grant>,
    /// The open requests that they had agreed to.
    pub withdrawn: Vec<Approval>,
}

impl Runtime {
    /// Enrols another approver, if the policy lets `by` do that. The token is shown once.
    ///
    /// # Errors
    /// When it does not, the name is taken, or the store or the source of randomness fails.
    pub fn enroll_approver(
        &self,
        name: Name,
        roles: Vec<Name>,
        by: &ProvenApprover,
    ) -> Result<(ApproverRecord, ApproverToken), ApproverError> {
        self.may_enroll(by)?;
        self.approvers().enroll(name, roles, by)
    }

    fn may_enroll(&self, by: &ProvenApprover) -> Result<(), ApproverError> {
        let policies = self.gate().policies();
        match policies.settings().approvals.missing_enroll_role(by.roles()) {
            None => Ok(()),
            Some(roles) => Err(ApproverError::NotEnrolling { roles: roles.to_vec() }),
        }
    }

    /// Strikes an approver off, ends the grants that they gave, and withdraws the open requests that
    /// they agreed to. From the first of these on no grant of theirs answers anything, whatever
    /// becomes of the rest.
    ///
    /// # Errors
    /// The inner one when they cannot be struck off: nothing was done then. The outer one when what
    /// rests on their word could not be ended or not be recorded; doing it again goes on.
    pub fn revoke_approver<'a>(
        &'a self,
        name: &'a Name,
        by: &'a ProvenApprover,
        session: &'a Session,
    ) -> BoxFuture<'a, Result<Result<Revoked, ApproverError>, ActError>> {
        Box::pin(async move {
            let revoked = self.may_enroll(by).and_then(|()| self.approvers().revoke(name, by));
            if let Err(error) = revoked {
                return Ok(Err(error));
            }
            let grants = self.approvals().revoke_grants_of(name, by.name()).map_err(refused)?;
            let events = grants.iter().map(|grant| {
                let mut facts = EventFacts {
                    action_name: Some(grant.capability().to_owned()),
                    success: Some(true),
                    ..EventFacts::default()
                };
                facts.metadata.insert("grant".to_owned(), json!(grant));
                facts.metadata.insert("revoked_approver".to_owned(), json!(name));
                Event::new(session, EventType::GrantRevoked, facts, self.clock().as_ref())
            });
            let events: Vec<Event> = events.collect();
            if !events.is_empty() {
                self.record(events).await?;
            }
            let why = format!("`{name}` agreed to it, and may not approve any more");
            let agreed = |one: &Approval| {
                one.granted_by()
                    .iter()
                    .any(|answer| answer.approver.as_str().eq_ignore_ascii_case(name.as_str()))
            };
            let withdrawn = self.withdraw(&why, session, agreed).await?;
            Ok(Ok(Revoked { grants, withdrawn }))
        })
    }
}
