//! Through the public API.
#![expect(clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod approvals;
mod cases;
mod common;
mod gate;
mod hostile;
mod layers;
mod life;
mod properties;
