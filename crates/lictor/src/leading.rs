//! Where packs and facades lead a session: to the capability that begins one of their workflows.
//! What is called then is that capability, down the road as always.

use std::collections::BTreeMap;
use std::sync::Arc;

use lictor_capability::{Action, CapabilityId, Facade, HandlerSpec, Pack, RouteTarget};
use lictor_context::{BoxFuture, Name};
use lictor_governance::{CatalogueEntry, CatalogueKind, LifeState};
use lictor_state::ExecutionFilter;
use lictor_workflow::RunStatus;
use serde::Serialize;

use crate::agent::{Agent, Done};
use crate::error::{ActError, ActErrorKind};

/// How many of the session's last executions are looked at for a run that waits.
const LOOKED_AT: u32 = 200;

/// Where a pack or a facade leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Led {
    /// The workflow.
    pub workflow: Name,
    /// The capability that begins it.
    pub capability: CapabilityId,
    /// Why this and nothing else, in sentences.
    pub because: Vec<String>,
}

/// A pack or a facade leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .because.join("; "))]
pub struct LeadsNowhere {
    because: Vec<String>,
}

impl Agent {
    /// The packs in use, the newest version of each.
    #[must_use]
    pub fn packs(&self) -> Vec<Arc<Pack>> {
        self.newest(CatalogueKind::Pack, |entry| entry.document.pack().cloned())
    }

    /// The facades in use, the newest version of each.
    #[must_use]
    pub fn facades(&self) -> Vec<Arc<Facade>> {
        self.newest(CatalogueKind::Facade, |entry| entry.document.facade().cloned())
    }

    fn newest<T>(
        &self,
        kind: CatalogueKind,
        document: impl Fn(&CatalogueEntry) -> Option<Arc<T>>,
    ) -> Vec<Arc<T>> {
        let entries = self.runtime().catalogue().list(kind);
        let active = entries.iter().filter(|entry| entry.state == LifeState::Active);
        let mut newest: BTreeMap<&str, &CatalogueEntry> = BTreeMap::new();
        for entry in active {
            let known = newest.entry(entry.document.id()).or_insert(entry);
            if known.document.version() < entry.document.version() {
                *known = entry;
            }
        }
        newest.into_values().filter_map(document).collect()
    }

    /// The workflows that this session can begin, each with the capability that does; of several
    /// the one whose id comes first.
    #[must_use]
    pub fn workflows(&self) -> BTreeMap<Name, CapabilityId> {
        let mut found: BTreeMap<Name, CapabilityId> = BTreeMap::new();
        for contract in self.graph().iter() {
            let HandlerSpec::Workflow(file) = &contract.handler else { continue };
            let known = found.entry(file.clone()).or_insert_with(|| contract.id.clone());
            if contract.id < *known {
                *known = contract.id.clone();
            }
        }
        found
    }

    /// Where a call of a pack leads: to the workflow that is named, or to the only one that this
    /// session can begin.
    ///
    /// # Errors
    /// Why it leads nowhere.
    pub fn lead_pack(&self, pack: &Pack, named: Option<&Name>) -> Result<Led, LeadsNowhere> {
        self.in_pack(pack, named, Vec::new())
    }

    /// Where a call of a facade leads: to its primary target, or to the fallback when that may not
    /// be used.
    ///
    /// # Errors
    /// Why it leads nowhere.
    pub fn lead_facade(&self, facade: &Facade, named: Option<&Name>) -> Result<Led, LeadsNowhere> {
        let routes = &facade.routes;
        let mut because = Vec::new();
        for target in [Some(&routes.primary), routes.fallback.as_ref()].into_iter().flatten() {
            match self.to_target(target, named) {
                Ok(led) => {
                    because.push(format!("`{}` leads to the {target}", facade.id));
                    because.extend(led.because);
                    return Ok(Led { because, ..led });
                }
                Err(nowhere) => {
                    because.push(format!("the {target} may not be used: {nowhere}"));
                }
            }
        }
        Err(LeadsNowhere { because })
    }

    fn to_target(&self, target: &RouteTarget, named: Option<&Name>) -> Result<Led, LeadsNowhere> {
        let nowhere = |why: String| LeadsNowhere { because: vec![why] };
        self.runtime().usable(target).map_err(nowhere)?;
        match target {
            RouteTarget::Workflow(id) => match named.filter(|named| *named != id) {
                Some(other) => Err(nowhere(format!("it does not lead to the workflow `{other}`"))),
                None => self.to_workflow(id, Vec::new()),
            },
            RouteTarget::Pack(id) => {
                let pack = self.runtime().active_pack(id).map_err(nowhere)?;
                self.in_pack(&pack, named, Vec::new())
            }
        }
    }

    fn in_pack(
        &self,
        pack: &Pack,
        named: Option<&Name>,
        mut because: Vec<String>,
    ) -> Result<Led, LeadsNowhere> {
        let nowhere = |why: String| Err(LeadsNowhere { because: vec![why] });
        let known = self.workflows();
        let own = pack.workflows.iter().filter(|id| known.contains_key(*id));
        let own: Vec<&Name> = own.collect();
        let listed = || own.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
        let workflow = match (named, own.as_slice()) {
            (_, []) => {
                return nowhere(format!("no workflow of the pack `{}` can be begun here", pack.id));
            }
            (Some(named), own) if own.contains(&named) => named,
            (Some(named), _) => {
                let (pack, listed) = (&pack.id, listed());
                return nowhere(format!("the pack `{pack}` has no `{named}`, only {listed}"));
            }
            (None, [only]) => *only,
            (None, _) => {
                let (pack, listed) = (&pack.id, listed());
                return nowhere(format!("name a `workflow` of the pack `{pack}`: {listed}"));
            }
        };
        because.push(format!("`{workflow}` is a workflow of the pack `{}`", pack.id));
        self.to_workflow(workflow, because)
    }

    fn to_workflow(&self, id: &Name, mut because: Vec<String>) -> Result<Led, LeadsNowhere> {
        let Some(capability) = self.workflows().remove(id) else {
            let why = format!("no capability of this session begins the workflow `{id}`");
            return Err(LeadsNowhere { because: vec![why] });
        };
        because.push(format!("`{capability}` begins it"));
        Ok(Led { workflow: id.clone(), capability, because })
    }

    /// Goes on with the run that the same call of this session began, and that waits since; none when
    /// there is no such run, and the call is a new one.
    ///
    /// # Errors
    /// When the run waits still, or did not come to its end.
    pub fn go_on_waiting<'a>(
        &'a self,
        action: &'a Action,
    ) -> BoxFuture<'a, Result<Option<Done>, ActError>> {
        Box::pin(async move {
            let contract = self.graph().get(action.capability(), action.version());
            if !contract.is_some_and(|it| matches!(it.handler, HandlerSpec::Workflow(_))) {
                return Ok(None);
            }
            let unreadable =
                |error: &dyn std::fmt::Display| ActErrorKind::NotRecorded(error.to_string());
            let filter = ExecutionFilter {
                session: Some(self.session().id().clone()),
                limit: Some(LOOKED_AT),
                ..ExecutionFilter::default()
            };
            let stored = self.runtime().executions().list(&filter);
            for stored in stored.map_err(|error| unreadable(&error))? {
                let record = stored.record;
                let same = record.capability == action.capability().as_str()
                    && record.params == *action.input();
                let Some(run_id) = record.began.clone().filter(|_| same) else { continue };
                let run = self.runtime().run_store().load(&run_id).await;
                let run = run.map_err(|error| unreadable(&error))?;
                if run.is_some_and(|run| run.status() == RunStatus::Paused) {
                    let done = Done::before(record);
                    self.record_repeat(&done).await?;
                    return self.go_on(action, done).await.map(Some);
                }
            }
            Ok(None)
        })
    }
}
