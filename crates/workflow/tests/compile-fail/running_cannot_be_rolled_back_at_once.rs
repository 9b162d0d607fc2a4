use lictor_workflow::{At, Running, Transition};

fn rolled_back(at: At<Running>) -> Transition {
    at.rolled_back()
}

fn main() {}
