#![doc = include_str!("../README.md")]

mod aside; // what may block
mod caught;
mod check; // what is looked at after a change
mod describe; // from an admitted action to its effects
mod error;
mod executed;
mod grant;
mod handler;
mod landing; // what was changed in a copy, on its way to the workspace
mod layer;
mod lease;
mod outside; // running handlers
mod port;
mod prepared; // what a handler made ready
mod record;
mod run_time; // how long a run may take
mod service;
mod stack; // the standard layers
mod staged; // checks before anything is visible
mod to_its_end; // what is done whoever waits
mod under_way; // what runs whether or not somebody waits
mod unwanted; // telling a run that nobody waits for it any more
mod waiting; // whoever waits for an answer

pub use check::{
    Attempt, Check, CheckFailure, CheckPhase, CheckReport, CheckRun, CheckSource, NoChecks, Shown,
    Staged,
};
pub use describe::DescribeError;
pub use error::{ExecuteError, ExecuteErrorKind, Rollback};
pub use executed::{CommitError, Committed, Executed, Outcome, Receipt};
pub use grant::{Granted, GrantedChanges};
pub use handler::{Handler, HandlerError, HandlerErrorKind, HandlerFactory, Handlers, Request};
pub use landing::{Kept, NotStaged, StagedChanges};
pub use layer::{TraceLayer, TraceService};
pub use lease::{LeftBehind, LockSettings, LockTaken};
pub use port::{
    Applied, ApplyError, AtWork, Beginning, BuiltinsOnly, ChangeApplier, ContractGuard, Ledger,
    LedgerError, NotApplied, Once, RecoverError, Recovered, Recovery, RollbackReport, Sign,
    StagedTree, Stuck, ToStage, Unsettled,
};
pub use prepared::Prepared;
pub use record::{ExecutionRecord, ExecutionStatus};
pub use run_time::{Held, RunTime};
pub use service::{Executor, ExecutorBuilder, TimeLimits};
pub use stack::ExecutorService;
pub use to_its_end::{ToItsEnd, to_its_end};
pub use under_way::{Begun, UnderWay};
