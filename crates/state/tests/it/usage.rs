//! Use is counted across processes and restarts, never beyond a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lictor_context::{ActionId, Usage};
use lictor_document::HumanDuration;
use lictor_governance::{
    ReserveError, Scope, Subject, Tallies, UsageCheck, UsageEntry, UsageExceeded, UsageStore,
    UsageWindow,
};
use lictor_state::SqliteUsageStore;

use crate::support::{at, clock, open, store};

fn subject(org: &str, session: &str) -> Subject {
    Subject {
        org: org.to_owned(),
        user: "ann".to_owned(),
        agent: "planner".to_owned(),
        session: session.to_owned(),
    }
}

fn entry(org: &str, session: &str, second: i64) -> UsageEntry {
    UsageEntry {
        action: ActionId::generate(&*clock()),
        at: at(second),
        subject: subject(org, session),
        capability: "fs.write".to_owned(),
        usage: Usage { cost_microusd: 5, tokens: 10 },
    }
}

const ORG: UsageWindow = UsageWindow { scope: Scope::Org, per: None };

fn at_most(max: u64) -> UsageCheck {
    Box::new(move |tallies: &Tallies| {
        let n = tallies
            .get(&ORG)
            .map_or(u64::MAX, |tally| tally.calls.values().map(|calls| calls.n).sum());
        if n < max {
            return Ok(());
        }
        Err(UsageExceeded { rule: "r".to_owned(), message: "m".to_owned() })
    })
}

fn count(store: &SqliteUsageStore, subject: &Subject, window: UsageWindow, second: i64) -> u64 {
    let tallies = store.tally(subject, &[window], at(second)).expect("a tally");
    let tally = tallies.get(&window).expect("what was asked for");
    tally.calls.values().map(|calls| calls.n).sum()
}

#[test]
fn windows_slide_and_scopes_are_apart() {
    let (store, _dir) = store();
    let usage = SqliteUsageStore::new(store);
    for (org, session, second) in
        [("acme", "s1", 0), ("acme", "s1", 30), ("acme", "s2", 50), ("other", "s1", 50)]
    {
        usage.reserve(entry(org, session, second), Vec::new(), Box::new(|_| Ok(()))).expect("room");
    }
    let minute = |scope| UsageWindow { scope, per: Some(HumanDuration::from_secs(60)) };
    let subject = subject("acme", "s1");
    assert_eq!(count(&usage, &subject, minute(Scope::Session), 59), 2);
    assert_eq!(count(&usage, &subject, minute(Scope::Session), 60), 1);
    assert_eq!(count(&usage, &subject, minute(Scope::Org), 60), 2);
    assert_eq!(count(&usage, &subject, minute(Scope::User), 60), 2);
    assert_eq!(count(&usage, &subject, ORG, 1_000_000), 3);
    // A clock that was set back forgets nothing.
    assert_eq!(count(&usage, &subject, minute(Scope::Session), -7200), 2);
}

#[test]
fn what_was_counted_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("lictor.db");
    let one = entry("acme", "s1", 0);
    {
        let store = open(&path);
        let usage = SqliteUsageStore::new(store.clone());
        usage.reserve(one.clone(), vec![ORG], at_most(1)).expect("room");
        usage.report(&one.action, Usage { cost_microusd: 1, tokens: 2 }).expect("counted");
        store.close();
    }
    let usage = SqliteUsageStore::new(open(&path));
    let refused = usage.reserve(entry("acme", "s9", 1), vec![ORG], at_most(1));
    assert!(matches!(refused, Err(ReserveError::Exceeded(_))), "{refused:?}");
    let tallies = usage.tally(&one.subject, &[ORG], at(1)).expect("a tally");
    let tally = tallies.get(&ORG).expect("what was asked for");
    assert_eq!(tally.spent, Usage { cost_microusd: 6, tokens: 12 });
}

/// Two stores over one file are two processes for SQLite.
#[test]
fn fifty_callers_of_two_processes_never_exceed_the_limit() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("lictor.db");
    let stores = [0, 1].map(|_| Arc::new(SqliteUsageStore::new(open(&path))));
    let had = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for n in 0..50 {
            let store = Arc::clone(&stores[n % 2]);
            let had = &had;
            scope.spawn(move || {
                let reserved = store.reserve(entry("acme", "s1", 0), vec![ORG], at_most(7));
                if reserved.is_ok() {
                    had.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(had.load(Ordering::Relaxed), 7);
    assert_eq!(count(&stores[0], &subject("acme", "s1"), ORG, 1), 7);
}

#[test]
fn a_store_that_is_closed_counts_nothing() {
    let (store, _dir) = store();
    let usage = SqliteUsageStore::new(store.clone());
    store.close();
    assert!(usage.tally(&subject("acme", "s"), &[ORG], at(0)).is_err());
    let refused = usage.reserve(entry("acme", "s", 0), vec![ORG], at_most(9));
    assert!(matches!(refused, Err(ReserveError::Store(_))), "{refused:?}");
}
