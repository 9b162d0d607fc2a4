//! How a runtime is opened.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use lictor_context::{Clock, SystemClock};
use lictor_executor::HandlerFactory;
use lictor_governance::{Approver, PolicyLayer};
use lictor_handlers::{Launcher, SecretSource};
use lictor_store::{AccessGuard, Durability};

use crate::own::{OwnSkill, OwnSkillError};
use crate::policies::PolicyPlaces;
use crate::shared::SharedState;

/// Where the key that signs checkpoints lies: outside of every workspace.
#[derive(Debug, Clone)]
pub struct KeyPlace {
    /// The folder; it is made when it is not there.
    pub folder: PathBuf,
}

/// How a runtime is opened.
#[derive(Clone)]
pub struct RuntimeOptions {
    /// The workspace's root.
    pub workspace: PathBuf,
    /// Where the database lies: `.lictor` in the workspace, or where it was when the workspace was
    /// opened first. Another folder than that is refused.
    pub state_dir: Option<PathBuf>,
    /// The database and the trail, when they are those of other workspaces too. `state_dir`, `keys`
    /// and `durability` count for whoever opened it.
    pub shared: Option<SharedState>,
    /// Where the signing key lies.
    pub keys: KeyPlace,
    /// Where the policies lie, beside the workspace's own.
    pub policies: PolicyPlaces,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// How durable the database is.
    pub durability: Durability,
    /// When a change of files is acknowledged; as the policy says unless set.
    pub changes: Option<lictor_undo::Durability>,
    /// How many executions may run at once.
    pub at_once: usize,
    /// Who holds the lock, in words, for whoever has to wait.
    pub holder: String,
    /// The program that starts commands; without one no capability does.
    pub launcher: Option<Launcher>,
    /// Who knows the secrets that contracts name.
    pub secrets: Arc<dyn SecretSource>,
    /// A PEM file of the certificate authorities that requests of capabilities trust, instead of the
    /// public ones.
    pub ca_file: Option<PathBuf>,
    /// To whom requests are put, beside the webhooks of the policy and the inbox.
    pub approvers: Vec<Arc<dyn Approver>>,
    /// Secrets that must stand in no record, in whatever form they come along.
    pub declared_secrets: Vec<String>,
    /// Skills of the program's own, beside those that Lictor brings.
    pub own_skills: Vec<OwnSkill>,
    /// Who does what contracts name beyond what Lictor brings: tools of MCP servers. They are asked
    /// after Lictor's own, and what they do goes down the same road.
    pub handlers: Vec<Arc<dyn HandlerFactory>>,
    /// Who is asked before each access of the database; see [`AccessGuard`].
    pub store_guard: Option<Arc<dyn AccessGuard>>,
}

impl fmt::Debug for RuntimeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // INVARIANT: never the secrets.
        f.debug_struct("RuntimeOptions")
            .field("workspace", &self.workspace)
            .field("state_dir", &self.state_dir)
            .field("keys", &self.keys)
            .field("policies", &self.policies)
            .field("clock", &self.clock)
            .field("durability", &self.durability)
            .field("at_once", &self.at_once)
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

impl RuntimeOptions {
    /// The usual options for a workspace, with the signing key in `keys`.
    #[must_use]
    pub fn new(workspace: impl Into<PathBuf>, keys: impl Into<PathBuf>) -> Self {
        Self {
            workspace: workspace.into(),
            state_dir: None,
            shared: None,
            keys: KeyPlace { folder: keys.into() },
            policies: PolicyPlaces::default(),
            clock: Arc::new(SystemClock),
            durability: Durability::Full,
            changes: None,
            at_once: 64,
            holder: "lictor".to_owned(),
            launcher: None,
            secrets: crate::outside::environment(),
            ca_file: None,
            approvers: Vec::new(),
            declared_secrets: Vec::new(),
            own_skills: Vec::new(),
            handlers: Vec::new(),
            store_guard: None,
        }
    }

    /// The folder of the database.
    #[must_use]
    pub fn state_folder(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| self.workspace.join(".lictor"))
    }
}

/// A runtime could not be opened. Nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The workspace.
    #[error(transparent)]
    Workspace(#[from] lictor_workspace::OpenError),
    /// There is no `.lictor` in it.
    #[error("`{}` has no .lictor folder; `lictor init` makes one", .0.display())]
    NotInitialised(PathBuf),
    /// A policy.
    #[error(transparent)]
    Policy(#[from] lictor_governance::PolicyError),
    /// A policy that was in force has no file any more.
    #[error("the policy of the layer `{0}` was in force, and its file is gone")]
    PolicyGone(PolicyLayer),
    /// Two files claim to be the user's policy.
    #[error("there are two policies of the user, `{}` and `{}`; keep one", .0.display(), .1.display())]
    TwoUserPolicies(PathBuf, PathBuf),
    /// A policy file that cannot be read.
    #[error("the policy `{}` cannot be read", .path.display())]
    PolicyFile {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The folder of the database.
    #[error("the state folder `{}` cannot be used", .path.display())]
    StateFolder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The workspace's database lies elsewhere than is said.
    #[error(
        "the state of this workspace lies in `{}`, and `{}` is another folder; an approver can bind the workspace to it with `lictor init --rebind`",
        .pinned.display(), .named.display()
    )]
    OtherState {
        /// Where it lies.
        pinned: PathBuf,
        /// Where it is said to lie.
        named: PathBuf,
    },
    /// The certificate authorities.
    #[error("the certificate authorities of `{}` cannot be used: {reason}", .path.display())]
    Certificates {
        /// The file that was named.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A contract that is part of the program.
    #[error(transparent)]
    Contract(#[from] lictor_capability::ContractError),
    /// A skill of the program's own.
    #[error(transparent)]
    OwnSkill(#[from] OwnSkillError),
    /// The database.
    #[error(transparent)]
    Store(#[from] lictor_store::OpenError),
    /// The trail.
    #[error("the audit trail cannot be opened: {0}")]
    Audit(String),
    /// What a crash left could not be settled.
    #[error("what an earlier crash left could not be settled: {0}")]
    Recovery(String),
}
