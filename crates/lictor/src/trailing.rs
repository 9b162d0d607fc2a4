//! What may go on while the trail cannot be written (`audit.on_failure: continue`).
//!
//! INVARIANT: only what is of low or medium risk, was let through without people, and was done
//! well goes on without its events. What was refused, failed, approved or belongs to a run is on
//! record, or it is not done. The execution's own record, and with it the undo, is never left out:
//! it stands in the database, where the gap is counted in the same transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lictor_audit::Tally;
use lictor_capability::Risk;
use lictor_context::{Event, EventType, Severity};
use lictor_executor::ExecutionRecord;
use lictor_governance::{OnAuditFailure, PolicySet, RecordDurability};

/// The highest risk that goes on without its events.
const HIGHEST: Risk = Risk::Medium;

/// What the policy says of a trail that fails, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Trailing {
    goes_on: AtomicBool,
    /// Whether records of what risks little may come a moment later.
    waits: AtomicBool,
    /// Whether there may be gaps that the trail does not tell of yet.
    untold: AtomicBool,
    tally: Tally,
}

impl Trailing {
    /// From now on by this policy.
    pub(crate) fn follow(&self, policies: &PolicySet) {
        let goes_on = policies.settings().audit_on_failure == OnAuditFailure::Continue;
        self.goes_on.store(goes_on, Ordering::Relaxed);
        let waits = policies.settings().record_durability == RecordDurability::Lazy;
        self.waits.store(waits, Ordering::Relaxed);
        // Other processes of this workspace go by the same policy.
        if goes_on {
            self.untold();
        }
    }

    /// There may be gaps to tell of.
    pub(crate) fn untold(&self) {
        self.untold.store(true, Ordering::Relaxed);
    }

    /// Whether gaps are looked for.
    pub(crate) fn looks(&self) -> bool {
        self.untold.load(Ordering::Relaxed)
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether these events may be missing in the trail.
    pub(crate) fn may_drop(&self, record: Option<&ExecutionRecord>, events: &[Event]) -> bool {
        self.goes_on.load(Ordering::Relaxed) && risks_at_most(HIGHEST, record, events)
    }

    /// Whether it may be recorded a moment later: it risks little, and leaves nothing that could be
    /// undone, asked for again, or followed by something else.
    pub(crate) fn may_wait(&self, record: Option<&ExecutionRecord>, events: &[Event]) -> bool {
        let leaves_nothing = |record: &ExecutionRecord| {
            record.idempotency_key.is_none()
                && record.files.is_empty()
                && record.undo_of.is_empty()
                && record.staged.is_none()
                && record.began.is_none()
        };
        self.waits.load(Ordering::Relaxed)
            && record.is_none_or(leaves_nothing)
            // Nobody may be there a moment after that.
            && events.iter().all(|event| event.event_type() != EventType::SessionEnded)
            && risks_at_most(Risk::Low, record, events)
    }
}

/// Whether this tells of nothing but what went well, was let through without people, belongs to no run,
/// and risks no more than this.
fn risks_at_most(highest: Risk, record: Option<&ExecutionRecord>, events: &[Event]) -> bool {
    if !events.iter().all(is_plain) {
        return false;
    }
    let plain = |record: &ExecutionRecord| !record.requires_approval && record.run_id.is_none();
    let decided = events.iter().filter(|event| event.event_type() == EventType::DecisionMade);
    let mut risks = decided.map(risk_of).chain(record.map(|one| Some(one.decision.risk_effective)));
    let first = risks.next().flatten();
    record.is_none_or(plain)
        && first.is_some_and(|risk| risk <= highest)
        && risks.all(|risk| risk.is_some_and(|risk| risk <= highest))
}

/// What is said by the way about something that went well.
fn is_plain(event: &Event) -> bool {
    let facts = event.facts();
    event.severity() == Severity::Info
        && facts.requires_approval != Some(true)
        && facts.run_id.is_none()
        && matches!(
            event.event_type(),
            EventType::SessionStarted
                | EventType::SessionEnded
                | EventType::LockAcquired
                | EventType::DecisionMade
                | EventType::ActionStarted
                | EventType::ActionCompleted
                | EventType::ExecutionDuplicate
                | EventType::VerificationPassed
                | EventType::HealthPassed
                | EventType::UndoCompleted
        )
}

/// The risk in an event `decision_made`.
fn risk_of(decided: &Event) -> Option<Risk> {
    let risk = decided.facts().metadata.get("risk_effective")?;
    serde_json::from_value(risk.clone()).ok()
}

/// Events on their way; counted as rejected, unless something else is said of them.
pub(crate) struct Underway {
    trailing: Arc<Trailing>,
    events: Arc<AtomicU64>,
}

impl Underway {
    pub(crate) fn begin(trailing: &Arc<Trailing>, events: usize) -> Self {
        let own = Self { trailing: Arc::clone(trailing), events: Arc::default() };
        own.more()(events);
        own
    }

    /// Counts more of them, from wherever they come.
    pub(crate) fn more(&self) -> impl Fn(usize) + Send + 'static {
        let (trailing, events) = (Arc::clone(&self.trailing), Arc::clone(&self.events));
        move |more| {
            let more = u64::try_from(more).unwrap_or(u64::MAX);
            trailing.tally.submitted(more);
            events.fetch_add(more, Ordering::SeqCst);
        }
    }

    pub(crate) fn acknowledged(self) {
        self.trailing.tally.acknowledged(self.events.swap(0, Ordering::SeqCst));
    }

    pub(crate) fn dropped(self) -> u64 {
        let events = self.events.swap(0, Ordering::SeqCst);
        self.trailing.tally.dropped(events);
        events
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let events = self.events.swap(0, Ordering::SeqCst);
        if events > 0 {
            self.trailing.tally.rejected(events);
        }
    }
}
