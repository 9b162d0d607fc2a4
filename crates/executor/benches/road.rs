//! The road.
fn main() {}
