#![doc = include_str!("../README.md")]

mod command; // from a contract to a process in a copy of the workspace
mod contracts; // what is shipped
mod http; // from a contract to a request and back
mod launch; // the process that holds a command
mod masked;
mod secret;

pub use command::{CommandHandlers, Launcher, Programs, Stage, sweep};
pub use contracts::contracts;
pub use http::{
    HttpAnswer, HttpAsk, HttpClient, HttpHandlers, HttpLost, NoPrivateHosts, PrivateHosts,
    RootsError,
};
pub use launch::{LAUNCHER, launch};
pub use masked::Mask;
pub use secret::{NoSecrets, SecretSource};
