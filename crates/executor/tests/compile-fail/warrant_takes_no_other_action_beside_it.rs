use lictor_capability::Described;
use lictor_executor::Executor;
use lictor_governance::Warrant;
use tower::Service;

fn beside(mut executor: Executor, warrant: Warrant, other: Described) {
    let _running = executor.call((warrant, other));
}

fn main() {}
