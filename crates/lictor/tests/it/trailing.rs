//! A trail that cannot be written: nothing is done, or what the policy lets go on is, and the
//! trail says afterwards what is missing in it.

use std::path::{Path, PathBuf};

use lictor::audit::{Filter, Verdict};
use lictor::context::{EventType, Name, Principal, Session, SystemClock};
use lictor::executor::ExecutionStatus;
use lictor::state::{ExecutionFilter, StoredExecution};
use lictor::{ActError, Done, OnConflict, Runtime, RuntimeOptions};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

const POLICY: &str = "version: 1\ndefault: deny\npaths: { allowed: [\"**\"] }\n\
                      risk: { low: allow, medium: allow, high: allow, critical: allow }\n\
                      rules:\n  - { name: ask, when: { path: \"asked/**\" }, verdict: need_approval }\n\
                      escalate:\n\
                      \x20 - { when: { path: \"high/**\" }, risk: high, reason: matters }\n\
                      \x20 - { when: { path: \"critical/**\" }, risk: critical, reason: matters }\n";

/// A workspace, and the folder of keys with the guard of its trail.
struct Place {
    folder: TempDir,
    runtime: Option<Runtime>,
    session: Session,
}

impl Place {
    async fn new(on_failure: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("work/.lictor")).unwrap();
        let policy = format!("{POLICY}audit: {{ on_failure: {on_failure} }}\n");
        std::fs::write(folder.path().join("work/.lictor/policy.yaml"), policy).unwrap();
        let name = |text| Name::parse(text).unwrap();
        let principal = Principal { org: name("acme"), user: name("ann"), agent: name("bot") };
        let session = Session::new(principal, &SystemClock);
        let mut place = Self { folder, runtime: None, session };
        place.restart().await;
        // The guard knows the log from here on.
        place.write("first.txt").await.unwrap();
        place
    }

    /// As another process finds it.
    async fn restart(&mut self) {
        self.runtime = None;
        let keys = self.folder.path().join("keys");
        let options = RuntimeOptions::new(self.root(), keys);
        self.runtime = Some(Runtime::open(options).await.unwrap());
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    async fn write(&self, path: &str) -> Result<Done, ActError> {
        let agent = self.runtime().agent(&self.session);
        agent.call("fs.write", json!({ "path": path, "content": "x" })).await
    }

    fn has(&self, path: &str) -> bool {
        self.root().join(path).exists()
    }

    /// Every file of the guard becomes one that cannot be read, or what it was.
    fn set_guard(&self, readable: bool) {
        let heads = self.folder.path().join("keys/heads");
        let entries = std::fs::read_dir(&heads).unwrap().map(|entry| entry.unwrap().path());
        for path in entries.collect::<Vec<_>>() {
            let is = |end: &str| path.extension().is_some_and(|found| found == end);
            if readable && is("away") {
                let own = path.with_extension("head");
                std::fs::remove_dir(&own).unwrap();
                std::fs::rename(&path, own).unwrap();
            } else if !readable && is("head") && path.is_file() {
                std::fs::rename(&path, path.with_extension("away")).unwrap();
                std::fs::create_dir(&path).unwrap();
            }
        }
    }

    fn events(&self, kind: EventType) -> Vec<Value> {
        let filter = Filter { types: vec![kind], ..Filter::default() };
        let found = self.runtime().audit().query(&Name::parse("acme").unwrap(), &filter).unwrap();
        found.iter().map(|event| serde_json::from_slice(&event.bytes).unwrap()).collect()
    }

    /// How many events the gaps in the trail are said to hold.
    fn told(&self) -> u64 {
        let gaps = self.events(EventType::AuditGap);
        gaps.iter().map(|gap| gap["metadata"]["dropped"].as_u64().unwrap()).sum()
    }

    fn verdict(&self) -> Verdict {
        self.runtime().audit().verify_store(&Name::parse("acme").unwrap()).unwrap().verdict
    }

    #[track_caller]
    fn assert_all_is_counted(&self) {
        let stats = self.runtime().trail_stats();
        let counted = stats.acknowledged + stats.rejected + stats.dropped;
        assert_eq!(stats.submitted, counted, "{stats:?}");
    }
}

#[tokio::test]
async fn no_record_no_effect_where_the_trail_blocks() {
    let place = Place::new("block").await;
    place.set_guard(false);
    assert!(place.write("a.txt").await.is_err());
    assert!(!place.has("a.txt"));
    assert_eq!(place.runtime().trail_stats().dropped, 0);
    place.assert_all_is_counted();
    place.set_guard(true);
    place.write("a.txt").await.unwrap();
    assert_eq!((place.has("a.txt"), place.told()), (true, 0));
    assert_eq!(place.verdict(), Verdict::Complete);
}

#[tokio::test]
async fn what_matters_little_goes_on_and_the_gap_is_told_and_signed() {
    let place = Place::new("continue").await;
    place.set_guard(false);
    let done = place.write("a.txt").await.unwrap();
    assert!(place.has("a.txt"));
    assert_eq!(place.events(EventType::ActionCompleted).len(), 1, "only the first one");
    let dropped = place.runtime().trail_stats().dropped;
    assert!(dropped >= 3, "a decision, a beginning and an end: {dropped}");
    let untold = place.runtime().audit().untold_gaps().unwrap();
    assert_eq!(untold.events(), dropped);
    place.set_guard(true);

    // The undo has its record, and what it does brings the gap to light.
    let agent = place.runtime().agent(&place.session);
    let executions = [done.record.execution_id];
    agent.undo(&executions, OnConflict::Refuse, None).await.unwrap();
    assert!(!place.has("a.txt"));
    assert_eq!(place.told(), dropped);
    assert!(place.runtime().audit().untold_gaps().unwrap().is_empty());
    assert_eq!(place.verdict(), Verdict::Complete);
    place.write("b.txt").await.unwrap();
    assert_eq!(place.told(), dropped, "it is told once");
    place.assert_all_is_counted();
}

#[tokio::test]
async fn a_gap_outlives_the_process() {
    let mut place = Place::new("continue").await;
    place.set_guard(false);
    place.write("a.txt").await.unwrap();
    let dropped = place.runtime().trail_stats().dropped;
    place.restart().await;
    place.write("b.txt").await.unwrap();
    let dropped = dropped + place.runtime().trail_stats().dropped;
    place.restart().await;
    place.set_guard(true);
    place.write("c.txt").await.unwrap();
    assert_eq!(place.told(), dropped);
    assert_eq!(place.verdict(), Verdict::Complete);
}

#[tokio::test]
async fn what_matters_is_not_done_without_a_record_whatever_the_policy_says() {
    let place = Place::new("continue").await;
    place.set_guard(false);
    for path in ["high/a.txt", "critical/a.txt", "asked/a.txt", ".git/config"] {
        assert!(place.write(path).await.is_err(), "{path}");
        assert!(!place.has(path), "{path}");
    }
    assert_eq!(place.runtime().trail_stats().dropped, 0);
    place.assert_all_is_counted();
    place.set_guard(true);
    place.write("high/a.txt").await.unwrap();
    // What was put back without a record is on record by now.
    assert!(!place.events(EventType::RecoveryCompleted).is_empty());
    assert_eq!((place.told(), place.verdict()), (0, Verdict::Complete));
}

#[tokio::test]
async fn a_trail_that_was_changed_is_no_outage() {
    let place = Place::new("continue").await;
    let database = find(&place.root().join(".lictor"), "lictor.db");
    let tamper = |sql: &str| {
        let connection = lictor::store::rusqlite::Connection::open(&database).unwrap();
        connection.execute_batch("DROP TRIGGER IF EXISTS audit_head_update").unwrap();
        connection.execute_batch(sql).unwrap();
    };
    tamper("UPDATE audit_head SET chain = frontier, frontier = x''");
    assert!(place.write("a.txt").await.is_err());
    assert!(!place.has("a.txt"));
    assert_eq!(place.runtime().trail_stats().dropped, 0);
    place.assert_all_is_counted();
}

#[tokio::test]
async fn a_beginning_or_an_end_that_cannot_be_recorded_is_recorded_later_and_once() {
    let place = Place::new("block").await;
    let agent = place.runtime().agent(&place.session);
    let other = Session::new(place.session.principal().clone(), &SystemClock);
    let other = place.runtime().agent(&other);
    place.set_guard(false);
    assert!(agent.end().await.is_err());
    assert!(agent.end().await.is_err(), "the end is owed no more");
    let write = || other.call("fs.write", json!({ "path": "b.txt", "content": "x" }));
    assert!(write().await.is_err());
    place.set_guard(true);
    agent.end().await.unwrap();
    agent.end().await.unwrap();
    assert_eq!(place.events(EventType::SessionEnded).len(), 1);
    write().await.unwrap();
    assert_eq!(place.events(EventType::SessionStarted).len(), 2, "one for each session");
    assert_eq!(place.verdict(), Verdict::Complete);
}

fn find(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    assert!(path.exists(), "{}", path.display());
    path
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whenever the trail fails and comes back, and whatever is asked for: what is done is on
    /// record or may be missing, and what is missing is counted, once.
    #[test]
    fn what_is_done_is_on_record_or_counted(
        steps in prop::collection::vec((any::<bool>(), 0..4_usize, any::<bool>()), 1..8),
    ) {
        let run = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        run.block_on(async {
            let mut place = Place::new("continue").await;
            let mut dropped = 0;
            let mut unrecorded = 0;
            let mut owed = false;
            for (n, (works, what, restarts)) in steps.iter().enumerate() {
                place.set_guard(*works);
                let before = place.runtime().trail_stats().dropped;
                let folder = ["low", "other", "high", ".git"][*what];
                let path = format!("{folder}/{n}.txt");
                let done = place.write(&path).await.is_ok();
                let little = *what < 2;
                // What was put back has to be on record before anything else goes on; what is
                // denied does not get as far as to see to that.
                owed &= !(*works && *what < 3);
                assert_eq!(done, *what < 3 && (*works || (little && !owed)), "{path}");
                owed |= *what == 2 && !works;
                assert_eq!(place.has(&path), done);
                let now = place.runtime().trail_stats().dropped - before;
                assert_eq!(now > 0, done && !*works, "{path}");
                dropped += now;
                unrecorded += u64::from(now > 0);
                place.assert_all_is_counted();
                if *restarts {
                    place.set_guard(true);
                    place.restart().await;
                    owed = false;
                }
            }
            place.set_guard(true);
            place.write("last.txt").await.unwrap();
            assert_eq!(place.told(), dropped);
            assert_eq!(place.verdict(), Verdict::Complete);
            let executions = place.runtime().executions().list(&ExecutionFilter::default()).unwrap();
            // What was put back, because its record was refused, is on record as that.
            let stand = |stored: &&StoredExecution| stored.record.status == ExecutionStatus::Applied;
            let executions = executions.iter().filter(stand).count();
            let completed = place.events(EventType::ActionCompleted).len();
            assert_eq!(executions as u64, completed as u64 + unrecorded);
        });
    }
}
