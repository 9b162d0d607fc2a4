//! Records that may come a moment later (`durability: { records: lazy }`): what was answered is on record,
//! whole and in order, before anything that came after it; what matters more does not wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lictor::audit::{Filter, Verdict};
use lictor::capability::{Contract, Effects, HandlerSpec, UndoScope};
use lictor::context::{AgentProfile, EventType, Session};
use lictor::document::Source;
use lictor::executor::{Granted, Handler, HandlerError, HandlerFactory, Request};
use lictor::governance::{CatalogueKind, Channel, LifeState};
use lictor::store::{Access, AccessGuard, rusqlite};
use lictor::{LifeStep, Runtime, RuntimeOptions};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::rig::{self, name};

const LAZY: &str = "version: 1\ndefault: deny\npaths: { allowed: [\"**\"] }\n\
                    risk: { low: allow, medium: allow, high: allow }\n\
                    rules:\n  - { name: says, when: { effect: mcp }, verdict: allow }\n\
                    audit: { on_failure: continue }\ndurability: { records: lazy }\n";

/// A tool of another server, which somebody let in as one that risks little.
const SAYS: &str = "id: say.hello\nversion: 1.0.0\ntitle: S\ndescription: Says hello.\nkind: mcp\n\
                    source: mcp:says\ninput: { type: object }\noutput: {}\nrisk: low\n\
                    undo: { strategy: none }\nhandler: { mcp: { server: says, tool: hello } }\n";

/// That server, and how often it was asked.
#[derive(Clone, Default)]
struct Says(Arc<AtomicUsize>);

impl HandlerFactory for Says {
    fn handler(&self, contract: &Contract) -> Option<Arc<dyn Handler>> {
        matches!(contract.handler, HandlerSpec::Mcp(_))
            .then(|| Arc::new(self.clone()) as Arc<dyn Handler>)
    }
}

#[async_trait::async_trait]
impl Handler for Says {
    fn describe(&self, _: Request<'_>) -> Result<Effects, HandlerError> {
        let tools = vec!["says/hello".to_owned()];
        Ok(Effects { tools, undo: UndoScope::None, ..Effects::default() })
    }

    async fn run(&self, _: Granted<'_>) -> Result<Value, HandlerError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(json!({ "said": "hello" }))
    }
}

/// A database that takes commits, or does not.
#[derive(Debug)]
struct Disk(Arc<AtomicBool>);

impl AccessGuard for Disk {
    fn before(&self, access: Access) -> rusqlite::Result<()> {
        let full = || {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
            rusqlite::Error::SqliteFailure(code, Some("the disk is away".to_owned()))
        };
        let fails = access == Access::Commit && !self.0.load(Ordering::SeqCst);
        if fails { Err(full()) } else { Ok(()) }
    }
}

struct Place {
    runtime: Runtime,
    session: Session,
    /// Whether the database takes commits.
    works: Arc<AtomicBool>,
    says: Says,
    _dir: tempfile::TempDir,
}

impl Place {
    async fn new(policy: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let works = Arc::new(AtomicBool::new(true));
        let disk = Arc::new(Disk(Arc::clone(&works)));
        let (workspace, keys) = (dir.path().join("workspace"), dir.path().join("keys"));
        let says = Says::default();
        let server = says.clone();
        let with_disk = |options: &mut RuntimeOptions| {
            options.store_guard = Some(disk);
            options.handlers = vec![Arc::new(server)];
        };
        let runtime = rig::open((&workspace, &keys), policy, with_disk).await;
        std::fs::write(workspace.join("a.txt"), "x").unwrap();
        let profile =
            AgentProfile { mcp_servers: vec!["says".to_owned()], ..AgentProfile::default() };
        let session = rig::session_of("bob", "bot").with_profile(profile);
        let place = Self { runtime, session, works, says, _dir: dir };
        place.let_in(SAYS).await;
        // The session and the policy are known from here on.
        let agent = place.runtime.agent(&place.session);
        agent.call("fs.exists", json!({ "path": "a.txt" })).await.unwrap();
        place.runtime.catch_up().await.unwrap();
        place
    }

    async fn let_in(&self, contract: &str) {
        let (_, token) = self.runtime.approvers().bootstrap(name("ann"), Vec::new()).unwrap();
        let by = self.runtime.approvers().authenticate(token.expose()).unwrap();
        let source = Source::new("c.yaml", contract.as_bytes());
        let kind = CatalogueKind::Capability;
        let proposed = self.runtime.propose(&self.session, kind, &source, "").await.unwrap();
        let key = proposed.entry.document.key();
        let (next, channel) = (LifeState::Active, Channel::Token);
        let step = LifeStep { key: &key, next, seen: None, by: &by, channel, why: "" };
        self.runtime.step_life(&rig::session_of("ann", "bot"), step).await.unwrap();
    }

    async fn look(&self) {
        let agent = self.runtime.agent(&self.session);
        agent.call("fs.read", json!({ "path": "a.txt" })).await.unwrap();
    }

    async fn say(&self) {
        let agent = self.runtime.agent(&self.session);
        agent.call("say.hello", json!({})).await.unwrap();
    }

    async fn write(&self, n: usize) -> bool {
        let agent = self.runtime.agent(&self.session);
        let input = json!({ "path": format!("{n}.txt"), "content": "x" });
        agent.call("fs.write", input).await.is_ok()
    }

    /// What is on record of what was asked for, in order: capability and type.
    fn on_record(&self) -> Vec<(String, String)> {
        let found = self.runtime.audit().query(&name("acme"), &Filter::default()).unwrap();
        let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let said = |event: Value| {
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            (text("action_name"), text("event_type"))
        };
        let all = found.iter().map(|event| said(read(&event.bytes)));
        let asked = ["fs.read", "say.hello", "fs.write"];
        let of_life = |kind: &str| kind.starts_with("capability_");
        all.filter(|(action, kind)| asked.contains(&action.as_str()) && !of_life(kind)).collect()
    }

    fn of(&self, action: &str, kind: EventType) -> usize {
        let all = self.on_record();
        all.iter().filter(|(own, event)| own == action && event == kind.as_str()).count()
    }

    fn commits(&self) -> u64 {
        self.runtime.store().stats().commits
    }

    fn is_whole(&self) {
        let verified = self.runtime.audit().verify_store(&name("acme")).unwrap();
        assert_eq!(verified.verdict, Verdict::Complete);
        let stats = self.runtime.trail_stats();
        assert_eq!(stats.submitted, stats.acknowledged + stats.rejected + stats.dropped);
    }
}

fn events_of(actions: &[&str]) -> Vec<(String, String)> {
    let kinds = [EventType::DecisionMade, EventType::ActionStarted, EventType::ActionCompleted];
    let of = |action: &&str| {
        let action = (*action).to_owned();
        kinds.map(|kind| (action.clone(), kind.as_str().to_owned()))
    };
    actions.iter().flat_map(of).collect()
}

#[tokio::test]
async fn what_was_put_off_stands_before_what_came_after_it() {
    let place = Place::new(LAZY).await;
    let before = place.commits();
    place.look().await;
    place.say().await;
    place.look().await;
    assert_eq!(place.commits(), before, "a commit was made for what can wait");
    assert!(place.write(1).await);
    let due = events_of(&["fs.read", "say.hello", "fs.read"]);
    let found = place.on_record();
    assert_eq!(found[..due.len()], due);
    assert!(found[due.len()..].iter().all(|(action, _)| action == "fs.write"), "{found:?}");
    let executions = place.runtime.executions().list(&Default::default()).unwrap();
    let known = executions.iter().filter(|one| one.record.capability == "say.hello").count();
    assert_eq!(known, 1, "the record of what is done elsewhere is missing");
    place.is_whole();
}

#[tokio::test]
async fn many_are_written_together_and_without_being_asked_for() {
    let place = Place::new(LAZY).await;
    let before = place.commits();
    for _ in 0..40 {
        place.look().await;
    }
    while place.of("fs.read", EventType::ActionCompleted) < 40 {
        tokio::task::yield_now().await;
    }
    // Whoever writes them says so.
    place.runtime.catch_up().await.unwrap();
    let commits = place.commits() - before;
    assert!(commits < 40, "{commits} commits for 40 actions");
    assert_eq!(place.on_record(), events_of(&["fs.read"; 40]));
    place.is_whole();
}

#[tokio::test]
async fn whoever_asks_for_it_finds_everything_on_record() {
    let place = Place::new(LAZY).await;
    place.say().await;
    let log = place.runtime.agent(&place.session).call("session.log", json!({})).await.unwrap();
    let told = &log.record.output["executions"];
    assert_eq!(told[0]["capability"], "say.hello", "{told}");
    place.say().await;
    place.runtime.catch_up().await.unwrap();
    assert_eq!(place.of("say.hello", EventType::ActionCompleted), 2);
    place.say().await;
    place.runtime.agent(&place.session).end().await.unwrap();
    assert_eq!(place.of("say.hello", EventType::ActionCompleted), 3);
    place.is_whole();
}

#[tokio::test]
async fn the_last_action_of_a_session_is_on_record_when_it_is_answered() {
    let place = Place::new(LAZY).await;
    let agent = place.runtime.agent(&place.session).ending();
    agent.call("fs.read", json!({ "path": "a.txt" })).await.unwrap();
    assert_eq!(place.of("fs.read", EventType::ActionCompleted), 1);
    place.is_whole();
}

#[tokio::test]
async fn nothing_waits_where_no_policy_says_so() {
    for silent in ["durability: { records: lazy }\n", "audit: { on_failure: continue }\n"] {
        let place = Place::new(&LAZY.replace(silent, "")).await;
        place.look().await;
        assert_eq!(place.on_record(), events_of(&["fs.read"]), "without {silent}");
        place.say().await;
        assert_eq!(place.on_record(), events_of(&["fs.read", "say.hello"]), "without {silent}");
    }
}

#[tokio::test]
async fn what_fails_or_risks_more_does_not_wait() {
    let place = Place::new(LAZY).await;
    let agent = place.runtime.agent(&place.session);
    agent.call("fs.read", json!({ "path": "gone.txt" })).await.unwrap_err();
    assert_eq!(place.of("fs.read", EventType::ActionFailed), 1);
    agent.call("fs.write", json!({ "path": ".git/config", "content": "" })).await.unwrap_err();
    assert_eq!(place.of("fs.write", EventType::ActionRejected), 1);
    let risky = LAZY.replace(
        "audit:",
        "escalate:\n  - { when: { path: \"a.txt\" }, risk: medium, reason: r }\naudit:",
    );
    let place = Place::new(&risky).await;
    place.look().await;
    assert_eq!(place.on_record(), events_of(&["fs.read"]));
}

#[tokio::test]
async fn what_could_not_be_written_goes_on_waiting_and_holds_up_what_comes_after_it() {
    let place = Place::new(LAZY).await;
    place.look().await;
    place.works.store(false, Ordering::SeqCst);
    place.runtime.catch_up().await.unwrap_err();
    assert!(!place.write(1).await);
    place.look().await;
    place.works.store(true, Ordering::SeqCst);
    assert!(place.write(2).await);
    let done = place.on_record();
    let done: Vec<_> = done.iter().filter(|(_, kind)| kind == "action_completed").collect();
    let order: Vec<&str> = done.iter().map(|(action, _)| action.as_str()).collect();
    assert_eq!(order, ["fs.read", "fs.read", "fs.write"]);
    place.is_whole();
}

#[test]
fn what_waits_outlives_whoever_was_to_write_it() {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let place = run().block_on(async {
        let place = Place::new(LAZY).await;
        place.look().await;
        place
    });
    run().block_on(async {
        place.look().await;
        while place.of("fs.read", EventType::ActionCompleted) < 2 {
            tokio::task::yield_now().await;
        }
        place.runtime.catch_up().await.unwrap();
    });
    place.is_whole();
}

#[tokio::test]
async fn no_more_waits_than_may_be_lost() {
    let place = Place::new(LAZY).await;
    place.runtime.catch_up().await.unwrap();
    place.works.store(false, Ordering::SeqCst);
    let agent = place.runtime.agent(&place.session);
    let mut n = 0;
    while agent.call("fs.exists", json!({ "path": "a.txt" })).await.is_ok() {
        n += 1;
        assert!(n <= 1024, "they wait without end");
    }
    assert_eq!(n, 1024);
    agent.call("say.hello", json!({})).await.unwrap_err();
    assert_eq!(
        place.says.0.load(Ordering::SeqCst),
        0,
        "it was done, and nothing of it is on record"
    );
    place.works.store(true, Ordering::SeqCst);
    place.runtime.catch_up().await.unwrap();
    place.is_whole();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is asked for, by how many at once, and however often the disk is away in between: each
    /// thing that was answered has its beginning and its end on record, once, and the trail is whole.
    #[test]
    fn what_was_answered_is_on_record_once(
        steps in prop::collection::vec((0..4_usize, 1..5_usize, prop::bool::weighted(0.8)), 1..12),
    ) {
        let run = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        run.block_on(async {
            let place = Place::new(LAZY).await;
            let (mut looks, mut says, mut writes) = (0, 0, 0);
            for (n, (what, at_once, works)) in steps.iter().enumerate() {
                place.works.store(*works, Ordering::SeqCst);
                match what {
                    0 => {
                        let mut all = tokio::task::JoinSet::new();
                        for _ in 0..*at_once {
                            let agent = place.runtime.agent(&place.session);
                            let look = async move {
                                agent.call("fs.read", json!({ "path": "a.txt" })).await.is_ok()
                            };
                            all.spawn(look);
                        }
                        assert!(all.join_all().await.into_iter().all(|answered| answered));
                        looks += at_once;
                    }
                    1 => {
                        place.say().await;
                        says += 1;
                    }
                    2 => writes += usize::from(place.write(n).await),
                    _ => drop(place.runtime.catch_up().await),
                }
            }
            place.works.store(true, Ordering::SeqCst);
            place.runtime.catch_up().await.unwrap();
            for (action, due) in [("fs.read", looks), ("say.hello", says)] {
                for kind in [EventType::DecisionMade, EventType::ActionStarted, EventType::ActionCompleted] {
                    assert_eq!(place.of(action, kind), due, "{action} {kind:?}");
                }
            }
            assert_eq!(place.of("fs.write", EventType::ActionCompleted), writes);
            place.is_whole();
        });
    }
}
