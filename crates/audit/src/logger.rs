//! The logger: takes events from many hands, and hands them to a sink in batches.
//!
//! Nobody who cannot wait has to: [`AuditLogger::offer`] answers at once. Whoever must not go on
//! before it is recorded asks [`AuditLogger::record`] and waits. What is not recorded is counted,
//! and where it may be lost at all, the trail itself says how much was.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lictor_context::{Clock, Event, EventSink, RecordError, Severity};
use tokio::sync::{mpsc, oneshot};

use crate::gaps::{Gaps, Tally};

/// What happens when events cannot be recorded, or there is no room for more of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// Whoever submits waits for room, and is told when it was not recorded: no record, no effect.
    #[default]
    Block,
    /// What does not matter more than [`LoggerOptions::continue_up_to`] is dropped, counted, and
    /// made up for by an event `audit_gap`. Everything else is treated as in `Block`.
    Continue,
}

/// How a logger works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggerOptions {
    /// At most so many events go to the sink at once.
    pub batch_size: usize,
    /// After the first event of a batch, others are waited for as long as this at most.
    pub flush_interval: Duration,
    /// So many events may wait; then whoever submits more waits too, or is told to.
    pub queue: usize,
    /// What happens when it does not work.
    pub on_failure: OnFailure,
    /// Up to here events may be dropped, where `on_failure` lets them be dropped at all.
    pub continue_up_to: Severity,
}

impl Default for LoggerOptions {
    fn default() -> Self {
        Self {
            batch_size: 1024,
            flush_interval: Duration::from_millis(2),
            queue: 8192,
            on_failure: OnFailure::Block,
            continue_up_to: Severity::Info,
        }
    }
}

/// What became of the events that were submitted. Once nothing is under way, what was submitted
/// is the sum of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoggerStats {
    /// How many were submitted.
    pub submitted: u64,
    /// How many are recorded.
    pub acknowledged: u64,
    /// Of how many it was said that they are not recorded.
    pub rejected: u64,
    /// How many were dropped.
    pub dropped: u64,
}

/// An event was not recorded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The sink failed.
    #[error(transparent)]
    NotRecorded(#[from] RecordError),
    /// There is no room, and it does not wait.
    #[error("{queue} events wait already")]
    Full {
        /// How many may wait.
        queue: usize,
    },
    /// The logger was stopped.
    #[error("the logger was stopped")]
    Stopped,
}

/// Hands events to a sink in batches. Clones are the same logger.
#[derive(Clone)]
pub struct AuditLogger {
    inner: Arc<Inner>,
}

struct Inner {
    options: LoggerOptions,
    counters: Arc<Counters>,
    /// None once it was stopped.
    queue: Mutex<Option<mpsc::Sender<Message>>>,
    worker: tokio::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

#[derive(Default)]
struct Counters {
    tally: Tally,
    gaps: Mutex<Gaps>,
}

enum Message {
    Event(Box<Event>, Option<oneshot::Sender<Result<(), LogError>>>),
    Flush(oneshot::Sender<()>),
}

impl AuditLogger {
    /// Starts a logger on the runtime it is called in.
    #[must_use]
    pub fn start(sink: Arc<dyn EventSink>, clock: Arc<dyn Clock>, options: LoggerOptions) -> Self {
        let (sender, receiver) = mpsc::channel(options.queue.max(1));
        let counters = Arc::new(Counters::default());
        let worker =
            Worker { sink, clock, options: options.clone(), counters: Arc::clone(&counters) };
        let worker = tokio::spawn(worker.run(receiver));
        let inner = Inner {
            options,
            counters,
            queue: Mutex::new(Some(sender)),
            worker: tokio::sync::Mutex::new(Some(worker)),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Submits an event without waiting for anything.
    ///
    /// # Errors
    /// When there is no room and it may not be dropped, or the logger was stopped. Only then is
    /// it known to be not recorded; what becomes of it later is counted.
    pub fn offer(&self, event: Event) -> Result<(), LogError> {
        self.inner.counters.tally.submitted(1);
        let Some(queue) = self.queue() else { return self.reject(LogError::Stopped) };
        match queue.try_send(Message::Event(Box::new(event), None)) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(Message::Event(event, _))) => {
                if may_drop(&self.inner.options, &event) {
                    self.inner.counters.drop_event(&event);
                    return Ok(());
                }
                self.reject(LogError::Full { queue: self.inner.options.queue })
            }
            Err(_) => self.reject(LogError::Stopped),
        }
    }

    /// Submits an event, waits for room, and waits until it is recorded. When it may be dropped
    /// and is, that is an `Ok` as well.
    ///
    /// # Errors
    /// When it is not recorded. Whoever asks must not do then what the event speaks of.
    pub async fn log(&self, event: Event) -> Result<(), LogError> {
        self.inner.counters.tally.submitted(1);
        let Some(queue) = self.queue() else { return self.reject(LogError::Stopped) };
        let (answer, recorded) = oneshot::channel();
        let Ok(()) = queue.send(Message::Event(Box::new(event), Some(answer))).await else {
            return self.reject(LogError::Stopped);
        };
        // Let go of it: a logger that is being stopped waits for those who hold it.
        drop(queue);
        match recorded.await {
            Ok(recorded) => recorded,
            Err(_) => self.reject(LogError::Stopped),
        }
    }

    /// Waits until everything that was submitted before is settled.
    pub async fn flush(&self) {
        let Some(queue) = self.queue() else { return };
        let (answer, flushed) = oneshot::channel();
        if queue.send(Message::Flush(answer)).await.is_ok() {
            drop(queue);
            // Without an answer the logger is gone, and nothing is under way any more.
            flushed.await.unwrap_or_default();
        }
    }

    /// Takes nothing more, settles what was submitted, and ends.
    pub async fn stop(&self) {
        drop(self.inner.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(worker) = self.inner.worker.lock().await.take()
            && let Err(error) = worker.await
        {
            // It never panics by itself; a sink of somebody's may.
            drop(error);
        }
    }

    /// What became of what was submitted.
    #[must_use]
    pub fn stats(&self) -> LoggerStats {
        self.inner.counters.tally.stats()
    }

    fn queue(&self) -> Option<mpsc::Sender<Message>> {
        self.inner.queue.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn reject(&self, error: LogError) -> Result<(), LogError> {
        self.inner.counters.tally.rejected(1);
        Err(error)
    }
}

impl fmt::Debug for AuditLogger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLogger").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[async_trait]
impl EventSink for AuditLogger {
    async fn record(&self, events: Vec<Event>) -> Result<(), RecordError> {
        for event in events {
            self.log(event).await.map_err(RecordError::new)?;
        }
        Ok(())
    }
}

/// What matters little may be dropped; what was refused, approved, erased or is not known never.
fn may_drop(options: &LoggerOptions, event: &Event) -> bool {
    options.on_failure == OnFailure::Continue && event.severity() <= options.continue_up_to
}

impl Counters {
    fn drop_event(&self, event: &Event) {
        self.tally.dropped(1);
        self.gaps().add(event);
    }

    fn gaps(&self) -> std::sync::MutexGuard<'_, Gaps> {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker {
    sink: Arc<dyn EventSink>,
    clock: Arc<dyn Clock>,
    options: LoggerOptions,
    counters: Arc<Counters>,
}

/// An event with whoever waits for it.
type Waiting = (Event, Option<oneshot::Sender<Result<(), LogError>>>);

impl Worker {
    async fn run(self, mut queue: mpsc::Receiver<Message>) {
        while let Some(first) = queue.recv().await {
            let (batch, flushed) = self.gather(first, &mut queue).await;
            self.settle(batch).await;
            for answer in flushed {
                // Whoever asked may have gone.
                answer.send(()).unwrap_or_default();
            }
        }
        self.tell_gaps().await;
    }

    /// A batch: full, or nothing more came in time, or somebody wants it settled.
    async fn gather(
        &self,
        first: Message,
        queue: &mut mpsc::Receiver<Message>,
    ) -> (Vec<Waiting>, Vec<oneshot::Sender<()>>) {
        let (mut batch, mut flushed) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        let end = tokio::time::sleep(self.options.flush_interval);
        tokio::pin!(end);
        loop {
            match next.take() {
                Some(Message::Event(event, answer)) => batch.push((*event, answer)),
                Some(Message::Flush(answer)) => flushed.push(answer),
                None => break,
            }
            if batch.len() >= self.options.batch_size.max(1) || !flushed.is_empty() {
                break;
            }
            next = tokio::select! {
                biased;
                message = queue.recv() => message,
                () = &mut end => None,
            };
        }
        (batch, flushed)
    }

    async fn settle(&self, batch: Vec<Waiting>) {
        self.tell_gaps().await;
        if batch.is_empty() {
            return;
        }
        let (events, answers): (Vec<Event>, Vec<_>) = batch.into_iter().unzip();
        let recorded = self.sink.record(events.clone()).await;
        for (event, answer) in events.iter().zip(answers) {
            let outcome = match &recorded {
                Ok(()) => {
                    self.counters.tally.acknowledged(1);
                    Ok(())
                }
                Err(_) if may_drop(&self.options, event) => {
                    self.counters.drop_event(event);
                    Ok(())
                }
                Err(error) => {
                    self.counters.tally.rejected(1);
                    Err(LogError::from(error.clone()))
                }
            };
            if let Some(answer) = answer {
                // Whoever waited may have gone; it is counted all the same.
                answer.send(outcome).unwrap_or_default();
            }
        }
    }

    /// Says in the trail of each organisation what is missing in it.
    async fn tell_gaps(&self) {
        let gaps = std::mem::take(&mut *self.counters.gaps());
        if gaps.is_empty() {
            return;
        }
        if self.sink.record(gaps.told(self.clock.as_ref())).await.is_err() {
            // They were not told of after all.
            self.counters.gaps().extend(gaps);
        }
    }
}
