use std::sync::Arc;

use lictor_capability::{Action, Admitted, Contract};

fn forged(action: Action, contract: Arc<Contract>) -> Admitted {
    Admitted::new(action, contract)
}

fn main() {}
