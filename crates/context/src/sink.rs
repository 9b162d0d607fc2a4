//! The port by which events leave the road.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::event::Event;

/// Takes events and keeps them.
///
/// The trail depends on this trait, not the road on the trail: whoever picks crates one by one
/// brings their own sink.
#[async_trait]
pub trait EventSink: Send + Sync {
    /// Records events, in this order, all or none. When it answers `Ok`, they are as durable as
    /// the sink promises to make them.
    ///
    /// # Errors
    /// When they are not recorded. The road then treats the action as one that may not happen.
    async fn record(&self, events: Vec<Event>) -> Result<(), RecordError>;
}

/// Events could not be recorded.
#[derive(Debug, Clone, thiserror::Error)]
#[error("events could not be recorded: {reason}")]
pub struct RecordError {
    reason: String,
}

impl RecordError {
    /// For sinks: why it did not work.
    #[must_use]
    pub fn new(reason: impl std::fmt::Display) -> Self {
        Self { reason: reason.to_string() }
    }
}

/// Keeps events in memory: for tests, and for embedders who drain it themselves.
#[derive(Debug, Default)]
pub struct MemorySink {
    events: Mutex<Vec<Event>>,
}

impl MemorySink {
    /// Takes what was recorded so far.
    #[must_use]
    pub fn drain(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl EventSink for MemorySink {
    async fn record(&self, mut events: Vec<Event>) -> Result<(), RecordError> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).append(&mut events);
        Ok(())
    }
}
