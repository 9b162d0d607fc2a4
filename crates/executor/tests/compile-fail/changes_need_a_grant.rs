use lictor_capability::Changes;
use lictor_executor::ChangeApplier;

fn applied_without(applier: &dyn ChangeApplier, changes: Changes) {
    let _applied = applier.apply(changes);
}

fn main() {}
