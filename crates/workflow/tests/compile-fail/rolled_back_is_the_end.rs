use lictor_workflow::{At, RolledBack, Transition};

fn start(at: At<RolledBack>) -> Transition {
    at.start()
}

fn roll_back(at: At<RolledBack>) -> Transition {
    at.roll_back()
}

fn main() {}
