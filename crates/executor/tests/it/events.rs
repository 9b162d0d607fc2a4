//! What is said of an execution: that it began, and once how it ended.

use std::sync::atomic::Ordering;

use lictor_context::{Event, EventType};
use lictor_executor::Outcome;
use serde_json::{Value, json};

use crate::support::{Apply, PutBack, Run, World, impatient_world, plan, world, writes};

fn is_end(kind: EventType) -> bool {
    matches!(kind, EventType::ActionCompleted | EventType::ActionFailed)
}

/// Begun once, ended once, in this order, about one execution, in the right name.
#[track_caller]
fn check(world: &World, end: EventType) {
    let events = world.ledger.events();
    // Who needs the workspace's lock has it before it begins, and says so.
    let locks = events.iter().take_while(|kind| **kind == EventType::LockAcquired).count();
    assert!(locks <= 1 && events.get(locks) == Some(&EventType::ActionStarted), "{events:?}");
    let took = events.iter().filter(|kind| **kind == EventType::LockAcquired).count();
    assert_eq!(took, locks, "{events:?}");
    assert_eq!(events.last(), Some(&end), "{events:?}");
    let starts = events.iter().filter(|kind| **kind == EventType::ActionStarted).count();
    let ends = events.iter().filter(|kind| is_end(**kind)).count();
    assert_eq!((starts, ends), (1, 1), "{events:?}");
    let events = world.ledger.events.lock().expect("events");
    let first = events[0].facts();
    for event in events.iter() {
        assert_eq!(event.facts().execution_id, first.execution_id);
        assert_eq!(event.facts().action_id, first.action_id);
        assert!(event.facts().execution_id.is_some() && event.facts().decision_id.is_some());
        assert_eq!(event.session().id(), world.session.id());
        assert_eq!(event.org(), &world.session.principal().org);
    }
    let end = events.last().expect("an end").facts();
    assert_eq!(end.success, Some(end.error_message.is_none()));
    assert!(end.duration.is_some());
}

#[tokio::test]
async fn a_success_begins_and_is_completed() {
    for input in [writes(&["a.txt"]), json!({ "read": ["a.txt"] }), json!({ "hosts": ["h"] })] {
        let world = world();
        world.act(input).await.expect("done");
        check(&world, EventType::ActionCompleted);
        let locked = usize::from(world.ledger.events().contains(&EventType::LockAcquired));
        assert_eq!(world.ledger.events().len(), 2 + locked);
    }
}

#[tokio::test]
async fn whoever_has_the_lock_says_how_it_was_had() {
    let world = world();
    let mut before = 0;
    for n in 1..=2_usize {
        let receipt = world.act(writes(&[&format!("{n}.txt")])).await.expect("done");
        let record = &receipt.record;
        let events = world.ledger.events.lock().expect("events");
        let mut taken = events.iter().filter(|event| event.event_type() == EventType::LockAcquired);
        let last = taken.next_back().expect("it takes the lock").facts();
        assert_eq!(taken.count(), n - 1, "one for each that changes something");
        assert_eq!(last.execution_id, Some(record.execution_id.clone()));
        let told = Value::Object(last.metadata.clone());
        assert_eq!(told, json!(record.lock), "the record says the same");
        let token = told["fencing_token"].as_u64().expect("a number");
        assert!(token > before, "{told}");
        before = token;
        assert_eq!(told["predecessor"], "released");
        assert!(told["waited_us"].is_u64() && told["holder"].is_string(), "{told}");
    }
}

#[tokio::test]
async fn of_a_lock_that_is_not_had_or_not_needed_nothing_is_said() {
    let reads = world();
    reads.act(json!({ "read": ["a.txt"] })).await.expect("done");
    let busy = impatient_world();
    let claim = lictor_lock::Claim::new("bob", "exe_9");
    let _held = busy.lock.try_acquire(claim).expect("a lease");
    busy.fails(writes(&["a.txt"])).await;
    for world in [reads, busy] {
        assert!(!world.ledger.events().contains(&EventType::LockAcquired));
    }
}

#[tokio::test]
async fn every_failure_begins_and_is_failed() {
    let fails: [fn(&World); 9] = [
        |world| world.runs(Run::Fails),
        |world| world.runs(Run::Panics),
        |world| world.runs(Run::Answers(Value::Null)),
        |world| world.applies(Apply::Conflicts),
        |world| world.applies(Apply::RollsBack),
        |world| world.applies(Apply::InDoubt),
        |world| world.applies(Apply::Panics),
        |world| {
            world.crash();
            world.applier.recover_fails.store(true, Ordering::SeqCst);
        },
        |world| {
            let claim = lictor_lock::Claim::new("bob", "exe_9");
            std::mem::forget(world.lock.try_acquire(claim).expect("a lease"));
        },
    ];
    for fail in fails {
        let world = impatient_world();
        fail(&world);
        world.fails(writes(&["a.txt"])).await;
        check(&world, EventType::ActionFailed);
    }
}

#[tokio::test]
async fn a_rollback_is_told_with_what_is_left() {
    for (put_back, kind) in [
        (PutBack::Works, EventType::RollbackCompleted),
        (PutBack::Sticks, EventType::RollbackFailed),
        (PutBack::Panics, EventType::RollbackFailed),
    ] {
        let world = world();
        world.puts_back(put_back);
        let outcome = world.execute(writes(&["a.txt"])).await.expect("done");
        let Outcome::Executed(executed) = outcome else { panic!("a duplicate") };
        let (ledger, clock) = (world.ledger.as_ref(), world.clock.as_ref());
        let report = executed.roll_back(ledger, clock, Vec::new(), "on a whim").await;
        report.expect("recorded");
        check(&world, EventType::ActionFailed);
        assert!(world.ledger.events().contains(&kind), "{put_back:?}");
    }
}

#[tokio::test]
async fn what_comes_before_is_recorded_before_and_in_one() {
    let world = world();
    let outcome = world.execute(writes(&["a.txt"])).await.expect("done");
    let Outcome::Executed(executed) = outcome else { panic!("a duplicate") };
    let (ledger, clock) = (world.ledger.as_ref(), world.clock.as_ref());
    let facts = lictor_context::EventFacts::default();
    let decided = Event::new(&world.session, EventType::DecisionMade, facts, clock);
    executed.commit(ledger, clock, vec![decided]).await.expect("committed");
    assert_eq!(
        world.ledger.events(),
        [
            EventType::DecisionMade,
            EventType::LockAcquired,
            EventType::ActionStarted,
            EventType::ActionCompleted,
        ]
    );
    assert_eq!(world.calls.all().iter().filter(|call| *call == "recorded").count(), 1);
}

/// `secrets_stay_out`.
#[tokio::test]
async fn secrets_and_contents_stay_out_of_the_record() {
    const CANARY: &str = "canary-7f3a";
    let world = world();
    let input = json!({ "write": ["a.txt"], "token": CANARY, "content": CANARY });
    world.act(input).await.expect("done");
    let record = &world.ledger.records()[0];
    assert!(!serde_json::to_string(record).expect("JSON").contains(CANARY));
    let events = world.ledger.events.lock().expect("events");
    for event in events.iter() {
        assert!(!format!("{:?}", event.facts()).contains(CANARY));
    }
}

#[tokio::test]
async fn a_record_says_what_was_wanted_and_reads_back() {
    let world = world();
    let change = lictor_capability::Change::Rmdir { path: crate::support::path("x") };
    let id = lictor_context::ChangeSetId::parse("chg_1").expect("an id");
    let set = lictor_capability::ChangeSet::seal(id, plan().id, vec![change]).expect("a set");
    let action = world.action(writes(&["a.txt"])).with_change_set(plan(), set);
    let warrant = world.warrant_for(action);
    let outcome = tower::Service::call(&mut world.executor.clone(), warrant).await;
    let Ok(Outcome::Executed(executed)) = outcome else { panic!("not done") };
    let (ledger, clock) = (world.ledger.as_ref(), world.clock.as_ref());
    let record = executed.commit(ledger, clock, Vec::new()).await.expect("committed").record;
    assert_eq!(record.plan_id, Some(plan().id));
    assert_eq!(record.capability, "test.act");
    assert_eq!(record.principal, *world.session.principal());
    assert_eq!(record.session().id(), world.session.id());
    let text = serde_json::to_string(&record).expect("JSON");
    let back: lictor_executor::ExecutionRecord = serde_json::from_str(&text).expect("a record");
    assert_eq!(back, record);
}
