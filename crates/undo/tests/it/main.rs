//! What the transaction engine promises, down the real road and on real files.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and plays the person who edits files"
)]

mod apply;
mod behind;
mod choices;
mod conflicts;
mod flushes;
mod keeping;
mod lasting;
mod leftover;
mod memory;
mod moved;
mod plain_user;
mod properties;
mod purge;
mod races;
mod recovery;
mod staged;
mod support;
mod tree;
mod undo;
