//! What is done elsewhere under one key, asked for by two at once: two runtimes of one workspace, as two
//! processes have them.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use async_trait::async_trait;
use lictor::capability::{Contract, Effects, UndoScope};
use lictor::context::{EventType, ExecutionId, Session};
use lictor::document::Source;
use lictor::executor::{Granted, Handler, HandlerError, Request};
use lictor::governance::{CatalogueKind, Channel, Document, LifeState};
use lictor::{ActError, LifeStep, OnConflict, OwnSkill, Runtime, RuntimeOptions, UndoDone};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::rig::{self, name};

const POLICY: &str = "version: 1\ndefault: deny\npaths: { allowed: [\"**\"] }\nrisk: { low: allow, medium: allow }\n\
    rules:\n  - { name: net, when: { effect: net }, verdict: allow }\n";

/// A skill that does something at a desk elsewhere.
fn contract(id: &str, undo: &str) -> String {
    format!(
        "id: {id}\nversion: 1.0.0\ntitle: T\ndescription: D\nkind: skill\nsource: builtin\n\
         input: {{ type: object }}\noutput: {{}}\nrisk: low\neffects: {{ net: [\"desk.example:443\"] }}\n\
         {undo}handler: {{ builtin: {id} }}\n"
    )
}

/// What happens once a call has been described, and before it is judged.
type Before = Arc<Mutex<Vec<Box<dyn FnOnce() + Send>>>>;

/// Counts what was done.
#[derive(Clone, Default)]
struct Desk {
    n_done: Arc<AtomicUsize>,
    before: Before,
}

#[async_trait]
impl Handler for Desk {
    fn describe(&self, _: Request<'_>) -> Result<Effects, HandlerError> {
        let happens = self.before.lock().unwrap().pop();
        if let Some(happens) = happens {
            happens();
        }
        let hosts = vec!["desk.example:443".to_owned()];
        Ok(Effects { hosts, undo: UndoScope::None, ..Effects::default() })
    }

    async fn run(&self, _: Granted<'_>) -> Result<Value, HandlerError> {
        self.n_done.fetch_add(1, Ordering::SeqCst);
        Ok(json!({}))
    }
}

const WORKFLOW: &str = "id: closing\nversion: 1.0.0\ntitle: C\ninput: { type: object }\nsteps:\n  \
    - { id: close, use: desk.close }\n";

const CLOSING: &str = "id: desk.closing\nversion: 1.0.0\ntitle: F\ndescription: D\nkind: workflow\nsource: local\n\
    input: { type: object }\noutput: {}\nrisk: low\nhandler: { workflow: closing }\n";

/// Lets in the workflow that closes.
async fn let_in(dir: &Path, runtime: &Runtime) {
    let folder = dir.join("ws/.lictor/workflows");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("closing.workflow.yaml"), WORKFLOW).unwrap();
    let (_, token) = runtime.approvers().bootstrap(name("ann"), Vec::new()).unwrap();
    let by = runtime.approvers().authenticate(token.expose()).unwrap();
    let source = Source::new("closing.yaml", CLOSING.as_bytes());
    let kind = CatalogueKind::Capability;
    runtime.propose(&session("bob"), kind, &source, "").await.unwrap();
    let key = Document::key_of_contract(&Contract::from_yaml(&source).unwrap());
    let (next, channel) = (LifeState::Active, Channel::Token);
    let step = LifeStep { key: &key, next, seen: None, by: &by, channel, why: "" };
    runtime.step_life(&session("ann"), step).await.unwrap();
}

/// A runtime of its own on the workspace, whose `desk.close` is this one, and made up for by which
/// `desk.open` is.
async fn open(dir: &Path, close: &Desk, by: &str) -> Runtime {
    let back =
        format!("undo: {{ strategy: compensate, compensate: {{ use: {by}, with: {{}} }} }}\n");
    let skill = |id: &str, undo: &str, desk: &Desk| {
        let text = contract(id, undo);
        OwnSkill::new(&Source::new("desk.yaml", text.as_bytes()), desk.clone()).unwrap()
    };
    let skills = vec![
        skill("desk.open", &back, &Desk::default()),
        skill("desk.close", "undo: { strategy: none }\n", close),
    ];
    let change = |options: &mut RuntimeOptions| options.own_skills = skills;
    rig::open((&dir.join("ws"), &dir.join("keys")), POLICY, change).await
}

fn session(user: &str) -> Session {
    rig::session_of(user, "cli")
}

async fn opened(runtime: &Runtime) -> ExecutionId {
    let done = runtime.agent(&session("ann")).call("desk.open", json!({})).await.unwrap();
    done.record.execution_id
}

/// Undoes it on a task of its own, which blocks nobody else.
fn undoing(
    runtime: &Runtime,
    user: &str,
    id: &ExecutionId,
) -> tokio::task::JoinHandle<Result<UndoDone, ActError>> {
    let (agent, id) = (runtime.agent(&session(user)), id.clone());
    tokio::spawn(async move { agent.undo(&[id], OnConflict::Refuse, None).await })
}

fn n_events(runtime: &Runtime, kind: EventType) -> u64 {
    let filter = lictor::audit::Filter { types: vec![kind], ..lictor::audit::Filter::default() };
    runtime.audit().count(&name("acme"), &filter).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_somebody_made_up_for_meanwhile_is_not_made_up_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let slow = Desk::default();
    let quick = Desk { before: Before::default(), ..slow.clone() };
    let (here, there) =
        (open(dir.path(), &slow, "desk.close").await, open(dir.path(), &quick, "desk.close").await);
    let id = opened(&here).await;
    let (at_it, is_at_it) = oneshot::channel();
    let (go, told) = std::sync::mpsc::channel::<()>();
    slow.before.lock().unwrap().push(Box::new(move || {
        at_it.send(()).unwrap();
        told.recv().unwrap();
    }));
    let late = undoing(&here, "bob", &id);
    is_at_it.await.unwrap();
    let done = undoing(&there, "ann", &id).await.unwrap().unwrap();
    go.send(()).unwrap();
    let late = late.await.unwrap().unwrap();
    assert_eq!(slow.n_done.load(Ordering::SeqCst), 1, "one execution, one compensation");
    assert_eq!(late.executions, done.executions, "it is answered from the record");
    // Nothing of the one that came late is missing in the trail, and it has begun nothing.
    assert_eq!(n_events(&here, EventType::DecisionMade), 3);
    assert_eq!(n_events(&here, EventType::ActionStarted), 2);
    assert_eq!(n_events(&here, EventType::ExecutionDuplicate), 1);
    let log = here.executions().list(&lictor::state::ExecutionFilter::default()).unwrap();
    assert_eq!(log.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_who_undo_the_same_at_once_make_up_for_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let one = Desk::default();
    let two = Desk { before: Before::default(), ..one.clone() };
    let (here, there) =
        (open(dir.path(), &one, "desk.close").await, open(dir.path(), &two, "desk.close").await);
    for round in 1..=20 {
        let id = opened(&here).await;
        let meet = Arc::new(Barrier::new(2));
        for desk in [&one, &two] {
            let meet = Arc::clone(&meet);
            desk.before.lock().unwrap().push(Box::new(move || _ = meet.wait()));
        }
        let both = (undoing(&here, "ann", &id), undoing(&there, "bob", &id));
        let both = [both.0.await.unwrap(), both.1.await.unwrap()];
        assert_eq!(one.n_done.load(Ordering::SeqCst), round, "one execution, one compensation");
        // Who comes second finds it done, or being done.
        assert!(both.iter().any(Result::is_ok), "{both:?}");
        for error in both.iter().filter_map(|one| one.as_ref().err()) {
            assert!(error.to_string().contains("the same was begun by"), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_who_undo_the_same_at_once_begin_one_run_that_makes_up_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::default();
    let here = open(dir.path(), &desk, "desk.closing").await;
    let_in(dir.path(), &here).await;
    let there = open(dir.path(), &desk, "desk.closing").await;
    for round in 1..=20 {
        let id = opened(&here).await;
        let both = (undoing(&here, "ann", &id), undoing(&there, "bob", &id));
        let both = [both.0.await.unwrap(), both.1.await.unwrap()];
        assert_eq!(desk.n_done.load(Ordering::SeqCst), round, "one execution, one compensation");
        // Who comes second waits for the same run, or finds it done.
        assert!(both.iter().any(Result::is_ok), "{both:?}");
        for error in both.iter().filter_map(|one| one.as_ref().err()) {
            assert!(error.to_string().contains("made up for already"), "{error}");
        }
    }
}
