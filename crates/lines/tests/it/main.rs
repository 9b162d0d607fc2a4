//! The crate as its users see it.

mod merge;
mod properties;
mod unified;
