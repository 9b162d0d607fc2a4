//! Agreement to runs as a whole: which plan people are asked about, and what their agreement covers.

use std::sync::Arc;

use lictor_capability::{Action, CapabilityId, Contract, Described, EffectCeiling, Origin};
use lictor_context::{ApprovalId, Digest};
use lictor_governance::{
    ApprovalError, Approvals, CatalogueKind, Decision, PlannedCall, PlannedPack, PlannedRun,
    PlannedStep, RunPlan, SpentApproval,
};
use lictor_workflow::{AgreedPlan, AskFor, PlanCall, PlanState, Purpose, StepCall, Work, Workflow};
use semver::VersionReq;
use serde_json::json;

use crate::agent::Agent;
use crate::workflows::{Asked, RuntimeRoad};

/// The capability by which people are asked about whole runs.
pub(crate) const PLAN_CAPABILITY: &str = "workflow.plan";

/// A run above the one at hand that people agreed to as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Above {
    pub(crate) plan: Arc<AgreedPlan>,
    /// The steps that lead from it to the run at hand, the outermost first.
    pub(crate) way: Vec<String>,
}

impl Above {
    /// The same, for the run that a step begins.
    pub(crate) fn then(mut self, step_id: &str) -> Self {
        self.way.push(planned_step(step_id).0.to_owned());
        self
    }
}

/// A step of a run that people agreed to as a whole.
#[derive(Debug)]
pub(crate) struct Cover {
    approval: ApprovalId,
    plan: Described,
    way: Vec<String>,
    step: String,
    compensates: bool,
    item: bool,
}

impl Cover {
    /// Their agreement, if it answers a decision about the step's action.
    pub(crate) fn spend(
        &self,
        approvals: &Approvals,
        described: &Described,
        decision: &Decision,
    ) -> Result<Option<SpentApproval>, ApprovalError> {
        let Self { way, step, compensates, item, .. } = self;
        let call = PlannedCall { within: way, step, compensates: *compensates, item: *item };
        approvals.spend_plan((&self.approval, &self.plan), (described, call), decision)
    }
}

impl RuntimeRoad {
    /// Whether a run may go on: nobody has to agree to it, or people did and it is what it was.
    pub(crate) async fn run_plan(&self, call: &PlanCall) -> Result<PlanState, String> {
        let agent = self.agent_here(&call.session);
        self.hold_against_consent(&agent, call);
        let wanted = match &call.workflow.pack {
            None => call.workflow.approvals == AskFor::Plan,
            Some(id) => match self.runtime.active_pack(id) {
                Ok(pack) => pack.requires_approval || call.workflow.approvals == AskFor::Plan,
                Err(why) => {
                    return Ok(PlanState::Denied { reason: format!("the pack `{id}`: {why}") });
                }
            },
        };
        if !wanted {
            return Ok(PlanState::NotNeeded);
        }
        self.runtime.refresh_policies().map_err(|error| error.to_string())?;
        let plan = self.plan_of(&agent, call)?;
        let digest = Digest::of_json(&plan).map_err(|error| error.to_string())?;
        if call.granted == Some(digest) {
            return Ok(PlanState::Granted { digest, approval_id: None });
        }
        let action = plan_action(&agent, &plan)?;
        Ok(match self.ask(&agent, action).await? {
            Asked::Granted(id) => {
                PlanState::Granted { digest, approval_id: id.map(|id| id.to_string()) }
            }
            Asked::Pending(id) => PlanState::Pending { approval_id: id.to_string() },
            Asked::Denied(why) => PlanState::Denied { reason: format!("not approved: {why}") },
        })
    }

    /// The run that people agreed to as a whole and that a call belongs to: its own, else one above.
    pub(crate) fn agreed(&self, call: &StepCall) -> Option<Above> {
        match &call.plan {
            Some(own) => Some(Above { plan: Arc::clone(own), way: Vec::new() }),
            None => self.way.above.clone(),
        }
    }

    /// What people's agreement to the run covers of a call, where there is one.
    pub(crate) fn cover(&self, agent: &Agent, call: &StepCall) -> Option<Cover> {
        let Above { plan: agreed, way } = self.agreed(call)?;
        let approval = ApprovalId::parse(&agreed.approval_id).ok()?;
        let plan = self.plan_of(agent, &agreed.call).ok()?;
        let action = plan_action(agent, &plan).ok()?;
        let admitted = agent.graph().admit(action).ok()?;
        let plan = agent.runtime().parts.executor.describe(admitted).ok()?;
        let (step, item) = planned_step(&call.step_id);
        let compensates = call.purpose == Purpose::Compensation;
        Some(Cover { approval, plan, way, step: step.to_owned(), compensates, item })
    }

    pub(crate) fn plan_of(&self, agent: &Agent, call: &PlanCall) -> Result<RunPlan, String> {
        let workflow = &call.workflow;
        let pack = match &workflow.pack {
            None => None,
            // Also of one that was frozen since: what is taken back is covered by what was agreed to.
            Some(id) => {
                let found = self.runtime.active_pack(id).ok().or_else(|| {
                    let all = self.runtime.catalogue().versions(CatalogueKind::Pack, id.as_str());
                    all.first().and_then(|entry| entry.document.pack().cloned())
                });
                let pack = found.ok_or_else(|| format!("there is no pack `{id}`"))?;
                Some(PlannedPack { id: id.clone(), digest: pack.digest() })
            }
        };
        let steps = planned_steps(agent, workflow, &[])?;
        Ok(RunPlan {
            run_id: call.run_id.clone(),
            workflow: workflow.id.clone(),
            document: workflow.digest(),
            input: Digest::of_json(&call.input).map_err(|error| error.to_string())?,
            pack,
            policy: self.runtime.gate().policies().digest(),
            steps,
        })
    }
}

/// The step of a call as its document names it, and whether the call is for an item of a list: that is
/// `step[index]`, and no step's id holds a bracket.
pub(crate) fn planned_step(step_id: &str) -> (&str, bool) {
    match step_id.split_once('[') {
        Some((step, _)) => (step, true),
        None => (step_id, false),
    }
}

/// The calls of a workflow, in the order of its plan, with those of the workflows that they call;
/// `way` are the capabilities that lead to it.
fn planned_steps(
    agent: &Agent,
    workflow: &Workflow,
    way: &[String],
) -> Result<Vec<PlannedStep>, String> {
    let mut steps = Vec::new();
    for id in &workflow.plan().order {
        let Some(step) = workflow.step(id) else { continue };
        let Work::Call(one) = &step.work else { continue };
        let each = step.foreach.is_some();
        let back = one.compensate.as_ref();
        let calls = [(&one.capability, one.version.as_ref(), one.effects.as_ref(), false)]
            .into_iter()
            .chain(back.map(|it| (&it.capability, it.version.as_ref(), None, true)));
        for (capability, version, effects, compensates) in calls {
            let contract = contract(agent, capability, version)?;
            let mut step = planned((id, compensates, each), &contract, effects);
            step.calls = called(agent, &contract, way)?.map(Box::new);
            steps.push(step);
        }
    }
    Ok(steps)
}

/// The workflow behind a contract, if there is one.
fn called(
    agent: &Agent,
    contract: &Contract,
    way: &[String],
) -> Result<Option<PlannedRun>, String> {
    if contract.calls_workflow().is_none() {
        return Ok(None);
    }
    let way = [way, &[contract.id.to_string()]].concat();
    let called = agent.runtime().called_workflow(agent.graph(), contract, &way);
    let called = called.map_err(|refusal| refusal.to_string())?;
    Ok(Some(PlannedRun {
        workflow: called.id.clone(),
        document: called.digest(),
        steps: planned_steps(agent, &called, &way)?,
    }))
}

fn contract(
    agent: &Agent,
    id: &CapabilityId,
    version: Option<&VersionReq>,
) -> Result<Arc<Contract>, String> {
    let found = agent.graph().get(id, version).cloned();
    found.ok_or_else(|| format!("there is no capability `{id}` any more"))
}

fn planned(
    (id, compensates, each): (&str, bool, bool),
    contract: &Contract,
    effects: Option<&EffectCeiling>,
) -> PlannedStep {
    PlannedStep {
        id: id.to_owned(),
        compensates,
        capability: contract.id.clone(),
        contract: contract.digest(),
        risk: contract.risk,
        effects: effects.unwrap_or(&contract.effects).clone(),
        each,
        calls: None,
    }
}

/// The action that asks people: the same plan is the same question.
fn plan_action(agent: &Agent, plan: &RunPlan) -> Result<Action, String> {
    let capability = CapabilityId::parse(PLAN_CAPABILITY).map_err(|error| error.to_string())?;
    let origin = Origin { run_id: Some(plan.run_id.clone()), ..Origin::default() };
    let action = agent.action(capability, json!({ "plan": plan }));
    Ok(action.with_origin(origin).with_risk(plan.risk()))
}
