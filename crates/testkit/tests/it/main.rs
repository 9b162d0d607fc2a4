//! What the testkit finds, and that it finds nothing in the examples.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod saga;
mod stores;
