//! Packs in force, and where facades lead.

use std::sync::Arc;

use lictor_capability::{CapabilityId, Considered, Facade, Pack, RouteTarget, Routed, route};
use lictor_context::Name;
use lictor_governance::{CatalogueKind, LifeState};
use lictor_workflow::Workflow;

use crate::runtime::Runtime;

/// A workflow that names a pack may not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the workflow `{workflow}` needs the pack `{pack}`: {why}")]
pub struct PackRefusal {
    workflow: String,
    pack: Name,
    why: String,
}

impl Runtime {
    /// The active version of a pack, the newest of several.
    ///
    /// # Errors
    /// Why there is none.
    pub fn active_pack(&self, id: &Name) -> Result<Arc<Pack>, String> {
        let versions = self.catalogue().versions(CatalogueKind::Pack, id.as_str());
        let active = versions.iter().find(|entry| entry.state == LifeState::Active);
        match (active.and_then(|entry| entry.document.pack()), versions.first()) {
            (Some(pack), _) => Ok(Arc::clone(pack)),
            (None, Some(newest)) => {
                Err(format!("it is {}, and only an active one counts", newest.state))
            }
            (None, None) => Err("there is none".to_owned()),
        }
    }

    /// Whether the pack that a workflow names lets it run: it is active, the workflow is one of
    /// its own, and so is every capability that it uses.
    ///
    /// # Errors
    /// Why not.
    pub fn check_pack(&self, workflow: &Workflow) -> Result<(), PackRefusal> {
        let Some(id) = &workflow.pack else { return Ok(()) };
        let refuse = |why| PackRefusal { workflow: workflow.id.to_string(), pack: id.clone(), why };
        let pack = self.active_pack(id).map_err(refuse)?;
        if !pack.workflows.iter().any(|known| known.as_str() == workflow.id.to_string()) {
            return Err(refuse("the workflow is not one of its own".to_owned()));
        }
        Ok(())
    }

    /// Whether a pack lets one of its workflows call a capability.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check_pack_call(
        &self,
        id: &Name,
        capability: &CapabilityId,
    ) -> Result<(), String> {
        let pack = self.active_pack(id)?;
        let active = self.catalogue().active();
        let contract = active.iter().find(|contract| contract.id == *capability);
        match contract.and_then(|contract| pack.objects_to(contract)) {
            Some(why) => Err(why),
            None => Ok(()),
        }
    }

    /// Where a text leads: the facade that it calls, where that leads, and why; beside it every
    /// facade that was looked at.
    #[must_use]
    pub fn route(&self, text: &str) -> (Option<Routed>, Vec<Considered>) {
        self.refresh_catalogue();
        let facades: Vec<Arc<Facade>> = self
            .catalogue()
            .list(CatalogueKind::Facade)
            .into_iter()
            .filter(|entry| entry.state == LifeState::Active)
            .filter_map(|entry| entry.document.facade().cloned())
            .collect();
        route(text, facades.iter().map(AsRef::as_ref), |target| self.usable(target))
    }

    pub(crate) fn usable(&self, target: &RouteTarget) -> Result<(), String> {
        let workflow = match target {
            RouteTarget::Pack(id) => return self.active_pack(id).map(|_| ()),
            RouteTarget::Workflow(id) => id,
        };
        let packs = self.catalogue().list(CatalogueKind::Pack);
        let holding: Vec<_> = packs
            .iter()
            .filter(|entry| {
                entry.document.pack().is_some_and(|pack| pack.workflows.contains(workflow))
            })
            .collect();
        let active = holding.iter().any(|entry| entry.state == LifeState::Active);
        match holding.first() {
            Some(first) if !active => {
                Err(format!("its pack `{}` is {}", first.document.id(), first.state))
            }
            // A workflow that no pack holds is governed step by step, like any other.
            Some(_) | None => Ok(()),
        }
    }
}
