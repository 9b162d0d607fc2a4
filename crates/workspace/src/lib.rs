#![doc = include_str!("../README.md")]

mod beneath;
mod names; // hard links
mod read;
mod view;

pub use beneath::{DirHandle, OpenError, RootId, Workspace};
pub use read::{ReadError, file_state, state_at};
pub use view::RestrictedView;
