//! A run as somebody looks at it who agrees to it at once, and what their agreement covers.

use std::collections::BTreeMap;
use std::sync::Arc;

use lictor_capability::{Described, Risk};
use lictor_context::{Digest, RunId, Session};
use lictor_governance::{Approval, DecisionRecord, PlannedCall, PlannedStep, RunPlan};
use lictor_workflow::{PlanCall, Preview, Workflow};
use serde_json::Value;

use crate::consent::refused;
use crate::error::{ActError, ActErrorKind};
use crate::plans::{PLAN_CAPABILITY, planned_step};
use crate::runtime::Runtime;
use crate::workflows::{APPROVAL_CAPABILITY, RuntimeRoad};

/// What a run is bound to that somebody agreed to at once: its document and input, the policies, and
/// for each step its contract by its digest, the most that it may do, the risk that they were told
/// of, and the question of an approval step; and the same of the runs that its steps begin, as far as
/// that can be seen before. What is something else is nothing that they agreed to.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenRun {
    plan: RunPlan,
    /// By step, after the steps that lead to its run.
    risks: Risks,
    /// By step; none of those that depend on what other steps give.
    questions: BTreeMap<String, String>,
    /// What people were asked already, and were shown.
    asked: Vec<Digest>,
}

impl Runtime {
    /// A run as somebody looks at it who may agree to it at once: `steps` is what they are shown of it
    /// ([`lictor_workflow::Engine::dry_run`]). Of a run that waits for people, `waits` is its id, and its
    /// open requests are looked at as well.
    ///
    /// # Errors
    /// When a step names what does not exist, or the requests cannot be read.
    pub fn look_at_run(
        &self,
        session: &Session,
        (workflow, input): (&Workflow, &Value),
        steps: &[Preview],
        waits: Option<&RunId>,
    ) -> Result<SeenRun, ActError> {
        let run_id = waits.cloned().unwrap_or_else(|| RunId::generate(self.clock().as_ref()));
        let call = PlanCall {
            session: session.clone(),
            run_id,
            workflow: Arc::new(workflow.clone()),
            input: input.clone(),
            granted: None,
        };
        let road = RuntimeRoad::new(self.clone(), None);
        let plan = road.plan_of(&road.agent(session), &call).map_err(ActErrorKind::Invalid)?;
        let mut risks = Risks::new();
        stated(&mut risks, &[], &plan.steps);
        for step in steps {
            let known = [step.risk, decided(step)].into_iter().flatten();
            known.for_each(|risk| told(&mut risks, vec![step.step.clone()], risk));
        }
        let questions = steps.iter();
        let questions = questions.filter_map(|one| Some((one.step.clone(), one.question.clone()?)));
        let asked = match waits {
            None => Vec::new(),
            Some(run) => {
                // Also what runs ask that its steps have begun.
                let record = self.run_record(run);
                let record =
                    record.map_err(|error| ActErrorKind::NotRecorded(error.to_string()))?;
                let steps = record.into_iter().flat_map(|record| record.steps);
                let waits: Vec<String> = steps.filter_map(|step| step.waiting_for).collect();
                let its = |approval: &Approval| {
                    approval.run_id() == Some(run)
                        || waits.iter().any(|id| id == approval.id().as_str())
                };
                let open = self.approvals().list(true).map_err(refused)?;
                open.iter().filter(|one| its(one)).map(Approval::action_digest).collect()
            }
        };
        Ok(SeenRun { plan, risks, questions: questions.collect(), asked })
    }
}

/// By step, after the steps that lead to its run.
type Risks = BTreeMap<Vec<String>, Risk>;

fn told(risks: &mut Risks, step: Vec<String>, risk: Risk) {
    let known = risks.entry(step).or_insert(risk);
    *known = (*known).max(risk);
}

/// The risks that contracts state, also of what is called inside.
fn stated(risks: &mut Risks, way: &[String], steps: &[PlannedStep]) {
    for step in steps {
        let here = [way, std::slice::from_ref(&step.id)].concat();
        // Nobody agrees to what is done inside of what takes back.
        if let Some(run) = step.calls.as_ref().filter(|_| !step.compensates) {
            stated(risks, &here, &run.steps);
        }
        told(risks, here, step.risk);
    }
}

/// The risk that a step would have, where that is known.
fn decided(step: &Preview) -> Option<Risk> {
    step.decision.as_ref()?.get("risk_effective")?.as_str()?.parse().ok()
}

impl SeenRun {
    /// What it is bound to, to be shown.
    #[must_use]
    pub fn plan(&self) -> &RunPlan {
        &self.plan
    }

    /// Whether it is about a run, to which steps lead. The id of one is given when it begins; nobody has
    /// seen it before. Nor has anybody seen what a step will give to the run that it begins.
    pub(crate) fn is_about(&self, plan: &RunPlan, way: &[String]) -> bool {
        if way.is_empty() {
            return RunPlan { run_id: plan.run_id.clone(), ..self.plan.clone() } == *plan;
        }
        self.plan.policy == plan.policy
            && self.plan.inside(way).is_some_and(|seen| {
                let of = (&seen.workflow, seen.document, &seen.steps);
                of == (&plan.workflow, plan.document, &plan.steps)
            })
    }

    /// Whether an action is what was looked at, of a run that is, to which steps lead.
    pub(crate) fn covers(
        &self,
        described: &Described,
        decision: &DecisionRecord,
        way: &[String],
    ) -> bool {
        if self.asked.contains(&decision.action_digest) {
            return true;
        }
        let (action, capability) = (described.action(), described.contract().id.as_str());
        let Some(run_id) = &action.origin().run_id else { return false };
        if self.plan.policy != decision.policy_digest {
            return false;
        }
        if capability == PLAN_CAPABILITY {
            // What a pack says inside was not shown.
            let shown = |plan: &RunPlan| way.is_empty() || plan.pack.is_none();
            return RunPlan::of(described)
                .is_some_and(|plan| shown(&plan) && self.is_about(&plan, way));
        }
        let Some(step_id) = action.origin().step_id.as_deref() else { return false };
        let (step, item) = planned_step(step_id);
        let here = [way, &[step.to_owned()]].concat();
        let told = self.risks.get(&here).is_some_and(|risk| decision.risk_effective <= *risk);
        if !told {
            return false;
        }
        if capability == APPROVAL_CAPABILITY {
            let asks = action.input().get("message").and_then(Value::as_str);
            let shown = self.questions.get(step).filter(|_| way.is_empty());
            return asks.is_some() && asks == shown.map(String::as_str);
        }
        let plan = RunPlan { run_id: run_id.clone(), ..self.plan.clone() };
        let call = |compensates| PlannedCall { within: way, step, compensates, item };
        [false, true].into_iter().any(|compensates| plan.allows_for(described, call(compensates)))
    }
}
