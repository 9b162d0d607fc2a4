use lictor_workflow::{At, RollingBack, Transition};

fn resume(at: At<RollingBack>) -> Transition {
    at.resume()
}

fn pause(at: At<RollingBack>) -> Transition {
    at.pause()
}

fn main() {}
