use lictor_capability::Described;
use lictor_executor::{ExecutionRecord, GrantedChanges};
use lictor_lock::Lease;

fn forged(described: Described, record: ExecutionRecord, lease: Lease) -> GrantedChanges {
    GrantedChanges::new(described, record, lease, false)
}

fn main() {}
