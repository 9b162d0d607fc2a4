#![doc = include_str!("../README.md")]

mod abandon;
mod control;
mod engine;
mod error;
mod lease;
mod port;
mod record;
mod schema;
mod spec;
mod state;
mod stopping;
mod store;
mod template;

pub use control::Control;
pub use engine::{Engine, Limits, Preview, Resume, StepCompensation, SubRun, TakenUp};
pub use error::{EngineError, StoreError, WorkflowError};
pub use lease::{Claimed, LEASE, Lease, Owner, Wish};
pub use port::{
    AgreedPlan, ApprovalCall, ApprovalState, FailureKind, Hooks, NoHooks, Outline, PlanCall,
    PlanState, Purpose, Recalled, Road, RunStore, Save, StepCall, StepDone, StepFailure, Timer,
    TokioTimer, UndoBy, UndoCall, UndoFailure,
};
pub use record::{
    AttemptRecord, EffectState, Failure, ItemRecord, ParentRecord, PlanRecord, RollbackRecord,
    RollbackStatus, RunFailure, RunRecord, SessionRecord, StepRecord, StuckStep, WorkflowRecord,
};
pub use spec::{
    ApprovalStep, AskFor, Call, Compensation, Foreach, MAX_ITEMS, MAX_STEPS, OnError, Schedule,
    Step, UndoTerms, When, Work, Workflow,
};
pub use state::{
    At, Completed, Failed, IllegalTransition, Paused, Pending, Phase, RolledBack, RollingBack,
    RunStatus, Running, StepStatus, Transition,
};
pub use stopping::Stopping;
pub use store::MemoryRunStore;
pub use template::{Template, TemplateError, fill};
