//! Counters and histograms, through the `metrics` facade. Exporters belong to doors; without one,
//! each call here is a load and a comparison.

use std::time::Duration;

use ::metrics::{counter, histogram};
use lictor_context::{Event, EventType};

/// Counts events that were recorded.
pub(crate) fn recorded(events: &[Measured]) {
    for event in events {
        counter!("lictor_events_total", "type" => event.kind.as_str()).increment(1);
        let outcome = match event.kind {
            EventType::ActionCompleted => "completed",
            EventType::ActionFailed => "failed",
            EventType::ActionRejected => "rejected",
            EventType::ActionUnknown => "unknown",
            EventType::ExecutionDuplicate => "duplicate",
            EventType::DecisionMade => {
                counter!("lictor_decisions_total", "verdict" => event.verdict.clone()).increment(1);
                continue;
            }
            EventType::ApprovalRequested => {
                counter!("lictor_approvals_total", "answer" => "requested").increment(1);
                continue;
            }
            EventType::ApprovalGranted => {
                counter!("lictor_approvals_total", "answer" => "granted").increment(1);
                continue;
            }
            EventType::ApprovalDenied => {
                counter!("lictor_approvals_total", "answer" => "denied").increment(1);
                continue;
            }
            _ => continue,
        };
        counter!("lictor_actions_total", "outcome" => outcome).increment(1);
        if let Some(duration) = event.duration {
            histogram!("lictor_action_duration_seconds", "outcome" => outcome).record(duration);
        }
    }
}

/// What is measured of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Measured {
    kind: EventType,
    verdict: String,
    duration: Option<Duration>,
}

impl Measured {
    pub(crate) fn of(event: &Event) -> Self {
        let verdict = match event.event_type() {
            EventType::DecisionMade => {
                let verdict = event.facts().metadata.get("verdict");
                verdict.and_then(|verdict| verdict.as_str()).unwrap_or("unknown").to_owned()
            }
            _ => String::new(),
        };
        Self { kind: event.event_type(), verdict, duration: event.facts().duration }
    }
}
