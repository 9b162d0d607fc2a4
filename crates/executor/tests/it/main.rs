//! What the executor promises.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod abandoned;
mod attempts;
mod bypass;
mod checks;
mod events;
mod failures;
mod layers;
mod lock;
mod staged;
mod support;
mod view;
mod warrants;
