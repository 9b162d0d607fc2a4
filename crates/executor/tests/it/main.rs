//! What the executor promises.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod abandoned;
mod aside;
mod attempts;
mod bypass;
mod checks;
mod events;
mod failures;
mod landing;
mod layers;
mod lock;
mod memory_ledger;
mod run_time;
mod support;
mod unwanted;
mod view;
mod warrants;
