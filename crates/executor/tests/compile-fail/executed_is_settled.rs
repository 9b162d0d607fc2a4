#![deny(unused_must_use)]

use lictor_executor::Executed;

fn unsettled(done: impl FnOnce() -> Executed) {
    done();
}

fn main() {}
