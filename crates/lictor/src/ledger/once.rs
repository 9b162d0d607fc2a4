//! What is begun once: that nobody else has begun it is found in the transaction that records that it
//! is, so no two can find so, in whatever processes they are.

use std::sync::{Arc, OnceLock};

use lictor_audit::Gaps;
use lictor_context::Event;
use lictor_executor::{AtWork, Beginning, ExecutionRecord, ExecutionStatus, LedgerError, Once};
use lictor_state::{Executions, StateError};

use super::{StateLedger, redacted, unavailable};
use crate::outputs::whole;

impl StateLedger {
    /// Puts up the sign of what is about to be done elsewhere. The sign first: a record without one would
    /// never be doubted.
    pub(super) fn sign(&self, record: &ExecutionRecord) -> Result<AtWork, LedgerError> {
        match &self.signs {
            Some(signs) => signs.put_up(&record.execution_id),
            None => Ok(AtWork::default()),
        }
    }

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
            _ => {
                whole(&self.audit, &self.executions, known).map(|it| Beginning::Done(Box::new(it)))
            }
        }
    }

    /// Records an execution and its events, unless something is known under its key: that it gives, and
    /// what was owed is owed still.
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
        let record = redacted(&self.secrets.redactor(record.run_id.as_ref()), record);
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
            Executions::put_in(tx, &record)?;
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
