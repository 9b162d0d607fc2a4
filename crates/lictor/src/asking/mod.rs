//! Putting requests to people elsewhere, and taking what they answer.

mod webhook;

use std::sync::Arc;
use std::time::Duration;

use lictor_capability::Described;
use lictor_context::{ApprovalId, BoxFuture, Event, EventFacts, EventType, Session};
use lictor_governance::{
    Answered, Approval, ApprovalRequest, ApprovalState, Approver, AskError, Channel,
    ProvenApprover, Reply, Says, SignedAnswer,
};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::consent::refused;
use crate::error::{ActError, ActErrorKind};
use crate::events;
use crate::runtime::Runtime;
use webhook::WebhookApprover;

/// Before somebody who was not reached is tried again; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

impl Runtime {
    /// Whom requests are put to.
    fn people(&self) -> Vec<Arc<dyn Approver>> {
        let settings = self.gate().policies();
        let webhooks = settings.settings().approvals.webhooks.iter().map(|webhook| {
            let approver = WebhookApprover { webhook: webhook.clone(), runtime: self.clone() };
            Arc::new(approver) as Arc<dyn Approver>
        });
        webhooks.chain(self.parts.options.approvers.iter().cloned()).collect()
    }

    /// Takes an answer that a webhook's service signed and somebody brought: it counts as if the
    /// service had given it when it was asked.
    ///
    /// # Errors
    /// When it does not hold, does not count, or cannot be recorded. The request is as it was then,
    /// except when it could not be recorded.
    pub fn take_answer<'a>(
        &'a self,
        signed: &'a SignedAnswer,
        session: &'a Session,
    ) -> BoxFuture<'a, Result<Approval, ActError>> {
        Box::pin(async move {
            let request = self.approvals().question(&signed.answer.approval_id).map_err(refused)?;
            let policies = self.gate().policies();
            let all = &policies.settings().approvals.webhooks;
            let webhook = all.iter().find(|webhook| webhook.name == signed.answer.webhook);
            let webhook = webhook.ok_or_else(|| {
                let why = "the policy names no such webhook";
                ActErrorKind::ApprovalRefused(
                    AskError::new(&signed.answer.webhook, why).to_string(),
                )
            })?;
            let answered = self.approvers().verify(signed, webhook, &request);
            let answered =
                answered.map_err(|error| ActErrorKind::ApprovalRefused(error.to_string()))?;
            self.settle(request.approval().id(), &answered, session).await
        })
    }

    /// Takes the answer of somebody who proved to this program who they are. `by` is used up: each
    /// answer is proven anew.
    ///
    /// # Errors
    /// As [`Runtime::take_answer`].
    pub fn answer<'a>(
        &'a self,
        id: &'a ApprovalId,
        by: ProvenApprover,
        channel: Channel,
        says: Says,
        session: &'a Session,
    ) -> BoxFuture<'a, Result<Approval, ActError>> {
        Box::pin(async move {
            let request = self.approvals().question(id).map_err(refused)?;
            let action_digest = request.approval().action_digest();
            self.settle(id, &Answered { by, channel, says, action_digest }, session).await
        })
    }

    async fn settle(
        &self,
        id: &ApprovalId,
        answered: &Answered,
        session: &Session,
    ) -> Result<Approval, ActError> {
        let approval = self.approvals().take(id, answered).map_err(refused)?;
        let mut facts = EventFacts {
            action_name: Some(approval.action().capability.clone()),
            decision_id: Some(approval.decision().id.clone()),
            run_id: approval.run_id().cloned(),
            requires_approval: Some(true),
            approval_granted: Some(answered.says == Says::Approve),
            ..EventFacts::default()
        };
        facts.metadata.insert("approval".to_owned(), summary(&approval, answered));
        let event = Event::new(session, kind(answered), facts, self.clock().as_ref());
        self.record(vec![event]).await?;
        Ok(approval)
    }
}

impl Agent {
    /// Puts a request to everybody whom it can be put to, and takes what they answer at once. Who
    /// is not reached, answers late or answers wrongly leaves it as it is.
    pub(crate) async fn put_to_people(
        &self,
        described: &Described,
        mut approval: Approval,
        before: &mut Vec<Event>,
    ) -> Result<Approval, ActErrorKind> {
        let people = self.runtime().people();
        if people.is_empty() {
            return Ok(approval);
        }
        // On record before anything of it leaves this machine.
        let recorded = self.runtime().record(std::mem::take(before)).await;
        recorded.map_err(|error| ActErrorKind::NotRecorded(error.to_string()))?;
        for approver in people {
            if approval.state() != ApprovalState::Pending {
                break;
            }
            let request = self.runtime().approvals().question(approval.id()).map_err(refused)?;
            let replied = self.ask_in_time(&approver, request).await;
            let mut about = self.about(described, EventType::ApprovalDelivered, &approval);
            about.success = Some(replied.is_ok());
            about.error_message = replied.as_ref().err().map(ToString::to_string);
            about.metadata.insert("asked".to_owned(), json!(approver.name()));
            before.push(self.event(EventType::ApprovalDelivered, about));
            let Ok(Reply::Answers(answers)) = replied else { continue };
            for answered in answers {
                approval = self.hear(described, approval, &answered, before);
            }
        }
        if approval.state() == ApprovalState::Denied {
            let denial = approval.denial();
            let who = denial.map_or_else(String::new, |one| one.approver.to_string());
            let why = denial.map_or_else(String::new, |one| format!(": {}", one.reason));
            return Err(ActErrorKind::ApprovalRefused(format!("`{who}` refused it{why}")));
        }
        Ok(approval)
    }

    /// Asks one for no longer than the request stands: who hangs has not answered.
    async fn ask_in_time(
        &self,
        approver: &Arc<dyn Approver>,
        request: ApprovalRequest,
    ) -> Result<Reply, AskError> {
        let left = request.approval().expires_at().since(self.clock().now());
        let late =
            || AskError::new(approver.name(), "it did not answer before the request expired");
        let replied = tokio::time::timeout(left, ask(approver, request)).await;
        replied.unwrap_or_else(|_| Err(late()))
    }

    /// One answer; what does not count is on record, and changes nothing.
    fn hear(
        &self,
        described: &Described,
        approval: Approval,
        answered: &Answered,
        before: &mut Vec<Event>,
    ) -> Approval {
        let (kind, facts, approval) = match self.runtime().approvals().take(approval.id(), answered)
        {
            Ok(taken) => {
                let mut facts = self.about(described, kind(answered), &taken);
                facts.metadata.insert("approval".to_owned(), summary(&taken, answered));
                (kind(answered), facts, taken)
            }
            Err(error) => {
                let mut facts = self.about(described, EventType::ActionRejected, &approval);
                facts.success = Some(false);
                facts.error_message = Some(error.to_string());
                (EventType::ActionRejected, facts, approval)
            }
        };
        before.push(self.event(kind, facts));
        approval
    }

    fn about(&self, described: &Described, kind: EventType, approval: &Approval) -> EventFacts {
        let clock = self.clock();
        let (action, contract) = (described.action(), described.contract());
        events::approval(kind, action, contract, approval, clock).facts().clone()
    }

    fn event(&self, kind: EventType, facts: EventFacts) -> Event {
        Event::new(self.session(), kind, facts, self.clock())
    }
}

fn kind(answered: &Answered) -> EventType {
    match answered.says {
        Says::Approve => EventType::ApprovalGranted,
        Says::Deny { .. } => EventType::ApprovalDenied,
    }
}

fn summary(approval: &Approval, answered: &Answered) -> Value {
    let mut summary = events::approval_summary(approval);
    if let Value::Object(summary) = &mut summary {
        summary.insert("approver".to_owned(), json!(answered.by.name()));
        summary.insert("channel".to_owned(), json!(answered.channel));
        if let Says::Deny { reason } = &answered.says {
            summary.insert("reason".to_owned(), json!(reason));
        }
    }
    summary
}

/// Asks one, on a thread of its own, and again while it is not reached. One that panics gave no
/// answer.
async fn ask(approver: &Arc<dyn Approver>, request: ApprovalRequest) -> Result<Reply, AskError> {
    let mut pause = FIRST_PAUSE;
    let mut attempt = 1;
    loop {
        let (asked, question) = (Arc::clone(approver), request.clone());
        let replied = tokio::task::spawn_blocking(move || asked.ask(&question)).await;
        let replied = replied.unwrap_or_else(|error| Err(AskError::new(approver.name(), error)));
        match replied {
            Err(error) if error.is_unreached() && attempt < approver.attempts() => {
                tokio::time::sleep(pause).await;
                (attempt, pause) = (attempt + 1, pause * 2);
            }
            replied => return replied,
        }
    }
}
