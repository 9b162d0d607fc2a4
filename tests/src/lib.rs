//! End-to-end tests of the `lictor` binary; they stand in `tests/e2e` and know nothing of the
//! crates, only the command.
