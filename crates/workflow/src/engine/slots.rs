//! How many calls may be under way in this process, and whose turn it is.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lictor_context::RunId;
use tokio::sync::oneshot;

/// Places for calls. When they are all taken, runs take turns: a run with a hundred steps that are
/// ready keeps a run with one waiting for one call, not for a hundred.
#[derive(Debug)]
pub(super) struct Slots {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    turns: VecDeque<RunId>,
    queues: HashMap<RunId, VecDeque<oneshot::Sender<()>>>,
}

/// A place for one call.
#[derive(Debug)]
pub(super) struct Slot<'s> {
    slots: &'s Slots,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.slots.hand_on();
    }
}

/// Somebody in the queue. Who leaves it after being called passes the place on.
struct Waiting<'s> {
    slots: &'s Slots,
    called: oneshot::Receiver<()>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.called.close();
        if self.called.try_recv().is_ok() {
            self.slots.hand_on();
        }
    }
}

impl Slots {
    pub(super) fn new(n_slots: usize) -> Self {
        let free = n_slots.max(1);
        let state = State { free, turns: VecDeque::new(), queues: HashMap::new() };
        Self { state: Mutex::new(state) }
    }

    /// A place, when it is the run's turn.
    pub(super) async fn take(&self, run_id: &RunId) -> Slot<'_> {
        let Some(called) = self.queue(run_id) else { return Slot { slots: self } };
        let mut waiting = Waiting { slots: self, called };
        // The other end is only dropped with the slots themselves.
        (&mut waiting.called).await.unwrap_or_default();
        Slot { slots: self }
    }

    /// Nothing when there is a place at once.
    fn queue(&self, run_id: &RunId) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        if state.free > 0 {
            state.free -= 1;
            return None;
        }
        let (call, called) = oneshot::channel();
        if !state.queues.contains_key(run_id) {
            state.turns.push_back(run_id.clone());
        }
        state.queues.entry(run_id.clone()).or_default().push_back(call);
        Some(called)
    }

    fn hand_on(&self) {
        let mut state = self.lock();
        while let Some(run_id) = state.turns.pop_front() {
            let Some(queue) = state.queues.get_mut(&run_id) else { continue };
            let next = queue.pop_front();
            if queue.is_empty() {
                state.queues.remove(&run_id);
            } else {
                state.turns.push_back(run_id);
            }
            if next.is_some_and(|call| call.send(()).is_ok()) {
                return;
            }
        }
        state.free += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
