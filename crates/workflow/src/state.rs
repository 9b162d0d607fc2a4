//! How a run and its steps stand, and which changes of that are possible.

use std::fmt;

use lictor_context::EventType;
use serde::{Deserialize, Serialize};

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Accepted, and not begun.
    Pending,
    /// Under way.
    Running,
    /// Waits for somebody.
    Paused,
    /// Came to its end.
    Completed,
    /// Failed; what it did stands, or not all of it could be taken back.
    Failed,
    /// Failed, and is being taken back.
    RollingBack,
    /// Failed, and everything that it did was taken back, verified.
    RolledBack,
}

/// A change of status that is not possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {from} and cannot become {to}")]
pub struct IllegalTransition {
    what: String,
    from: String,
    to: String,
}

impl RunStatus {
    /// Every status there is.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Running,
        Self::Paused,
        Self::Completed,
        Self::Failed,
        Self::RollingBack,
        Self::RolledBack,
    ];

    /// The word that records and messages use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
        }
    }

    /// Whether the engine has nothing left to do by itself.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::RolledBack)
    }

    /// The events that a change to `to` is told by.
    ///
    /// # Errors
    /// When there is no such change.
    pub fn transition(self, to: Self) -> Result<&'static [EventType], IllegalTransition> {
        use RunStatus as Is;
        Ok(match (self, to) {
            (Is::Pending, Is::Running) => &[EventType::WorkflowStarted],
            (Is::Running, Is::Paused) => &[EventType::WorkflowPaused],
            (Is::Paused, Is::Running) => &[EventType::WorkflowResumed],
            (Is::Running, Is::Completed) => &[EventType::WorkflowCompleted],
            (Is::Pending | Is::Running | Is::Paused, Is::Failed) => &[EventType::WorkflowFailed],
            (Is::Running | Is::Paused, Is::RollingBack) => &[EventType::RollbackStarted],
            // What is stuck, or was left standing, is tried once more.
            (Is::Failed, Is::RollingBack) => {
                &[EventType::WorkflowResumed, EventType::RollbackStarted]
            }
            (Is::RollingBack, Is::RolledBack) => {
                &[EventType::RollbackCompleted, EventType::WorkflowRolledBack]
            }
            (Is::RollingBack, Is::Failed) => {
                &[EventType::RollbackFailed, EventType::WorkflowFailed]
            }
            _ => {
                return Err(IllegalTransition {
                    what: "the run".to_owned(),
                    from: self.to_string(),
                    to: to.to_string(),
                });
            }
        })
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Not begun.
    Pending,
    /// Begun; whether it has had an effect is not known.
    Running,
    /// Done.
    Completed,
    /// Failed.
    Failed,
    /// Left out, because its `when` was false.
    Skipped,
    /// Waits for people.
    Waiting,
    /// Its file changes were taken back.
    Undone,
    /// Its compensation was done, and its file changes were taken back.
    Compensated,
    /// What it did could not be taken back, or not all of it.
    Stuck,
}

impl StepStatus {
    /// The word that records and messages use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Waiting => "waiting",
            Self::Undone => "undone",
            Self::Compensated => "compensated",
            Self::Stuck => "stuck",
        }
    }

    /// Allows a change to `to`.
    ///
    /// # Errors
    /// When there is no such change.
    pub fn transition(self, step: &str, to: Self) -> Result<Self, IllegalTransition> {
        use StepStatus as Is;
        let possible = match self {
            Is::Pending => matches!(to, Is::Running | Is::Skipped | Is::Failed),
            Is::Running => matches!(to, Is::Running | Is::Completed | Is::Failed | Is::Waiting),
            Is::Waiting => matches!(to, Is::Running | Is::Waiting | Is::Completed | Is::Failed),
            Is::Completed | Is::Failed | Is::Stuck => {
                matches!(to, Is::Undone | Is::Compensated | Is::Stuck)
            }
            Is::Skipped | Is::Undone | Is::Compensated => false,
        };
        if possible {
            return Ok(to);
        }
        Err(IllegalTransition {
            what: format!("step `{step}`"),
            from: self.to_string(),
            to: to.to_string(),
        })
    }
}

impl fmt::Display for StepStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
