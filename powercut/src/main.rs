//! Cuts the power under Lictor's transactions.
fn main() {}
