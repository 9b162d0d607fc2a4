#![doc = include_str!("../README.md")]

mod action;
mod bundle;
mod change;
mod contract;
mod effects;
mod graph;
mod host;
pub mod import;
mod plan;
mod relations;
mod risk;
mod tools;
mod unified_diff;
mod view;

pub use action::{Action, Admitted, Described, Origin};
pub use bundle::{BundleError, Considered, Facade, Pack, RouteTarget, Routed, Routes, route};
pub use change::{
    Body, Change, ChangeDocument, ChangeDocumentError, ChangeKind, ChangeSet, ChangeSetError,
    Changes, Conflict, ConflictReason, Content, ContentSource, FileChange, FileMode, InvalidMode,
    Item, KeptContent, ResolveError, Resolved, State, resolve,
};
pub use contract::{
    Backoff, CapabilityId, CapabilityKind, CommandInput, CommandOutput, CommandSpec, Compensate,
    Confirm, Contract, ContractError, ContractErrorKind, EffectCeiling, EnvValue, FsCeiling,
    HandlerSpec, HttpBody, HttpHeader, HttpMethod, HttpOrigin, HttpQuery, HttpSpec, HttpValue,
    InputValue, InvalidCapabilityId, McpPart, McpPin, McpServer, McpTool, PIN_FORMULA, Retry,
    Sandbox, SchemaFinding, SchemaSide, SecretHeader, SecretName, Undo, UndoStrategy,
    WorkflowDocument, check_header, looks_like, pin_digest,
};
pub use effects::{
    Beyond, Effect, EffectKind, Effects, Executable, LeftAlone, UndoScope, Violation,
};
pub use graph::{AdmitError, AdmitErrorKind, CapabilityGraph, nearest};
pub use host::{HostNumber, host_spelling};
pub use plan::Plan;
pub use relations::{Relation, RelationKind, Relations};
pub use risk::{Risk, UnknownRisk};
pub use tools::{LeftOut, Tool, ToolFormat, ToolList, UnknownFormat, tool_name};
pub use unified_diff::{DiffError, DiffErrorKind, UnifiedDiff};
pub use view::{Entry, EntryKind, Listed, ViewError, ViewErrorKind, WorkspaceView};
