#![doc = include_str!("../README.md")]

mod append;
mod archive;
pub mod conformance;
mod ends;
mod erase;
mod error;
mod export;
mod fault;
mod filter;
mod formats;
mod gaps;
mod guard;
mod header;
mod key;
mod line;
pub mod log;
mod logger;
mod maker;
mod metrics;
mod prove;
mod redact;
mod report;
mod rotate;
mod schema;
mod sealed;
mod stores;
mod trail;
mod verify;

pub use archive::{ArchiveError, ArchiveErrorKind, Archived, Cut, HoldError};
pub use erase::{EraseError, EraseErrorKind, Erased, RevealError, RevealErrorKind};
pub use error::{
    AppendError, AppendErrorKind, ExportError, ExportErrorKind, NotAppended, OpenError,
    OpenErrorKind, QueryError, QueryErrorKind, VerifyError, VerifyErrorKind,
};
pub use export::Exported;
pub use filter::{Filter, StoredEvent};
pub use formats::{cloud_event, ocsf, otlp_record, otlp_request};
pub use gaps::{Gaps, Tally};
pub use guard::{GuardError, GuardErrorKind};
pub use key::{KeyError, KeyErrorKind, SigningKey};
pub use line::{MAX_LINE, Place, event_line};
pub use log::PublicKey;
pub use logger::{AuditLogger, LogError, LoggerOptions, LoggerStats, OnFailure};
pub use maker::PreparedEvents;
#[cfg(feature = "postgres")]
pub use postgres;
pub use prove::{Proof, ProofError, ProofErrorKind, ProveError, Proven};
pub use redact::{REDACTED, Redactor, RedactorError};
pub use report::{Actor, Entry, List, Report};
pub use rotate::{KeyRotatedError, RotateError, RotateErrorKind};
pub use schema::migrations;
pub use sealed::{ContentError, Revealed, SubjectError, SubjectErrorKind, commitment};
#[cfg(feature = "postgres")]
pub use stores::PostgresStore;
pub use stores::{
    Beside, Head, JsonlOptions, JsonlStore, MemoryStore, NewLine, Pending, Pruned, StoreError,
    StoredLine, StoredRow, TakeLine, TakeRow, TakeSealed, TrailReader, TrailStore, TrailWriter,
    WriteJob,
};
pub use trail::{Appended, AppendedTo, AuditLog, AuditOptions};
pub use verify::{Verdict, Verification, verify_file};
