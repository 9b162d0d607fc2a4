//! Purging by the policy, as the runtime does it by itself and when it is asked: when, what, what
//! is held, and what of it stands in the trail. Time is a clock that the test moves on.
#![expect(clippy::disallowed_methods, reason = "a person edits the policy and the files")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lictor::audit::{Filter, Verdict};
use lictor::context::{
    Clock as _, EventType, ExecutionId, ManualClock, Name, Principal, RunId, Session, SystemClock,
};
use lictor::document::Source;
use lictor::lock::Claim;
use lictor::undo_records::Purged;
use lictor::workflow::{RunStatus, Workflow};
use lictor::{Agent, ErrorCode, OnConflict, Runtime, RuntimeOptions, UndoRequest};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

struct Place {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    agent: Agent,
}

impl Place {
    /// A workspace whose policy keeps undo records like this.
    async fn keeping(undo: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let workspace = dir.path().join("workspace");
        std::fs::create_dir_all(workspace.join(".lictor")).unwrap();
        let policy = format!(
            "version: 1\ndefault: deny\npaths: {{ allowed: [\"**\"] }}\n\
             concurrency: {{ lock_timeout: 1ms }}\nretention: {{ undo: {undo} }}\n"
        );
        std::fs::write(workspace.join(".lictor/policy.yaml"), policy).unwrap();
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let mut options = RuntimeOptions::new(workspace, dir.path().join("keys"));
        options.clock = Arc::<ManualClock>::clone(&clock);
        let runtime = Runtime::open(options).await.unwrap();
        let name = |text| Name::parse(text).unwrap();
        let principal = Principal { org: name("acme"), user: name("ann"), agent: name("bot") };
        let agent = runtime.agent(&Session::new(principal, clock.as_ref()));
        Self { dir, clock, agent }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("workspace").join(path)
    }

    fn runtime(&self) -> &Runtime {
        self.agent.runtime()
    }

    async fn write(&self, path: &str, content: &str) -> ExecutionId {
        let input = json!({ "path": path, "content": content });
        self.agent.call("fs.write", input).await.unwrap().record.execution_id
    }

    /// A minute later, a change.
    async fn later(&self, path: &str, content: &str) -> ExecutionId {
        self.clock.advance(MINUTE);
        self.write(path, content).await
    }

    /// The executions of which there still is an undo record.
    fn kept(&self, all: &[&ExecutionId]) -> Vec<bool> {
        let stored = |id: &&ExecutionId| self.runtime().transactions().stored_of(id).unwrap();
        all.iter().map(|id| stored(id).is_some()).collect()
    }

    async fn purge(&self) -> Purged {
        self.agent.purge_undo(false).await.unwrap()
    }

    /// What the trail says of purges: each event's type and what it tells.
    fn events(&self) -> Vec<(EventType, Value)> {
        let filter = Filter { action: Some("undo.purge".to_owned()), ..Filter::default() };
        let events = self.runtime().audit().query(&Name::parse("acme").unwrap(), &filter).unwrap();
        let parsed = events.iter().map(|stored| {
            let event: Value = serde_json::from_slice(&stored.bytes).unwrap();
            let kind = event["event_type"].as_str().unwrap().parse().unwrap();
            (kind, event["metadata"]["purge"].clone())
        });
        parsed.collect()
    }

    fn sql(&self, text: &str) {
        let db = rusqlite::Connection::open(self.path(".lictor/lictor.db"));
        db.unwrap().execute_batch(text).unwrap();
    }
}

#[tokio::test]
async fn a_change_purges_by_count_once_an_hour_and_nothing_else_does() {
    let place = Place::keeping("{ count: 2 }").await;
    let a = place.write("a", "1").await;
    let b = place.later("b", "1").await;
    let c = place.later("c", "1").await;
    assert_eq!(place.kept(&[&a, &b, &c]), [true; 3], "the first change has looked already");
    place.clock.advance(HOUR);
    // What changes nothing is no reason to look, and more undos may be to come after one.
    place.agent.call("fs.read", json!({ "path": "a" })).await.unwrap();
    place.write("a", "1").await;
    let undone =
        place.agent.undo(std::slice::from_ref(&c), OnConflict::Refuse, None).await.unwrap();
    let undo = undone.executions.first().unwrap();
    assert_eq!(place.kept(&[&a, &b, &c, undo]), [true; 4]);
    assert!(place.events().is_empty());
    let d = place.later("d", "1").await;
    // The undo and what it took back are one family: with `d` they would be three.
    assert_eq!(place.kept(&[&a, &b, &c, undo, &d]), [false, false, false, false, true]);
    let told = place.events();
    let kinds: Vec<EventType> = told.iter().map(|(kind, _)| *kind).collect();
    let [locked, begun @ ..] = told.as_slice() else { panic!("nothing was told") };
    let due = [EventType::LockAcquired, EventType::ActionStarted, EventType::ActionCompleted];
    assert_eq!((kinds.as_slice(), &locked.1), (&due[..], &Value::Null));
    for (_, purge) in begun {
        let gone: Vec<&str> =
            purge["purged"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        assert_eq!(gone.len(), 4, "{purge}");
        assert!([&a, &b, &c, undo].iter().all(|id| gone.contains(&id.as_str())), "{purge}");
        assert!(purge["bytes"].as_u64().unwrap() > 0);
    }
    let e = place.later("e", "1").await;
    let f = place.later("f", "1").await;
    assert_eq!(place.kept(&[&d, &e, &f]), [true; 3], "within the hour");
    place.clock.advance(HOUR);
    let g = place.write("g", "1").await;
    assert_eq!(place.kept(&[&d, &e, &f, &g]), [false, false, true, true]);
    let refused = place.agent.undo(&[a], OnConflict::Refuse, None).await.unwrap_err();
    assert!(refused.to_string().contains("its record was purged"), "{refused}");
    let verified = place.runtime().audit().verify_store(&Name::parse("acme").unwrap()).unwrap();
    assert_eq!(verified.verdict, Verdict::Complete);
}

#[tokio::test]
async fn what_is_over_the_age_goes_and_what_is_younger_stays() {
    let place = Place::keeping("30m").await;
    let a = place.write("a", "1").await;
    place.clock.advance(40 * MINUTE);
    let b = place.write("b", "1").await;
    assert_eq!(place.kept(&[&a, &b]), [true; 2], "within the hour nobody looks");
    place.clock.advance(20 * MINUTE);
    let c = place.write("c", "1").await;
    assert_eq!(place.kept(&[&a, &b, &c]), [false, true, true]);
    place.clock.advance(10 * MINUTE);
    assert_eq!(place.purge().await.purged, [], "30 minutes old, and not older");
    place.clock.advance(Duration::from_micros(1));
    let dry = place.agent.purge_undo(true).await.unwrap();
    assert_eq!(place.kept(&[&b, &c]), [true; 2], "a dry run removes nothing");
    let purged = place.purge().await;
    assert_eq!((&purged, &purged.purged), (&dry, &vec![b]));
}

#[tokio::test]
async fn what_is_over_the_bytes_goes_the_oldest_first() {
    let place = Place::keeping("{ bytes: 400KiB }").await;
    let big = |n: usize| format!("{n}").repeat(150 * 1024);
    place.write("f", &big(0)).await;
    // Each sets aside 150 KiB, and keeps what it wrote as text once more.
    let a = place.later("f", &big(1)).await;
    let b = place.later("f", &big(2)).await;
    let size = place.runtime().transactions().stored_of(&b).unwrap().unwrap();
    assert!((300 << 10..400 << 10).contains(&size), "{size}");
    place.clock.advance(HOUR);
    let c = place.write("g", "small").await;
    assert_eq!(place.kept(&[&a, &b, &c]), [false, true, true]);
    place.agent.undo(&[b], OnConflict::Refuse, None).await.unwrap();
    assert_eq!(std::fs::read_to_string(place.path("f")).unwrap(), big(1));
}

const FLOW: &str = "\
id: flow
version: 1.0.0
steps:
  - { id: write, use: fs.write, with: { path: a, content: new } }
  - { id: review, needs: [write], approval: { message: Go on?, risk: low, approvals: 1, timeout: 7d } }
";

/// A run that has written `a` and waits for people; what it wrote is over every limit.
async fn waiting_run(place: &Place) -> (RunId, ExecutionId) {
    let flow = Workflow::from_yaml(&Source::new("flow.workflow.yaml", FLOW.as_bytes())).unwrap();
    let run = place.runtime().engine(None).run(place.agent.session(), &flow, json!({})).await;
    let run = run.unwrap();
    assert_eq!(run.status(), RunStatus::Paused, "{:?}", run.error);
    let made = place.agent.to_undo(&UndoRequest::Run(run.run_id.clone())).unwrap();
    place.clock.advance(2 * HOUR);
    (run.run_id, made.into_iter().next().unwrap())
}

#[tokio::test]
async fn what_a_run_under_way_may_take_back_is_held_until_the_run_is_over() {
    let place = Place::keeping("1h").await;
    std::fs::write(place.path("a"), "old").unwrap();
    let (run, made) = waiting_run(&place).await;
    let purged = place.purge().await;
    assert_eq!(purged.purged, []);
    let held = purged.kept.first().unwrap();
    assert_eq!(held.execution, made);
    assert!(held.reason.contains(run.as_str()), "{}", held.reason);
    assert!(place.events().is_empty(), "nothing was to die");
    // A change does not take it away either, and so the run still rolls back.
    place.write("b", "1").await;
    let ended = place.runtime().engine(None).cancel(&run, true).await.unwrap();
    assert_eq!(ended.status(), RunStatus::RolledBack, "{:?}", ended.rollback);
    assert_eq!(std::fs::read_to_string(place.path("a")).unwrap(), "old");
    place.clock.advance(2 * HOUR);
    let purged = place.purge().await;
    assert!(purged.purged.contains(&made) && purged.kept.is_empty(), "{purged:?}");
}

#[tokio::test]
async fn what_a_run_wrote_goes_when_the_run_is_over() {
    let place = Place::keeping("1h").await;
    let (run, made) = waiting_run(&place).await;
    place.runtime().engine(None).cancel(&run, false).await.unwrap();
    assert_eq!(place.purge().await.purged, [made]);
}

#[tokio::test]
async fn what_the_ledger_does_not_have_is_held_and_told() {
    let place = Place::keeping("{ count: 0 }").await;
    let (a, b) = (place.write("a", "1").await, place.later("b", "1").await);
    assert_eq!(place.kept(&[&a, &b]), [false, true], "it keeps none, and looks once an hour");
    place.sql(&format!("DELETE FROM execution WHERE id = '{b}'"));
    let purged = place.purge().await;
    assert_eq!(purged.purged, []);
    assert_eq!(purged.kept.first().unwrap().reason, "the ledger does not have it");
    assert_eq!(place.kept(&[&b]), [true]);
}

/// What cannot be recorded is not done; what was done and could not be recorded is told.
#[tokio::test]
async fn nothing_dies_that_is_not_on_record_before() {
    let place = Place::keeping("{ count: 1 }").await;
    let (a, b) = (place.write("a", "1").await, place.later("b", "1").await);
    let fails_at = |kind: &str| {
        place.sql(&format!(
            "DROP TRIGGER IF EXISTS fails;
             CREATE TRIGGER fails BEFORE INSERT ON audit_event
             WHEN NEW.action_name = 'undo.purge' AND NEW.type = '{kind}'
             BEGIN SELECT RAISE(ABORT, 'the disk is gone'); END"
        ));
    };
    fails_at("action_started");
    place.agent.purge_undo(false).await.unwrap_err();
    assert_eq!(place.kept(&[&a, &b]), [true; 2]);
    // Nor does one that nobody asked for; the change behind which it runs stands all the same.
    place.clock.advance(HOUR);
    let c = place.write("c", "1").await;
    assert_eq!(place.kept(&[&a, &b, &c]), [true; 3]);
    assert!(place.events().is_empty());
    fails_at("action_completed");
    place.agent.purge_undo(false).await.unwrap_err();
    assert_eq!(place.kept(&[&a, &b, &c]), [false, false, true]);
    let (kind, purge) = place.events().pop().unwrap();
    assert_eq!(kind, EventType::ActionStarted);
    assert_eq!(purge["purged"].as_array().map(Vec::len), Some(2), "what was to die is on record");
}

#[tokio::test]
async fn a_purge_waits_for_whoever_is_at_work_and_then_gives_up() {
    let place = Place::keeping("{ count: 1 }").await;
    let (a, b) = (place.write("a", "1").await, place.later("b", "1").await);
    let lease = place.runtime().lock().try_acquire(Claim::new("another", "process")).unwrap();
    let busy = place.agent.purge_undo(false).await.unwrap_err();
    assert_eq!(busy.code(), ErrorCode::Busy);
    assert_eq!(place.kept(&[&a, &b]), [true; 2]);
    lease.release().unwrap();
    assert_eq!(place.purge().await.purged, [a]);
    assert!(matches!(place.runtime().lock().status(), Ok(lictor::lock::Status::Free { .. })));
}
