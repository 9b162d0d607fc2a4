use lictor_executor::Executor;
use lictor_governance::Decision;
use tower::Service;

fn decided(mut executor: Executor, decision: Decision) {
    let _running = executor.call(decision);
}

fn main() {}
