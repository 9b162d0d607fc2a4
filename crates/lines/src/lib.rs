#![doc = include_str!("../README.md")]

mod comparison; // two texts
mod hunk; // what of it is shown, and how
mod merge; // three texts

pub use comparison::Comparison;
pub use hunk::{Hunk, Part};
pub use merge::merge;
