//! Queries, against a filter over everything that was appended.

use lictor_audit::{AuditLog, Filter, StoredEvent};
use lictor_context::{
    Event, EventFacts, EventType, ExecutionId, ManualClock, Name, Principal, RunId, Session,
    SessionId, Timestamp,
};
use proptest::prelude::*;
use proptest::sample::select;

use crate::rig::{Rig, START, name, session};

const TYPES: [EventType; 3] =
    [EventType::ActionStarted, EventType::ActionCompleted, EventType::StepFailed];

/// A small world, so that filters meet something.
fn event(n: u64) -> Event {
    let pick = |salt: u64, of: u64| (n.wrapping_mul(6_364_136_223_846_793_005) >> salt) % of;
    let principal = Principal {
        org: name(["acme", "acme", "umbrella"][pick(20, 3) as usize]),
        user: name(["ann", "bob"][pick(24, 2) as usize]),
        agent: name(["planner", "coder"][pick(28, 2) as usize]),
    };
    let id = SessionId::parse(&format!("ses_{}", pick(32, 3))).unwrap();
    let facts = EventFacts {
        action_name: [None, Some("fs.write"), Some("fs.read")][pick(36, 3) as usize]
            .map(str::to_owned),
        success: [None, Some(true), Some(false)][pick(40, 3) as usize],
        execution_id: (pick(44, 3) == 0).then(|| ExecutionId::parse("exe_1").unwrap()),
        run_id: (pick(48, 3) == 0).then(|| RunId::parse("wfr_1").unwrap()),
        ..EventFacts::default()
    };
    let micros = START.as_micros() + i64::try_from(pick(52, 50)).unwrap();
    let clock = ManualClock::new(Timestamp::from_micros(micros));
    Event::new(&Session::resume(id, principal), TYPES[pick(56, 3) as usize], facts, &clock)
}

fn matches(event: &Event, org: &Name, filter: &Filter) -> bool {
    let (principal, facts) = (event.session().principal(), event.facts());
    fn same<T: PartialEq>(wanted: &Option<T>, found: Option<&T>) -> bool {
        wanted.is_none() || wanted.as_ref() == found
    }
    event.org() == org
        && (filter.types.is_empty() || filter.types.contains(&event.event_type()))
        && same(&filter.session, Some(event.session().id()))
        && same(&filter.user, Some(&principal.user))
        && same(&filter.agent, Some(&principal.agent))
        && same(&filter.action, facts.action_name.as_ref())
        && same(&filter.success, facts.success.as_ref())
        && same(&filter.execution, facts.execution_id.as_ref())
        && same(&filter.run, facts.run_id.as_ref())
        && filter.since.is_none_or(|since| event.timestamp() >= since)
        && filter.until.is_none_or(|until| event.timestamp() < until)
}

fn filters() -> impl Strategy<Value = Filter> {
    let maybe = |texts: &'static [&'static str]| prop::option::weighted(0.3, select(texts));
    let time = || prop::option::weighted(0.3, 0_i64..50);
    (
        (prop::collection::vec(select(&TYPES[..]), 0..3), maybe(&["ses_0", "ses_1", "ses_9"])),
        (maybe(&["ann", "eve"]), maybe(&["planner", "coder"]), maybe(&["fs.write", "fs.read"])),
        (prop::option::weighted(0.3, any::<bool>()), time(), time()),
        (maybe(&["exe_1", "exe_2"]), maybe(&["wfr_1"])),
        (prop::option::of(0_u64..12), 0_u64..4, prop::option::of(0_u64..40), any::<bool>()),
    )
        .prop_map(|(a, b, c, d, e)| {
            let time =
                |at: Option<i64>| at.map(|at| Timestamp::from_micros(START.as_micros() + at));
            Filter {
                types: a.0,
                session: a.1.map(|id| SessionId::parse(id).unwrap()),
                user: b.0.map(name),
                agent: b.1.map(name),
                action: b.2.map(str::to_owned),
                success: c.0,
                since: time(c.1),
                until: time(c.2),
                execution: d.0.map(|id| ExecutionId::parse(id).unwrap()),
                run: d.1.map(|id| RunId::parse(id).unwrap()),
                limit: e.0,
                offset: e.1,
                after: e.2,
                newest_first: e.3,
            }
        })
}

fn naive(events: &[Event], org: &Name, filter: &Filter) -> Vec<(u64, String)> {
    let log = events.iter().filter(|event| event.org() == org).zip(0_u64..);
    let mut found: Vec<_> = log
        .filter(|(event, _)| matches(event, org, filter))
        .map(|(event, seq)| (seq, event.id().as_str().to_owned()))
        .collect();
    if filter.newest_first {
        found.reverse();
    }
    found
        .into_iter()
        .filter(|(seq, _)| {
            filter.after.is_none_or(
                |after| {
                    if filter.newest_first { *seq < after } else { *seq > after }
                },
            )
        })
        .skip(usize::try_from(filter.offset).unwrap())
        .take(filter.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap()))
        .collect()
}

fn shown(events: &[StoredEvent]) -> Vec<(u64, String)> {
    let id = |event: &StoredEvent| {
        let value: serde_json::Value = serde_json::from_slice(&event.bytes).unwrap();
        (event.seq, value["event_id"].as_str().unwrap().to_owned())
    };
    events.iter().map(id).collect()
}

#[test]
fn queries_agree_with_a_naive_filter() {
    let rig = Rig::new();
    let log = rig.open();
    let events: Vec<_> = (1..=120).map(event).collect();
    log.append(events.clone()).unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&(filters(), select(vec!["acme", "umbrella", "nobody"])), |(filter, org)| {
            let org = name(org);
            prop_assert_eq!(
                shown(&log.query(&org, &filter).unwrap()),
                naive(&events, &org, &filter)
            );
            let count = events.iter().filter(|event| matches(event, &org, &filter)).count();
            prop_assert_eq!(log.count(&org, &filter).unwrap(), count as u64);
            Ok(())
        })
        .unwrap();
}

fn pages(log: &AuditLog, newest_first: bool) -> Vec<u64> {
    let mut all = Vec::new();
    let mut filter = Filter { limit: Some(7), newest_first, ..Filter::default() };
    loop {
        let page = log.query(&name("acme"), &filter).unwrap();
        let Some(last) = page.last() else { return all };
        filter.after = Some(last.seq);
        all.extend(page.iter().map(|event| event.seq));
    }
}

#[test]
fn pages_by_key_show_everything_once() {
    let rig = Rig::new();
    let log = rig.open();
    rig.fill(&log, 30);
    assert_eq!(pages(&log, false), (0..30).collect::<Vec<_>>());
    assert_eq!(pages(&log, true), (0..30).rev().collect::<Vec<_>>());
}

#[test]
fn no_query_sees_another_organisation() {
    let rig = Rig::new();
    let log = rig.open();
    log.append(vec![rig.event(&session("acme", "ses_1"), 1)]).unwrap();
    let theirs = Filter { session: Some(SessionId::parse("ses_1").unwrap()), ..Filter::default() };
    for org in ["umbrella", "acm", "acme.", "ACME"] {
        let org = name(org);
        assert!(log.query(&org, &theirs).unwrap().is_empty());
        assert_eq!(log.count(&org, &Filter::default()).unwrap(), 0);
        assert_eq!(log.checkpoint(&org).unwrap(), None);
        let (mut events, mut checkpoint) = (Vec::new(), Vec::new());
        log.export(&org, &Filter::default(), &mut events, &mut checkpoint).unwrap();
        assert!(events.is_empty() && checkpoint.is_empty());
    }
}
