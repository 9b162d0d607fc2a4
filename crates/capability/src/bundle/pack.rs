//! Packs: capabilities and workflows that are let in, frozen and given up together.

use std::collections::BTreeSet;

use lictor_context::{Digest, Name};
use lictor_document::{Limits, Located, Source, from_yaml};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::BundleError;
use crate::contract::{CapabilityId, Contract};
use crate::risk::Risk;

/// A pack, as `.lictor/packs/<id>.yaml` says it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pack {
    /// Its id.
    pub id: Name,
    /// Its version.
    pub version: semver::Version,
    /// A title for people.
    pub title: String,
    /// The capabilities that its workflows may use.
    pub capabilities: Vec<CapabilityId>,
    /// The workflows that belong to it.
    pub workflows: Vec<Name>,
    /// The highest risk that a contract of its capabilities may state; any when `None`.
    pub risk_ceiling: Option<Risk>,
    /// Whether a person agrees to each run of its workflows.
    pub requires_approval: bool,
    /// Who answers for it.
    pub owner: String,
    /// What it has to comply with.
    pub compliance_tags: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    id: Name,
    version: semver::Version,
    title: String,
    capabilities: Vec<Located<CapabilityId>>,
    workflows: Vec<Located<Name>>,
    #[serde(default)]
    risk_ceiling: Option<Risk>,
    #[serde(default)]
    requires_approval: bool,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    compliance_tags: Vec<String>,
}

impl Pack {
    /// Reads a pack.
    ///
    /// # Errors
    /// When the text is no pack, with the place and what is accepted there.
    pub fn from_yaml(source: &Source<'_>) -> Result<Self, BundleError> {
        let raw: Raw = from_yaml(source, &Limits::default())?;
        Ok(Self {
            capabilities: once_each(raw.capabilities, source)?,
            workflows: once_each(raw.workflows, source)?,
            id: raw.id,
            version: raw.version,
            title: raw.title,
            risk_ceiling: raw.risk_ceiling,
            requires_approval: raw.requires_approval,
            owner: raw.owner,
            compliance_tags: raw.compliance_tags,
        })
    }

    /// The pack as JSON: what its digest is taken of.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!(self)
    }

    /// The digest of its canonical JSON. Approvals bind to it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Texts and lists of texts: canonical JSON cannot fail on them.
        Digest::of_json(self).unwrap_or_else(|_| Digest::of(b""))
    }

    /// What stands against a capability in a workflow of this pack, if anything does.
    #[must_use]
    pub fn objects_to(&self, contract: &Contract) -> Option<String> {
        if !self.capabilities.contains(&contract.id) {
            return Some(format!("`{}` is not among its capabilities", contract.id));
        }
        let ceiling = self.risk_ceiling.filter(|ceiling| contract.risk > *ceiling)?;
        Some(format!("`{}` has risk {}, and its ceiling is {ceiling}", contract.id, contract.risk))
    }
}

fn once_each<T: Clone + Ord + ToString>(
    items: Vec<Located<T>>,
    source: &Source<'_>,
) -> Result<Vec<T>, BundleError> {
    let mut seen = BTreeSet::new();
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        if !seen.insert(item.value.clone()) {
            let problem = format!("`{}` is listed twice", item.value.to_string());
            return Err(item.error(source.name, problem).with_excerpt_of(source).into());
        }
        kept.push(item.value);
    }
    Ok(kept)
}
