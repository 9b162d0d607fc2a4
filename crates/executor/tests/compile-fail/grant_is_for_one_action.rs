use lictor_capability::Described;
use lictor_executor::Granted;

fn exchanged<'run>(granted: Granted<'run>, other: &'run Described) -> Granted<'run> {
    Granted { described: other, ..granted }
}

fn main() {}
