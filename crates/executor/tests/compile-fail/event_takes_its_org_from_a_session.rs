use lictor_context::{Clock, Event, EventFacts, EventType, Principal};

fn in_another_name(principal: &Principal, clock: &dyn Clock) -> Event {
    Event::new(principal, EventType::ActionCompleted, EventFacts::default(), clock)
}

fn main() {}
