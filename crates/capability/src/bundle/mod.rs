//! Packs and facades: what is governed above single capabilities.

mod facade;
mod pack;
mod route;

use lictor_document::DocumentError;

pub use facade::{Facade, RouteTarget, Routes};
pub use pack::Pack;
pub use route::{Considered, Routed, route};

/// A pack or a facade could not be read.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BundleError(#[from] DocumentError);

impl BundleError {
    /// What is wrong, and where.
    #[must_use]
    pub fn document(&self) -> &DocumentError {
        &self.0
    }
}
