//! What was done in a workspace, to read.

use std::sync::Arc;

use lictor_audit::AuditLog;
use lictor_context::{ApprovalId, RunId, WorkspacePath};
use lictor_governance::{Approval, ApprovalError, Approvals, Judged, PolicySet, WriteGate};
use lictor_state::{Decisions, Executions, Runs, SqliteApprovalStore, StateError};
use lictor_undo::Transactions;
use lictor_workspace::Workspace;
use serde_json::Value;

use crate::options::{OpenError, RuntimeOptions};
use crate::pinned::settle;
use crate::policies::load_policies_for;
use crate::runtime::{Runtime, open_state};

/// What was done in a workspace, and nothing to act with. Its trail is there to be read: opened by itself, it was
/// not told what a policy leaves out of events.
///
/// It can be had where a [`Runtime`] cannot, because a policy is broken or a crash cannot be settled: then
/// more than ever somebody wants to know what was. What a policy leaves out of records was left out when they
/// were made. What it hides from whoever looks is not known while it cannot be read, so everything is hidden
/// then.
#[derive(Debug, Clone)]
pub struct Records {
    audit: AuditLog,
    executions: Executions,
    decisions: Decisions,
    runs: Runs,
    /// INVARIANT: only asked for what is there. Its gate may be one that knows no policy.
    approvals: Approvals,
    transactions: Transactions,
    policies: Option<Arc<PolicySet>>,
}

impl Runtime {
    /// What was done here, to read.
    #[must_use]
    pub fn records(&self) -> Records {
        let parts = &self.parts;
        Records {
            audit: parts.audit.clone(),
            executions: parts.executions.clone(),
            decisions: parts.decisions.clone(),
            runs: parts.runs.clone(),
            approvals: parts.approvals.clone(),
            transactions: parts.transactions.clone(),
            policies: Some(parts.gate.policies()),
        }
    }
}

impl Records {
    /// Opens what was done in a workspace: that takes no policy, and settles nothing.
    ///
    /// # Errors
    /// When there is no workspace, or its database or its trail cannot be opened.
    pub fn open(options: &RuntimeOptions) -> Result<Self, OpenError> {
        let workspace = Arc::new(Workspace::open(&options.workspace)?);
        if !options.workspace.join(".lictor").is_dir() {
            return Err(OpenError::NotInitialised(options.workspace.clone()));
        }
        let options = RuntimeOptions { state_dir: settle(options)?, ..options.clone() };
        let (store, audit) = open_state(&options)?;
        // Why it cannot be read was said to whoever tried to open a runtime.
        let policies = load_policies_for(&options).ok().map(Arc::new);
        let rules = match &policies {
            Some(policies) => Arc::clone(policies),
            None => Arc::new(PolicySet::new(Vec::new())?),
        };
        let gate = WriteGate::new(rules, Arc::clone(&options.clock));
        Ok(Self {
            audit,
            executions: Executions::new(store.clone()),
            decisions: Decisions::new(store.clone()),
            runs: Runs::new(store.clone()),
            approvals: Approvals::new(&gate, Arc::new(SqliteApprovalStore::new(store))),
            transactions: Transactions::new(workspace),
            policies,
        })
    }

    /// The trail.
    #[must_use]
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// The executions.
    #[must_use]
    pub fn executions(&self) -> &Executions {
        &self.executions
    }

    /// The decisions.
    #[must_use]
    pub fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    /// The undo records.
    #[must_use]
    pub fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    /// A run as it is kept in clear.
    ///
    /// # Errors
    /// When the database fails, or holds runs of an older version that no policy was held against yet.
    pub fn run(&self, id: &RunId) -> Result<Option<Value>, StateError> {
        self.runs_were_looked_at()?;
        self.runs.get(id)
    }

    /// The runs as they are kept in clear, the newest first.
    ///
    /// # Errors
    /// As [`Records::run`].
    pub fn runs(&self, limit: u32) -> Result<Vec<Value>, StateError> {
        self.runs_were_looked_at()?;
        self.runs.list(limit)
    }

    /// Older versions kept everything in clear; what is to be left out of that is said by the policy, when a
    /// runtime is opened.
    fn runs_were_looked_at(&self) -> Result<(), StateError> {
        if self.runs.unlooked(1)?.is_empty() {
            return Ok(());
        }
        let why = "there are runs of an older version, and what may be shown of them is the policy's to say";
        Err(StateError::Unavailable(why.to_owned()))
    }

    /// The requests for approval, the newest first; `only_open`: those that still wait for something. What has
    /// expired is shown so, and not written down.
    ///
    /// # Errors
    /// When the store fails.
    pub fn approvals(&self, only_open: bool) -> Result<Vec<Approval>, ApprovalError> {
        self.approvals.look(only_open)
    }

    /// A request for approval.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub fn approval(&self, id: &ApprovalId) -> Result<Approval, ApprovalError> {
        self.approvals.get(id)
    }

    /// What a request is about, as long as it is open.
    ///
    /// # Errors
    /// When there is none, when what is kept is not what was judged, or the store fails.
    pub fn judged(&self, id: &ApprovalId) -> Result<Option<Judged>, ApprovalError> {
        self.approvals.judged(id)
    }

    /// Whether it is known what nobody may look at.
    #[must_use]
    pub fn knows_what_is_hidden(&self) -> bool {
        self.policies.is_some()
    }

    /// Whether nobody may look into a path; nobody may look anywhere while it is not known.
    #[must_use]
    pub fn hides(&self, path: &WorkspacePath) -> bool {
        self.policies.as_ref().is_none_or(|policies| policies.hides(path))
    }
}
