//! The states of a life, and the steps between them.

use std::fmt;

use lictor_context::{Digest, Name, Timestamp};
use serde::{Deserialize, Serialize};

/// Where a capability, a pack or a facade is in its life. Only an active one is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifeState {
    /// Somebody would like it.
    Proposed,
    /// It may be used.
    Active,
    /// It may not be used for the time being.
    Frozen,
    /// It is not used any more.
    Deprecated,
    /// It was not wanted.
    Rejected,
}

impl LifeState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Proposed, Self::Active, Self::Frozen, Self::Deprecated, Self::Rejected];

    /// The word that files and messages use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Active => "active",
            Self::Frozen => "frozen",
            Self::Deprecated => "deprecated",
            Self::Rejected => "rejected",
        }
    }

    pub(super) fn leads_to(self, next: Self) -> bool {
        use LifeState as S;
        matches!(
            (self, next),
            (S::Proposed, S::Active | S::Rejected)
                | (S::Active, S::Frozen | S::Deprecated)
                | (S::Frozen, S::Active | S::Deprecated)
        )
    }
}

impl fmt::Display for LifeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One step in a life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifeEvent {
    /// The state that it came to.
    pub state: LifeState,
    /// Who did it: the user of a session for a proposal, an approver for everything else.
    pub by: Name,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: String,
    /// The document's digest at the time.
    pub digest: Digest,
}
