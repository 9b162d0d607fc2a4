//! What the runtime as a whole promises and needs no door for.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and makes workspaces of its own"
)]

mod matrix;
mod reload;
mod runs;
