use lictor_capability::Described;
use lictor_governance::{Decision, SpentApproval, WriteGate};

fn reused(gate: WriteGate, one: (Described, Decision), two: (Described, Decision), spent: SpentApproval) {
    let _first = gate.authorize(one.0, &one.1, Some(spent));
    let _second = gate.authorize(two.0, &two.1, Some(spent));
}

fn main() {}
