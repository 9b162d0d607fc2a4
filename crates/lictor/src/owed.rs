//! Events that belong before those of an execution, such as the decision that let it happen. Whoever
//! is first to record something of the execution records them with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lictor_context::{DecisionId, Event};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

type Slot = Arc<AsyncMutex<Vec<Event>>>;

/// What is owed before the events of executions that are under way, by their decisions.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    slots: Mutex<HashMap<DecisionId, Slot>>,
}

/// Events that are owed until this is dropped, or somebody has recorded them.
#[derive(Debug)]
pub(crate) struct Debt {
    owed: Arc<Owed>,
    decision: DecisionId,
    slot: Slot,
}

impl Owed {
    // Only whole entries change under the lock, so a poisoned one holds a whole value.
    fn slots(&self) -> MutexGuard<'_, HashMap<DecisionId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Owes events before those of the execution that a decision lets happen.
    pub(crate) fn owe(self: &Arc<Self>, decision: &DecisionId, events: Vec<Event>) -> Debt {
        let slot = Arc::new(AsyncMutex::new(events));
        self.slots().insert(decision.clone(), Arc::clone(&slot));
        Debt { owed: Arc::clone(self), decision: decision.clone(), slot }
    }

    /// What is still owed, for whoever records it: nobody else does meanwhile, and it is owed no more
    /// once it is [cleared](Vec::clear).
    pub(crate) async fn before(
        &self,
        decision: Option<&DecisionId>,
    ) -> Option<OwnedMutexGuard<Vec<Event>>> {
        let slot = self.slots().get(decision?).cloned()?;
        Some(slot.lock_owned().await)
    }
}

impl Debt {
    /// What is still owed, for whoever records it.
    pub(crate) async fn events(&self) -> OwnedMutexGuard<Vec<Event>> {
        Arc::clone(&self.slot).lock_owned().await
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        self.owed.slots().remove(&self.decision);
    }
}
