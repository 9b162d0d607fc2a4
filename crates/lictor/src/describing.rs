//! What an action would do now: admitted by what the session sees of the catalogue, described by its
//! handler.

use lictor_capability::{Action, AdmitError, AdmitErrorKind, Admitted, CapabilityGraph, Described};
use lictor_executor::DescribeError;

use crate::agent::Agent;
use crate::error::{ActError, ActErrorKind};
use crate::secrets::refuse_in_paths;

impl Agent {
    /// What a session may see and is not let in is said to be there, and why it is withheld.
    pub(crate) fn not_admitted(&self, error: AdmitError) -> ActErrorKind {
        let id = error.capability();
        let seen = self.session().profile().capabilities.contains(id.as_str());
        let withheld = match error.kind() {
            AdmitErrorKind::Unknown { .. } if seen => self.runtime().parts.shelf.why_not(id),
            _ => None,
        };
        withheld
            .map_or(ActErrorKind::NotAdmitted(error), |why| ActErrorKind::Withheld(Box::new(why)))
    }

    pub(crate) async fn describe(&self, action: Action) -> Result<Described, ActError> {
        match self.description(&action).await {
            Ok(described) => Ok(described),
            Err(kind) => Err(self.reject(&action, None, kind, self.prelude()).await),
        }
    }

    /// What an action would do now, without a word in the trail when that cannot be said.
    pub(crate) async fn description(&self, action: &Action) -> Result<Described, ActErrorKind> {
        let described = match self.described_by(&self.graph, action).await {
            Err(ActErrorKind::NotDescribed(DescribeError::Withheld(why))) if self.follows => {
                let now = self.refreshed();
                if now.seen == self.seen {
                    return Err(ActErrorKind::NotDescribed(DescribeError::Withheld(why)));
                }
                self.described_by(&now.graph, action).await?
            }
            described => described?,
        };
        refuse_in_paths(&described, &self.runtime().audit().redactor())?;
        self.can_begin(described.action(), described.contract())?;
        Ok(described)
    }

    async fn described_by(
        &self,
        graph: &CapabilityGraph,
        action: &Action,
    ) -> Result<Described, ActErrorKind> {
        let admitted: Admitted =
            graph.admit(action.clone()).map_err(|error| self.not_admitted(error))?;
        let described = self.runtime().parts.executor.describe_aside(admitted).await;
        described.map_err(ActErrorKind::NotDescribed)
    }
}
