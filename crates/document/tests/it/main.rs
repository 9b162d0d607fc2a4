//! The crate as its users see it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod hostile;
mod located;
mod message;
mod never_panics;
mod numbers;
mod types;
mod units;
