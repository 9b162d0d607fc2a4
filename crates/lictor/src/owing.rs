//! Events of actions that changed nothing, owed until somebody records them.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use lictor_context::{Digest, Event, Timestamp};
use lictor_executor::{ExecutionRecord, Ledger, LedgerError, Once, Recovered};

use crate::ledger::StateLedger;

/// A ledger that keeps the events of what changed nothing, for whoever records them together
/// with what came of it. Everything else it passes on.
#[derive(Debug)]
pub(crate) struct Owing {
    ledger: Arc<StateLedger>,
    events: Mutex<Vec<Event>>,
}

impl Owing {
    pub(crate) fn new(ledger: Arc<StateLedger>) -> Self {
        Self { ledger, events: Mutex::default() }
    }

    /// What is owed so far.
    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Ledger for Owing {
    async fn find(
        &self,
        key: Digest,
        since: Timestamp,
    ) -> Result<Option<ExecutionRecord>, LedgerError> {
        self.ledger.find(key, since).await
    }

    async fn settle(
        &self,
        record: Option<ExecutionRecord>,
        mut events: Vec<Event>,
    ) -> Result<(), LedgerError> {
        if record.is_some() {
            return self.ledger.settle(record, events).await;
        }
        self.events.lock().unwrap_or_else(PoisonError::into_inner).append(&mut events);
        Ok(())
    }

    async fn settle_once(
        &self,
        once: Once,
        record: ExecutionRecord,
        events: Vec<Event>,
    ) -> Result<Option<ExecutionRecord>, LedgerError> {
        self.ledger.settle_once(once, record, events).await
    }

    async fn recovered(&self, recovered: Vec<Recovered>) -> Result<(), LedgerError> {
        self.ledger.recovered(recovered).await
    }
}
