use lictor_workflow::{Phase, RunStatus, Transition};

/// What the engine does with a run that is not wanted any more.
fn given_up(status: RunStatus) -> Option<Transition> {
    match status.phase() {
        Phase::Pending(at) => Some(at.fail()),
        Phase::Running(at) => Some(at.roll_back()),
        Phase::Paused(at) => Some(at.roll_back()),
        Phase::Completed(at) => Some(at.take_back()),
        Phase::Failed(at) => Some(at.roll_back()),
        Phase::RollingBack(_) | Phase::RolledBack(_) => None,
    }
}

fn main() {
    let change = given_up(RunStatus::Running).unwrap();
    assert_eq!(change.to(), RunStatus::RollingBack);
    assert_eq!(given_up(RunStatus::RolledBack), None);
}
