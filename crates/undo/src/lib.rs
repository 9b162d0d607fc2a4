#![doc = include_str!("../README.md")]

mod barrier;
mod compile; // from changes to single operations
mod fault;
mod history; // finished transactions, read back
mod journal;
mod means; // what the mount can do
mod operation; // one operation: done, checked, reversed
mod recover;
mod rollback;
mod stage;
mod standing; // how far an operation has come
mod store; // where transactions lie
mod transaction; // begin here: the protocol, step by step
mod undo; // planning and governing an undo

pub use history::{Content, History, HistoryError, Kept};
pub use means::Means;
pub use store::means;
pub use transaction::{Durability, Transactions};
pub use undo::{UNDO_CAPABILITY, UndoError, UndoHandler, plan_undo, undo_contract};
