use lictor_executor::Executor;
use lictor_governance::Warrant;
use tower::Service;

fn reused(mut executor: Executor, warrant: Warrant) {
    let _first = executor.call(warrant);
    let _second = executor.call(warrant);
}

fn main() {}
