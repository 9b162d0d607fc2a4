//! Sessions, from the first word of them in the trail to the last.
//!
//! INVARIANT: in the trail of one runtime, beginnings and ends of a session take turns: whoever is to
//! record one of them turns the session over first, and the ledger turns it back when it could not be
//! recorded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use lictor_context::{
    BoxFuture, Clock, Digest, Event, EventFacts, EventType, Principal, Session, SessionId,
    Timestamp,
};
use lictor_executor::{ExecutionRecord, Ledger, LedgerError, Once, Recovered};

use crate::agent::Agent;
use crate::error::{ActError, ActErrorKind};
use crate::runtime::Runtime;

/// From so many sessions on, those that nobody serves any more are forgotten.
const MANY: usize = 1024;

/// The sessions that a runtime serves.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    known: Mutex<HashMap<(SessionId, Principal), Arc<Life>>>,
}

/// One session: whether the trail says that it began, and not yet that it ended.
#[derive(Debug)]
pub(crate) struct Life {
    session: Session,
    open: AtomicBool,
}

impl Sessions {
    // Every change under the lock is one step, so a poisoned one holds a whole value.
    fn known(&self) -> MutexGuard<'_, HashMap<(SessionId, Principal), Arc<Life>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session, the same one for all who serve it.
    pub(crate) fn serve(&self, session: &Session) -> Arc<Life> {
        let mut known = self.known();
        let key = (session.id().clone(), session.principal().clone());
        if let Some(life) = known.get(&key) {
            return Arc::clone(life);
        }
        if known.len() >= MANY && known.len().is_power_of_two() {
            known.retain(|_, life| Arc::strong_count(life) > 1);
        }
        let life = Arc::new(Life { session: session.clone(), open: AtomicBool::new(false) });
        known.insert(key, Arc::clone(&life));
        life
    }

    fn all(&self) -> Vec<Arc<Life>> {
        self.known().values().map(Arc::clone).collect()
    }

    /// What events on their way to the trail say of sessions.
    pub(crate) fn turned(&self, events: &[Event]) -> Turned {
        let of = |event: &Event| {
            let began = match event.event_type() {
                EventType::SessionStarted => true,
                EventType::SessionEnded => false,
                _ => return None,
            };
            Some((self.serve(event.session()), began))
        };
        Turned(events.iter().filter_map(of).collect())
    }
}

impl Life {
    /// The session's first event, where it is not told of yet.
    pub(crate) fn beginning(&self, session: &Session, clock: &dyn Clock) -> Option<Event> {
        let first = !self.open.swap(true, Ordering::SeqCst);
        let facts = EventFacts::default();
        first.then(|| Event::new(session, EventType::SessionStarted, facts, clock))
    }

    /// The session's last event, where it has begun.
    fn ending(&self, clock: &dyn Clock) -> Option<Event> {
        let last = self.open.swap(false, Ordering::SeqCst);
        let facts = EventFacts::default();
        last.then(|| Event::new(&self.session, EventType::SessionEnded, facts, clock))
    }
}

/// Sessions of which something is about to be recorded. Dropped before it is, they are as before.
#[derive(Debug)]
pub(crate) struct Turned(Vec<(Arc<Life>, bool)>);

impl Turned {
    pub(crate) fn recorded(mut self) {
        self.0.clear();
    }
}

impl Drop for Turned {
    fn drop(&mut self) {
        // The first word counts: what was before it.
        for (life, began) in self.0.iter().rev() {
            life.open.store(!*began, Ordering::SeqCst);
        }
    }
}

impl Runtime {
    /// Ends the sessions that were begun here and have not ended, as whoever served them in order
    /// does when they are over. Sessions that nobody has an [`Agent`] for any more may have been
    /// forgotten.
    ///
    /// # Errors
    /// When it cannot be recorded. Then they go on, and can be ended again.
    pub fn end_sessions(&self) -> BoxFuture<'_, Result<(), ActError>> {
        Box::pin(async move { self.end(&self.parts.ledger.sessions().all()).await })
    }

    /// Writes what was put off (`durability: { records: lazy }` of the policy): what was answered before
    /// this was called is on record when it answers `Ok`. Whoever records something, and whoever ends a
    /// session, does it by the way; whoever looks into the records of this runtime may want to ask for it.
    ///
    /// # Errors
    /// When it cannot be recorded. Then it goes on waiting.
    pub fn catch_up(&self) -> BoxFuture<'_, Result<(), ActError>> {
        Box::pin(async move {
            let written = self.parts.ledger.catch_up().await;
            written.map_err(|error| ActErrorKind::NotRecorded(error.to_string()).into())
        })
    }

    async fn end(&self, lives: &[Arc<Life>]) -> Result<(), ActError> {
        let clock = self.clock().as_ref();
        let events: Vec<Event> = lives.iter().filter_map(|life| life.ending(clock)).collect();
        if events.is_empty() { self.catch_up().await } else { self.record(events).await }
    }

    /// Events of a run, and before them that its session begins, where it does with them.
    pub(crate) fn begun_with(&self, events: Vec<Event>) -> Vec<Event> {
        let Some(session) = events.first().map(Event::session) else { return events };
        let life = self.parts.ledger.sessions().serve(session);
        let first = life.beginning(session, self.clock().as_ref());
        first.into_iter().chain(events).collect()
    }
}

impl Agent {
    /// The same session, which ends with what is asked for next: its end is recorded with that, and
    /// takes no commit of its own. Where that cannot be, [`Agent::end`] ends it afterwards.
    #[must_use]
    pub fn ending(mut self) -> Self {
        self.ends = true;
        self
    }

    /// The same session, for something that more follows on.
    pub(crate) fn going_on(mut self) -> Self {
        self.ends = false;
        self
    }

    /// The same session before so many more things are asked for: it does not end before the last.
    pub(crate) fn before(&self, more: usize) -> Self {
        if more == 0 { self.clone() } else { self.clone().going_on() }
    }

    /// Ends the session: nobody asks for anything in it any more. Of a session of which nothing is in
    /// the trail, or whose end is there already, nothing is said.
    ///
    /// # Errors
    /// When it cannot be recorded. Then it goes on, and can be ended again.
    pub fn end(&self) -> BoxFuture<'_, Result<(), ActError>> {
        Box::pin(async move { self.runtime().end(&[Arc::clone(&self.life)]).await })
    }

    /// The session's end, when it ends with what is about to be recorded.
    fn last_word(&self) -> Option<Event> {
        if self.ends { self.life.ending(self.clock()) } else { None }
    }

    /// Records events that nothing of the session follows, if it is to end with them.
    pub(crate) async fn record_last(&self, mut events: Vec<Event>) -> Result<(), ActError> {
        events.extend(self.last_word());
        self.runtime().record(events).await
    }
}

/// A ledger that records the end of a session with what is settled, if it is to end with that.
pub(crate) struct Closing<'a>(pub(crate) &'a Agent);

impl Closing<'_> {
    fn ledger(&self) -> &dyn Ledger {
        self.0.runtime().parts.ledger.as_ref()
    }
}

#[async_trait]
impl Ledger for Closing<'_> {
    async fn find(
        &self,
        key: Digest,
        since: Timestamp,
    ) -> Result<Option<ExecutionRecord>, LedgerError> {
        self.ledger().find(key, since).await
    }

    async fn settle(
        &self,
        record: Option<ExecutionRecord>,
        mut events: Vec<Event>,
    ) -> Result<(), LedgerError> {
        events.extend(self.0.last_word());
        self.ledger().settle(record, events).await
    }

    async fn settle_once(
        &self,
        once: Once,
        record: ExecutionRecord,
        mut events: Vec<Event>,
    ) -> Result<Option<ExecutionRecord>, LedgerError> {
        events.extend(self.0.last_word());
        self.ledger().settle_once(once, record, events).await
    }

    async fn recovered(&self, recovered: Vec<Recovered>) -> Result<(), LedgerError> {
        self.ledger().recovered(recovered).await
    }
}
