use lictor_executor::Executor;
use lictor_governance::Warrant;
use tower::Service;

fn taken_apart(mut executor: Executor, warrant: Warrant) {
    let _running = executor.call(warrant.into_parts());
}

fn main() {}
