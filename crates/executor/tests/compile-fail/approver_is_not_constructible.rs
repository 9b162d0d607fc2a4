use lictor_context::Name;
use lictor_governance::{ProvenApprover, Proof};

fn forged(name: Name, roles: Vec<Name>) -> ProvenApprover {
    ProvenApprover { name, roles, proof: Proof::Token }
}

fn main() {}
