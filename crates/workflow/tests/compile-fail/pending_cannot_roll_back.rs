use lictor_workflow::{At, Pending, Transition};

fn roll_back(at: At<Pending>) -> Transition {
    at.roll_back()
}

fn main() {}
