//! What the vocabulary promises.
#![expect(clippy::expect_used, reason = "a test may fail loudly")]

mod path;
mod vocabulary;
