use lictor_context::Clock;
use lictor_executor::{Executed, Ledger};

async fn both(executed: Executed, ledger: &dyn Ledger, clock: &dyn Clock) {
    let _committed = executed.commit(ledger, clock, Vec::new()).await;
    let _rolled_back = executed.roll_back(ledger, clock, Vec::new(), "after all").await;
}

fn main() {}
