//! What capabilities, change sets and diffs promise.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod change_document;
mod command;
mod contract;
mod diff;
mod diff_git;
mod diff_properties;
mod diff_refusals;
mod effects;
mod exports;
mod graph;
mod hosts;
mod import;
mod mcp;
mod resolve;
mod resolve_model;
mod support;
