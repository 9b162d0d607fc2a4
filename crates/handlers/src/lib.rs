#![doc = include_str!("../README.md")]

mod address; // which addresses may be talked to
mod command; // from a contract to a process in a copy of the workspace
mod http; // from a contract to a request and back
mod launch; // the process that holds a command
mod masked;
mod secret;

pub use command::{CommandHandlers, Launcher};
pub use http::HttpHandlers;
pub use launch::{LAUNCHER, launch};
pub use secret::{NoSecrets, SecretSource};
