//! What is kept of an execution.

use lictor_capability::{Described, FileChange, UndoScope};
use lictor_context::{
    ActionId, CapabilityFacts, ChangeSetId, Clock, DecisionId, Digest, Event, EventFacts,
    EventType, ExecutionId, PlanId, Principal, RunId, Session, SessionId, Timestamp, seal,
};
use lictor_governance::{Agreement, Decision, DecisionRecord};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::lease::LockTaken;

/// How an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionStatus {
    /// Done; what it changed stands.
    Applied,
    /// Failed; everything was put back, and that was verified.
    RolledBack,
    /// It was taken back later, by another execution.
    Undone,
    /// Something could not be put back, or it is not known whether it happened.
    Incomplete,
}

/// One execution. It is written into the journal before the first effect, and into the ledger
/// with the events of its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutionRecord {
    /// Its id.
    pub execution_id: ExecutionId,
    /// How it stands.
    pub status: ExecutionStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// The session.
    pub session_id: SessionId,
    /// Who asked.
    pub principal: Principal,
    /// The trace that the session belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The action.
    pub action_id: ActionId,
    /// The capability's id.
    pub capability: String,
    /// The capability, as events name it.
    pub capability_facts: CapabilityFacts,
    /// The input, sealed.
    pub params: Value,
    /// The decision.
    pub decision_id: DecisionId,
    /// The decision in full.
    pub decision: DecisionRecord,
    /// Whether the decision asked for approval; then it was given.
    pub requires_approval: bool,
    /// Who gave it: people who were asked about this action, or somebody in advance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
    /// The plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<PlanId>,
    /// What the plan is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// The change set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_set_id: Option<ChangeSetId>,
    /// The idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<Digest>,
    /// The workflow run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// The step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_id: Option<String>,
    /// The executions that this one takes back, or makes up for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo_of: Vec<ExecutionId>,
    /// The digest of the changes that it made in its staging copy. None of them is done by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<Digest>,
    /// The digest of the input that it made them for, with a salt that is kept with them: what is
    /// secret in the input stands in no record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged_for: Option<Digest>,
    /// The execution whose staged changes it lands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lands: Option<ExecutionId>,
    /// The workflow run that it began, whose output is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<RunId>,
    /// How it took the workspace's lock, if it needed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockTaken>,
    /// How much of it could be taken back.
    pub undo: UndoScope,
    /// The files.
    pub files: Vec<FileChange>,
    /// The output.
    pub output: Value,
    /// How long it took, in microseconds.
    #[serde(default)]
    pub duration_us: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl ExecutionRecord {
    pub(crate) fn begin(
        execution_id: ExecutionId,
        described: &Described,
        decision: &Decision,
        agreement: Option<Agreement>,
        started_at: Timestamp,
    ) -> Box<Self> {
        let action = described.action();
        let session = action.session();
        let effects = described.effects();
        // On the heap at once: it is moved from hand to hand, and it is large.
        Box::new(Self {
            execution_id,
            status: ExecutionStatus::Applied,
            started_at,
            session_id: session.id().clone(),
            principal: session.principal().clone(),
            trace_id: session.trace_id().map(str::to_owned),
            action_id: action.id().clone(),
            capability: action.capability().as_str().to_owned(),
            capability_facts: described.contract().facts(),
            params: seal(action.input()),
            decision_id: decision.id().clone(),
            decision: decision.record().clone(),
            requires_approval: decision.approvals_needed() > 0,
            agreement,
            plan_id: action.plan().map(|plan| plan.id.clone()),
            intent: action.plan().map(|plan| plan.intent.clone()).filter(|text| !text.is_empty()),
            change_set_id: action.change_set().map(|set| set.id().clone()),
            idempotency_key: action.remembered_key(),
            run_id: action.origin().run_id.clone(),
            step_id: action.origin().step_id.clone(),
            undo_of: [&*effects.takes_back, &action.origin().compensates].concat(),
            staged: None,
            staged_for: None,
            lands: action.origin().lands.clone(),
            began: None,
            lock: None,
            undo: effects.undo,
            files: effects.changes.files(),
            output: Value::Null,
            duration_us: 0,
            error: None,
        })
    }

    /// Whether it changed nothing anywhere, and so leaves nothing to take back: it only looked, or
    /// what it was asked for was so already. What a run that it began did is not nothing.
    #[must_use]
    pub fn changed_nothing(&self) -> bool {
        self.files.is_empty() && self.undo == UndoScope::Full && self.began.is_none()
    }

    /// What every event of it says.
    #[must_use]
    pub fn facts(&self) -> EventFacts {
        EventFacts {
            action_id: Some(self.action_id.clone()),
            action_name: Some(self.capability.clone()),
            action_params: Some(self.params.clone()),
            capability: Some(self.capability_facts.clone()),
            execution_id: Some(self.execution_id.clone()),
            decision_id: Some(self.decision_id.clone()),
            run_id: self.run_id.clone(),
            step_id: self.step_id.clone(),
            requires_approval: Some(self.requires_approval),
            approval_granted: self.requires_approval.then_some(true),
            ..EventFacts::default()
        }
    }

    /// The events with which it begins: that it has the lock, if it needs it, and that it was let
    /// through.
    #[must_use]
    pub fn begin_events(
        &self,
        session: &Session,
        facts: EventFacts,
        clock: &dyn Clock,
    ) -> Vec<Event> {
        let lock = self.lock.as_ref();
        let lock = lock.map(|lock| lock.event(session, facts.clone(), clock));
        let started = Event::new(session, EventType::ActionStarted, facts, clock);
        lock.into_iter().chain([started]).collect()
    }

    /// The event that says what it has undone.
    #[must_use]
    pub fn undo_completed(&self, session: &Session, clock: &dyn Clock) -> Event {
        let mut facts = self.facts();
        facts.success = Some(true);
        facts.metadata.insert("undo_of".to_owned(), json!(self.undo_of));
        Event::new(session, EventType::UndoCompleted, facts, clock)
    }

    /// The session that it ran in, rebuilt for recording what became of it.
    #[must_use]
    pub fn session(&self) -> Session {
        let session = Session::resume(self.session_id.clone(), self.principal.clone());
        match &self.trace_id {
            Some(trace_id) => session.with_trace_id(trace_id.clone()),
            None => session,
        }
    }
}
