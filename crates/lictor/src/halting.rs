//! The kill switch of a runtime, and requests that are withdrawn.

use lictor_context::{ApprovalId, BoxFuture, Event, EventFacts, EventType, HaltId, RunId, Session};
use lictor_governance::{Approval, Channel, Halt, HaltScope, Halted, ProvenApprover, ResumeError};
use serde_json::json;

use crate::agent::Agent;
use crate::error::{ActError, ActErrorKind};
use crate::events::approval_summary;
use crate::runtime::Runtime;

impl Agent {
    /// Whether the session may begin something new.
    pub(crate) fn halted(&self) -> Result<(), Halted> {
        let session = self.session();
        self.runtime().parts.halts.check(session.principal(), session.id())
    }
}

impl Runtime {
    /// Throws the kill switch: from now on nothing new begins for whom it covers, in every process
    /// of the workspace, whoever waits for the lock is refused, and open requests are withdrawn.
    /// What is being done just now comes to its end. Anybody may do it.
    ///
    /// Gives the halt, and the requests that were withdrawn.
    ///
    /// # Errors
    /// When it cannot be kept, or not be recorded; in the latter case the halt is in force.
    pub fn halt<'a>(
        &'a self,
        scope: HaltScope,
        reason: &'a str,
        session: &'a Session,
    ) -> BoxFuture<'a, Result<(Halt, Vec<Approval>), ActError>> {
        Box::pin(async move {
            let failed =
                |error: &dyn std::fmt::Display| ActErrorKind::NotRecorded(error.to_string());
            let halts = &self.parts.halts;
            let halt = halts.halt(scope, reason, session.principal()).map_err(|e| failed(&e))?;
            let mut facts = EventFacts { success: Some(true), ..EventFacts::default() };
            facts.metadata.insert("halt".to_owned(), json!(halt));
            self.record(vec![self.event(session, EventType::Halted, facts)]).await?;
            let why = format!("{}: {}", halt.id, halt.reason);
            let covers = |one: &Approval| halt.scope.covers(one.requested_by(), one.session_id());
            let withdrawn = self.withdraw(&why, session, covers).await?;
            Ok((halt, withdrawn))
        })
    }

    /// Lifts a halt: a person does, who proved who they are.
    ///
    /// # Errors
    /// When there is none of this id in force, nobody in person asks, or it cannot be recorded.
    pub fn resume<'a>(
        &'a self,
        id: &'a HaltId,
        by: &'a ProvenApprover,
        channel: Channel,
        reason: &'a str,
        session: &'a Session,
    ) -> BoxFuture<'a, Result<Halt, ActError>> {
        Box::pin(async move {
            let lifted = self.parts.halts.resume(id, by, channel, reason);
            let halt = lifted.map_err(|error| match error {
                ResumeError::NotInForce { .. } => ActErrorKind::NotFound(error.to_string()),
                ResumeError::NotInPerson { .. } => ActErrorKind::ApprovalRefused(error.to_string()),
                ResumeError::Store(_) => ActErrorKind::NotRecorded(error.to_string()),
            })?;
            let mut facts = EventFacts { success: Some(true), ..EventFacts::default() };
            facts.metadata.insert("halt".to_owned(), json!(halt));
            self.record(vec![self.event(session, EventType::Resumed, facts)]).await?;
            Ok(halt)
        })
    }

    /// The kill switch.
    #[must_use]
    pub fn halts(&self) -> &lictor_governance::Halts {
        &self.parts.halts
    }

    /// Withdraws one open request.
    ///
    /// # Errors
    /// When there is none, it is settled, or it cannot be recorded.
    pub fn withdraw_approval<'a>(
        &'a self,
        id: &'a ApprovalId,
        reason: &'a str,
        session: &'a Session,
    ) -> BoxFuture<'a, Result<Approval, ActError>> {
        Box::pin(async move {
            let one = self.withdraw(reason, session, |one| one.id() == id).await?.pop();
            let missing = || ActErrorKind::NotFound(format!("no request `{id}` is open"));
            Ok(one.ok_or_else(missing)?)
        })
    }

    /// Withdraws what a workflow run has asked and what is still open: it was cancelled.
    ///
    /// # Errors
    /// When the requests cannot be read or changed, or it cannot be recorded.
    pub fn withdraw_approvals_of_run<'a>(
        &'a self,
        run: &'a RunId,
        session: &'a Session,
    ) -> BoxFuture<'a, Result<Vec<Approval>, ActError>> {
        Box::pin(async move {
            let why = format!("the run {run} was cancelled");
            self.withdraw(&why, session, |one| one.run_id() == Some(run)).await
        })
    }

    pub(crate) async fn withdraw(
        &self,
        reason: &str,
        session: &Session,
        fits: impl Fn(&Approval) -> bool,
    ) -> Result<Vec<Approval>, ActError> {
        let (withdrawn, events) = self.withdrawn(reason, session, fits)?;
        if !events.is_empty() {
            self.record(events).await?;
        }
        Ok(withdrawn)
    }

    /// Withdraws open requests; the events are still to be recorded.
    pub(crate) fn withdrawn(
        &self,
        reason: &str,
        session: &Session,
        fits: impl Fn(&Approval) -> bool,
    ) -> Result<(Vec<Approval>, Vec<Event>), ActError> {
        let withdrawn = self.parts.approvals.cancel_all(reason, fits);
        let withdrawn = withdrawn.map_err(|error| ActErrorKind::NotRecorded(error.to_string()))?;
        let events = withdrawn.iter().map(|approval| {
            let mut facts = EventFacts {
                action_name: Some(approval.action().capability.clone()),
                decision_id: Some(approval.decision().id.clone()),
                run_id: approval.run_id().cloned(),
                requires_approval: Some(true),
                approval_granted: Some(false),
                ..EventFacts::default()
            };
            facts.metadata.insert("approval".to_owned(), approval_summary(approval));
            facts.metadata.insert("reason".to_owned(), json!(reason));
            self.event(session, EventType::ApprovalCancelled, facts)
        });
        let events = events.collect();
        Ok((withdrawn, events))
    }

    fn event(&self, session: &Session, kind: EventType, facts: EventFacts) -> Event {
        Event::new(session, kind, facts, self.clock().as_ref())
    }
}
