#![doc = include_str!("../README.md")]

mod engine;
mod error;
mod lease;
mod port;
mod record;
mod schema;
mod spec;
mod state;
mod store;
mod template;

pub use engine::{Engine, Limits, Preview, Resume};
pub use error::{EngineError, StoreError, WorkflowError};
pub use lease::{Claimed, LEASE, Lease, Owner, Wish};
pub use port::{
    ApprovalCall, ApprovalState, FailureKind, Hooks, NoHooks, Outline, Purpose, Recalled, Road,
    RunStore, Save, StepCall, StepDone, StepFailure, Timer, TokioTimer, UndoBy, UndoCall,
};
pub use record::{
    AttemptRecord, EffectState, Failure, ItemRecord, RollbackRecord, RollbackStatus, RunFailure,
    RunRecord, SessionRecord, StepRecord, StuckStep, WorkflowRecord,
};
pub use spec::{
    ApprovalStep, Call, Compensation, Foreach, MAX_ITEMS, MAX_STEPS, OnError, Schedule, Step, When,
    Work, Workflow,
};
pub use state::{
    At, Completed, Failed, IllegalTransition, Paused, Pending, Phase, RolledBack, RollingBack,
    RunStatus, Running, StepStatus, Transition,
};
pub use store::MemoryRunStore;
pub use template::{Template, TemplateError};
