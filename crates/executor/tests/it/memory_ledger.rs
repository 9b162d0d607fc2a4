//! A ledger that writes down what it is asked for.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use lictor_context::{Digest, Event, EventType, ExecutionId, Timestamp};
use lictor_executor::{
    AtWork, ExecutionRecord, ExecutionStatus, Ledger, LedgerError, Recovered, Recovery,
};

use crate::support::Calls;

/// Remembers in memory, and fails when it is told to.
pub(crate) struct MemoryLedger {
    pub(crate) find_fails: AtomicBool,
    pub(crate) settle_fails: AtomicBool,
    pub(crate) records: Mutex<BTreeMap<ExecutionId, ExecutionRecord>>,
    pub(crate) events: Mutex<Vec<Event>>,
    pub(crate) recovered: Mutex<Vec<Recovery>>,
    pub(crate) calls: Calls,
}

impl MemoryLedger {
    pub(crate) fn records(&self) -> Vec<ExecutionRecord> {
        self.records.lock().expect("records").values().cloned().collect()
    }

    pub(crate) fn events(&self) -> Vec<EventType> {
        self.events.lock().expect("events").iter().map(Event::event_type).collect()
    }
}

fn unless(fails: &AtomicBool) -> Result<(), LedgerError> {
    match fails.load(Ordering::SeqCst) {
        true => Err(LedgerError("the disk is full".to_owned())),
        false => Ok(()),
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn find(
        &self,
        key: Digest,
        since: Timestamp,
    ) -> Result<Option<ExecutionRecord>, LedgerError> {
        self.calls.note("find");
        unless(&self.find_fails)?;
        let fits = |record: &ExecutionRecord| {
            record.idempotency_key == Some(key)
                && record.started_at >= since
                && record.status == ExecutionStatus::Applied
        };
        Ok(self.records().into_iter().find(fits))
    }

    async fn settle(
        &self,
        record: Option<ExecutionRecord>,
        events: Vec<Event>,
    ) -> Result<(), LedgerError> {
        unless(&self.settle_fails)?;
        self.events.lock().expect("events").extend(events);
        if let Some(record) = record {
            self.records.lock().expect("records").insert(record.execution_id.clone(), record);
        }
        self.calls.note("recorded");
        Ok(())
    }

    async fn begin(
        &self,
        record: ExecutionRecord,
        events: Vec<Event>,
    ) -> Result<AtWork, LedgerError> {
        unless(&self.settle_fails)?;
        self.events.lock().expect("events").extend(events);
        self.records.lock().expect("records").insert(record.execution_id.clone(), record);
        self.calls.note("begun");
        Ok(AtWork::default())
    }

    async fn recovered(&self, recovered: Vec<Recovered>) -> Result<(), LedgerError> {
        unless(&self.settle_fails)?;
        let settled = recovered.iter().map(|one| one.recovery);
        self.recovered.lock().expect("recovered").extend(settled);
        self.calls.note("recovery recorded");
        Ok(())
    }
}
