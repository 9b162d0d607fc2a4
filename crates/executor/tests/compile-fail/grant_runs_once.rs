use lictor_executor::{Granted, Handler};

fn reused<'run>(handler: &'run dyn Handler, granted: Granted<'run>) {
    let _first = handler.run(granted);
    let _second = handler.run(granted);
}

fn main() {}
