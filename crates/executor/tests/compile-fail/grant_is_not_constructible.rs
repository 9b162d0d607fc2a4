use lictor_capability::{Described, WorkspaceView};
use lictor_executor::Granted;
use lictor_governance::UsageMeter;

fn forged<'run>(
    described: &'run Described,
    view: &'run dyn WorkspaceView,
    meter: &'run UsageMeter,
) -> Granted<'run> {
    Granted::new(described, view, meter)
}

fn main() {}
