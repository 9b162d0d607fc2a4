//! Use is counted: never more than a limit leaves, whoever asks how often at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use lictor_context::{Clock, Timestamp, Usage};
use lictor_governance::{
    MemoryUsageStore, NotAuthorizedKind, ReserveError, Subject, Tallies, UsageCheck, UsageEntry,
    UsageStore, UsageStoreError, UsageWindow, Verdict, WriteGate,
};
use proptest::prelude::*;

use crate::common::{Ask, clock, minutes, policies};

/// A clock that somebody can set back.
#[derive(Debug)]
struct SetBack {
    clock: lictor_context::ManualClock,
    is_back: std::sync::atomic::AtomicBool,
}

impl Clock for SetBack {
    fn now(&self) -> Timestamp {
        if self.is_back.load(Ordering::Relaxed) {
            return Timestamp::parse(crate::common::NOW).unwrap();
        }
        self.clock.now()
    }

    fn monotonic(&self) -> std::time::Duration {
        self.clock.monotonic()
    }
}

/// A clock that jumps, in microseconds.
#[derive(Debug)]
struct Jumping(AtomicI64);

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

/// A gate whose clock stands an hour ahead of where it can be set back to.
fn set_back(policy: &str) -> (WriteGate, Arc<SetBack>) {
    let start = Timestamp::parse(crate::common::NOW).unwrap().plus(minutes(60));
    let clock = lictor_context::ManualClock::new(start);
    let clock = Arc::new(SetBack { clock, is_back: false.into() });
    let text = format!("version: 1\npaths: {{allowed: ['**']}}\n{policy}\n");
    (WriteGate::new(policies(&text), clock.clone()), clock)
}

fn counting(policy: &str) -> (Arc<WriteGate>, Arc<lictor_context::ManualClock>) {
    let clock = clock();
    let text = format!("version: 1\npaths: {{allowed: ['**']}}\n{policy}\n");
    (Arc::new(WriteGate::new(policies(&text), clock.clone())), clock)
}

/// Decides and, where the answer is yes, takes the warrant; gives whether it was had.
fn act(gate: &WriteGate, ask: &Ask) -> Result<(), String> {
    let described = ask.describe();
    let decision = gate.decide(&described);
    match gate.authorize(described, &decision, None) {
        Ok(_warrant) => Ok(()),
        Err(error) => Err(format!("{error}\n{}", decision.explain())),
    }
}

#[test]
fn a_window_slides() {
    let (gate, clock) =
        counting("frequency: [{capability: 'fs.*', scope: user, per: 10m, max: 2}]");
    let ask = Ask::new("fs.write").write("a");
    act(&gate, &ask).unwrap();
    clock.advance(minutes(6));
    act(&gate, &ask).unwrap();
    let refused = act(&gate, &ask).unwrap_err();
    assert!(refused.contains("frequency[0]"), "{refused}");
    assert!(refused.contains("2 of 2 within 10m"), "{refused}");
    assert!(refused.contains("the next is free at 2026-11-20T10:10:00.000000Z"), "{refused}");
    act(&gate, &Ask::new("time.now")).unwrap();
    clock.advance(minutes(4));
    act(&gate, &ask).unwrap();
    act(&gate, &ask).unwrap_err();
}

#[test]
fn scopes_are_counted_apart() {
    let (gate, _) = counting("frequency: [{capability: 'fs.*', scope: agent, per: 10m, max: 1}]");
    let ask = Ask::new("fs.write").write("a");
    act(&gate, &ask).unwrap();
    let mut other = ask.clone();
    other.user = "bob".to_owned();
    act(&gate, &other).unwrap_err();
    other.agent = "coder".to_owned();
    act(&gate, &other).unwrap();
}

#[test]
fn what_is_not_done_is_not_counted() {
    let (gate, _) = counting("frequency: [{capability: 'fs.*', scope: user, per: 10m, max: 1}]");
    let ask = Ask::new("fs.write").write("a");
    for _ in 0..5 {
        assert_eq!(gate.decide(&ask.describe()).verdict(), Verdict::Allow);
    }
    act(&gate, &Ask::new("fs.write").write(".lictor/x")).unwrap_err();
    act(&gate, &ask).unwrap();
}

#[test]
fn a_rollback_is_never_refused_for_having_been_frequent() {
    let (gate, _) = counting("frequency: [{capability: 'fs.*', scope: user, per: 10m, max: 1}]");
    let mut ask = Ask::new("fs.write").write("a");
    act(&gate, &ask).unwrap();
    ask.rolls_back = true;
    act(&gate, &ask).unwrap();
}

#[test]
fn a_clock_that_goes_back_forgets_no_use() {
    let (gate, clock) =
        set_back("frequency: [{capability: 'fs.*', scope: user, per: 10m, max: 1}]");
    let ask = Ask::new("fs.write").write("a");
    act(&gate, &ask).unwrap();
    clock.is_back.store(true, Ordering::Relaxed);
    act(&gate, &ask).unwrap_err();
}

#[test]
fn a_decision_from_the_future_opens_nothing() {
    let (gate, clock) = set_back("");
    let described = Ask::new("fs.write").write("a").describe();
    let decision = gate.decide(&described);
    clock.is_back.store(true, Ordering::Relaxed);
    let error = gate.authorize(described, &decision, None).unwrap_err();
    assert!(matches!(error.kind(), NotAuthorizedKind::ClockWentBack { .. }), "{error}");
}

#[test]
fn budgets_count_what_callers_and_handlers_report() {
    let (gate, _) = counting("budgets: {session: {cost_usd: 1.0, tokens: 1000}}");
    let ask = Ask::new("fs.write").write("a");
    let action = ask.action();
    let session = action.session().clone();
    let again = |usage: Usage| {
        let id = lictor_capability::CapabilityId::parse("fs.write").unwrap();
        let action = lictor_capability::Action::new(&session, id, serde_json::json!({}), &*clock());
        ask.describe_as(action.with_usage(usage))
    };
    let warrant = |described: lictor_capability::Described| {
        let decision = gate.decide(&described);
        gate.authorize(described, &decision, None)
            .map_err(|error| format!("{error} {}", decision.explain()))
    };
    drop(warrant(again(Usage::new(0.6, 100).unwrap())).unwrap());
    let refused = warrant(again(Usage::new(0.5, 0).unwrap())).unwrap_err();
    assert!(refused.contains("budgets.session.cost_usd"), "{refused}");
    assert!(refused.contains("has spent 0.600000 of 1.000000 USD"), "{refused}");
    // The handler reports through the warrant, and it counts at once.
    let parts = warrant(again(Usage::new(0.4, 0).unwrap())).unwrap().into_parts();
    parts.meter.report(Usage { cost_microusd: 0, tokens: 900 }).unwrap();
    let refused = warrant(again(Usage::default())).unwrap_err();
    assert!(refused.contains("budgets.session.tokens"), "{refused}");
    assert!(refused.contains("budgets.session.cost_usd"), "{refused}");
    // Another session has its own.
    act(&gate, &ask).unwrap();
}

#[test]
fn the_sessions_own_budget_counts_as_well() {
    let (gate, _) = counting("");
    let ask = Ask::new("fs.write").write("a");
    let action = ask.action();
    let poor = lictor_context::Budget { tokens: Some(10), ..Default::default() };
    let session = action.session().clone().with_budget(poor);
    let id = lictor_capability::CapabilityId::parse("fs.write").unwrap();
    let action = lictor_capability::Action::new(&session, id, serde_json::json!({}), &*clock())
        .with_usage(Usage { cost_microusd: 0, tokens: 11 });
    let decision = gate.decide(&ask.describe_as(action));
    assert_eq!(decision.verdict(), Verdict::Deny, "{}", decision.explain());
    assert!(decision.explain().contains("budgets.of_session.tokens"));
}

/// A store whose disk is full.
#[derive(Debug)]
struct FullStore;

impl UsageStore for FullStore {
    fn tally(
        &self,
        _: &Subject,
        _: &[UsageWindow],
        _: Timestamp,
    ) -> Result<Tallies, UsageStoreError> {
        Err(UsageStoreError("database or disk is full".to_owned()))
    }

    fn reserve(
        &self,
        _: UsageEntry,
        _: Vec<UsageWindow>,
        _: UsageCheck,
    ) -> Result<(), ReserveError> {
        Err(UsageStoreError("database or disk is full".to_owned()).into())
    }

    fn report(&self, _: &lictor_context::ActionId, _: Usage) -> Result<(), UsageStoreError> {
        Err(UsageStoreError("database or disk is full".to_owned()))
    }
}

/// Counts well, and cannot write.
#[derive(Debug, Default)]
struct ReadOnlyStore(MemoryUsageStore);

impl UsageStore for ReadOnlyStore {
    fn tally(
        &self,
        subject: &Subject,
        windows: &[UsageWindow],
        now: Timestamp,
    ) -> Result<Tallies, UsageStoreError> {
        self.0.tally(subject, windows, now)
    }

    fn reserve(
        &self,
        _: UsageEntry,
        _: Vec<UsageWindow>,
        _: UsageCheck,
    ) -> Result<(), ReserveError> {
        Err(UsageStoreError("database or disk is full".to_owned()).into())
    }

    fn report(&self, _: &lictor_context::ActionId, _: Usage) -> Result<(), UsageStoreError> {
        Ok(())
    }
}

#[test]
fn what_cannot_be_counted_is_denied() {
    let text = "version: 1\npaths: {allowed: ['**']}\nfrequency: [{capability: '*', scope: org, per: 1m, max: 9}]\n";
    let ask = Ask::new("fs.write").write("a");
    let gate = WriteGate::with_usage(policies(text), clock(), Arc::new(FullStore));
    let decision = gate.decide(&ask.describe());
    assert_eq!(decision.verdict(), Verdict::Deny);
    assert!(decision.explain().contains("disk is full"), "{}", decision.explain());
    let gate = WriteGate::with_usage(policies(text), clock(), Arc::new(ReadOnlyStore::default()));
    let described = ask.describe();
    let decision = gate.decide(&described);
    assert_eq!(decision.verdict(), Verdict::Allow);
    let error = gate.authorize(described, &decision, None).unwrap_err();
    assert!(matches!(error.kind(), NotAuthorizedKind::NotCounted(_)), "{error}");
}

#[test]
fn a_poisoned_counter_denies() {
    let store = Arc::new(MemoryUsageStore::default());
    let text = "version: 1\npaths: {allowed: ['**']}\nfrequency: [{capability: '*', scope: org, per: 1m, max: 9}]\n";
    let gate = WriteGate::with_usage(policies(text), clock(), store.clone());
    let described = Ask::new("fs.write").write("a").describe();
    let poisoning = store.clone();
    let entry_of = described.clone();
    let thread = std::thread::spawn(move || {
        let session = entry_of.action().session();
        let entry = UsageEntry {
            action: entry_of.action().id().clone(),
            at: clock().now(),
            subject: Subject {
                org: session.principal().org.to_string(),
                user: String::new(),
                agent: String::new(),
                session: String::new(),
            },
            capability: "fs.write".to_owned(),
            usage: Usage::default(),
        };
        poisoning.reserve(entry, Vec::new(), Box::new(|_| panic!("while the lock is held")))
    });
    assert!(thread.join().is_err());
    let decision = gate.decide(&described);
    assert_eq!(decision.verdict(), Verdict::Deny);
    assert!(decision.explain().contains("poisoned"), "{}", decision.explain());
}

#[test]
fn fifty_at_once_never_get_more_than_the_limit() {
    let (gate, _) = counting("frequency: [{capability: '*', scope: org, per: 1h, max: 7}]");
    let had = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                if act(&gate, &Ask::new("fs.write").write("a")).is_ok() {
                    had.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(had.load(Ordering::Relaxed), 7);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes when: in no stretch of the window's length are there more than `max`.
    #[test]
    fn no_stretch_of_time_holds_more_than_the_limit(
        max in 1..4_u64, steps in prop::collection::vec(0..5_u64, 1..40)
    ) {
        let policy =
            format!("frequency: [{{capability: 'fs.*', scope: org, per: 6m, max: {max}}}]");
        let (gate, clock) = counting(&policy);
        let ask = Ask::new("fs.write").write("a");
        let mut times: Vec<i64> = Vec::new();
        for step in steps {
            clock.advance(minutes(step));
            if act(&gate, &ask).is_ok() {
                times.push(clock.now().as_micros() / 60_000_000);
            }
        }
        for start in &times {
            let within = times.iter().filter(|at| (*start..*start + 6).contains(at)).count();
            prop_assert!(within as u64 <= max, "{times:?}");
        }
        prop_assert!(!times.is_empty());
    }

    /// However the clock jumps between a decision and its use, forwards or backwards: only within
    /// the decision's own time is there a warrant.
    #[test]
    fn no_clock_opens_what_time_has_closed(jump in -200_000_000_i64..200_000_000) {
        let start = Timestamp::parse(crate::common::NOW).unwrap();
        let clock = Arc::new(Jumping(AtomicI64::new(start.as_micros())));
        let gate = WriteGate::new(policies("version: 1\npaths: {allowed: ['**']}\n"), clock.clone());
        let described = Ask::new("fs.write").write("a").describe();
        let decision = gate.decide(&described);
        clock.0.fetch_add(jump, Ordering::Relaxed);
        let warrant = gate.authorize(described, &decision, None);
        prop_assert_eq!(warrant.is_ok(), (0..60_000_000).contains(&jump), "{}", jump);
    }
}
