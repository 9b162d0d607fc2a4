use lictor_workflow::{At, Paused, Transition};

fn complete(at: At<Paused>) -> Transition {
    at.complete()
}

fn main() {}
