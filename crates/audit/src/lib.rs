#![doc = include_str!("../README.md")]

mod error;
mod export;
mod filter;
mod guard;
mod key;
mod line;
pub mod log;
mod schema;
mod trail;
mod verify;

pub use error::{
    AppendError, AppendErrorKind, ExportError, ExportErrorKind, OpenError, OpenErrorKind,
    QueryError, QueryErrorKind, VerifyError, VerifyErrorKind,
};
pub use export::Exported;
pub use filter::{Filter, StoredEvent};
pub use guard::{GuardError, GuardErrorKind};
pub use key::{KeyError, KeyErrorKind, SigningKey};
pub use line::{MAX_LINE, Place, event_line};
pub use log::PublicKey;
pub use schema::migrations;
pub use trail::{Appended, AppendedTo, AuditLog, AuditOptions};
pub use verify::{Verdict, Verification, verify_file};
