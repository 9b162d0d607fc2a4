//! Old decisions and counts are removed when an approver asks for it, as the policy says.

use lictor_context::{BoxFuture, Event, EventFacts, EventType, Session, Timestamp};
use lictor_governance::{Channel, ProvenApprover};
use lictor_state::{OldRows, PrunedRows};
use serde_json::json;

use crate::error::{ActError, ActErrorKind};
use crate::runtime::Runtime;

/// Its name in the trail. No capability: it takes an approver.
const PRUNE: &str = "policy.prune";

impl Runtime {
    /// The decisions that the policy does not keep any more (`retention.audit`: they are evidence, as
    /// the trail is), and the calls that no frequency counts any more; what cost something stays,
    /// because budgets have no end. How many they are.
    ///
    /// # Errors
    /// When something is held, or the database fails.
    pub fn prunable(&self, session: &Session) -> Result<PrunedRows, ActError> {
        self.old_rows(session)?.0.count().map_err(|error| failed(&error))
    }

    /// Removes them, never those that an open request is about.
    ///
    /// # Errors
    /// As [`Runtime::prunable`]; and when it cannot be recorded, before anything goes.
    pub fn prune<'a>(
        &'a self,
        by: &'a ProvenApprover,
        channel: Channel,
        session: &'a Session,
    ) -> BoxFuture<'a, Result<PrunedRows, ActError>> {
        Box::pin(async move {
            let (rows, before) = self.old_rows(session)?;
            let due = rows.count().map_err(|error| failed(&error))?;
            let event = |kind: EventType, rows: PrunedRows| {
                let mut facts = EventFacts {
                    action_name: Some(PRUNE.to_owned()),
                    success: (kind == EventType::ActionCompleted).then_some(true),
                    ..EventFacts::default()
                };
                let about = json!({ "rows": rows, "before": before });
                facts.metadata.insert("prune".to_owned(), about);
                let approver = json!({ "approver": by.name(), "channel": channel });
                facts.metadata.insert("approval".to_owned(), approver);
                Event::new(session, kind, facts, self.clock().as_ref())
            };
            self.record(vec![event(EventType::ActionStarted, due)]).await?;
            let gone = tokio::task::spawn_blocking(move || rows.remove()).await;
            let gone = gone.map_err(|error| ActErrorKind::NotRecorded(error.to_string()))?;
            let gone = gone.map_err(|error| failed(&error))?;
            self.record(vec![event(EventType::ActionCompleted, gone)]).await?;
            Ok(gone)
        })
    }

    fn old_rows(&self, session: &Session) -> Result<(OldRows, Timestamp), ActError> {
        let org = &session.principal().org;
        let holds = self.audit().holds(org).map_err(|error| failed(&error))?;
        if !holds.is_empty() {
            let why = format!("nothing is removed while it is held: {}", holds.join(", "));
            return Err(ActErrorKind::Denied(why).into());
        }
        let policies = self.gate().policies();
        let settings = policies.settings();
        let now = self.clock().now();
        let ago = |millis: u64| {
            let micros = i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(1_000);
            Timestamp::from_micros(now.as_micros().saturating_sub(micros))
        };
        let kept = settings.audit_retention.as_millis();
        let counted = settings.frequency.iter().map(|limit| limit.per.as_millis()).max();
        let before = ago(kept);
        // No earlier than decisions: another policy may count over a longer time tomorrow.
        let usage = ago(counted.unwrap_or(0).max(kept));
        Ok((OldRows::new(self.store().clone(), org.as_str(), before, usage), before))
    }
}

fn failed(error: &dyn std::fmt::Display) -> ActError {
    ActErrorKind::NotRecorded(error.to_string()).into()
}
