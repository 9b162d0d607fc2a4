use lictor_workflow::{At, Completed, Transition};

fn resume(at: At<Completed>) -> Transition {
    at.resume()
}

fn fail(at: At<Completed>) -> Transition {
    at.fail()
}

fn main() {}
