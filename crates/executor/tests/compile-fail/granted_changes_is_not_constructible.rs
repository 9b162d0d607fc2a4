use lictor_capability::Described;
use lictor_executor::{ExecutionRecord, GrantedChanges};
use lictor_lock::Lease;

fn forged(described: Described, record: Box<ExecutionRecord>, lease: Lease) -> GrantedChanges {
    GrantedChanges { described, record, lease, back_on_crash: false }
}

fn main() {}
