use lictor_context::{Event, Session};

fn in_another_name(mut event: Event, other: Session) -> Event {
    event.session = other;
    event
}

fn main() {}
