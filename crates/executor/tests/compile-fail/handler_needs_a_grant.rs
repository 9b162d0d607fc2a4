use lictor_capability::Described;
use lictor_executor::Handler;

fn called_without(handler: &dyn Handler, described: &Described) {
    let _running = handler.run(described);
}

fn main() {}
