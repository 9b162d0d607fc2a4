//! The command, from outside: exit codes, JSON, the disk and the trail, as `cli.md` and
//! `formats.md` promise them.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "these tests start programs, write files and read clocks, as whoever uses the command does"
)]

mod approvals;
mod audit;
mod binary;
mod bound;
mod called;
mod catalogue;
mod cedar;
mod change;
mod checks;
mod command;
mod compensation;
mod concurrency;
mod consent;
mod crash;
mod crowd;
mod demo;
mod denying;
mod diffs;
mod dry_run;
mod edited;
mod folders;
mod guide;
mod hostile;
mod http;
mod import;
mod inside;
mod lazy;
mod links;
mod mcp_import;
mod mcp_tls;
mod named;
mod names;
mod place;
mod plan;
mod policy;
mod policy_replay;
mod policy_tools;
mod process;
mod quoting;
mod random;
mod reading;
mod readme;
mod refusals;
mod requests;
mod retention;
mod road;
mod run_secrets;
mod secrets;
mod skills;
mod staged;
mod subrun;
mod terminal;
mod time_limits;
mod tls;
mod tree;
mod unchanged;
mod undo;
mod verbs;
mod webhook;
mod workflow;
