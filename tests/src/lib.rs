//! End-to-end tests of the `lictor` binary; see `tests/`.
