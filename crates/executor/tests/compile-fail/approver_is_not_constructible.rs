use lictor_context::Name;
use lictor_governance::{Approver, Proof};

fn forged(name: Name, roles: Vec<Name>) -> Approver {
    Approver { name, roles, proof: Proof::Token }
}

fn main() {}
