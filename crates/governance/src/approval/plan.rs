//! Plans: one agreement to everything that a run may do, step by step.
//!
//! A plan is the input of an action like any other, so that people agree to its very bytes. Later
//! it answers decisions about the run's steps, as long as they are what the plan says.

use lictor_capability::{CapabilityId, Described, EffectCeiling, Risk};
use lictor_context::{Digest, Name, RunId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::{Approval, ApprovalState};
use crate::decision::{DecisionRecord, Layer, Verdict};

/// What people agree to who agree to a whole run. In its order: steps that come in another one are
/// another plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunPlan {
    /// The run. An agreement is about one.
    pub run_id: RunId,
    /// The workflow's id.
    pub workflow: Name,
    /// The digest of its document.
    pub document: Digest,
    /// The digest of the run's input.
    pub input: Digest,
    /// The pack that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<PlannedPack>,
    /// The policies in force.
    pub policy: Digest,
    /// The steps.
    pub steps: Vec<PlannedStep>,
}

/// A pack as a plan names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedPack {
    /// Its id.
    pub id: Name,
    /// The digest of its document.
    pub digest: Digest,
}

/// A workflow with its calls, and with the workflows that these call in turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedRun {
    /// The workflow's id.
    pub workflow: Name,
    /// The digest of its document.
    pub document: Digest,
    /// Its steps.
    pub steps: Vec<PlannedStep>,
}

/// A call that a plan allows for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedStep {
    /// The step.
    pub id: String,
    /// Whether it is the call that takes the step back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compensates: bool,
    /// The capability.
    pub capability: CapabilityId,
    /// The digest of its contract.
    pub contract: Digest,
    /// The risk that its contract states.
    pub risk: Risk,
    /// The most that it may do.
    pub effects: EffectCeiling,
    /// Whether it is done for each item of a list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub each: bool,
    /// The workflow that it calls, if it calls one: whatever that may do is agreed to with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<Box<PlannedRun>>,
}

impl PlannedStep {
    fn risk(&self) -> Risk {
        let begun = self.calls.iter().flat_map(|run| run.steps.iter().map(Self::risk));
        begun.fold(self.risk, Risk::max)
    }

    fn is(&self, call: PlannedCall<'_>) -> bool {
        self.id == call.step && self.compensates == call.compensates && self.each == call.item
    }
}

impl RunPlan {
    /// The highest risk of its steps, and of theirs.
    #[must_use]
    pub fn risk(&self) -> Risk {
        self.steps.iter().map(PlannedStep::risk).max().unwrap_or(Risk::Low)
    }

    /// The run that steps lead to, the outermost first; none when they lead to none, or there are no
    /// steps.
    #[must_use]
    pub fn inside(&self, way: &[String]) -> Option<&PlannedRun> {
        let mut found: Option<&PlannedRun> = None;
        for outer in way {
            let steps = found.map_or(&self.steps, |run| &run.steps);
            let begins = |step: &&PlannedStep| step.id == *outer && !step.compensates;
            found = Some(steps.iter().find(begins)?.calls.as_deref()?);
        }
        found
    }

    /// The plan that an action asks people about: it stands in its input.
    #[must_use]
    pub fn of(described: &Described) -> Option<Self> {
        Self::deserialize(described.action().input().get("plan").unwrap_or(&Value::Null)).ok()
    }

    /// Whether it allows for an action: a call of one of its steps, by the same contract, that does
    /// no more than was agreed to.
    #[must_use]
    pub fn allows_for(&self, described: &Described, call: PlannedCall<'_>) -> bool {
        let (contract, run) = (described.contract(), described.action().origin().run_id.as_ref());
        // Of the runs that its steps begin the plan cannot know the ids.
        let (of_it, steps) = match call.within {
            [] => (run == Some(&self.run_id), Some(&self.steps)),
            way => (run.is_some(), self.inside(way).map(|run| &run.steps)),
        };
        of_it
            && steps.into_iter().flatten().any(|step| {
                step.is(call)
                    && step.capability == contract.id
                    && step.contract == contract.digest()
                    && described.effects().beyond(&step.effects).is_none()
            })
    }
}

/// Which of a run's calls an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedCall<'a> {
    /// The steps of the runs above that begin its run, the outermost first.
    pub within: &'a [String],
    /// The step, as its document names it.
    pub step: &'a str,
    /// Whether it takes the step back.
    pub compensates: bool,
    /// Whether it is one of several, for an item of a list.
    pub item: bool,
}

/// Whether people's agreement to a plan answers a decision about one of its calls. It answers
/// `need_approval` only, of a risk that they were told of, for as many people as agreed; not what
/// wants a person each time, and no rollback.
pub(super) fn answers(
    approval: &Approval,
    plan: &RunPlan,
    (described, call): (&Described, PlannedCall<'_>),
    decision: &DecisionRecord,
) -> bool {
    let agreed = u32::try_from(approval.granted_by().len()).unwrap_or(u32::MAX);
    let each_time = decision
        .reasons
        .iter()
        .any(|reason| reason.verdict == Verdict::NeedApproval && reason.layer == Layer::Contract);
    approval.state() == ApprovalState::Spent
        && approval.decision().policy_digest == decision.policy_digest
        && approval.requested_by() == described.action().session().principal()
        && decision.verdict == Verdict::NeedApproval
        && decision.approvals_needed <= agreed
        && decision.risk_effective <= approval.decision().risk_effective
        && !each_time
        && described.action().origin().rolls_back.is_none()
        && described.effects().takes_back.is_empty()
        && plan.policy == decision.policy_digest
        && plan.allows_for(described, call)
}
