//! What the runtime promises of workflows: its store of runs, who drives them, and what is shared.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and makes workspaces of its own"
)]

mod runs;
