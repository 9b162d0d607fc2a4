//! Sessions in the trail: whatever is asked for in one, and by whom, it begins once, ends once when
//! whoever serves it says so, and everything that it did stands in between.

use std::collections::BTreeMap;

use lictor::audit::{Filter, Verdict};
use lictor::context::{EventType, Session};
use lictor::document::Source;
use lictor::workflow::Workflow;
use lictor::{Agent, OnConflict, Runtime, RuntimeOptions};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::rig::{self, name};

const POLICY: &str = "version: 1\ndefault: deny\n\
    paths: { forbidden: [\"no/**\"], protected: [\"asked/**\"], allowed: [\"**\"] }\n\
    risk: { low: allow, medium: allow, high: need_approval }\n";

const FLOW: &str = "id: flow\nversion: 1.0.0\ntitle: F\nsteps:\n  \
    - { id: one, use: fs.write, with: { path: flow.txt, content: x } }\n  \
    - { id: two, use: time.now, needs: [one] }\n";

struct World {
    _folder: TempDir,
    runtime: Runtime,
}

fn session() -> Session {
    rig::session_of("ann", "bot")
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("work");
        let runtime = rig::open((&root, &folder.path().join("keys")), POLICY, |_| {}).await;
        let world = Self { _folder: folder, runtime };
        // The first change of a workspace looks for what is to be purged.
        world
            .agent()
            .call("fs.write", json!({ "path": "there.txt", "content": "x" }))
            .await
            .unwrap();
        world
    }

    fn agent(&self) -> Agent {
        self.runtime.agent(&session())
    }

    fn commits(&self) -> u64 {
        self.runtime.store().stats().commits
    }

    /// The types of a session's events, in order.
    fn told(&self, session: &Session) -> Vec<EventType> {
        let filter = Filter { session: Some(session.id().clone()), ..Filter::default() };
        let found = self.runtime.audit().query(&name("acme"), &filter).unwrap();
        let kind = |bytes: &[u8]| {
            let event: Value = serde_json::from_slice(bytes).unwrap();
            event["event_type"].as_str().unwrap().parse().unwrap()
        };
        found.iter().map(|event| kind(&event.bytes)).collect()
    }
}

/// Once, first, and once, last.
#[track_caller]
fn assert_whole(told: &[EventType], about: &str) {
    let of = |kind| told.iter().filter(|one| **one == kind).count();
    assert_eq!(told.first(), Some(&EventType::SessionStarted), "{about}: {told:?}");
    assert_eq!(told.last(), Some(&EventType::SessionEnded), "{about}: {told:?}");
    let both = (of(EventType::SessionStarted), of(EventType::SessionEnded));
    assert_eq!(both, (1, 1), "{about}: {told:?}");
}

/// What is asked for, and the last event before the session's end.
fn wishes() -> Vec<(&'static str, Value, EventType)> {
    let write = |path: &str| json!({ "path": path, "content": "x" });
    vec![
        ("fs.write", write("a.txt"), EventType::ActionCompleted),
        ("fs.write", write("there.txt"), EventType::ActionCompleted),
        ("fs.read", json!({ "path": "there.txt" }), EventType::ActionCompleted),
        ("fs.write", write("no/x"), EventType::ActionRejected),
        ("fs.write", write("asked/x"), EventType::ApprovalRequested),
        ("fs.write", json!({ "path": 7 }), EventType::ActionRejected),
        ("fs.wrote", json!({}), EventType::ActionRejected),
        ("fs.read", json!({ "path": "missing" }), EventType::ActionFailed),
    ]
}

#[tokio::test]
async fn an_end_that_is_known_beforehand_takes_no_commit_of_its_own() {
    for (capability, input, last) in wishes() {
        let about = format!("{capability} {input}");
        let (plain, ending) = (World::new().await, World::new().await);
        let before = plain.commits();
        drop(plain.agent().call(capability, input.clone()).await);
        let cost = plain.commits() - before;

        let agent = ending.agent().ending();
        let before = ending.commits();
        drop(agent.call(capability, input).await);
        agent.end().await.unwrap();
        assert_eq!(ending.commits() - before, cost, "{about}");
        let told = ending.told(agent.session());
        assert_whole(&told, &about);
        assert_eq!(told[told.len() - 2], last, "{about}: {told:?}");
    }
}

#[tokio::test]
async fn an_answer_from_the_record_ends_a_session_as_well() {
    let world = World::new().await;
    let first = world.agent();
    let key = lictor::context::Digest::of(b"an intent");
    let action = |agent: &Agent| {
        let write = lictor::capability::CapabilityId::parse("fs.write").unwrap();
        let action = agent.action(write, json!({ "path": "k.txt", "content": "x" }));
        action.with_idempotency_key(key)
    };
    first.act(action(&first), None).await.unwrap();
    let agent = world.agent().ending();
    assert!(agent.act(action(&agent), None).await.unwrap().duplicate);
    let told = world.told(agent.session());
    assert_whole(&told, "a duplicate");
    assert_eq!(told[1], EventType::ExecutionDuplicate);
}

#[tokio::test]
async fn an_undo_of_several_ends_its_session_with_the_last_of_them() {
    let world = World::new().await;
    let writer = world.agent();
    let mut done = Vec::new();
    for path in ["1.txt", "2.txt", "3.txt"] {
        let write = writer.call("fs.write", json!({ "path": path, "content": "x" })).await.unwrap();
        done.insert(0, write.record.execution_id);
    }
    let agent = world.agent().ending();
    agent.undo(&done, OnConflict::Refuse, None).await.unwrap();
    let told = world.told(agent.session());
    assert_whole(&told, "an undo of three");
    assert_eq!(told.iter().filter(|kind| **kind == EventType::UndoCompleted).count(), 3);
}

#[tokio::test]
async fn whoever_serves_a_session_begins_it_once_and_ends_it_once() {
    let world = World::new().await;
    let session = session();
    let agents = [(); 4].map(|()| world.runtime.agent(&session));
    let acts = agents.iter().enumerate().map(|(n, agent)| {
        agent.call("fs.write", json!({ "path": format!("{n}.txt"), "content": "x" }))
    });
    for done in futures_of(acts).await {
        done.unwrap();
    }
    let ends = agents.iter().map(Agent::end);
    for ended in futures_of(ends).await {
        ended.unwrap();
    }
    world.runtime.end_sessions().await.unwrap();
    assert_whole(&world.told(&session), "four at once");
}

/// All at once.
async fn futures_of<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut answers: Vec<Option<T>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(move |cx| {
        for (future, answer) in all.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let std::task::Poll::Ready(found) = future.as_mut().poll(cx)
            {
                *answer = Some(found);
            }
        }
        match answers.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(answers.drain(..).flatten().collect()),
            false => std::task::Poll::Pending,
        }
    })
    .await
}

#[tokio::test]
async fn of_a_session_that_did_nothing_the_trail_says_nothing() {
    let world = World::new().await;
    let agent = world.agent();
    let before = world.commits();
    agent.end().await.unwrap();
    assert_eq!((world.told(agent.session()).len(), world.commits()), (0, before));
}

#[tokio::test]
async fn a_process_that_goes_without_a_word_ends_no_session() {
    let world = World::new().await;
    let agent = world.agent();
    agent.call("fs.read", json!({ "path": "there.txt" })).await.unwrap();
    let (session, root) = (agent.session().clone(), world._folder.path().join("work"));
    drop((agent, world.runtime));
    let runtime = Runtime::open(RuntimeOptions::new(&root, world._folder.path().join("keys")));
    let world = World { _folder: world._folder, runtime: runtime.await.unwrap() };
    world.runtime.end_sessions().await.unwrap();
    let told = world.told(&session);
    assert!(!told.contains(&EventType::SessionEnded), "an end was made up: {told:?}");
}

/// What happens to the sessions of a runtime.
#[derive(Debug, Clone)]
enum Happens {
    Act { session: usize, wish: usize, ending: bool },
    Run { session: usize },
    End { session: usize },
    EndAll,
}

const N_SESSIONS: usize = 3;

fn happens() -> impl Strategy<Value = Happens> {
    let session = || 0..N_SESSIONS;
    prop_oneof![
        6 => (session(), 0..wishes().len(), any::<bool>())
            .prop_map(|(session, wish, ending)| Happens::Act { session, wish, ending }),
        1 => session().prop_map(|session| Happens::Run { session }),
        3 => session().prop_map(|session| Happens::End { session }),
        1 => Just(Happens::EndAll),
    ]
}

async fn beginnings_and_ends_take_turns(all: Vec<Happens>) {
    let world = World::new().await;
    let flow = Workflow::from_yaml(&Source::new("flow.yaml", FLOW.as_bytes())).unwrap();
    let sessions: [Session; N_SESSIONS] = std::array::from_fn(|_| session());
    // Whether something was asked for since the last end, and how many ends are owed.
    let mut owed: BTreeMap<usize, (bool, usize)> = BTreeMap::new();
    for one in all {
        match one {
            Happens::Act { session, wish, ending } => {
                let (capability, input, _) = wishes().remove(wish);
                let agent = world.runtime.agent(&sessions[session]);
                let agent = if ending { agent.ending() } else { agent };
                drop(agent.call(capability, input).await);
                let owed = owed.entry(session).or_default();
                *owed = if ending { (false, owed.1 + 1) } else { (true, owed.1) };
            }
            Happens::Run { session } => {
                let engine = world.runtime.engine(None);
                engine.run(&sessions[session], &flow, json!({})).await.unwrap();
                owed.entry(session).or_default().0 = true;
            }
            Happens::End { session } => {
                world.runtime.agent(&sessions[session]).end().await.unwrap();
                let owed = owed.entry(session).or_default();
                *owed = (false, owed.1 + usize::from(owed.0));
            }
            Happens::EndAll => {
                world.runtime.end_sessions().await.unwrap();
                owed.values_mut().for_each(|owed| *owed = (false, owed.1 + usize::from(owed.0)));
            }
        }
    }
    world.runtime.end_sessions().await.unwrap();
    for (n, session) in sessions.iter().enumerate() {
        let (open, ends) = owed.get(&n).copied().unwrap_or_default();
        let told = world.told(session);
        let mut lives = told.split_inclusive(|kind| *kind == EventType::SessionEnded);
        assert!(
            lives.all(|life| {
                let began = life.iter().filter(|kind| **kind == EventType::SessionStarted).count();
                life[0] == EventType::SessionStarted
                    && began == 1
                    && life[life.len() - 1] == EventType::SessionEnded
            }),
            "{told:?}"
        );
        let ended = told.iter().filter(|kind| **kind == EventType::SessionEnded).count();
        assert_eq!(ended, ends + usize::from(open), "{told:?}");
    }
    let verified = world.runtime.audit().verify_store(&name("acme")).unwrap();
    assert_eq!(verified.verdict, Verdict::Complete);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_every_session_beginnings_and_ends_take_turns(
        all in proptest::collection::vec(happens(), 1..12),
    ) {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio.block_on(beginnings_and_ends_take_turns(all));
    }
}
