use lictor_capability::Action;
use lictor_executor::Executor;
use tower::Service;

fn wished(mut executor: Executor, action: Action) {
    let _running = executor.call(action);
}

fn main() {}
