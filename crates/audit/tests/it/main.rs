//! What the trail promises.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test may fail loudly"
)]

mod append;
mod epochs;
mod file;
mod flips;
mod jsonl;
mod key;
mod line;
mod log;
mod logger;
mod logger_model;
mod migrated;
mod other;
mod proofs;
mod query;
mod redact;
mod retention;
mod rig;
mod sealed;
mod second;
mod server;
mod sink;
mod stores;
mod tamper;
mod together;
mod total;
