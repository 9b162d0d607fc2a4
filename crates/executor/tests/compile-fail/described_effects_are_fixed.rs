use lictor_capability::{Described, Effects};

fn exchanged(mut described: Described, other: Effects) -> Described {
    described.effects = other;
    described
}

fn main() {}
