//! What the embedded state promises, with a real SQLite in a file.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod approvals;
mod approvers;
mod clients;
mod executions;
mod runs;
mod support;
mod usage;
