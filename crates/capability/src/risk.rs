//! How much can go wrong.

use std::fmt;

use lictor_context::Quote;
use serde::{Deserialize, Serialize};

/// Risk, from harmless to the worst.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Easily taken back, and little to lose.
    #[default]
    Low,
    /// Ordinary work.
    Medium,
    /// Worth a second look.
    High,
    /// Worth two people.
    Critical,
}

impl Risk {
    /// Every level, ascending.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The word that files and messages use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that should have been a risk is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a risk: low, medium, high and critical are accepted")]
pub struct UnknownRisk(Quote);

impl std::str::FromStr for Risk {
    type Err = UnknownRisk;
    fn from_str(text: &str) -> Result<Self, UnknownRisk> {
        let found = Self::ALL.into_iter().find(|risk| risk.as_str() == text);
        found.ok_or_else(|| UnknownRisk(Quote::of(text)))
    }
}
