#![doc = include_str!("../README.md")]

mod beneath;
mod names; // hard links
mod read;
mod view;

pub use beneath::{DirHandle, OpenError, RootId, Workspace};
pub use read::{ReadError, Seen, file_state, seen_at, state_at};
pub use view::RestrictedView;
