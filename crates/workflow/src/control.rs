//! What is asked of a run that is there, and where it is refused.

use crate::engine::Resume;
use crate::state::RunStatus;

/// What somebody wants of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// That it waits.
    Pause,
    /// That it is taken up again.
    Resume(Resume),
    /// That it ends.
    Cancel,
}

impl Control {
    /// All there are.
    pub const ALL: [Self; 4] =
        [Self::Pause, Self::Resume(Resume::Continue), Self::Resume(Resume::RollBack), Self::Cancel];

    /// Why a run that stands so does not do it; `None` when it does. The engine refuses by nothing else.
    #[must_use]
    pub const fn refusal(self, status: RunStatus) -> Option<&'static str> {
        use RunStatus::{Completed, Failed, Paused, Pending, RolledBack, RollingBack, Running};
        match (self, status) {
            (_, Completed | RolledBack) | (Self::Pause | Self::Cancel, Failed) => {
                Some("it has ended")
            }
            (Self::Pause, Pending) => Some("it has not begun"),
            (Self::Pause | Self::Cancel, RollingBack) => Some("it is being taken back"),
            (Self::Resume(Resume::Continue), Failed) => {
                Some("it has failed; its rollback can be taken up")
            }
            (Self::Resume(Resume::RollBack), Paused) => Some("cancel it with rollback instead"),
            (Self::Pause, Running | Paused)
            | (Self::Resume(_), Pending | Running | RollingBack)
            | (Self::Resume(Resume::Continue), Paused)
            | (Self::Resume(Resume::RollBack), Failed)
            | (Self::Cancel, Pending | Running | Paused) => None,
        }
    }
}
