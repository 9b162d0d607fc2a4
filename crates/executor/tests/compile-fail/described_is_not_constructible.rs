use lictor_capability::{Admitted, Described, Effects};

fn forged(admitted: Admitted, effects: Effects) -> Described {
    Described { admitted, effects }
}

fn main() {}
