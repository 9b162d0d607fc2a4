use lictor_workflow::{At, Pending, Transition};

fn complete(at: At<Pending>) -> Transition {
    at.complete()
}

fn main() {}
