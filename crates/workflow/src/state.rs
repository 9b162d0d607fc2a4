//! How a run and its steps stand, and which changes of that are possible.

use std::fmt;
use std::marker::PhantomData;

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

/// A change of a step's status that is not possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {from} and cannot become {to}")]
pub struct IllegalTransition {
    what: String,
    from: String,
    to: String,
}

/// A run that stands somewhere, with the changes that are possible from there: what is not a
/// method does not exist. A witness is used up by the change.
#[derive(Debug)]
#[must_use]
pub struct At<P>(PhantomData<P>);

/// Accepted, and not begun.
#[derive(Debug)]
pub struct Pending;
/// Under way.
#[derive(Debug)]
pub struct Running;
/// Waits for somebody.
#[derive(Debug)]
pub struct Paused;
/// Came to its end.
#[derive(Debug)]
pub struct Completed;
/// Failed; what it did stands, or not all of it could be taken back.
#[derive(Debug)]
pub struct Failed;
/// Is being taken back.
#[derive(Debug)]
pub struct RollingBack;
/// Everything was taken back.
#[derive(Debug)]
pub struct RolledBack;

/// Where a run stands, with what is possible from there.
#[derive(Debug)]
pub enum Phase {
    /// Accepted, and not begun.
    Pending(At<Pending>),
    /// Under way.
    Running(At<Running>),
    /// Waits for somebody.
    Paused(At<Paused>),
    /// Came to its end.
    Completed(At<Completed>),
    /// Failed.
    Failed(At<Failed>),
    /// Is being taken back.
    RollingBack(At<RollingBack>),
    /// Everything was taken back.
    RolledBack(At<RolledBack>),
}

/// A change of a run's status. Only [`At`] makes one, so there is none that is not possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Transition {
    to: RunStatus,
    told_by: &'static [EventType],
}

impl Transition {
    /// Where it leads.
    #[must_use]
    pub const fn to(&self) -> RunStatus {
        self.to
    }

    /// The events that it is told by.
    #[must_use]
    pub const fn told_by(&self) -> &'static [EventType] {
        self.told_by
    }

    const fn new(to: RunStatus, told_by: &'static [EventType]) -> Self {
        Self { to, told_by }
    }
}

impl At<Pending> {
    /// It begins.
    pub const fn start(self) -> Transition {
        Transition::new(RunStatus::Running, &[EventType::WorkflowStarted])
    }

    /// It is called off before it began.
    pub const fn fail(self) -> Transition {
        Transition::new(RunStatus::Failed, &[EventType::WorkflowFailed])
    }
}

impl At<Running> {
    /// It waits for somebody.
    pub const fn pause(self) -> Transition {
        Transition::new(RunStatus::Paused, &[EventType::WorkflowPaused])
    }

    /// It comes to its end.
    pub const fn complete(self) -> Transition {
        Transition::new(RunStatus::Completed, &[EventType::WorkflowCompleted])
    }

    /// It fails, and what it did stands.
    pub const fn fail(self) -> Transition {
        Transition::new(RunStatus::Failed, &[EventType::WorkflowFailed])
    }

    /// It fails, and is taken back.
    pub const fn roll_back(self) -> Transition {
        Transition::new(RunStatus::RollingBack, &[EventType::RollbackStarted])
    }
}

impl At<Paused> {
    /// It goes on.
    pub const fn resume(self) -> Transition {
        Transition::new(RunStatus::Running, &[EventType::WorkflowResumed])
    }

    /// It is called off, and what it did stands.
    pub const fn fail(self) -> Transition {
        Transition::new(RunStatus::Failed, &[EventType::WorkflowFailed])
    }

    /// It is called off, and taken back.
    pub const fn roll_back(self) -> Transition {
        Transition::new(RunStatus::RollingBack, &[EventType::RollbackStarted])
    }
}

impl At<Completed> {
    /// What it answered for is not wanted any more, and it is taken back.
    pub const fn take_back(self) -> Transition {
        Transition::new(RunStatus::RollingBack, &[EventType::RollbackStarted])
    }
}

impl At<Failed> {
    /// What is stuck, or was left standing, is tried once more.
    pub const fn roll_back(self) -> Transition {
        const TOLD_BY: &[EventType] = &[EventType::WorkflowResumed, EventType::RollbackStarted];
        Transition::new(RunStatus::RollingBack, TOLD_BY)
    }
}

impl At<RollingBack> {
    /// Everything was taken back, verified.
    pub const fn rolled_back(self) -> Transition {
        const TOLD_BY: &[EventType] =
            &[EventType::RollbackCompleted, EventType::WorkflowRolledBack];
        Transition::new(RunStatus::RolledBack, TOLD_BY)
    }

    /// Something is left.
    pub const fn fail(self) -> Transition {
        const TOLD_BY: &[EventType] = &[EventType::RollbackFailed, EventType::WorkflowFailed];
        Transition::new(RunStatus::Failed, TOLD_BY)
    }
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

    /// Whether nobody drives a run that stands there: it has ended, or waits for people.
    #[must_use]
    pub const fn is_at_rest(self) -> bool {
        self.is_final() || matches!(self, Self::Paused)
    }

    /// Where that is, with what is possible from there.
    #[must_use]
    pub const fn phase(self) -> Phase {
        match self {
            Self::Pending => Phase::Pending(At(PhantomData)),
            Self::Running => Phase::Running(At(PhantomData)),
            Self::Paused => Phase::Paused(At(PhantomData)),
            Self::Completed => Phase::Completed(At(PhantomData)),
            Self::Failed => Phase::Failed(At(PhantomData)),
            Self::RollingBack => Phase::RollingBack(At(PhantomData)),
            Self::RolledBack => Phase::RolledBack(At(PhantomData)),
        }
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
