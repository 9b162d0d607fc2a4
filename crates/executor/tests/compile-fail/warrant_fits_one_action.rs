use lictor_capability::Described;
use lictor_governance::Warrant;

fn exchanged(mut warrant: Warrant, other: Described) -> Warrant {
    warrant.described = other;
    warrant
}

fn main() {}
