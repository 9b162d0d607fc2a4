//! One database and one trail, for one workspace or for many.

use std::sync::Arc;

use lictor_audit::AuditLog;
use lictor_store::Store;

use crate::options::{OpenError, RuntimeOptions};
use crate::runs::Owners;
use crate::runtime::open_state;

/// The database and the trail. Runtimes of this process over several workspaces may share one:
/// then they share its commits as well, and the index of executions holds those of all of them.
/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct SharedState {
    pub(crate) store: Store,
    pub(crate) audit: AuditLog,
    pub(crate) owners: Arc<Owners>,
    /// Where the database lies.
    pub(crate) folder: std::path::PathBuf,
}

impl SharedState {
    /// Opens the database and the trail that the options name.
    ///
    /// # Errors
    /// When one of them cannot be opened or made.
    pub fn open(options: &RuntimeOptions) -> Result<Self, OpenError> {
        let (store, audit) = open_state(options)?;
        let owners = Arc::new(Owners::new(&options.state_folder(), options.clock.as_ref()));
        Ok(Self { store, audit, owners, folder: options.state_folder() })
    }

    /// The database.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }
}
