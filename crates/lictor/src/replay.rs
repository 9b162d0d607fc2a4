//! Proving a decision, and asking what another policy would have said to what was asked before.

use std::time::Duration;

use lictor_audit::Filter;
use lictor_context::{DecisionId, Digest, EventType, Name, Timestamp};
use lictor_governance::{DecisionInputs, PolicySet, Reason, Replayed, Verdict};
use lictor_state::{StateError, StoredDecision};
use serde::Serialize;
use serde_json::Value;

use crate::error::{ActError, ActErrorKind};
use crate::runtime::Runtime;

/// What came of judging a recorded decision again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofStatus {
    /// The recorded policies say the same to the recorded inputs, and the trail knows both.
    Proven,
    /// It cannot be judged again: not everything was kept.
    Unproven,
    /// The records contradict each other.
    Contradicted,
}

/// A recorded decision, judged again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proof {
    /// What came of it.
    pub status: ProofStatus,
    /// Why it is not proven.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    /// The digest of what the decision was made from.
    pub inputs_digest: Option<Digest>,
}

/// A past decision that another policy would make otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangedDecision {
    /// The decision.
    pub decision: DecisionId,
    /// When it was made.
    pub at: Timestamp,
    /// What was asked for.
    pub capability: String,
    /// The first effects of it.
    pub effects: Vec<String>,
    /// What the old policy says.
    pub old: Verdict,
    /// What the new policy says.
    pub new: Verdict,
    /// How many people the old policy asks.
    pub old_approvals: u32,
    /// How many people the new policy asks.
    pub new_approvals: u32,
    /// The rules that give the new verdict.
    pub because: Vec<Reason>,
}

/// Two policies, held against what was asked before.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PolicyDiff {
    /// How many decisions were looked at.
    pub decisions: usize,
    /// Those that would change, the oldest first.
    pub changed: Vec<ChangedDecision>,
    /// Those of which it cannot be said, with the reason.
    pub undecided: Vec<(DecisionId, String)>,
}

/// A decision's event is made right after it.
const EVENT_WITHIN: Duration = Duration::from_secs(60);

/// So many effects of a changed decision are shown.
const SHOWN: usize = 5;

impl Runtime {
    /// Judges a recorded decision again, by the policies that were in force then. `None` when
    /// there is no such decision.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn prove(&self, org: &Name, id: &DecisionId) -> Result<Option<Proof>, ActError> {
        let stored = self.decisions().get(org.as_str(), id).map_err(unreadable)?;
        let Some(stored) = stored else { return Ok(None) };
        let mut proof = Proof {
            status: ProofStatus::Proven,
            because: Vec::new(),
            inputs_digest: Digest::of_json(&stored.inputs).ok(),
        };
        let doubts = self.doubts(org, &stored, proof.inputs_digest)?;
        if let Err((status, because)) = doubts {
            proof.status = status;
            proof.because = because;
        }
        Ok(Some(proof))
    }

    fn doubts(
        &self,
        org: &Name,
        stored: &StoredDecision,
        inputs: Option<Digest>,
    ) -> Result<Result<(), (ProofStatus, Vec<String>)>, ActError> {
        let unproven = |why: &str| Ok(Err((ProofStatus::Unproven, vec![why.to_owned()])));
        let contradicted = |why: String| Ok(Err((ProofStatus::Contradicted, vec![why])));
        let record = &stored.record;
        let Some(event) = self.decision_event(org, stored)? else {
            return unproven("the trail holds no event of it");
        };
        let told = |key: &str| event.pointer(&format!("/metadata/{key}")).cloned();
        for (key, kept) in [
            ("inputs_digest", serde_json::json!(inputs)),
            ("verdict", serde_json::json!(record.verdict)),
            ("policy_digest", serde_json::json!(record.policy_digest)),
            ("action_digest", serde_json::json!(record.action_digest)),
        ] {
            if told(key).as_ref() != Some(&kept) {
                return contradicted(format!("the trail has another {key} than the database"));
            }
        }
        let sources = self.decisions().policies(record.policy_digest).map_err(unreadable)?;
        let Some(sources) = sources else {
            return unproven("the texts of its policies were not kept");
        };
        let policies = match PolicySet::from_sources(&sources) {
            Ok(policies) => policies,
            Err(error) => return contradicted(format!("the kept policies do not load: {error}")),
        };
        if policies.digest() != record.policy_digest {
            return contradicted("the kept policies have another digest".to_owned());
        }
        let Ok(inputs) = serde_json::from_value::<DecisionInputs>(stored.inputs.clone()) else {
            return unproven("parts of what was asked were redacted");
        };
        let replayed = inputs.replay(&policies);
        if !replayed.undecided.is_empty() {
            return Ok(Err((ProofStatus::Unproven, replayed.undecided)));
        }
        match replayed.differs_from(record) {
            Some(difference) => contradicted(difference),
            None => Ok(Ok(())),
        }
    }

    fn decision_event(
        &self,
        org: &Name,
        stored: &StoredDecision,
    ) -> Result<Option<Value>, ActError> {
        let filter = Filter {
            types: vec![EventType::DecisionMade],
            since: Some(stored.at),
            until: Some(stored.at.plus(EVENT_WITHIN)),
            ..Filter::default()
        };
        let fail = |error: &dyn std::fmt::Display| ActErrorKind::NotFound(error.to_string());
        let events = self.audit().query(org, &filter).map_err(|error| fail(&error))?;
        for found in events {
            let event: Value =
                serde_json::from_slice(&found.bytes).map_err(|error| fail(&error))?;
            if event.get("decision_id").and_then(Value::as_str) == Some(stored.record.id.as_str()) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// What a new policy would say to everything that was asked before, where that is something
    /// else than the old one says.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn diff_policies(
        &self,
        org: &Name,
        (old, new): (&PolicySet, &PolicySet),
        since: Option<Timestamp>,
    ) -> Result<PolicyDiff, ActError> {
        let mut diff = PolicyDiff::default();
        for stored in self.decisions().list(org.as_str(), since).map_err(unreadable)? {
            diff.decisions += 1;
            let id = stored.record.id.clone();
            let Ok(inputs) = serde_json::from_value::<DecisionInputs>(stored.inputs) else {
                diff.undecided.push((id, "parts of what was asked were redacted".to_owned()));
                continue;
            };
            let (before, after) = (inputs.replay(old), inputs.replay(new));
            let same = before.verdict == after.verdict
                && before.approvals_needed == after.approvals_needed;
            // What one side cannot be asked for is not said to be the same, and not to differ.
            let doubt = before.undecided.first().or(after.undecided.first());
            if let Some(doubt) = doubt {
                diff.undecided.push((id, doubt.clone()));
            } else if !same {
                diff.changed.push(changed(id, stored.at, &inputs, before, after));
            }
        }
        Ok(diff)
    }
}

fn changed(
    decision: DecisionId,
    at: Timestamp,
    inputs: &DecisionInputs,
    before: Replayed,
    after: Replayed,
) -> ChangedDecision {
    let effects = inputs.question.effects.iter().take(SHOWN);
    ChangedDecision {
        decision,
        at,
        capability: inputs.question.capability.clone(),
        effects: effects.map(|effect| format!("{} {}", effect.effect, effect.target)).collect(),
        old: before.verdict,
        new: after.verdict,
        old_approvals: before.approvals_needed,
        new_approvals: after.approvals_needed,
        because: after
            .reasons
            .into_iter()
            .filter(|reason| reason.verdict == after.verdict)
            .take(SHOWN)
            .collect(),
    }
}

fn unreadable(error: StateError) -> ActError {
    ActErrorKind::NotFound(format!("the decisions on record cannot be read: {error}")).into()
}
