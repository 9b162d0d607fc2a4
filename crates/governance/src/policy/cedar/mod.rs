//! Policies in Cedar, beside those in YAML: a `forbid` denies, a `permit` is a reason and no more.
//!
//! What is here is in every build: one without the feature `cedar` must know what it refuses.

#[cfg(feature = "cedar")]
mod ask; // from effects to requests
#[cfg(feature = "cedar")]
mod input; // what Cedar is told of inputs
#[cfg(feature = "cedar")]
mod literals; // names that a policy may give
#[cfg(feature = "cedar")]
mod load; // from the files to rules
#[cfg(feature = "cedar")]
mod roles;
#[cfg(feature = "cedar")]
mod schema; // from the catalogue to types
#[cfg(feature = "cedar")]
mod types; // of inputs, as far as Cedar has them
#[cfg(not(feature = "cedar"))]
mod without;

use std::borrow::Cow;

use lictor_capability::{Contract, Risk};
use lictor_document::Source;

use super::PolicyLayer;
use super::asked::Asked;
use super::error::{PolicyError, PolicyErrorKind};
use super::evaluate::{Evaluation, Voice};
use super::hits::Hits;
use super::lint::LintFinding;
use super::set::{PolicyLanguage, PolicySet, PolicySource};

#[cfg(feature = "cedar")]
pub(super) use load::Rules;
#[cfg(not(feature = "cedar"))]
pub(super) use without::Rules;

/// What stands in `.lictor/policies`.
#[derive(Debug, Clone, Copy, Default)]
pub struct CedarFiles<'a> {
    /// The files with policies.
    pub policies: &'a [Source<'a>],
    /// Who has which role, `roles.yaml`.
    pub roles: Option<Source<'a>>,
}

/// The Cedar side of a set.
#[derive(Debug)]
pub(super) struct Cedar {
    pub(super) rules: Rules,
    /// The texts, by name: roles last.
    pub(super) sources: Vec<PolicySource>,
}

/// What one policy says, about which effects.
#[derive(Debug)]
pub(super) struct Spoken {
    pub(super) voice: Voice,
    /// `None`: about the action as a whole.
    pub(super) hits: Option<Hits>,
}

impl CedarFiles<'_> {
    fn sources(&self) -> Result<Vec<PolicySource>, PolicyError> {
        let text = |language, source: &Source<'_>| match std::str::from_utf8(source.bytes) {
            Ok(text) => Ok(PolicySource {
                layer: PolicyLayer::Workspace,
                language,
                name: source.name.to_owned(),
                text: text.to_owned(),
            }),
            Err(_) => {
                Err(PolicyError::new(PolicyErrorKind::NotText { file: source.name.to_owned() }))
            }
        };
        let policies = self.policies.iter().map(|source| text(PolicyLanguage::Cedar, source));
        let mut sources = policies.collect::<Result<Vec<_>, _>>()?;
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(roles) = &self.roles {
            sources.push(text(PolicyLanguage::CedarRoles, roles)?);
        }
        Ok(sources)
    }
}

impl PolicySet {
    /// Adds the Cedar policies of the workspace. They are held against a schema that is made of
    /// these contracts, strictly; what they say is combined with the rest by the strictest verdict.
    ///
    /// # Errors
    /// When one is no policy or does not fit the schema, with its place; and, in a build without
    /// the feature `cedar`, when there is any.
    pub fn with_cedar<'a>(
        self,
        files: CedarFiles<'_>,
        contracts: impl IntoIterator<Item = &'a Contract>,
    ) -> Result<Self, PolicyError> {
        let contracts: Vec<&Contract> = contracts.into_iter().collect();
        self.add_cedar(files.sources()?, Some(&contracts))
    }

    /// Without contracts the policies are believed to fit: they did when they came into force, and
    /// a verdict does not depend on the schema.
    pub(super) fn add_cedar(
        mut self,
        sources: Vec<PolicySource>,
        contracts: Option<&[&Contract]>,
    ) -> Result<Self, PolicyError> {
        if sources.is_empty() {
            return Ok(self);
        }
        let rules = Rules::load(&sources, contracts)?;
        self.cedar = Some(Cedar { rules, sources });
        self.digest_again();
        Ok(self)
    }

    /// The schema that Cedar policies are held against, in Cedar's own language.
    ///
    /// # Errors
    /// In a build without the feature `cedar`.
    pub fn cedar_schema<'a>(
        contracts: impl IntoIterator<Item = &'a Contract>,
    ) -> Result<String, PolicyError> {
        let contracts: Vec<&Contract> = contracts.into_iter().collect();
        Rules::schema(&contracts)
    }

    /// The Cedar policies that look at something of which a record holds the digest only.
    pub(super) fn cedar_undecided(&self, asked: &Asked<'_>) -> Vec<String> {
        self.cedar.as_ref().map_or_else(Vec::new, |cedar| cedar.rules.undecided(asked))
    }

    /// What the Cedar policies say and probably do not mean.
    pub(super) fn lint_cedar(&self) -> Cow<'_, [LintFinding]> {
        self.cedar.as_ref().map_or(Cow::Owned(Vec::new()), |cedar| cedar.rules.findings())
    }
}

impl Evaluation<'_> {
    pub(super) fn cedar(&mut self, risk: Risk) {
        let Some(cedar) = &self.set.cedar else { return };
        let asked: &Asked<'_> = self.asked;
        for spoken in cedar.rules.ask(asked, &self.effects, risk) {
            match &spoken.hits {
                Some(hits) => self.say_of(&spoken.voice, hits),
                None => self.say(spoken.voice),
            }
        }
    }
}
