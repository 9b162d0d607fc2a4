use lictor_capability::Described;
use lictor_context::{Timestamp, WarrantId};
use lictor_governance::{Decision, GateIdentity, Warrant};

fn forged(
    id: WarrantId,
    described: Described,
    decision: Decision,
    gate: GateIdentity,
    expires_at: Timestamp,
) -> Warrant {
    Warrant { id, described, decision, approval: None, gate, expires_at }
}

fn main() {}
