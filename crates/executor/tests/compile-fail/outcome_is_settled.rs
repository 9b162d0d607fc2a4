#![deny(unused_must_use)]

use lictor_executor::Executor;
use lictor_governance::Warrant;
use tower::Service;

async fn unsettled(mut executor: Executor, warrant: Warrant) {
    executor.call(warrant).await.unwrap();
}

fn main() {}
