//! Records that may come a moment after what they tell of (`durability.records: lazy`).
//!
//! INVARIANT: in the trail nothing of this runtime stands before what was put off before it: whoever
//! records something writes first what waits here. What waits is lost when the process is killed, or drops
//! the runtime without ending it, and by nothing else: what could not be written goes on waiting.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lictor_audit::Redactor;
use lictor_context::Event;
use lictor_executor::ExecutionRecord;
use lictor_state::{NewDecision, StateError};

use crate::ledger::StateLedger;

/// So long is what is put off waited with, for more of it.
const DELAY: Duration = Duration::from_millis(50);
/// From so many on whoever comes with another one writes them all.
const MOST: usize = 1024;
/// How long, at most, between two attempts to write what could not be written.
const PAUSE: Duration = Duration::from_secs(5);

/// What was done and answered, and is not written yet.
#[derive(Debug, Default)]
pub(crate) struct Later {
    waiting: Mutex<Waiting>,
    /// Whoever writes: one at a time, so that nothing overtakes.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    put_off: VecDeque<PutOff>,
    /// How many are being written.
    n_taken: usize,
    /// Whether somebody will come and write.
    awaited: bool,
}

/// What is to be recorded of one action.
#[derive(Debug, Clone)]
pub(crate) struct PutOff {
    pub(crate) record: Option<ExecutionRecord>,
    pub(crate) events: Vec<Event>,
    pub(crate) decisions: Vec<NewDecision>,
    pub(crate) redactor: Arc<Redactor>,
}

impl Later {
    // Only whole entries change under the lock, so a poisoned one holds a whole value.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something waits, or is being written.
    fn is_behind(&self) -> bool {
        !self.waiting().put_off.is_empty() || self.writing.try_lock().is_err()
    }

    /// Whether more may wait.
    pub(crate) fn has_room(&self) -> bool {
        let waiting = self.waiting();
        waiting.put_off.len() + waiting.n_taken < MOST
    }

    /// Puts something off; says whether somebody has to come and write.
    fn put_off(&self, one: PutOff) -> bool {
        let mut waiting = self.waiting();
        waiting.put_off.push_back(one);
        !std::mem::replace(&mut waiting.awaited, true)
    }

    /// Nobody has to come any more, if nothing waits.
    fn is_over(&self) -> bool {
        let mut waiting = self.waiting();
        waiting.awaited = !waiting.put_off.is_empty();
        !waiting.awaited
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        let waiting = self.waiting.get_mut().unwrap_or_else(PoisonError::into_inner);
        let n = waiting.put_off.len();
        if n > 0 {
            tracing::error!(n, "records that were put off are lost: their runtime was not ended");
        }
    }
}

impl StateLedger {
    /// Puts off what is to be recorded of an action.
    pub(crate) fn record_later(&self, one: PutOff) {
        if self.later.put_off(one) {
            let ledger = self.clone();
            let awaited = Awaited(Arc::clone(&self.later));
            tokio::spawn(async move {
                let _awaited = awaited;
                ledger.write_until_nothing_waits().await;
            });
        }
    }

    async fn write_until_nothing_waits(&self) {
        let mut pause = DELAY;
        loop {
            tokio::time::sleep(pause).await;
            match self.catch_up().await {
                Ok(()) => pause = DELAY,
                Err(error) => {
                    tracing::error!(%error, "what was put off could not be recorded yet");
                    pause = (pause * 2).min(PAUSE);
                }
            }
            if self.later.is_over() {
                return;
            }
        }
    }

    /// Writes what waits. What was put off before this was called is on record when it answers `Ok`.
    pub(crate) async fn catch_up(&self) -> Result<(), StateError> {
        if !self.later.is_behind() {
            return Ok(());
        }
        let ledger = self.clone();
        // On a task of its own: who stops waiting leaves nothing half done.
        let written = tokio::spawn(async move {
            let _writing = ledger.later.writing.lock().await;
            let mut taken = Taken::of(&ledger);
            if !taken.put_off.is_empty() {
                ledger.commit_put_off(taken.put_off.clone()).await?;
                taken.put_off.clear();
            }
            Ok(())
        });
        let ended = |error| Err(StateError::Unavailable(format!("the task that writes: {error}")));
        written.await.unwrap_or_else(ended)
    }
}

/// Somebody will come and write. When they do not, because their runtime of tasks ended, the next one
/// who puts something off sends another.
struct Awaited(Arc<Later>);

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.waiting().awaited = false;
    }
}

/// What is being written; it waits again when it was not.
struct Taken<'a> {
    ledger: &'a StateLedger,
    put_off: Vec<PutOff>,
}

impl<'a> Taken<'a> {
    fn of(ledger: &'a StateLedger) -> Self {
        let mut waiting = ledger.later.waiting();
        let put_off: Vec<PutOff> = waiting.put_off.drain(..).collect();
        waiting.n_taken = put_off.len();
        drop(waiting);
        Self { ledger, put_off }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut waiting = self.ledger.later.waiting();
        waiting.n_taken = 0;
        for one in self.put_off.drain(..).rev() {
            waiting.put_off.push_front(one);
        }
    }
}
