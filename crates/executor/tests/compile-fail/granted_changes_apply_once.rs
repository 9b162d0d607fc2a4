use lictor_executor::{ChangeApplier, GrantedChanges};

fn reused(applier: &dyn ChangeApplier, granted: GrantedChanges) {
    let _first = applier.apply(granted);
    let _second = applier.apply(granted);
}

fn main() {}
