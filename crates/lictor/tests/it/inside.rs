//! A run that a step of another one began: what is said of the outer one while both are driven reaches
//! it, and whoever agrees at once agrees to what was shown of both.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use lictor::capability::Effects;
use lictor::context::Session;
use lictor::document::Source;
use lictor::executor::{Granted, Handler, HandlerError, Request};
use lictor::governance::{CatalogueKind, Channel, LifeState};
use lictor::workflow::{Engine, Resume, RunRecord, RunStatus, StepStatus, Workflow};
use lictor::{Consent, LifeStep, OwnSkill, Runtime, RuntimeOptions, Seen};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::rig::{self, name};

const POLICY: &str = "version: 1\ndefault: deny\npaths: { protected: [\"ask/**\"], allowed: [\"**\"] }\n\
                      risk: { low: allow, medium: allow }\n";

/// Waits in its run until it is let through.
struct Gate {
    entered: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

#[async_trait]
impl Handler for Gate {
    fn describe(&self, _: Request<'_>) -> Result<Effects, HandlerError> {
        Ok(Effects::default())
    }

    async fn run(&self, _: Granted<'_>) -> Result<Value, HandlerError> {
        self.entered.add_permits(1);
        self.open.acquire().await.map_err(HandlerError::failed)?.forget();
        Ok(json!({}))
    }
}

const GATE: &str = "id: test.gate\nversion: 1.0.0\ntitle: G\ndescription: Waits.\nkind: skill\nsource: builtin\n\
    input: { type: object }\noutput: { type: object }\nrisk: low\ntimeout: 1h\nhandler: { builtin: test.gate }\n";

fn inner(path: &str) -> String {
    format!(
        "id: inner\nversion: 1.0.0\ntitle: I\ninput: {{ type: object }}\nsteps:\n  \
         - {{ id: gate, use: test.gate }}\n  \
         - {{ id: write, needs: [gate], use: fs.write, with: {{ path: {path}, content: x }} }}\n"
    )
}

const OUTER: &str = "id: outer\nversion: 1.0.0\ntitle: O\ninput: { type: object }\nsteps:\n  \
    - { id: before, use: fs.write, with: { path: before.txt, content: b } }\n  \
    - { id: inner, needs: [before], use: flow.inner }\n  \
    - { id: after, needs: [inner], use: fs.write, with: { path: after.txt, content: a } }\n";

const CONTRACT: &str = "id: flow.inner\nversion: 1.0.0\ntitle: F\ndescription: D\nkind: workflow\nsource: local\n\
    input: { type: object }\noutput: {}\nrisk: low\ntimeout: 1h\nhandler: { workflow: inner }\n";

struct House {
    runtime: Runtime,
    token: String,
    entered: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

fn session() -> Session {
    rig::session_of("bob", "cli")
}

fn outer() -> Workflow {
    Workflow::from_yaml(&Source::new("outer.workflow.yaml", OUTER.as_bytes())).unwrap()
}

impl House {
    /// A workspace in which the inner workflow, which writes a path, was let in.
    async fn new(root: &Path, path: &str) -> Self {
        std::fs::create_dir_all(root.join(".lictor/workflows")).unwrap();
        std::fs::write(root.join(".lictor/policy.yaml"), POLICY).unwrap();
        std::fs::write(root.join(".lictor/workflows/inner.workflow.yaml"), inner(path)).unwrap();
        let (entered, open) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let gate = Gate { entered: Arc::clone(&entered), open: Arc::clone(&open) };
        let mut options = RuntimeOptions::new(root, root.join("keys"));
        let source = Source::new("test.gate.yaml", GATE.as_bytes());
        options.own_skills = vec![OwnSkill::new(&source, gate).unwrap()];
        let runtime = Runtime::open(options).await.unwrap();
        let (_, token) = runtime.approvers().bootstrap(name("ann"), Vec::new()).unwrap();
        let house = Self { runtime, token: token.expose().to_owned(), entered, open };
        house.let_in(CONTRACT).await;
        house
    }

    /// The contract over the inner workflow, let in as it is.
    async fn let_in(&self, contract: &str) {
        let Self { runtime, token, .. } = self;
        let source = Source::new("flow.inner.yaml", contract.as_bytes());
        let kind = CatalogueKind::Capability;
        let proposed = runtime.propose(&session(), kind, &source, "wanted").await.unwrap();
        if proposed.entry.state == LifeState::Active {
            return;
        }
        let by = runtime.approvers().authenticate(token).unwrap();
        let step = LifeStep {
            key: &proposed.entry.document.key(),
            next: LifeState::Active,
            seen: None,
            by: &by,
            channel: Channel::Token,
            why: "looked at",
        };
        runtime.step_life(&session(), step).await.unwrap();
    }

    /// The run that the outer one began.
    async fn inner(&self) -> RunRecord {
        let all = self.runtime.run_store().list(10).await.unwrap();
        let mut inner = all.into_iter().filter(|run| run.parent.is_some());
        let run = inner.next().unwrap();
        assert!(inner.next().is_none(), "once");
        run
    }
}

/// Begins the outer run, and comes back once it is in the gate of the inner one.
async fn in_the_gate(
    house: &House,
    engine: &Arc<Engine>,
) -> (tokio::task::JoinHandle<RunRecord>, lictor::context::RunId) {
    let run_id = engine.submit(&session(), &outer(), json!({})).await.unwrap().run_id;
    let (of, driver) = (run_id.clone(), Arc::clone(engine));
    let driving = tokio::spawn(async move { driver.drive(&of).await.unwrap() });
    house.entered.acquire().await.unwrap().forget();
    (driving, run_id)
}

// On one thread, so that whoever has something to do has had a turn once this has let them.
#[tokio::test]
async fn a_pause_of_the_outer_run_reaches_the_inner_one() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(dir.path(), "inner.txt").await;
    let engine = Arc::new(house.runtime.engine(None));
    let (driving, run_id) = in_the_gate(&house, &engine).await;
    assert_eq!(engine.pause(&run_id).await.unwrap().status(), RunStatus::Running, "on its way");
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    // What is under way comes to its end, and nothing behind it begins.
    house.open.add_permits(1);
    let paused = driving.await.unwrap();
    assert_eq!(paused.status(), RunStatus::Paused);
    let inner = house.inner().await;
    let status = |step: &str| inner.step(step).unwrap().status;
    assert_eq!((status("gate"), status("write")), (StepStatus::Completed, StepStatus::Pending));
    assert_eq!(inner.status(), RunStatus::Paused);
    assert!(!dir.path().join("inner.txt").exists());
    assert!(!dir.path().join("after.txt").exists(), "nothing of the outer run goes on");
    let done = engine.resume(&run_id, Resume::Continue).await.unwrap();
    assert_eq!(done.status(), RunStatus::Completed, "{:?}", done.error);
    assert_eq!(house.inner().await.status(), RunStatus::Completed, "the same run went on");
    assert!(dir.path().join("inner.txt").exists() && dir.path().join("after.txt").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_to_wait_can_still_be_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(dir.path(), "inner.txt").await;
    let engine = Arc::new(house.runtime.engine(None));
    let (driving, run_id) = in_the_gate(&house, &engine).await;
    engine.pause(&run_id).await.unwrap();
    engine.cancel(&run_id, true).await.unwrap();
    house.open.add_permits(1);
    assert_eq!(driving.await.unwrap().status(), RunStatus::RolledBack);
    assert_eq!(house.inner().await.status(), RunStatus::RolledBack);
    assert!(!dir.path().join("before.txt").exists() && !dir.path().join("inner.txt").exists());
}

/// Whoever agrees at once to the outer run, having looked at it as it is now.
async fn agreeing(house: &House) -> Consent {
    let approver = house.runtime.approvers().authenticate(&house.token).unwrap();
    let (session, outer, input) = (session(), outer(), json!({}));
    let steps = house.runtime.engine(None).dry_run(&session, &outer, &input).await.unwrap();
    let seen = house.runtime.look_at_run(&session, (&outer, &input), &steps, None).unwrap();
    let calls = seen.plan().steps.iter().find(|step| step.id == "inner").unwrap().calls.as_ref();
    let inside = calls.unwrap().steps.iter().map(|step| step.id.as_str()).collect::<Vec<_>>();
    assert_eq!(inside, ["gate", "write"], "what is inside is looked at as well");
    Consent { approver, channel: Channel::Token, seen: Seen::Run(Box::new(seen)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agreeing_at_once_counts_inside() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(dir.path(), "ask/inner.txt").await;
    house.open.add_permits(10);
    let engine = house.runtime.engine(Some(agreeing(&house).await));
    let run = engine.run(&session(), &outer(), json!({})).await.unwrap();
    assert_eq!(run.status(), RunStatus::Completed, "{:?}", run.error);
    assert!(dir.path().join("ask/inner.txt").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_another_one_inside_is_asked_about() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 3] = [
        ("another document", |root| {
            let written = inner("ask/other.txt");
            std::fs::write(root.join(".lictor/workflows/inner.workflow.yaml"), written).unwrap();
        }),
        ("another contract of what is called", |root| {
            let written = CONTRACT.replace("timeout: 1h", "timeout: 2h");
            std::fs::write(root.join(".lictor/capabilities/flow.inner.yaml"), written).unwrap();
        }),
        ("another policy", |root| {
            let written = format!("{POLICY}limits: {{ max_files: 9 }}\n");
            std::fs::write(root.join(".lictor/policy.yaml"), written).unwrap();
        }),
    ];
    for (what, change) in changes {
        let dir = tempfile::tempdir().unwrap();
        let house = House::new(dir.path(), "ask/inner.txt").await;
        house.open.add_permits(10);
        let consent = agreeing(&house).await;
        change(dir.path());
        let contract = dir.path().join(".lictor/capabilities/flow.inner.yaml");
        house.let_in(&std::fs::read_to_string(contract).unwrap()).await;
        let engine = house.runtime.engine(Some(consent));
        let run = engine.run(&session(), &outer(), json!({})).await.unwrap();
        assert_eq!(run.status(), RunStatus::Paused, "{what}: {:?}", run.error);
        assert!(!dir.path().join("ask").exists(), "{what}");
        engine.cancel(&run.run_id, true).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agreeing_to_a_run_is_no_agreement_to_anything_else() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::new(dir.path(), "ask/inner.txt").await;
    let consent = agreeing(&house).await;
    let agent = house.runtime.agent(&session());
    let write = lictor::capability::CapabilityId::parse("fs.write").unwrap();
    let action = agent.action(write, json!({ "path": "ask/a", "content": "x" }));
    let waits = agent.act(action, Some(&consent)).await.unwrap_err();
    assert_eq!(waits.code(), lictor::ErrorCode::ApprovalRequired, "{waits}");
    // The same step by itself, and not in the run that was looked at.
    let engine = house.runtime.engine(Some(consent));
    let document = inner("ask/inner.txt");
    let alone = Workflow::from_yaml(&Source::new("inner.workflow.yaml", document.as_bytes()));
    house.open.add_permits(1);
    let run = engine.run(&session(), &alone.unwrap(), json!({})).await.unwrap();
    assert_eq!(run.status(), RunStatus::Paused);
    assert!(!dir.path().join("ask").exists());
}
