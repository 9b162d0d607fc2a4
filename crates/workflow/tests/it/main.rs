//! What workflows promise, over a road that keeps its world in memory.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod approval;
mod contract;
mod crash;
mod document;
mod order;
mod parallel;
mod plan;
mod rig;
mod rollback;
mod run;
mod states;
