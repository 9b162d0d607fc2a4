#![doc = include_str!("../README.md")]

mod connection;
mod error;
mod gathered;
mod migration;
mod options;
mod pending;
mod readers;
mod store;
mod writer;

pub use error::{NotCommitted, OpenError, OpenErrorKind, ReadError, WriteError};
pub use gathered::Gathered;
pub use migration::Migration;
pub use options::{Access, AccessGuard, Durability, StoreOptions};
pub use pending::PendingWrite;
pub use rusqlite;
pub use store::{Store, StoreStats};
