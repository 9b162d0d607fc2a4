//! What the builtin skills promise to whoever describes an action with them.
#![expect(clippy::expect_used, reason = "a test may fail loudly")]
#![expect(clippy::disallowed_methods, reason = "the tests make the files that they look at")]

mod contract;
mod paths;
