//! A sink that a test holds up, or lets fail.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use lictor_audit::{AuditLogger, LoggerOptions};
use lictor_context::{Event, EventSink, EventType, RecordError, SystemClock};
use serde_json::Value;
use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct Sink {
    pub(crate) batches: Mutex<Vec<Vec<Event>>>,
    failing: AtomicBool,
    held: AtomicBool,
    released: Notify,
}

#[async_trait]
impl EventSink for Sink {
    async fn record(&self, events: Vec<Event>) -> Result<(), RecordError> {
        while self.is_held() {
            self.released.notified().await;
        }
        if self.failing.load(Ordering::SeqCst) {
            return Err(RecordError::new("the disk is full"));
        }
        self.batches.lock().unwrap().push(events);
        Ok(())
    }
}

impl Sink {
    pub(crate) fn hold(&self, held: bool) {
        self.held.store(held, Ordering::SeqCst);
        self.released.notify_one();
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Ordering::SeqCst)
    }

    pub(crate) fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }

    /// What was recorded, in order.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.batches.lock().unwrap().iter().flatten().cloned().collect()
    }

    pub(crate) fn of(&self, kind: EventType) -> Vec<Event> {
        self.events().into_iter().filter(|event| event.event_type() == kind).collect()
    }

    /// How many events the gaps that were recorded tell of.
    pub(crate) fn told(&self) -> u64 {
        let gaps = self.of(EventType::AuditGap);
        let told = gaps.iter().map(|gap| gap.facts().metadata.get("dropped"));
        told.map(|dropped| dropped.and_then(Value::as_u64).expect("a gap says how many")).sum()
    }
}

pub(crate) fn start(sink: &Arc<Sink>, options: LoggerOptions) -> AuditLogger {
    AuditLogger::start(Arc::<Sink>::clone(sink), Arc::new(SystemClock), options)
}
