#![doc = include_str!("../README.md")]

mod cancel;
mod error;
mod holder;
mod identity;
mod lease;
mod lock;
mod record;

pub use cancel::CancelFlag;
pub use error::{
    AcquireError, AcquireErrorKind, BreakError, BreakErrorKind, LostLease, LostLeaseKind,
    StatusError,
};
pub use holder::{Claim, Holder, Predecessor, Status};
pub use identity::boot_id;
pub use lease::Lease;
pub use lock::{Broken, WorkspaceLock};
