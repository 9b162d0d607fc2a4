//! The MCP door, over the real binary: a client of ours, of either era, and nothing of the server's
//! own.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "these tests start programs and write files, as whoever uses the command does"
)]
#![cfg(feature = "mcp")]

mod client;
mod elsewhere;
mod http_client;
mod place;
mod stand_in;
mod stand_in_tells;

mod bundles;
mod cancelling;
mod client_files;
mod doors;
mod elicitation;
mod event_types;
mod gateway;
mod http;
mod imported;
mod life;
mod outcomes;
mod pages;
mod reached;
mod real;
mod refusals;
mod relay;
mod session;
mod signals;
mod tasks;
mod telling;
mod wrap;
mod wrap_files;
