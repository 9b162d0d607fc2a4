//! What was asked for before: it is answered from the record, and not done again.

use lictor_capability::{Action, CapabilityId, ChangeKind, WorkspaceView as _};
use lictor_context::{BoxFuture, Digest, Event, EventType, Timestamp, WorkspacePath};
use lictor_executor::{ExecutionRecord, Ledger as _};

use crate::agent::{Agent, Done};
use crate::error::{ActError, ActErrorKind};
use crate::events;

impl Agent {
    /// The result that is recorded under the action's idempotency key, when it is fresh enough.
    pub(crate) async fn duplicate(&self, action: &Action) -> Result<Option<Done>, ActError> {
        let Some(key) = action.idempotency_key() else { return Ok(None) };
        let Some(record) = self.find(key).await? else { return Ok(None) };
        let before = self.prelude();
        self.record_duplicate(action, &record, before).await?;
        Ok(Some(Done::before(record)))
    }

    async fn find(&self, key: Digest) -> Result<Option<ExecutionRecord>, ActError> {
        let ttl = self.runtime().parts.gate.policies().settings().idempotency_ttl.as_millis();
        let ttl = i64::try_from(ttl).unwrap_or(i64::MAX).saturating_mul(1000);
        let since = Timestamp::from_micros(self.clock().now().as_micros().saturating_sub(ttl));
        let found = self.runtime().parts.ledger.find(key, since).await;
        found.map_err(|error| ActErrorKind::NotRecorded(error.to_string()).into())
    }

    /// The execution of a document that names no plan, when what it did still stands in the
    /// workspace. Such a document says nothing about intent: once its effect is gone, the same
    /// document is another wish. Records nothing; see [`Agent::record_repeat`].
    ///
    /// # Errors
    /// When the ledger cannot be asked.
    pub fn find_standing(&self, key: Digest) -> BoxFuture<'_, Result<Option<Done>, ActError>> {
        Box::pin(async move {
            let Some(record) = self.find(key).await? else { return Ok(None) };
            let stands = record.files.iter().all(|file| {
                let path = WorkspacePath::parse(file.to.as_deref().unwrap_or(&file.path));
                path.is_ok_and(|path| {
                    let workspace = &self.runtime().parts.workspace;
                    match file.after {
                        Some(after) => workspace.digest(&path).is_ok_and(|found| found == after),
                        None => {
                            let there = workspace.entry(&path).is_ok_and(|entry| entry.is_some());
                            there != matches!(file.op, ChangeKind::Delete | ChangeKind::Rmdir)
                        }
                    }
                })
            });
            // What found everything so already has left nothing to stand or fall.
            if !stands || record.changed_nothing() {
                return Ok(None);
            }
            Ok(Some(Done::before(record)))
        })
    }

    /// Records that what was done before was asked for again, and answered from the record.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn record_repeat<'a>(&'a self, done: &'a Done) -> BoxFuture<'a, Result<(), ActError>> {
        Box::pin(async move {
            let capability = CapabilityId::parse(&done.record.capability)
                .map_err(|error| ActErrorKind::Invalid(error.to_string()))?;
            let action = self.action(capability, done.record.params.clone());
            self.record_duplicate(&action, &done.record, self.prelude()).await
        })
    }

    pub(crate) async fn record_duplicate(
        &self,
        action: &Action,
        record: &ExecutionRecord,
        mut before: Vec<Event>,
    ) -> Result<(), ActError> {
        let mut facts = events::action_facts(action, None);
        facts.execution_id = Some(record.execution_id.clone());
        facts.capability = Some(record.capability_facts.clone());
        facts.success = Some(true);
        before.push(Event::new(self.session(), EventType::ExecutionDuplicate, facts, self.clock()));
        match &record.began {
            // What became of its run follows.
            Some(_) => self.runtime().record(before).await,
            None => self.record_last(before).await,
        }
    }
}
