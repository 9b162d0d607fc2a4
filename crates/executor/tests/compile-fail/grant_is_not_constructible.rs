use lictor_capability::{Described, WorkspaceView};
use lictor_executor::Granted;

fn forged<'run>(described: &'run Described, view: &'run dyn WorkspaceView) -> Granted<'run> {
    Granted::new(described, view)
}

fn main() {}
