//! Decisions on their way into the ledger: each is kept in the transaction that records its event.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use lictor_audit::Redactor;
use lictor_capability::Described;
use lictor_context::{DecisionId, Digest, Event, EventType, canonical_json};
use lictor_governance::{Decision, DecisionInputs, DecisionRecord, Verdict};
use lictor_state::NewDecision;

/// More than could be on their way at once; what was abandoned before it was recorded goes first.
const MAX_PENDING: usize = 1_024;

/// Decisions whose event is not recorded yet.
#[derive(Debug, Default)]
pub(crate) struct PendingDecisions {
    waiting: Mutex<VecDeque<NewDecision>>,
}

impl PendingDecisions {
    /// Remembers a decision with what it was made from. Gives the digest of that, for the event:
    /// the trail proves what the database holds.
    pub(crate) fn add(
        &self,
        decision: &Decision,
        described: &Described,
        (redactor, of_its_run): (&Redactor, &Redactor),
    ) -> Option<Digest> {
        let mut inputs = DecisionInputs::of(decision, described);
        // Paths and hosts stay as they are judged: a name of theirs makes none of them a secret.
        of_its_run.clean(&mut inputs.question.input);
        let targets = inputs.question.effects.iter_mut().map(|effect| &mut effect.target);
        targets.chain(&mut inputs.notice).for_each(|text| redactor.clean_text(text));
        // None of ours refuses to be JSON; if one did, the decision could not be replayed.
        let inputs = canonical_json(&inputs).ok().and_then(|text| String::from_utf8(text).ok());
        let digest = inputs.as_ref().map(|text| Digest::of(text.as_bytes()));
        let inputs = inputs.unwrap_or_else(|| "null".to_owned());
        let record = serde_json::to_string(decision.record()).unwrap_or_default();
        let stored = NewDecision {
            at: decision.decided_at(),
            org: described.action().session().principal().org.to_string(),
            id: decision.record().id.clone(),
            record,
            inputs,
        };
        // Every change is one push or one removal, so nothing is half done after a panic.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MAX_PENDING {
            waiting.pop_front();
        }
        waiting.push_back(stored);
        digest
    }

    /// Takes those out whose events are about to be recorded.
    pub(crate) fn take(&self, events: &[Event]) -> Vec<NewDecision> {
        let decisions = events.iter().filter(|event| event.event_type() == EventType::DecisionMade);
        let ids: Vec<&DecisionId> =
            decisions.filter_map(|event| event.facts().decision_id.as_ref()).collect();
        if ids.is_empty() {
            return Vec::new();
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, left) = waiting.drain(..).partition(|stored| ids.contains(&&stored.id));
        *waiting = left;
        VecDeque::into(taken)
    }

    /// As [`take`](Self::take), of which nothing is taken out.
    pub(crate) fn copies(&self, events: &[Event]) -> Vec<NewDecision> {
        let taken = self.take(events);
        self.put_back(taken.clone());
        taken
    }

    /// Their events were not recorded after all.
    pub(crate) fn put_back(&self, decisions: Vec<NewDecision>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(decisions);
    }
}

/// The reasons of a denial, the first five.
pub(crate) fn strictest(decision: &DecisionRecord) -> String {
    let denials = decision.reasons.iter().filter(|reason| reason.verdict == Verdict::Deny);
    let said: Vec<String> = denials.take(5).map(ToString::to_string).collect();
    if said.is_empty() { "no rule allows it".to_owned() } else { said.join("; ") }
}
