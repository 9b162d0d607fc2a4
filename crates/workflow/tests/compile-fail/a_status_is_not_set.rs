use lictor_workflow::{RunRecord, RunStatus};

fn overstate(run: &mut RunRecord) {
    run.status = RunStatus::RolledBack;
}

fn main() {}
