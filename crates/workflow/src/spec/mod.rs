//! Workflow documents: what they hold, and what must hold of them before anything runs.

mod against; // a graph of contracts
mod check; // names, templates, shapes
mod names; // what templates may name
mod order; // order, levels, cycles
mod raw;

use std::sync::Arc;

use lictor_capability::{CapabilityGraph, CapabilityId, EffectCeiling, Retry, Risk, SchemaFinding};
use lictor_context::{Digest, Name};
use lictor_document::{HumanDuration, Limits, Located, Source, from_yaml};
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::WorkflowError;
use crate::schema::Schema;
use crate::template::{Template, Tree};
pub(crate) use order::Reach;
pub use order::Schedule;

/// Most steps of one workflow.
pub const MAX_STEPS: usize = 1000;
/// Most items that one step is done for.
pub const MAX_ITEMS: usize = 1000;
/// More problems than this are not told at once.
const MAX_PROBLEMS: usize = 100;

/// A workflow: read, and checked as far as a document by itself can be.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// Its id.
    pub id: Name,
    /// Its version.
    pub version: Version,
    /// A title for people; the id, when the document has none.
    pub title: String,
    /// The pack that must be active for it to run.
    pub pack: Option<Name>,
    /// What people are asked to agree to.
    pub approvals: AskFor,
    /// Whether a failure takes back what was done.
    pub auto_rollback: bool,
    /// How long a run may work; the time that it waits for people does not count.
    pub timeout: Option<HumanDuration>,
    /// The steps, as the document lists them.
    pub steps: Vec<Step>,
    pub(crate) output: Option<Located<Tree>>,
    pub(crate) schedule: Schedule,
    /// For each step, the steps that its `needs` lead to.
    pub(crate) reach: Vec<Reach>,
    input: Option<Schema>,
    source_name: String,
    source: Arc<str>,
    digest: Digest,
}

/// One step.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its id.
    pub id: String,
    /// The steps that come before it, by position.
    pub needs: Vec<usize>,
    /// Whether it runs; always, when there is none.
    pub when: Option<When>,
    /// The list that it is done for, item by item; once, when there is none.
    pub foreach: Option<Foreach>,
    /// What it does.
    pub work: Work,
    /// What its failure means.
    pub on_error: OnError,
    pub(crate) when_place: (u32, u32),
}

/// What a step is done for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreach {
    /// Gives the list. Templates of the step see each item as `item`, and its position, from 0, as
    /// `index`.
    pub list: Template,
    /// How many items may be under way at a time; as many as the engine allows a run when `None`.
    pub parallel: Option<u32>,
    pub(crate) place: (u32, u32),
}

/// The condition of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// Written down as `true` or `false`.
    Constant(bool),
    /// Found out when it is the step's turn.
    Expression(Template),
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Work {
    /// Calls a capability.
    Call(Box<Call>),
    /// Asks people.
    Approval(ApprovalStep),
    /// Waits; what is left of it survives a restart.
    Wait(HumanDuration),
}

impl Work {
    /// The capability's id, `approval` or `wait`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Call(call) => call.capability.as_str(),
            Self::Approval(_) => "approval",
            Self::Wait(_) => "wait",
        }
    }
}

/// A call of a capability.
#[derive(Debug, Clone)]
pub struct Call {
    /// The capability.
    pub capability: CapabilityId,
    /// Its versions that would do; any when `None`.
    pub version: Option<VersionReq>,
    /// How long one attempt may take; as the contract says when `None`.
    pub timeout: Option<HumanDuration>,
    /// How often to try.
    pub retry: Retry,
    /// What takes its effects back, beside the undo of its file changes.
    pub compensate: Option<Compensation>,
    /// How the undo of its file changes is tried.
    pub undo: UndoTerms,
    /// The most that it may do without people being asked again, where they agree to the whole plan;
    /// as its contract says when `None`.
    pub effects: Option<EffectCeiling>,
    pub(crate) with: Located<Tree>,
    pub(crate) place: (u32, u32),
}

/// A call that takes back what a step did.
#[derive(Debug, Clone)]
pub struct Compensation {
    /// The capability.
    pub capability: CapabilityId,
    /// Its versions that would do; any when `None`.
    pub version: Option<VersionReq>,
    /// How long one attempt may take; as its step when `None`.
    pub timeout: Option<HumanDuration>,
    /// How often to try; as its step when `None`.
    pub retry: Option<Retry>,
    pub(crate) with: Located<Tree>,
    pub(crate) place: (u32, u32),
}

/// How the undo of what a step changed is tried.
#[derive(Debug, Clone, PartialEq)]
pub struct UndoTerms {
    /// How long one attempt may take; as long as it takes when `None`.
    pub timeout: Option<HumanDuration>,
    /// How often to try: three times, unless the document says.
    pub retry: Retry,
}

impl Default for UndoTerms {
    fn default() -> Self {
        Self { timeout: None, retry: Retry { attempts: 3, ..Retry::default() } }
    }
}

/// A question to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalStep {
    /// What they are asked; a template.
    pub message: Template,
    /// How much is at stake; high, when the document does not say.
    pub risk: Risk,
    /// How many people have to agree.
    pub approvals: u32,
    /// How long they have; as the policy says when `None`.
    pub timeout: Option<HumanDuration>,
    pub(crate) place: (u32, u32),
}

/// What people are asked to agree to, where the policy wants their agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskFor {
    /// Each step that it wants it for, when it is its turn.
    #[default]
    Steps,
    /// The whole plan, before anything is done: the steps, the contracts behind them, and the most
    /// that each may do. What turns out to be more is asked about when it comes.
    Plan,
}

/// What a step's failure means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The run fails.
    #[default]
    Fail,
    /// The run goes on.
    Continue,
}

impl Workflow {
    /// Reads a workflow and checks everything that can be checked without a catalogue.
    ///
    /// # Errors
    /// With every problem that was found, and where.
    pub fn from_yaml(source: &Source<'_>) -> Result<Self, WorkflowError> {
        let raw = from_yaml(source, &Limits::default())?;
        check::check(raw, source)
    }

    /// Holds every call against the contracts of a session: the capability exists, and the input
    /// fits. Where all of an input is constant, all of it is checked; where expressions stand in
    /// it, the keys that must be there and the constant parts are.
    ///
    /// # Errors
    /// With every problem that was found, and where.
    pub fn validate_against(&self, graph: &CapabilityGraph) -> Result<(), WorkflowError> {
        against::check(self, graph)
    }

    /// Holds the input of a run against the workflow's schema.
    ///
    /// # Errors
    /// What does not fit, and where; at most eight findings.
    pub fn check_input(&self, input: &Value) -> Result<(), Vec<SchemaFinding>> {
        self.input.as_ref().map_or(Ok(()), |schema| schema.check(input))
    }

    /// The schema of the input, if there is one.
    #[must_use]
    pub fn input_schema(&self) -> Option<&Value> {
        self.input.as_ref().map(Schema::value)
    }

    /// In which order the steps run, and which could run side by side.
    #[must_use]
    pub fn plan(&self) -> &Schedule {
        &self.schedule
    }

    /// The step of that id.
    #[must_use]
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == id)
    }

    /// The digest of the document's bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The document.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What the document is called in messages.
    #[must_use]
    pub fn source_name(&self) -> &str {
        &self.source_name
    }
}
