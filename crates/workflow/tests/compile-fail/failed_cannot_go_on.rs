use lictor_workflow::{At, Failed, Transition};

fn resume(at: At<Failed>) -> Transition {
    at.resume()
}

fn complete(at: At<Failed>) -> Transition {
    at.complete()
}

fn main() {}
