//! What is begun once: that nobody else has begun it is found in the transaction that records that it
//! is, so no two can find so, in whatever processes they are.

use std::sync::{Arc, OnceLock};

use lictor_audit::Gaps;
use lictor_context::Event;
use lictor_executor::{AtWork, Beginning, ExecutionRecord, ExecutionStatus, LedgerError, Once};
use lictor_state::{Executions, StateError};

use super::{StateLedger, redacted, unavailable};
use crate::outputs::{seal_output, whole};

impl StateLedger {
    /// Puts up the sign of what is about to be done elsewhere. The sign first: a record without one would
    /// never be doubted.
    pub(super) fn sign(&self, record: &ExecutionRecord) -> Result<AtWork, LedgerError> {
        match &self.signs {
            Some(signs) => signs.put_up(&record.execution_id),
            None => Ok(AtWork::default()),
        }
    }

    /// Records that something is begun elsewhere, unless something is known under its key.
    pub(super) async fn begin_unless_known(
        &self,
        once: Once,
        record: ExecutionRecord,
        events: Vec<Event>,
    ) -> Result<Beginning, LedgerError> {
        let at_work = self.sign(&record)?;
        let known = self.record_unless_known(once, record, events).await.map_err(unavailable)?;
        let Some(known) = known else { return Ok(Beginning::Begun(at_work)) };
        at_work.ended();
        match known.status {
            ExecutionStatus::Incomplete => Ok(Beginning::InDoubt(known.execution_id)),
            _ => self.with_output(known).map(|known| Beginning::Done(Box::new(known))),
        }
    }

    /// Records an execution, unless the same is done: that it gives.
    pub(super) async fn settle_unless_known(
        &self,
        once: Once,
        record: ExecutionRecord,
        events: Vec<Event>,
    ) -> Result<Option<ExecutionRecord>, LedgerError> {
        let known = self.record_unless_known(once, record, events).await.map_err(unavailable)?;
        match known {
            Some(known) if known.status == ExecutionStatus::Incomplete => {
                let id = known.execution_id;
                Err(LedgerError(format!("the same was begun by `{id}`, whose end is not known")))
            }
            known => known.map(|known| self.with_output(known)).transpose(),
        }
    }

    fn with_output(&self, known: ExecutionRecord) -> Result<ExecutionRecord, LedgerError> {
        whole(&self.audit, &self.executions, known)
    }

    /// What was owed is owed still when something is known.
    async fn record_unless_known(
        &self,
        once: Once,
        record: ExecutionRecord,
        events: Vec<Event>,
    ) -> Result<Option<ExecutionRecord>, StateError> {
        let first = events.first().and_then(|event| event.facts().decision_id.as_ref());
        let mut owed = self.owed.before(first).await;
        let mut all = owed.as_deref().cloned().unwrap_or_default();
        all.extend(events);
        self.catch_up().await?;
        let gaps = self.trailing.may_drop(Some(&record), &all).then(|| Gaps::of(&all));
        let redactor = self.secrets.redactor(record.run_id.as_ref());
        let sealed = seal_output(&self.audit, &redactor, &record);
        let record = redacted(&redactor, record);
        let decisions = self.decisions.copies(&all);
        let found = Arc::new(OnceLock::new());
        let finds = Arc::clone(&found);
        let recorded = self.commit_or_drop(gaps, all, move |tx| {
            if let Some(known) = Executions::under_key_in(tx, once.key, once.since)? {
                // An error, so that nothing of this transaction stays.
                let why = format!("`{}` was quicker", known.execution_id);
                finds.get_or_init(|| known);
                return Err(StateError::Unavailable(why));
            }
            Executions::put_sealed_in(tx, &record, sealed.as_deref())?;
            Ok((Vec::new(), ()))
        });
        if let Err(error) = recorded.await {
            // What let it begin is recorded with what it comes to instead.
            self.decisions.put_back(decisions);
            return found.get().cloned().map(Some).ok_or(error);
        }
        if let Some(owed) = &mut owed {
            owed.clear();
        }
        Ok(None)
    }
}
