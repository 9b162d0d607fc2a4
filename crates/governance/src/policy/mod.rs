//! Policies: what may be done, as files say it.

mod asked; // what a decision looks at
mod asking; // whom people's answers come from
mod automaton; // all globs at once
mod cases; // files of requests with the verdict that is expected
mod cedar; // policies in Cedar
mod checks; // health checks, verification, budgets, windows, as they are read
mod compare; // typed comparisons
mod conditions; // from what is written under `when` to a condition
mod demands; // what speaks about an action as a whole
mod error;
mod evaluate; // from effects to a verdict
mod fuzz; // ways around rules
mod fuzz_view;
mod hits; // which rules speak, about which effects
mod lint; // what a policy probably does not mean
mod load; // from the file to a policy
mod network; // hosts that are not public, and may be reached
mod pattern;
mod people; // what is asked of people and nobody can give
mod preset; // policies to begin with
mod raw; // the file as it is written
mod reserved; // what no policy can allow
mod roles; // which approvers may approve what
mod set; // policies by layer, put together
mod settings; // what a policy sets beside its verdicts
mod spellings; // other names for the same thing
mod usage; // how often, and how much
mod when; // conditions
mod window;
mod witness; // requests that a rule speaks about

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use lictor_capability::Risk;
use lictor_document::{HumanDuration, Source};
use serde::{Deserialize, Serialize};

use crate::catalogue::RawCatalogue;
use crate::decision::{Layer, Verdict};
use load::{Frequency, PathGlob, RiskSaying, Statement};

pub(crate) use asked::Asked;
pub use asked::{Question, QuestionEffect, ResolvedProgram};
pub use asking::{SecretName, Webhook, WebhookKey};
pub use cases::{CaseResult, PolicyCases};
pub use cedar::CedarFiles;
pub use error::{PolicyError, PolicyErrorKind};
pub use fuzz::{FuzzReport, Survivor};
pub use lint::{LintFinding, LintLevel};
pub(crate) use pattern::path_globs;
pub use people::Unanswerable;
pub use preset::{Preset, UnknownPreset};
pub use roles::ApproverRoles;
pub use set::{PolicyLanguage, PolicySet, PolicySource};
pub use settings::{
    ApprovalSettings, Budgets, ChangeDurability, ChangeLimits, Channel, FrequencyLimit,
    HealthCheck, OnAuditFailure, Probe, RecordDurability, Scope, Settings, UndoRetention,
    VerificationCommand, Verify,
};

/// Whose policy a file is. A lower layer may only tighten what a higher one says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyLayer {
    /// Of whoever manages the machine: `/etc/lictor/policy.yaml`.
    Managed,
    /// Of the user: `~/.config/lictor/policy.yaml`.
    User,
    /// Of the workspace: `.lictor/policy.yaml`.
    Workspace,
}

impl From<PolicyLayer> for Layer {
    fn from(layer: PolicyLayer) -> Self {
        match layer {
            PolicyLayer::Managed => Self::Managed,
            PolicyLayer::User => Self::User,
            PolicyLayer::Workspace => Self::Workspace,
        }
    }
}

impl fmt::Display for PolicyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Layer::from(*self).as_str())
    }
}

/// One policy file, read, checked, compiled, and its self-tests run.
#[derive(Debug)]
pub struct Policy {
    layer: PolicyLayer,
    name: String,
    bytes: Vec<u8>,
    default: Option<(Verdict, Arc<str>)>,
    says_something: bool,
    forbidden: Vec<PathGlob>,
    protected: Vec<PathGlob>,
    allowed: Vec<PathGlob>,
    limits: ChangeLimits,
    limits_place: Option<Arc<str>>,
    statements: Vec<Statement>,
    risk: [Option<RiskSaying>; 4],
    /// By risk: verification, rollback plan, health checks.
    require: [Vec<Risk>; 3],
    frequency: Vec<Frequency>,
    frequency_limits: Vec<FrequencyLimit>,
    verification: BTreeMap<String, VerificationCommand>,
    health_checks: Vec<HealthCheck>,
    budgets: Budgets,
    budgets_place: Option<Arc<str>>,
    approvals: Option<asking::Asking>,
    lock_timeout: Option<HumanDuration>,
    idempotency_ttl: Option<HumanDuration>,
    retention: (Option<UndoRetention>, Option<HumanDuration>),
    change_durability: Option<ChangeDurability>,
    record_durability: Option<RecordDurability>,
    audit_on_failure: Option<OnAuditFailure>,
    audit_redact: Vec<String>,
    catalogue: RawCatalogue,
    private_hosts: Option<Vec<String>>,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// When anything in it is unknown, wrong or contradicts itself, or a self-test of a rule
    /// fails: with file, line, column and what is accepted there.
    pub fn from_yaml(layer: PolicyLayer, source: &Source<'_>) -> Result<Self, PolicyError> {
        load::load(layer, source)
    }

    /// Whose policy it is.
    #[must_use]
    pub fn layer(&self) -> PolicyLayer {
        self.layer
    }

    /// The file's name, as messages give it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file as it was read.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
