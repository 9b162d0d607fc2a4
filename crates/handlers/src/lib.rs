#![doc = include_str!("../README.md")]

mod address; // which addresses may be talked to
mod http; // from a contract to a request and back
mod secret;

pub use http::HttpHandlers;
pub use secret::{NoSecrets, SecretSource};
