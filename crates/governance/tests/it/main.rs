//! Through the public API.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod approvals;
mod cases;
mod catalogue;
mod cedar;
#[cfg(feature = "cedar")]
mod cedar_inputs;
mod common;
mod elicited;
mod fuzz;
mod gate;
mod grants;
mod hostile;
mod layers;
mod life;
mod lint;
mod pins;
mod plan;
mod properties;
mod races;
mod roles;
mod usage;
mod view;
mod webhook;
