//! Judging again: what a decision was made from, kept, and put to the same or another policy.

use lictor_capability::{Described, Risk};
use lictor_context::{CanonicalError, Digest, Timestamp};
use serde::{Deserialize, Serialize};

use crate::decision::{Decision, DecisionRecord, Reason, Verdict};
use crate::policy::{PolicySet, Question};
use crate::usage::Tallies;

/// What a decision was made from, beside the policies: question, counters, time. The same inputs
/// and the same policies give the same decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionInputs {
    /// When it was made.
    pub decided_at: Timestamp,
    /// What was asked.
    pub question: Question,
    /// What was known of usage.
    #[serde(default)]
    pub tallies: Tallies,
    /// What was wrong with the policy files at that time, when something was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// What a policy says to recorded inputs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replayed {
    /// The answer.
    pub verdict: Verdict,
    /// The risk as it was proposed.
    pub risk_proposed: Risk,
    /// The risk after what policy found.
    pub risk_effective: Risk,
    /// Every rule that spoke.
    pub reasons: Vec<Reason>,
    /// What would help.
    pub required_actions: Vec<String>,
    /// How many people have to agree.
    pub approvals_needed: u32,
    /// What the answer hangs on and the record does not hold: then it is none.
    pub undecided: Vec<String>,
}

impl DecisionInputs {
    /// What a decision about an action was made from. Content and secrets stand sealed in it.
    #[must_use]
    pub fn of(decision: &Decision, described: &Described) -> Self {
        Self {
            decided_at: decision.decided_at(),
            question: Question::of(described),
            tallies: decision.tallies().clone(),
            notice: decision.notice().map(str::to_owned),
        }
    }

    /// The digest, by which a record of the decision names them.
    ///
    /// # Errors
    /// When they hold a number that canonical JSON does not.
    pub fn digest(&self) -> Result<Digest, CanonicalError> {
        Digest::of_json(self)
    }

    /// Judges again.
    #[must_use]
    pub fn replay(&self, policies: &PolicySet) -> Replayed {
        let asked = self.question.asked();
        let mut judgement = policies.judge(&asked, &self.tallies, self.decided_at);
        judgement.note(self.notice.as_deref());
        Replayed {
            verdict: judgement.verdict,
            risk_proposed: judgement.risk_proposed,
            risk_effective: judgement.risk_effective,
            reasons: judgement.reasons,
            required_actions: judgement.required_actions,
            approvals_needed: judgement.approvals_needed,
            undecided: policies.undecided(&asked, &self.tallies),
        }
    }
}

impl Replayed {
    /// What of it is not what was recorded; `None` when it is the same decision.
    #[must_use]
    pub fn differs_from(&self, record: &DecisionRecord) -> Option<String> {
        let differs = |what: &str, recorded: &dyn ToString, replayed: &dyn ToString| {
            let (recorded, replayed) = (recorded.to_string(), replayed.to_string());
            (recorded != replayed)
                .then(|| format!("{what}: recorded is {recorded}, replayed {replayed}"))
        };
        differs("verdict", &record.verdict, &self.verdict)
            .or_else(|| differs("risk", &record.risk_effective, &self.risk_effective))
            .or_else(|| differs("proposed risk", &record.risk_proposed, &self.risk_proposed))
            .or_else(|| differs("approvals", &record.approvals_needed, &self.approvals_needed))
            .or_else(|| {
                let missing = record.reasons.iter().find(|one| !self.reasons.contains(one));
                missing.map(|reason| format!("recorded and not replayed: {reason}"))
            })
            .or_else(|| {
                let more = self.reasons.iter().find(|one| !record.reasons.contains(one));
                more.map(|reason| format!("replayed and not recorded: {reason}"))
            })
    }
}
