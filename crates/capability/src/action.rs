//! Actions, and what becomes of them before anybody judges: wanted, admitted, described.

use std::sync::Arc;

use lictor_context::{ActionId, Clock, Digest, ExecutionId, RunId, Session, Usage};
use serde_json::Value;

use crate::change::ChangeSet;
use crate::contract::{CapabilityId, Contract};
use crate::effects::{Beyond, Effects};
use crate::plan::Plan;
use crate::risk::Risk;

/// Where an action comes from, beside its session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The workflow run that it is a step of.
    pub run_id: Option<RunId>,
    /// The step.
    pub step_id: Option<String>,
    /// The execution whose effects it takes back because what came after it failed. The decision
    /// that let that execution happen covers taking it back; only a denial stands against it.
    pub rolls_back: Option<ExecutionId>,
    /// The execution in whose staging copy its changes were made. It lands them: nothing is run
    /// again, and what was found there is judged as any change is.
    pub lands: Option<ExecutionId>,
    /// The executions that it makes up for. Once it is done, they stand as undone.
    pub compensates: Vec<ExecutionId>,
}

/// What is wanted: a capability, an input, and who asks.
#[derive(Debug, Clone)]
pub struct Action {
    id: ActionId,
    capability: CapabilityId,
    version: Option<semver::VersionReq>,
    input: Arc<Value>,
    session: Session,
    origin: Origin,
    risk: Option<Risk>,
    plan: Option<Arc<Plan>>,
    change_set: Option<Arc<ChangeSet>>,
    idempotency_key: Option<Digest>,
    key_is_binding: bool,
    approvals: u32,
    usage: Usage,
}

impl Action {
    /// Somebody wants something.
    #[must_use]
    pub fn new(
        session: &Session,
        capability: CapabilityId,
        input: Value,
        clock: &dyn Clock,
    ) -> Self {
        Self {
            id: ActionId::generate(clock),
            capability,
            version: None,
            input: Arc::new(input),
            session: session.clone(),
            origin: Origin::default(),
            risk: None,
            plan: None,
            change_set: None,
            idempotency_key: None,
            key_is_binding: false,
            approvals: 0,
            usage: Usage::default(),
        }
    }

    /// Asks for certain versions of the capability.
    #[must_use]
    pub fn with_version(mut self, version: semver::VersionReq) -> Self {
        self.version = Some(version);
        self
    }

    /// Says where it comes from.
    #[must_use]
    pub fn with_origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// Proposes a risk. The gate takes the highest of what is proposed, what the contract says
    /// and what policy finds.
    #[must_use]
    pub fn with_risk(mut self, risk: Risk) -> Self {
        self.risk = Some(risk);
        self
    }

    /// Brings a plan and the changes that belong to it.
    #[must_use]
    pub fn with_change_set(mut self, plan: Plan, change_set: ChangeSet) -> Self {
        self.plan = Some(Arc::new(plan));
        self.change_set = Some(Arc::new(change_set));
        self
    }

    /// One intent, one key: done once, however often it is asked for.
    #[must_use]
    pub fn with_idempotency_key(mut self, key: Digest) -> Self {
        self.idempotency_key = Some(key);
        self.key_is_binding = true;
        self
    }

    /// A key to be remembered with the execution that answers for nothing by itself: for wishes
    /// that name no intent, such as a bare diff. Whoever holds the same diff again may look up
    /// what became of it.
    #[must_use]
    pub fn with_remembered_key(mut self, key: Digest) -> Self {
        self.idempotency_key = Some(key);
        self.key_is_binding = false;
        self
    }

    /// Asks that at least so many people agree, whatever the policy says.
    #[must_use]
    pub fn with_approvals(mut self, approvals: u32) -> Self {
        self.approvals = approvals;
        self
    }

    /// Reports what asking for it has cost so far, the model's tokens for example. It counts
    /// against budgets; what doing it costs is reported by its handler.
    #[must_use]
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// The action that lands what this one's execution changed in its staging copy: another one, of
    /// the same capability, with the same input and intent, that brings these changes.
    #[must_use]
    pub fn landing(
        &self,
        execution: ExecutionId,
        plan: Plan,
        changes: ChangeSet,
        clock: &dyn Clock,
    ) -> Self {
        let id = ActionId::generate(clock);
        let origin = Origin { lands: Some(execution), ..self.origin.clone() };
        // What asking has cost was counted already.
        let landing = Self { id, origin, usage: Usage::default(), ..self.clone() };
        landing.with_change_set(plan, changes)
    }

    /// The same, asked for from where another one was: the run and the step of that.
    #[must_use]
    pub fn with_origin_of(mut self, other: &Self) -> Self {
        let lands = self.origin.lands.take();
        self.origin = Origin { lands, ..other.origin.clone() };
        self
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &ActionId {
        &self.id
    }

    /// The capability that is asked for.
    #[must_use]
    pub fn capability(&self) -> &CapabilityId {
        &self.capability
    }

    /// The versions that would do; any when `None`.
    #[must_use]
    pub fn version(&self) -> Option<&semver::VersionReq> {
        self.version.as_ref()
    }

    /// The input.
    #[must_use]
    pub fn input(&self) -> &Value {
        &self.input
    }

    /// Who asks.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Where it comes from.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The risk that is proposed.
    #[must_use]
    pub fn risk(&self) -> Option<Risk> {
        self.risk.or_else(|| self.plan.as_ref().map(|plan| plan.risk))
    }

    /// How many people have to agree at least, as whoever asks wants it.
    #[must_use]
    pub fn approvals(&self) -> u32 {
        self.approvals
    }

    /// What asking for it has cost, as whoever asks reports it.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_deref()
    }

    /// The changes that it brings.
    #[must_use]
    pub fn change_set(&self) -> Option<&ChangeSet> {
        self.change_set.as_deref()
    }

    /// Its idempotency key.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<Digest> {
        self.idempotency_key.filter(|_| self.key_is_binding)
    }

    /// The key that is remembered with its execution, binding or not.
    #[must_use]
    pub fn remembered_key(&self) -> Option<Digest> {
        self.idempotency_key
    }
}

/// An action whose capability exists in its session's graph and whose input fits the contract.
/// Only [`crate::CapabilityGraph::admit`] makes one.
#[derive(Debug, Clone)]
pub struct Admitted {
    action: Action,
    contract: Arc<Contract>,
}

impl Admitted {
    pub(crate) fn new(action: Action, contract: Arc<Contract>) -> Self {
        Self { action, contract }
    }

    /// The action.
    #[must_use]
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// The contract that it fits.
    #[must_use]
    pub fn contract(&self) -> &Arc<Contract> {
        &self.contract
    }

    /// Says what the action will do. What lies beyond the contract's ceiling is refused.
    ///
    /// # Errors
    /// When an effect is not declared by the contract.
    pub fn describe(self, effects: Effects) -> Result<Described, Beyond> {
        match effects.beyond(&self.contract.effects) {
            Some(beyond) => Err(beyond),
            None => Ok(Described { admitted: self, effects }),
        }
    }
}

/// An admitted action with its effects: what the gate judges.
#[derive(Debug, Clone)]
pub struct Described {
    admitted: Admitted,
    effects: Effects,
}

impl Described {
    /// The action.
    #[must_use]
    pub fn action(&self) -> &Action {
        self.admitted.action()
    }

    /// The contract.
    #[must_use]
    pub fn contract(&self) -> &Arc<Contract> {
        self.admitted.contract()
    }

    /// What it will do.
    #[must_use]
    pub fn effects(&self) -> &Effects {
        &self.effects
    }
}
