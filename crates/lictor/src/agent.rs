//! The road: from what a session wants to what was done and recorded.
//!
//! `Action` -> admitted by the session's capability graph -> described by its handler -> judged by
//! the gate -> approved by people, where the policy asks -> a warrant -> executed -> committed to
//! the ledger with its events.

use std::sync::Arc;

use lictor_capability::{Action, CapabilityGraph, CapabilityId, ChangeDocument, Described};
use lictor_context::{ApprovalId, BoxFuture, Clock, Event, EventFacts, EventType, Session, Usage};
use lictor_executor::{CheckReport, ExecutionRecord, StagedChanges, to_its_end};
use lictor_governance::{
    Approval, ApprovalState, Decision, DecisionRecord, JudgedError, SpentApproval, Verdict,
};
use lictor_lock::Status;
use serde_json::{Value, json};

use crate::again::Attempt;
use crate::consent::{Consent, refused};
use crate::decisions::strictest;
use crate::error::{ActError, ActErrorKind};
use crate::events;
use crate::going::Going;
use crate::keys::idempotency_key;
use crate::owing::Owing;
use crate::plans::Cover;
use crate::runtime::Runtime;
use crate::secrets::refuse_in_paths;
use crate::sessions::Life;
use crate::subruns::Bounds;

/// The capability by which change sets are applied.
const APPLY_CAPABILITY: &str = "change.apply";

/// One session on the road: what it can ask for, and asking for it.
#[derive(Debug, Clone)]
pub struct Agent {
    runtime: Runtime,
    session: Session,
    pub(crate) graph: Arc<CapabilityGraph>,
    /// Which catalogue the graph is of.
    pub(crate) seen: u64,
    /// Whether it looks again for what is not as it was seen.
    pub(crate) follows: bool,
    /// What the trail knows of the session.
    pub(crate) life: Arc<Life>,
    /// Whether it ends with what is asked for next.
    pub(crate) ends: bool,
    /// The approval that actions have to be about, byte for byte.
    only_under: Option<ApprovalId>,
    /// The run that people agreed to as a whole, and which step of it this is.
    under_plan: Option<Arc<Cover>>,
    /// What an action of a run goes by, and the run that it begins.
    pub(crate) bounds: Bounds,
    /// What asking costs, as whoever asks reports it.
    usage: Usage,
}

/// What the gate would say, without anything being done.
#[derive(Debug)]
pub struct Checked {
    /// The action with its effects.
    pub described: Described,
    /// The decision.
    pub decision: DecisionRecord,
}

/// Something was done, or had been done before.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// The execution's record.
    pub record: ExecutionRecord,
    /// Whether it had been done before under the same key, and nothing was touched now.
    pub duplicate: bool,
    /// The checks that were passed.
    pub checks: Vec<CheckReport>,
    /// What it changed in its staging copy, which has not landed yet.
    pub(crate) staged: Option<Box<StagedChanges>>,
}

impl Done {
    /// It had been done before.
    pub(crate) fn before(record: ExecutionRecord) -> Self {
        Self { record, duplicate: true, checks: Vec::new(), staged: None }
    }
}

impl Agent {
    pub(crate) fn new(
        runtime: Runtime,
        session: Session,
        (graph, seen): (Arc<CapabilityGraph>, u64),
    ) -> Self {
        let life = runtime.parts.ledger.sessions().serve(&session);
        Self {
            runtime,
            session,
            graph,
            seen,
            follows: false,
            life,
            ends: false,
            only_under: None,
            under_plan: None,
            bounds: Bounds::default(),
            usage: Usage::default(),
        }
    }

    /// Reports what asking for the next action has cost; each action of this agent counts it.
    #[must_use]
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The same session, for whoever keeps it for long: where something that it asks for is no longer
    /// what it has seen, it looks at the catalogue again, and asks for what is there now. So nobody has to
    /// look at everything before each action ([`refreshed`](Self::refreshed)).
    #[must_use]
    pub fn following(mut self) -> Self {
        self.follows = true;
        self
    }

    /// The same session, for what was approved under this id and for nothing else: an action that
    /// differs from it in anything is refused, where otherwise people would be asked anew.
    #[must_use]
    pub fn only_under(mut self, approval: ApprovalId) -> Self {
        self.only_under = Some(approval);
        self
    }

    /// The same session, for an action of a run, or one that may begin one.
    pub(crate) fn within(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// The same session, for a step of a run that people agreed to as a whole.
    pub(crate) fn covered_by(mut self, cover: Cover) -> Self {
        self.under_plan = Some(Arc::new(cover));
        self
    }

    /// The same session, for what people have not been asked about.
    pub(crate) fn judged_anew(mut self) -> Self {
        self.only_under = None;
        self
    }

    /// What it can ask for.
    #[must_use]
    pub fn graph(&self) -> &CapabilityGraph {
        &self.graph
    }

    /// Whether it is let in for what was approved under one id, and for nothing else.
    pub(crate) fn is_bound(&self) -> bool {
        self.only_under.is_some()
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds.clone()
    }

    /// The runtime.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// An action of this session.
    #[must_use]
    pub fn action(&self, capability: CapabilityId, input: Value) -> Action {
        Action::new(&self.session, capability, input, self.clock()).with_usage(self.usage)
    }

    /// The action that applies a change document.
    ///
    /// # Errors
    /// Never, in a build whose tests have passed: the capability is part of the program.
    pub fn apply_action(&self, document: &ChangeDocument) -> Result<Action, ActError> {
        let set = &document.change_set;
        let input = json!({
            "plan": document.plan,
            "change_set": { "id": set.id(), "plan_id": set.plan_id(), "checksum": set.checksum() },
        });
        let capability = CapabilityId::parse(APPLY_CAPABILITY)
            .map_err(|error| ActErrorKind::Invalid(error.to_string()))?;
        let action =
            self.action(capability, input).with_change_set(document.plan.clone(), set.clone());
        Ok(if document.derived_plan_id {
            action
        } else {
            action.with_idempotency_key(idempotency_key(set.plan_id(), set.checksum()))
        })
    }

    /// Calls a capability.
    ///
    /// # Errors
    /// When it is not done; the error says why and what is left.
    pub fn call<'a>(
        &'a self,
        capability: &'a str,
        input: Value,
    ) -> BoxFuture<'a, Result<Done, ActError>> {
        Box::pin(async move {
            let capability = CapabilityId::parse(capability)
                .map_err(|error| ActErrorKind::Invalid(error.to_string()))?;
            self.act(self.action(capability, input), None).await
        })
    }

    /// What the gate would say to an action. Changes nothing.
    ///
    /// # Errors
    /// When the capability does not exist, the input does not fit, or it cannot be worked out
    /// what the action would do.
    pub fn check(&self, action: Action) -> Result<Checked, ActError> {
        let admitted = self.graph.admit(action).map_err(|error| self.not_admitted(error))?;
        let described = self.runtime.parts.executor.describe(admitted);
        self.checked(described.map_err(ActErrorKind::NotDescribed)?)
    }

    /// What the gate would say to an action that is described already.
    pub(crate) fn checked(&self, described: Described) -> Result<Checked, ActError> {
        refuse_in_paths(&described, &self.runtime.audit().redactor())?;
        self.can_begin(described.action(), described.contract())?;
        // Only judged: what changed stands in the trail before whatever is recorded next.
        self.runtime.refresh_policies()?;
        let decision = self.runtime.parts.gate.decide(&described).record().clone();
        Ok(Checked { described, decision })
    }

    /// An action as people are shown it who are asked about it.
    ///
    /// # Errors
    /// When not all of it can be shown.
    pub fn view(&self, checked: &Checked) -> Result<String, JudgedError> {
        let contents = self.contents(&checked.described);
        self.runtime.parts.gate.judged(&checked.described, contents)?.view()
    }

    /// Takes an action down the road. With `consent`, an approval that the policy asks for is
    /// given at once by somebody who proved who they are, if it is what they looked at.
    ///
    /// # Errors
    /// When it is not done; the error says why and what is left. Whatever it is, it was recorded.
    pub fn act<'a>(
        &'a self,
        action: Action,
        consent: Option<&'a Consent>,
    ) -> BoxFuture<'a, Result<Done, ActError>> {
        Box::pin(self.act_owing(action, consent, None))
    }

    /// Takes an action down the road that changes nothing and needs nobody's approval, and hands
    /// out the events that it owes: whoever asks records them together with what comes of it.
    /// What turns out to be another kind of action is recorded as any other.
    pub(crate) async fn look(&self, action: Action) -> Result<(Done, Vec<Event>), ActError> {
        let owing = Arc::new(Owing::new(Arc::clone(&self.runtime.parts.ledger)));
        let done = self.act_owing(action, None, Some(Arc::clone(&owing))).await?;
        Ok((done, owing.take()))
    }

    async fn act_owing(
        &self,
        action: Action,
        consent: Option<&Consent>,
        owing: Option<Arc<Owing>>,
    ) -> Result<Done, ActError> {
        if let Err(halted) = self.halted() {
            let kind = ActErrorKind::Halted(halted);
            return Err(self.reject(&action, None, kind, self.prelude()).await);
        }
        if let Some(record) = self.begun(&action)?
            && !self.has_left_nothing(&action, &record).await?
        {
            return self.go_on(&action, Done::before(record)).await;
        }
        if let Some(done) = self.duplicate(&action).await? {
            return self.go_on(&action, done).await;
        }
        if let Some(landing) = self.waiting_landing(&action) {
            return Box::pin(self.act_owing(landing, consent, owing)).await;
        }
        self.go_first(&action).await?;
        let mut described = self.describe(action).await?;
        if !described.effects().conflicts.is_empty() {
            // Somebody may be at work just now, perhaps on the very same: what they leave counts.
            self.wait_for_others().await;
            if let Some(done) = self.duplicate(described.action()).await? {
                return Ok(done);
            }
            described = self.describe(described.action().clone()).await?;
        }
        let asked = described.action().clone();
        let mut attempt = Attempt::default();
        let mut outcome = loop {
            attempt.begins(&described);
            let outcome = self.attempt(described, consent, owing.clone()).await;
            match &outcome {
                Err(error) => match self.described_anew(&attempt, &asked, error).await {
                    Some(anew) => described = anew,
                    None => break outcome,
                },
                Ok(_) => break outcome,
            }
        };
        if let Ok(done) = &mut outcome
            && let Some(staged) = done.staged.take()
        {
            outcome = self.land(&asked, *staged).await;
        }
        if let Ok(done) = outcome {
            outcome = self.go_on(&asked, done).await;
        }
        if let Some(landed) = asked.origin().lands.as_ref().filter(|_| outcome.is_ok()) {
            self.landed(landed);
        }
        // Not after an undo: more of them may be to come.
        let changed = |done: &Done| !done.record.files.is_empty() && done.record.undo_of.is_empty();
        if outcome.as_ref().is_ok_and(changed) {
            self.purge_when_due().await;
        }
        outcome
    }

    /// From a description to what came of it: one decision, and at most one execution.
    async fn attempt(
        &self,
        described: Described,
        consent: Option<&Consent>,
        owing: Option<Arc<Owing>>,
    ) -> Result<Done, ActError> {
        self.runtime.refresh_policies()?;
        let decision = self.runtime.parts.gate.decide(&described);
        let inputs = self.runtime.parts.ledger.remember(&decision, &described);
        let mut before = self.prelude();
        before.push(events::decision_made(
            described.action(),
            described.contract(),
            decision.record(),
            inputs,
            self.clock(),
        ));
        let judged = self.judge(&described, &decision, consent, &mut before).await;
        let approval = match judged {
            Ok(approval) => approval,
            Err(kind) => {
                self.asked_about(described.action(), &kind);
                return Err(self.refuse(&described, &decision, kind, before).await);
            }
        };
        self.asked_in_vain(described.action(), &mut before)?;
        let looks = described.effects().is_read_only() && approval.is_none();
        let changes = !described.effects().changes.items.is_empty();
        let action = described.action().clone();
        let warrant = match self.runtime.parts.gate.authorize(described, &decision, approval) {
            Ok(warrant) => warrant,
            Err(error) => {
                let kind = ActErrorKind::NotAuthorized(error);
                return Err(self.reject(&action, Some(&decision), kind, before).await);
            }
        };
        let owing = owing.filter(|_| looks);
        let (agent, under_way) = (self.clone(), self.runtime.begin());
        let going = Going { agent, action, warrant, decision, before, owing, under_way };
        // What has begun comes to an end that is recorded, whether or not somebody still waits for it.
        let (answer, mut outcome) = tokio::sync::oneshot::channel();
        to_its_end(going.go(answer), changes).await;
        (&mut outcome).await.unwrap_or_else(|_| {
            let why = "its task ended early; `lictor recover` settles what it left";
            Err(ActErrorKind::NotRecorded(why.to_owned()).into())
        })
    }

    /// Waits for whoever holds the workspace; what a crash left is settled then as well.
    async fn wait_for_others(&self) {
        let held = matches!(self.runtime.lock().status(), Ok(Status::Held { .. }));
        if held && let Err(error) = self.runtime.recover().await {
            // Then the conflict stands as it was seen.
            tracing::debug!(%error, "the workspace did not come to rest");
        }
    }

    /// Records that something was refused before it became an action: a document that cannot be
    /// read, a checksum that does not fit, a diff that does not match.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn record_refusal<'a>(
        &'a self,
        capability: &'a str,
        why: &'a str,
    ) -> BoxFuture<'a, Result<(), ActError>> {
        Box::pin(async move {
            let mut events = self.prelude();
            let facts = EventFacts {
                action_name: Some(capability.to_owned()),
                success: Some(false),
                error_message: Some(why.to_owned()),
                ..EventFacts::default()
            };
            events.push(Event::new(&self.session, EventType::ActionRejected, facts, self.clock()));
            self.record_last(events).await
        })
    }

    /// The decision's consequences: nothing more to ask, an approval to spend, or a refusal.
    async fn judge(
        &self,
        described: &Described,
        decision: &Decision,
        consent: Option<&Consent>,
        before: &mut Vec<Event>,
    ) -> Result<Option<SpentApproval>, ActErrorKind> {
        if let Some(id) = &self.only_under {
            let approval = self.runtime.parts.approvals.get(id).map_err(refused)?;
            if approval.action_digest() != decision.action_digest() {
                let why = format!(
                    "{id} is about {}, and this is {}",
                    approval.action_digest(),
                    decision.action_digest()
                );
                return Err(ActErrorKind::ApprovalBroken(why));
            }
        }
        if decision.verdict() == Verdict::Deny {
            return Err(ActErrorKind::Denied(strictest(decision.record())));
        }
        let conflicts = &described.effects().conflicts;
        if !conflicts.is_empty() {
            return Err(ActErrorKind::Conflict(conflicts.clone()));
        }
        if decision.verdict() == Verdict::Allow {
            return Ok(None);
        }
        let approvals = &self.runtime.parts.approvals;
        if let Some(spent) = approvals.spend(decision.action_digest()).map_err(refused)? {
            return Ok(Some(spent));
        }
        if let Some(cover) = &self.under_plan
            && let Some(spent) = cover.spend(approvals, described, decision).map_err(refused)?
        {
            before.push(events::granted_by_plan(described, decision, &spent, self.clock()));
            return Ok(Some(spent));
        }
        if let Some((spent, grant)) = approvals.spend_grant(described, decision).map_err(refused)? {
            before.push(events::granted_in_advance(described, decision, &grant, self.clock()));
            return Ok(Some(spent));
        }
        let way = &self.bounds.way.steps;
        let covers = |consent: &Consent| consent.covers(described, decision.record(), way);
        let consent = if consent.map_or(Ok(false), covers)? { consent } else { None };
        let contents = self.contents(described);
        let mut approval = approvals.request(described, decision, contents).map_err(refused)?;
        let event = |kind, approval: &Approval| {
            events::approval(kind, described.action(), described.contract(), approval, self.clock())
        };
        before.push(event(EventType::ApprovalRequested, &approval));
        if let Some(consent) = consent {
            approval = approvals
                .grant(approval.id(), &consent.approver, consent.channel)
                .map_err(refused)?;
            before.push(event(EventType::ApprovalGranted, &approval));
        }
        approval = self.put_to_people(described, approval, before).await?;
        if approval.state() == ApprovalState::Granted
            && let Some(spent) = approvals.spend(decision.action_digest()).map_err(refused)?
        {
            return Ok(Some(spent));
        }
        Err(ActErrorKind::ApprovalRequired(Box::new(approval)))
    }

    /// Records that an action was refused, or waits.
    async fn refuse(
        &self,
        described: &Described,
        decision: &Decision,
        kind: ActErrorKind,
        mut before: Vec<Event>,
    ) -> ActError {
        if matches!(kind, ActErrorKind::ApprovalRequired(_)) {
            // It is not rejected: it waits, and the request is its last event for now.
            let error = ActError::from(kind).with_decision(decision.record());
            return match self.record_last(before).await {
                Ok(()) => error,
                Err(unrecorded) => unrecorded,
            };
        }
        let conflicts = match &kind {
            ActErrorKind::Conflict(conflicts) => conflicts.as_slice(),
            _ => &[],
        };
        if !conflicts.is_empty() && !described.effects().takes_back.is_empty() {
            let mut facts = events::action_facts(described.action(), Some(described.contract()));
            facts.success = Some(false);
            facts.metadata.insert("conflicts".to_owned(), json!(conflicts));
            facts.metadata.insert("undo_of".to_owned(), json!(described.effects().takes_back));
            before.push(Event::new(&self.session, EventType::UndoConflict, facts, self.clock()));
        }
        before.push(events::rejected(
            described.action(),
            Some(described.contract()),
            Some(decision.record()),
            &kind.to_string(),
            conflicts,
            self.clock(),
        ));
        let error = ActError::from(kind).with_decision(decision.record());
        match self.record_last(before).await {
            Ok(()) => error,
            Err(unrecorded) => unrecorded,
        }
    }

    pub(crate) async fn reject(
        &self,
        action: &Action,
        decision: Option<&Decision>,
        kind: ActErrorKind,
        mut before: Vec<Event>,
    ) -> ActError {
        let record = decision.map(Decision::record);
        let why = kind.to_string();
        before.push(events::rejected(action, None, record, &why, &[], self.clock()));
        let mut error = ActError::from(kind);
        if let Some(record) = record {
            error = error.with_decision(record);
        }
        match self.record_last(before).await {
            Ok(()) => error,
            Err(unrecorded) => unrecorded,
        }
    }

    /// What comes before everything else that is recorded: the session's first event, and what the
    /// trail has not been told of the policies. Each once.
    pub(crate) fn prelude(&self) -> Vec<Event> {
        let mut events: Vec<Event> =
            self.life.beginning(&self.session, self.clock()).into_iter().collect();
        events.extend(self.runtime.policies_told(&self.session));
        events
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.runtime.parts.clock.as_ref()
    }
}
