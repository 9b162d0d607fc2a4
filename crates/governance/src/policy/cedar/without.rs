//! A build that does not read Cedar: it says so, and judges by nothing less than all policies.

use std::borrow::Cow;

use lictor_capability::{Contract, Effect, Risk};

use super::Spoken;
use crate::policy::asked::Asked;
use crate::policy::error::{PolicyError, PolicyErrorKind};
use crate::policy::lint::LintFinding;
use crate::policy::set::PolicySource;

/// There are none.
#[derive(Debug)]
pub(in crate::policy) enum Rules {}

impl Rules {
    pub(super) fn load(
        sources: &[PolicySource],
        _: Option<&[&Contract]>,
    ) -> Result<Self, PolicyError> {
        let file = sources.first().map(|source| source.name.clone()).unwrap_or_default();
        Err(PolicyError::new(PolicyErrorKind::CedarNotBuilt { file }))
    }

    pub(super) fn schema(_: &[&Contract]) -> Result<String, PolicyError> {
        let file = "the schema".to_owned();
        Err(PolicyError::new(PolicyErrorKind::CedarNotBuilt { file }))
    }

    pub(super) fn findings(&self) -> Cow<'_, [LintFinding]> {
        match *self {}
    }

    pub(super) fn undecided(&self, _: &Asked<'_>) -> Vec<String> {
        match *self {}
    }

    pub(super) fn ask(&self, _: &Asked<'_>, _: &[Effect<'_>], _: Risk) -> Vec<Spoken> {
        match *self {}
    }
}
