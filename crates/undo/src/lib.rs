#![doc = include_str!("../README.md")]

mod barrier;
mod bases; // what was written, for a later merge
mod behind; // whether a later change has begun
mod beside; // an undo where people have changed things
mod compile; // from changes to single operations
mod fault;
mod folders; // which folders an undo leaves empty
mod history; // finished transactions, read back
mod journal;
mod leftover; // folders that outlive the execution that made them
mod looking; // at slots and paths
mod means; // what the mount can do
mod merge;
mod operation; // one operation: done, checked, reversed
mod parent; // which directory a thing was put into
mod plan; // what an undo would do
mod published; // in place, until the ledger has it
mod purge; // where bytes die
mod recover;
mod rollback;
mod stage;
mod standing; // how far an operation has come
mod store; // where transactions lie
mod transaction; // begin here: the protocol, step by step
mod undo; // governing an undo
mod view; // the staged tree, for checks before anything is visible

pub use barrier::n_barriers;
pub use history::{Content, History, HistoryError, Kept};
pub use means::Means;
pub use plan::{OnConflict, UndoError, plan_undo, plan_undo_or};
pub use purge::{PurgePlan, Purged, Retention, Spared, Stored};
pub use store::means;
pub use transaction::{Durability, RecordFilter, Transactions};
pub use undo::{UNDO_CAPABILITY, UndoHandler, undo_contract};
