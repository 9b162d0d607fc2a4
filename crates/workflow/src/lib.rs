#![doc = include_str!("../README.md")]

mod engine;
mod error;
mod port;
mod record;
mod schema;
mod spec;
mod state;
mod store;
mod template;

pub use engine::{Engine, Preview, Resume};
pub use error::{EngineError, StoreError, WorkflowError};
pub use port::{
    ApprovalCall, ApprovalState, FailureKind, Purpose, Recalled, Road, RunStore, StepCall,
    StepDone, StepFailure, Timer, TokioTimer, UndoCall,
};
pub use record::{
    AttemptRecord, EffectState, Failure, RollbackRecord, RollbackStatus, RunFailure, RunRecord,
    SessionRecord, StepRecord, StuckStep, WorkflowRecord,
};
pub use spec::{
    ApprovalStep, Call, Compensation, MAX_STEPS, OnError, Schedule, Step, When, Work, Workflow,
};
pub use state::{IllegalTransition, RunStatus, StepStatus};
pub use store::MemoryRunStore;
pub use template::{Template, TemplateError};
