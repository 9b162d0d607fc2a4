#![doc = include_str!("../README.md")]

mod approvals;
mod approvers;
mod catalogue;
mod clients;
mod consent;
mod decisions;
mod error;
mod executions;
mod grants;
mod halts;
mod pins;
mod prune;
mod runs;
mod schema;
mod sealed_runs;
mod usage;

pub use approvals::SqliteApprovalStore;
pub use approvers::SqliteApproverStore;
pub use catalogue::{CatalogueRow, CatalogueRows};
pub use clients::SqliteClientStore;
pub use decisions::{Decisions, NewDecision, StoredDecision};
pub use error::StateError;
pub use executions::{ExecutionFilter, Executions, StoredExecution};
pub use grants::SqliteGrantStore;
pub use halts::SqliteHaltStore;
pub use pins::SqlitePinStore;
pub use prune::{OldRows, PrunedRows};
pub use runs::{ClaimedRow, LeaseRow, RunRow, Runs};
pub use schema::migrations;
pub use sealed_runs::KeptRun;
pub use usage::SqliteUsageStore;
