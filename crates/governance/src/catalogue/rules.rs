//! Who may bring things into the catalogue, and on their way through it.

use lictor_context::{Name, Principal};
use serde::{Deserialize, Serialize};

use super::life::LifeState;
use crate::approval::ProvenApprover;

/// What the policies of all layers say about the catalogue together. The default: everybody may
/// propose, every approver decides, and nobody about what they proposed themselves.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CatalogueRules {
    /// Who may propose: for each layer that says so, users by name and agents as `agent:<name>`;
    /// a `*` at the end stands for anything.
    pub proposers: Vec<Vec<String>>,
    /// For each layer that says so, the roles of which an approver needs one to approve or reject.
    pub approve: Vec<Vec<Name>>,
    /// The same for freezing, unfreezing and deprecating.
    pub freeze: Vec<Vec<Name>>,
    /// Whether the one who proposed may decide: some layer says yes and none says no.
    pub proposer_may_approve: bool,
}

/// The section of one policy file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawCatalogue {
    pub(crate) proposers: Option<Vec<String>>,
    pub(crate) approve_roles: Option<Vec<Name>>,
    pub(crate) freeze_roles: Option<Vec<Name>>,
    pub(crate) proposer_may_approve: Option<bool>,
}

impl CatalogueRules {
    pub(crate) fn of<'a>(layers: impl Iterator<Item = &'a RawCatalogue> + Clone) -> Self {
        let said: Vec<bool> = layers.clone().filter_map(|raw| raw.proposer_may_approve).collect();
        Self {
            proposers: layers.clone().filter_map(|raw| raw.proposers.clone()).collect(),
            approve: layers.clone().filter_map(|raw| raw.approve_roles.clone()).collect(),
            freeze: layers.filter_map(|raw| raw.freeze_roles.clone()).collect(),
            proposer_may_approve: !said.is_empty() && said.iter().all(|may| *may),
        }
    }

    /// Whether somebody may propose.
    #[must_use]
    pub fn may_propose(&self, who: &Principal) -> bool {
        let agent = format!("agent:{}", who.agent);
        let named = |entry: &String| {
            let fits = |name: &str| match entry.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => entry == name,
            };
            fits(who.user.as_str()) || fits(&agent)
        };
        self.proposers.iter().all(|layer| layer.iter().any(named))
    }

    /// The roles that stand against an approver who would bring something to a state: those of
    /// which they would need one.
    pub(super) fn missing_roles(&self, next: LifeState, by: &ProvenApprover) -> Option<&[Name]> {
        let layers = match next {
            LifeState::Active | LifeState::Rejected | LifeState::Proposed => &self.approve,
            LifeState::Frozen | LifeState::Deprecated => &self.freeze,
        };
        let has = |roles: &&Vec<Name>| roles.iter().any(|role| by.roles().contains(role));
        layers.iter().find(|roles| !has(roles)).map(Vec::as_slice)
    }
}
