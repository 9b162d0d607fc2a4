//! What has to be done before an action, as an action of its own: the program that it speaks to is
//! started.

use lictor_capability::{Action, HandlerSpec};
use serde_json::json;

use crate::agent::Agent;
use crate::error::ActError;

impl Agent {
    /// Does it, where the handler says that there is something. It is judged, approved and recorded by
    /// itself, and whatever keeps it from being done is why the action is not.
    pub(crate) async fn go_first(&self, action: &Action) -> Result<(), ActError> {
        // What lands has run.
        if action.origin().lands.is_some() {
            return Ok(());
        }
        // Only tools of other programs have any such need; nothing else is asked.
        let contract = self.graph().get(action.capability(), action.version());
        let Some(contract) = contract.filter(|one| matches!(one.handler, HandlerSpec::Mcp(_)))
        else {
            return Ok(());
        };
        let Some(first) = self.runtime().parts.executor.first(contract) else { return Ok(()) };
        if first == *action.capability() {
            return Ok(());
        }
        // Whoever agreed to the action was not asked about this.
        let agent = self.clone().judged_anew().going_on();
        let wish = agent.action(first, json!({}));
        agent.act(wish, None).await.map(|_| ())
    }
}
