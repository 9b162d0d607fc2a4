//! What the runtime as a whole promises and needs no door for.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod matrix;
mod reload;
