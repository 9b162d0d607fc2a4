#![doc = include_str!("../README.md")]

mod de; // from the tree to the caller's types
mod duration;
mod error;
mod failure; // serde's complaints, in the words of documents
mod json;
mod located;
mod scalar;
mod size;
mod source; // what is read, and how much of it
mod strict_value;
mod text;
mod tree; // what both parsers produce
mod yaml;

pub use duration::{HumanDuration, ParseDurationError};
pub use error::{DocumentError, DocumentErrorKind};
pub use located::Located;
pub use size::{ByteSize, ParseByteSizeError};
pub use source::{Limits, Source, from_json, from_yaml};
pub use strict_value::StrictValue;
pub use text::inert;
