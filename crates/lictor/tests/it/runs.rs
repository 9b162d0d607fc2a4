//! Runs in the database, and who drives them.

use std::path::Path;

use lictor::context::{Clock as _, ManualClock, Name, Principal, RunId, Session, SystemClock};
use lictor::document::Source;
use lictor::workflow::{Resume, RunStatus, Workflow};
use lictor::{Runtime, RuntimeOptions, SharedState};
use serde_json::json;

const POLICY: &str = "version: 1\ndefault: deny\npaths: { allowed: [\"**\"] }\n\
                      risk: { low: allow, medium: allow }\n";
const FLOW: &str = r#"
id: flow
version: 1.0.0
steps:
  - { id: now, use: time.now }
  - { id: write, use: fs.write, needs: [now], with: { path: a.txt, content: "{{ steps.now.output.time }}" } }
  - { id: hash, use: fs.hash, needs: [write], with: { path: a.txt } }
"#;

async fn open(root: &Path, change: impl FnOnce(&mut RuntimeOptions)) -> Runtime {
    std::fs::create_dir_all(root.join(".lictor")).unwrap();
    std::fs::write(root.join(".lictor/policy.yaml"), POLICY).unwrap();
    let mut options = RuntimeOptions::new(root, root.join("keys"));
    change(&mut options);
    Runtime::open(options).await.unwrap()
}

fn session() -> Session {
    let name = |text| Name::parse(text).unwrap();
    let principal = Principal { org: name("acme"), user: name("ann"), agent: name("cli") };
    Session::new(principal, &SystemClock)
}

fn flow() -> Workflow {
    Workflow::from_yaml(&Source::new("flow.workflow.yaml", FLOW.as_bytes())).unwrap()
}

#[tokio::test]
async fn the_database_does_what_every_store_of_runs_has_to() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path(), |_| {}).await;
    let pattern = runtime.engine(None).submit(&session(), &flow(), json!({})).await.unwrap();
    let clock = ManualClock::new(SystemClock.now());
    let another = || {
        let mut run = pattern.clone();
        (run.run_id, run.created_at) = (RunId::generate(&clock), clock.now());
        run
    };
    lictor_testkit::run_store(runtime.run_store(), &clock, another).await.unwrap();
}

#[tokio::test]
async fn steps_that_only_look_cost_no_commit_and_are_in_the_trail_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path(), |_| {}).await;
    let engine = runtime.engine(None);
    // The first decision of a process keeps the policy that it was made by.
    let agent = runtime.agent(&session());
    let _done = agent.call("time.now", json!({})).await.unwrap();
    let before = runtime.store().stats().commits;
    let run = engine.run(&session(), &flow(), json!({})).await.unwrap();
    assert_eq!(run.status(), RunStatus::Completed, "{:?}", run.error);
    // Before the write, the write itself, and the end.
    assert_eq!(runtime.store().stats().commits - before, 3);
    let done = lictor::audit::Filter {
        types: vec![lictor::context::EventType::ActionCompleted],
        ..lictor::audit::Filter::default()
    };
    assert_eq!(runtime.audit().count(&Name::parse("acme").unwrap(), &done).unwrap(), 4);
}

#[tokio::test]
async fn workspaces_that_share_a_database_do_not_take_up_each_others_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = RuntimeOptions::new(dir.path(), dir.path().join("keys"));
    options.state_dir = Some(dir.path().to_owned());
    let shared = SharedState::open(&options).unwrap();
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    let share = |of: &mut RuntimeOptions| {
        (of.shared, of.keys) = (Some(shared.clone()), options.keys.clone());
    };
    let one = open(&one, share).await;
    let other = open(&other, share).await;
    let run = one.engine(None).submit(&session(), &flow(), json!({})).await.unwrap();
    assert!(other.engine(None).recover(1).await.unwrap().is_empty());
    assert!(other.engine(None).resume(&run.run_id, Resume::Continue).await.is_err());
    assert_eq!(one.engine(None).recover(1).await.unwrap().len(), 1);
    assert!(dir.path().join("one/a.txt").exists() && !dir.path().join("other/a.txt").exists());
}
