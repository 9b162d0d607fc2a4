//! The life of a capability through the whole runtime: files, database, keys, crashes and a store
//! that fails. What runs is what somebody approved, in the very digest that lies there.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use lictor::capability::{Contract, Risk};
use lictor::context::{Digest, EventType, Session};
use lictor::document::Source;
use lictor::governance::{
    CatalogueKey, CatalogueKind, Channel, Document, LifeState, ProvenApprover,
};
use lictor::{Agent, LifeStep, Runtime, RuntimeOptions};
use proptest::prelude::*;
use serde_json::json;

use crate::rig::{self, name};

const POLICY: &str =
    "version: 1\ndefault: deny\npaths: { allowed: [\"**\"] }\nrisk: { high: allow }\n";
const FILE: &str = ".lictor/capabilities/clock.tell.yaml";

/// Contracts of one id and version that differ in their risk, and so in their digest.
fn text(variant: usize) -> String {
    let risk = ["low", "medium", "high"][variant % 3];
    format!(
        "id: clock.tell\nversion: 1.0.0\ntitle: Clock\ndescription: Tells the time.\nkind: skill\n\
         source: local\ninput: {{ type: object }}\noutput: {{ type: object }}\nrisk: {risk}\n\
         handler: {{ builtin: time.now }}\n"
    )
}

fn contract(text: &str) -> Option<Arc<Contract>> {
    Contract::from_yaml(&Source::new("c.yaml", text.as_bytes())).ok().map(Arc::new)
}

fn digest(variant: usize) -> Digest {
    contract(&text(variant)).unwrap().digest()
}

fn key() -> CatalogueKey {
    Document::key_of_contract(&contract(&text(0)).unwrap())
}

fn session(user: &str) -> Session {
    rig::session_of(user, "bot")
}

/// What happens to the one capability.
#[derive(Debug, Clone)]
enum Happens {
    /// Its file becomes another one, or no contract at all (3), or goes (4).
    Edit(usize),
    Propose {
        variant: usize,
        cut: Option<u8>,
    },
    Decide {
        next: LifeState,
        looked_at: usize,
        cut: Option<u8>,
    },
    /// The store fails from now on, at the record (0), at its event (1), or not any more (2).
    Store(usize),
    /// Somebody writes into the record in the database.
    Hand(&'static str),
    Crash,
}

fn happens() -> impl Strategy<Value = Happens> {
    let next = prop::sample::select(LifeState::ALL.to_vec());
    let next = prop_oneof![4 => Just(LifeState::Active), 2 => next];
    let cut = || prop::option::weighted(0.2, 0..8_u8);
    let hand = prop::sample::select(vec![
        r#"record = replace(record, '"proposed"', '"active"')"#,
        r#"record = replace(record, '"frozen"', '"active"')"#,
        "seal = 'sha256:00'",
    ]);
    prop_oneof![
        3 => (0..5_usize).prop_map(Happens::Edit),
        4 => (0..3_usize, cut()).prop_map(|(variant, cut)| Happens::Propose { variant, cut }),
        6 => (next, 0..3_usize, cut())
            .prop_map(|(next, looked_at, cut)| Happens::Decide { next, looked_at, cut }),
        1 => (0..3_usize).prop_map(Happens::Store),
        1 => hand.prop_map(Happens::Hand),
        1 => Just(Happens::Crash),
    ]
}

struct Nobody;
impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

/// Looks at a future a few times and then never again: whoever asked has died.
async fn cut_off<T>(future: impl Future<Output = T>, cut: Option<u8>) -> Option<T> {
    let Some(looks) = cut else { return Some(future.await) };
    let waker = Waker::from(Arc::new(Nobody));
    let mut future = pin!(future);
    for _ in 0..looks {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(done);
        }
        tokio::task::yield_now().await;
    }
    None
}

struct World {
    dir: tempfile::TempDir,
    runtime: Runtime,
    /// A session that lives as long as its process, with the graph that it began with.
    agent: Agent,
    ann: ProvenApprover,
    /// Every digest that an approver has agreed to, whatever came of it.
    agreed: BTreeSet<Digest>,
    /// What is known of the present state; nothing, after a call that was cut off or failed.
    state: Option<LifeState>,
    failing: bool,
}

async fn open(dir: &Path) -> Runtime {
    let (workspace, keys) = (dir.join("workspace"), dir.join("keys"));
    Runtime::open(RuntimeOptions::new(workspace, keys)).await.unwrap()
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("workspace/.lictor/capabilities")).unwrap();
        std::fs::write(dir.path().join("workspace/.lictor/policy.yaml"), POLICY).unwrap();
        let runtime = open(dir.path()).await;
        let (_, token) = runtime.approvers().bootstrap(name("ann"), Vec::new()).unwrap();
        let ann = runtime.approvers().authenticate(token.expose()).unwrap();
        let agent = runtime.agent(&session("bob"));
        let (agreed, state, failing) = (BTreeSet::new(), None, false);
        Self { dir, runtime, agent, ann, agreed, state, failing }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("workspace").join(FILE)
    }

    fn sql(&self, text: &str) {
        let db = rusqlite::Connection::open(self.dir.path().join("workspace/.lictor/lictor.db"));
        db.unwrap().execute_batch(text).unwrap();
    }

    /// Every contract in the folder.
    fn contracts(&self) -> BTreeSet<Digest> {
        let folder = self.file().parent().unwrap().to_owned();
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let texts = files.filter_map(|file| std::fs::read_to_string(file).ok());
        texts.filter_map(|text| contract(&text)).map(|contract| contract.digest()).collect()
    }

    async fn crash(&mut self) {
        self.runtime = open(self.dir.path()).await;
        self.agent = self.runtime.agent(&session("bob"));
    }

    async fn happens(&mut self, what: &Happens) {
        match what {
            Happens::Edit(4) => drop(std::fs::remove_file(self.file())),
            Happens::Edit(3) => std::fs::write(self.file(), "id: clock.tell\n").unwrap(),
            Happens::Edit(variant) => std::fs::write(self.file(), text(*variant)).unwrap(),
            Happens::Propose { variant, cut } => {
                let text = text(*variant);
                let (source, session) = (Source::new("c.yaml", text.as_bytes()), session("bob"));
                let kind = CatalogueKind::Capability;
                let done = cut_off(self.runtime.propose(&session, kind, &source, ""), *cut).await;
                self.state = match done {
                    Some(Ok(proposed)) => Some(proposed.entry.state),
                    Some(Err(_)) if !self.failing => self.state,
                    _ => None,
                };
            }
            Happens::Decide { next, looked_at, cut } => {
                let (key, seen) = (key(), digest(*looked_at));
                let (next, seen) = (*next, Some(seen).filter(|_| *next == LifeState::Active));
                let (channel, session) = (Channel::Token, session("ann"));
                let step = LifeStep { key: &key, next, seen, by: &self.ann, channel, why: "" };
                let done = cut_off(self.runtime.step_life(&session, step), *cut).await;
                if !matches!(done, Some(Err(_))) || self.failing {
                    self.agreed.extend(seen);
                }
                self.state = match done {
                    Some(Ok(_)) => Some(next),
                    Some(Err(_)) if !self.failing => self.state,
                    _ => None,
                };
            }
            Happens::Store(2) => {
                self.failing = false;
                self.sql("DROP TRIGGER IF EXISTS f0; DROP TRIGGER IF EXISTS f1; DROP TRIGGER IF EXISTS f2;");
            }
            Happens::Store(at) => {
                self.failing = true;
                let fail = "BEGIN SELECT RAISE(ABORT, 'the store fails'); END;";
                self.sql(&match at {
                    0 => format!(
                        "CREATE TRIGGER IF NOT EXISTS f0 BEFORE INSERT ON catalogue {fail} \
                         CREATE TRIGGER IF NOT EXISTS f1 BEFORE UPDATE ON catalogue {fail}"
                    ),
                    _ => format!(
                        "CREATE TRIGGER IF NOT EXISTS f2 BEFORE INSERT ON audit_event {fail}"
                    ),
                });
            }
            Happens::Hand(set) => {
                if !self.failing {
                    self.sql(&format!("UPDATE catalogue SET {set}"));
                    self.state = None;
                }
            }
            Happens::Crash => self.crash().await,
        }
    }

    /// One call in the session that has lived since the last crash, and one in a new session.
    async fn check(&self, all: &[Happens]) {
        let anew = self.runtime.agent(&session("bob"));
        let agents = [self.agent.clone(), self.agent.clone().following(), anew];
        for agent in agents {
            if agent.call("clock.tell", json!({})).await.is_err() {
                continue;
            }
            // A proposal lies beside a file of its name that is no contract. Two contracts of one
            // version hold neither, so there is one that ran.
            let there = self.contracts();
            assert_eq!(there.len(), 1, "{there:?}: {all:?}");
            let fits = there.is_subset(&self.agreed);
            assert!(fits, "what nobody approved ran: {all:?}");
            let known = self.state.is_none_or(|state| state == LifeState::Active);
            assert!(known, "it ran while it was {:?}: {all:?}", self.state);
        }
    }
}

fn run(all: &[Happens]) {
    let threads =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    threads.unwrap().block_on(async {
        let mut world = World::new().await;
        for (index, what) in all.iter().enumerate() {
            world.happens(what).await;
            world.check(&all[..=index]).await;
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn no_life_with_crashes_and_a_failing_store_runs_what_nobody_approved(
        all in prop::collection::vec(happens(), 1..16),
    ) {
        run(&all);
    }
}

#[test]
fn the_life_above_does_run_what_was_approved() {
    // Without this, refusing everything would pass.
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut world = World::new().await;
        let decide = |next| Happens::Decide { next, looked_at: 1, cut: None };
        world.happens(&Happens::Propose { variant: 1, cut: None }).await;
        world.happens(&decide(LifeState::Active)).await;
        assert_eq!(world.state, Some(LifeState::Active));
        world.crash().await;
        world.agent.call("clock.tell", json!({})).await.unwrap();
        // A store that fails at the event takes the record back as well.
        world.happens(&Happens::Store(1)).await;
        world.happens(&decide(LifeState::Frozen)).await;
        world.happens(&Happens::Store(2)).await;
        world.agent.call("clock.tell", json!({})).await.unwrap();
        world.happens(&Happens::Edit(2)).await;
        let refused = world.agent.call("clock.tell", json!({})).await.unwrap_err();
        assert!(refused.to_string().contains("not what was approved"), "{refused}");
        world.happens(&Happens::Edit(1)).await;
        world.agent.call("clock.tell", json!({})).await.unwrap();
    });
}

/// What a session can ask for, to the digest.
fn can(agent: &Agent) -> BTreeSet<(String, Digest)> {
    agent.graph().iter().map(|one| (one.id.to_string(), one.digest())).collect()
}

#[tokio::test]
async fn a_session_that_is_refreshed_can_what_one_that_begins_elsewhere_can() {
    let mut world = World::new().await;
    let decide = |next| Happens::Decide { next, looked_at: 1, cut: None };
    let folder = world.dir.path().join("workspace/.lictor");
    let other = world.file().with_file_name("clock.tell@1.0.0.yaml");
    let flows = folder.join("workflows");
    let mut kept = world.agent.clone();
    let builtins = can(&kept).len();
    let mut step = async |world: &World, there: bool, what: &str| {
        let now = kept.refreshed();
        // Whoever opens the workspace anew remembers nothing of it.
        let anew = open(world.dir.path()).await.agent(&session("bob"));
        assert_eq!(can(&now), can(&anew), "{what}");
        assert_eq!(can(&now).len(), builtins + usize::from(there), "{what}");
        let again = now.refreshed();
        assert!(std::ptr::eq(again.graph(), now.graph()), "nothing has changed: {what}");
        kept = again;
    };
    step(&world, false, "nothing").await;
    world.happens(&Happens::Propose { variant: 1, cut: None }).await;
    step(&world, false, "proposed").await;
    world.happens(&decide(LifeState::Active)).await;
    step(&world, true, "let in").await;
    world.happens(&Happens::Edit(2)).await;
    step(&world, false, "edited").await;
    world.happens(&Happens::Edit(1)).await;
    step(&world, true, "edited back").await;
    world.happens(&Happens::Edit(3)).await;
    step(&world, false, "no contract any more").await;
    world.happens(&Happens::Edit(4)).await;
    step(&world, false, "gone").await;
    world.happens(&Happens::Edit(1)).await;
    step(&world, true, "there again").await;
    std::fs::write(&other, text(1)).unwrap();
    step(&world, false, "a second file of the same version").await;
    std::fs::remove_file(&other).unwrap();
    step(&world, true, "only one again").await;
    std::fs::create_dir(&flows).unwrap();
    std::fs::write(flows.join("x.workflow.yaml"), "no workflow").unwrap();
    step(&world, true, "a problem beside it").await;
    world.happens(&decide(LifeState::Frozen)).await;
    step(&world, false, "frozen").await;
    world.sql("CREATE TABLE kept AS SELECT record FROM catalogue");
    world.happens(&Happens::Hand(r#"record = replace(record, '"frozen"', '"active"')"#)).await;
    step(&world, false, "made active by hand").await;
    world.happens(&Happens::Hand("record = (SELECT record FROM kept)")).await;
    world.happens(&decide(LifeState::Active)).await;
    step(&world, true, "let in again").await;
    world.happens(&Happens::Hand("seal = 'sha256:00'")).await;
    step(&world, false, "another seal").await;
    let refused = kept.call("clock.tell", json!({})).await.unwrap_err();
    assert!(refused.to_string().contains("clock.tell"), "{refused}");
}

#[tokio::test]
async fn a_session_that_follows_the_catalogue_asks_for_what_is_let_in_now() {
    let mut world = World::new().await;
    let decide = |next, looked_at| Happens::Decide { next, looked_at, cut: None };
    world.happens(&Happens::Propose { variant: 1, cut: None }).await;
    world.happens(&decide(LifeState::Active, 1)).await;
    let kept = world.runtime.agent(&session("bob"));
    let follows = kept.clone().following();
    let risk = |done: lictor::Done| done.record.decision.risk_effective;
    assert_eq!(risk(follows.call("clock.tell", json!({})).await.unwrap()), Risk::Medium);
    // Another document takes the place of what both have seen.
    world.happens(&Happens::Edit(2)).await;
    let refused = follows.call("clock.tell", json!({})).await.unwrap_err();
    assert!(refused.to_string().contains("not what was approved"), "{refused}");
    world.happens(&Happens::Propose { variant: 2, cut: None }).await;
    world.happens(&decide(LifeState::Active, 2)).await;
    kept.call("clock.tell", json!({})).await.unwrap_err();
    assert_eq!(risk(follows.call("clock.tell", json!({})).await.unwrap()), Risk::High);
    world.happens(&decide(LifeState::Frozen, 2)).await;
    let before = rejected(&world);
    let refused = follows.call("clock.tell", json!({})).await.unwrap_err();
    assert!(refused.to_string().contains("frozen"), "{refused}");
    assert_eq!(rejected(&world), before + 1, "it is said once that it was refused");
    std::fs::remove_file(world.file()).unwrap();
    follows.call("clock.tell", json!({})).await.unwrap_err();
}

fn rejected(world: &World) -> u64 {
    let types = vec![EventType::ActionRejected];
    let filter = lictor::audit::Filter { types, ..lictor::audit::Filter::default() };
    world.runtime.audit().count(&session("bob").principal().org, &filter).unwrap()
}

#[tokio::test]
async fn a_record_that_was_proven_is_proven_again_when_it_is_another_one() {
    let mut world = World::new().await;
    world.happens(&Happens::Propose { variant: 1, cut: None }).await;
    world.happens(&Happens::Decide { next: LifeState::Active, looked_at: 1, cut: None }).await;
    // The graph stays what it was here: only what is used is looked at again.
    let agent = world.runtime.agent(&session("bob"));
    for _ in 0..2 {
        agent.call("clock.tell", json!({})).await.unwrap();
    }
    let seal: String = {
        let path = world.dir.path().join("workspace/.lictor/lictor.db");
        let db = rusqlite::Connection::open(path).unwrap();
        db.query_row("SELECT seal FROM catalogue", [], |row| row.get(0)).unwrap()
    };
    for (set, holds) in [
        ("seal = 'sha256:00'".to_owned(), false),
        (format!("seal = '{seal}'"), true),
        (r#"record = replace(record, '"active"', '"frozen"')"#.to_owned(), false),
        (r#"record = replace(record, '"frozen"', '"active"')"#.to_owned(), true),
    ] {
        world.sql(&format!("UPDATE catalogue SET {set}"));
        assert_eq!(agent.call("clock.tell", json!({})).await.is_ok(), holds, "{set}");
    }
    world.happens(&Happens::Decide { next: LifeState::Frozen, looked_at: 1, cut: None }).await;
    assert!(agent.call("clock.tell", json!({})).await.is_err());
}
