//! What the transaction engine promises when the process dies, or the disk fails, at any point.
//!
//! `cargo test -p lictor-undo --features fault-injection --test fault`
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and plays the person who edits files"
)]

mod behind;
mod child;
#[path = "../it/choices.rs"]
mod choices;
mod errors;
mod kills;
mod people;
mod purges;
mod random;
#[path = "../it/support.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod support;
#[path = "../it/tree.rs"]
mod tree;
