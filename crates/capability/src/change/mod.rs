//! Change sets: what an author wants changed, and what that means in this workspace.

mod document;
mod items;
mod lines;
mod resolve;
mod set;

pub use document::{ChangeDocument, ChangeDocumentError};
pub use items::{
    ChangeKind, Changes, Conflict, ConflictReason, Content, ContentSource, FileChange, Item,
    KeptContent, State,
};
pub use resolve::{ResolveError, Resolved, resolve};
pub use set::{Body, Change, ChangeSet, ChangeSetError, FileMode, InvalidMode};
