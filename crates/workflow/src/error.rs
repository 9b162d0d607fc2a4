//! What can go wrong, before and beside the steps themselves.

use std::fmt;

use lictor_capability::SchemaFinding;
use lictor_context::RunId;
use lictor_document::DocumentError;

use crate::state::{IllegalTransition, RunStatus};

/// A workflow was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowError {
    problems: Vec<DocumentError>,
}

impl WorkflowError {
    pub(crate) fn new(problems: Vec<DocumentError>) -> Self {
        Self { problems }
    }

    /// Every problem that was found, in the order of the document.
    #[must_use]
    pub fn problems(&self) -> &[DocumentError] {
        &self.problems
    }
}

impl From<DocumentError> for WorkflowError {
    fn from(error: DocumentError) -> Self {
        Self { problems: vec![error] }
    }
}

impl fmt::Display for WorkflowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, problem) in self.problems.iter().enumerate() {
            if idx > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for WorkflowError {}

/// The engine could not take a run further. What a step failed with is in the run's record
/// instead.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The input does not fit the workflow.
    #[error("workflow `{workflow}` does not take this input: {}", list(.findings))]
    Input {
        /// The workflow.
        workflow: String,
        /// What does not fit.
        findings: Vec<SchemaFinding>,
    },
    /// There is no such run.
    #[error("there is no run `{0}`")]
    NotFound(RunId),
    /// Somebody drives the run already: another task, or another process.
    #[error("run `{0}` is being driven already")]
    Busy(RunId),
    /// The run cannot be taken further in this way.
    #[error("run `{run_id}` is {status}: {reason}")]
    NotResumable {
        /// The run.
        run_id: RunId,
        /// How it stands.
        status: RunStatus,
        /// Why not.
        reason: &'static str,
    },
    /// The run's document is not the one that it started with, or is none any more.
    #[error("the document of run `{run_id}` is not usable: {reason}")]
    Document {
        /// The run.
        run_id: RunId,
        /// What is wrong.
        reason: String,
    },
    /// The run could not be read or saved. Nothing was done that is not recorded; driving the
    /// run again goes on from its last record.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The run's record does not allow what the engine wanted.
    #[error(transparent)]
    Transition(#[from] IllegalTransition),
}

/// The store of runs did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Somebody else saved the run since it was read.
    #[error(
        "run `{run_id}` was changed by somebody else: revision {found} is stored, {given} was given"
    )]
    Stale {
        /// The run.
        run_id: RunId,
        /// The revision that is stored.
        found: u64,
        /// The revision that was to be stored.
        given: u64,
    },
    /// Somebody else drives the run by now: what was to be saved was not.
    #[error("run `{run_id}` was taken over by somebody else")]
    Fenced {
        /// The run.
        run_id: RunId,
    },
    /// What the run needs to go on, or to be taken back, is no more.
    #[error("run `{run_id}` cannot be taken further: {reason}")]
    Gone {
        /// The run.
        run_id: RunId,
        /// What is gone, and why.
        reason: String,
    },
    /// It could not be read or written.
    #[error("the store of runs is not available: {0}")]
    Unavailable(String),
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
