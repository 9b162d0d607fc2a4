//! Policies to begin with.

use std::fmt;
use std::str::FromStr;

/// A policy to begin with. None of them has a way around that [`crate::PolicySet::fuzz`] knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Works on source code.
    CodingAgent,
    /// Reads everything, writes documentation.
    DocsOnly,
    /// Looks, and changes nothing.
    ReadOnly,
    /// Works on deployments: every change is reviewed.
    Ops,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::CodingAgent, Self::DocsOnly, Self::ReadOnly, Self::Ops];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CodingAgent => "coding-agent",
            Self::DocsOnly => "docs-only",
            Self::ReadOnly => "read-only",
            Self::Ops => "ops",
        }
    }

    /// The policy file, with comments.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::CodingAgent => include_str!("../../presets/coding-agent.yaml"),
            Self::DocsOnly => include_str!("../../presets/docs-only.yaml"),
            Self::ReadOnly => include_str!("../../presets/read-only.yaml"),
            Self::Ops => include_str!("../../presets/ops.yaml"),
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Preset {
    type Err = UnknownPreset;

    fn from_str(text: &str) -> Result<Self, UnknownPreset> {
        let found = Self::ALL.into_iter().find(|preset| preset.as_str() == text);
        found.ok_or_else(|| UnknownPreset { text: text.to_owned() })
    }
}

/// There is no such preset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown preset `{}`; accepted here: coding-agent, docs-only, read-only, ops", .text.escape_debug())]
pub struct UnknownPreset {
    text: String,
}
