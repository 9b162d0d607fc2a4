#![doc = include_str!("../README.md")]

mod clock;
mod digest;
mod event;
mod future;
mod id;
mod path;
mod quote;
mod sealing;
mod secret_forms;
mod session;
mod sink;
mod usage;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp, TimestampError};
pub use digest::{CanonicalError, Digest, DigestError, Hasher, canonical_json};
pub use event::{CapabilityFacts, Event, EventFacts, EventType, Severity, UnknownEventType};
pub use future::BoxFuture;
pub use id::{
    ActionId, ApprovalId, ChangeSetId, DecisionId, EventId, ExecutionId, GrantId, HaltId, IdError,
    Name, PlanId, ProposalId, RunId, SessionId, WarrantId,
};
pub use path::{PathError, PathErrorKind, WorkspacePath};
pub use quote::Quote;
pub use sealing::{Private, is_secret_key, seal, seal_keeping};
pub use secret_forms::secret_forms;
pub use session::{AgentProfile, Budget, Principal, Selection, Session};
pub use sink::{EventSink, MemorySink, RecordError};
pub use usage::{Usage, UsageError};
