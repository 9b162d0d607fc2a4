//! Warrants: the only key that opens an executor.

use lictor_capability::Described;
use lictor_context::{Timestamp, WarrantId};

use crate::approval::SpentApproval;
use crate::decision::Decision;
use crate::gate::GateIdentity;
use crate::usage::UsageMeter;

/// Leave to do one action, once. It owns the action and the effects that were judged, so that what
/// is done cannot drift away from what was looked at.
///
/// Only [`crate::WriteGate::authorize`] makes one. It cannot be copied, stored or read back.
#[must_use = "a warrant does nothing until an executor consumes it"]
#[derive(Debug)]
pub struct Warrant {
    id: WarrantId,
    described: Described,
    decision: Decision,
    approval: Option<SpentApproval>,
    gate: GateIdentity,
    meter: UsageMeter,
    made_at: Timestamp,
    expires_at: Timestamp,
}

/// What a warrant held, after it was consumed. The decision in it is used up, so nothing of this
/// can become a warrant again.
#[derive(Debug)]
pub struct WarrantParts {
    /// The id that the warrant had.
    pub id: WarrantId,
    /// The action, its contract and its effects.
    pub described: Described,
    /// The decision that let it through.
    pub decision: Decision,
    /// The approval that it took, if it took one.
    pub approval: Option<SpentApproval>,
    /// Where it is reported what doing it costs.
    pub meter: UsageMeter,
}

impl Warrant {
    pub(crate) fn new(
        id: WarrantId,
        described: Described,
        decision: Decision,
        approval: Option<SpentApproval>,
        gate: GateIdentity,
        meter: UsageMeter,
        (made_at, expires_at): (Timestamp, Timestamp),
    ) -> Self {
        Self { id, described, decision, approval, gate, meter, made_at, expires_at }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &WarrantId {
        &self.id
    }

    /// The action, its contract and its effects.
    #[must_use]
    pub fn described(&self) -> &Described {
        &self.described
    }

    /// The decision that let it through.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The approval that it took, if it took one.
    #[must_use]
    pub fn approval(&self) -> Option<&SpentApproval> {
        self.approval.as_ref()
    }

    /// When it opens nothing any more.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Whether it opens nothing any more; nor does it when it is earlier than when it was made, because
    /// a clock that went back would keep it alive.
    #[must_use]
    pub fn expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at || now < self.made_at
    }

    /// Whether this very gate made it.
    #[must_use]
    pub fn is_from(&self, gate: &GateIdentity) -> bool {
        self.gate == *gate
    }

    /// Consumes it. For executors, which check [`Warrant::is_from`] and [`Warrant::expired`] first.
    #[must_use]
    pub fn into_parts(self) -> WarrantParts {
        WarrantParts {
            id: self.id,
            described: self.described,
            decision: self.decision,
            approval: self.approval,
            meter: self.meter,
        }
    }
}
