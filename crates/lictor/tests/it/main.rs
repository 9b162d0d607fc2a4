//! What the runtime as a whole promises and needs no door for.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and makes workspaces of its own"
)]

mod asking;
mod called;
mod denying;
mod folders;
mod formats;
mod halting;
mod importing;
mod inside;
mod later;
mod layers;
mod lifecycle;
mod matrix;
mod metrics;
mod moved;
mod once;
mod purging;
mod reload;
mod rig;
mod runs;
mod schemas;
mod seen;
mod sessions;
mod trailing;
