//! Runs in the database, and who drives them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lictor::capability::{Body, CapabilityId, Change, Effects};
use lictor::context::{
    Clock as _, Digest, ManualClock, RunId, Session, SystemClock, WorkspacePath,
};
use lictor::document::Source;
use lictor::executor::{Granted, Handler, HandlerError, Request};
use lictor::workflow::{Resume, RunStatus, StoreError, Workflow};
use lictor::{OwnSkill, Runtime, RuntimeOptions, SharedState};
use serde_json::{Value, json};

use crate::rig::{self, name};

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
    rig::open((root, &root.join("keys")), POLICY, change).await
}

fn session() -> Session {
    rig::session_of("ann", "cli")
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
    assert_eq!(runtime.audit().count(&name("acme"), &done).unwrap(), 4);
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

const KEEPS: &str = r#"
id: keeps
version: 1.0.0
input: { type: object }
steps:
  - { id: write, use: fs.write, with: { path: a.txt, content: "{{ input.password }}" } }
"#;
const PASSWORD: &str = "canary-hunter2-of-old";

/// Whether a text stands in any file of ours: the database, its log, a journal.
fn holds(root: &Path, text: &str) -> bool {
    let mut folders = vec![root.join(".lictor")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read(&path)
                .unwrap()
                .windows(text.len())
                .any(|it| it == text.as_bytes())
            {
                return true;
            }
        }
    }
    false
}

#[tokio::test]
async fn runs_that_an_older_version_kept_in_clear_are_sealed_at_the_next_opening_and_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let workflow = Workflow::from_yaml(&Source::new("k.yaml", KEEPS.as_bytes())).unwrap();
    let runtime = open(dir.path(), |_| {}).await;
    let input = json!({ "password": PASSWORD });
    let run = runtime.engine(None).submit(&session(), &workflow, input).await.unwrap();
    let old = serde_json::to_string(&run).unwrap();
    let write = runtime.store().write(move |tx| {
        tx.execute("UPDATE run SET record = ?1, sealed = NULL, looked = 0", [old])
    });
    write.wait().unwrap();
    runtime.store().close();
    drop(runtime);
    assert!(holds(dir.path(), PASSWORD));

    let runtime = open(dir.path(), |_| {}).await;
    let kept = runtime.runs().get(&run.run_id).unwrap().unwrap();
    assert_eq!(kept["input"]["password"], json!({ "redacted": true }));
    assert_eq!(runtime.run_store().load(&run.run_id).await.unwrap(), Some(run.clone()));
    let recovered = runtime.engine(None).recover(1).await.unwrap();
    assert_eq!(recovered[0].1.as_ref().unwrap().status(), RunStatus::Completed);
    assert_eq!(std::fs::read_to_string(dir.path().join("a.txt")).unwrap(), PASSWORD);
    runtime.store().close();
    drop(runtime);
    assert!(!holds(dir.path(), PASSWORD));
}

#[tokio::test]
async fn secrets_of_runs_go_when_nothing_of_them_can_be_undone_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let with = |options: &mut RuntimeOptions| options.clock = Arc::<ManualClock>::clone(&clock);
    let workflow = Workflow::from_yaml(&Source::new("k.yaml", KEEPS.as_bytes())).unwrap();
    let runtime = open(dir.path(), with).await;
    let input = json!({ "password": PASSWORD });
    let run = runtime.engine(None).run(&session(), &workflow, input).await.unwrap();
    assert_eq!(run.status(), RunStatus::Completed);
    let agent = runtime.agent(&session());
    agent.purge_undo(false).await.unwrap();
    assert_eq!(runtime.run_store().load(&run.run_id).await.unwrap(), Some(run.clone()));
    clock.advance(Duration::from_secs(31 * 24 * 3600));
    agent.purge_undo(false).await.unwrap();
    let gone = runtime.run_store().load(&run.run_id).await;
    assert!(matches!(gone, Err(StoreError::Gone { .. })), "{gone:?}");
    let back = runtime.engine(None).take_back(&run.run_id).await;
    assert!(back.unwrap_err().to_string().contains("as long as it could be undone"));
}

/// A skill that answers with a token.
#[derive(Debug)]
struct Login;

#[async_trait]
impl Handler for Login {
    fn describe(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let path = WorkspacePath::parse("logged-in").map_err(HandlerError::failed)?;
        let change = Change::Create { path, content: Body::new(b"yes".to_vec()), mode: None };
        Ok(Effects::changing(&[change], request.view)?)
    }

    async fn run(&self, _: Granted<'_>) -> Result<Value, HandlerError> {
        Ok(json!({ "token": PASSWORD }))
    }
}

#[tokio::test]
async fn asked_again_under_the_same_key_the_whole_answer_comes_and_lies_nowhere_in_clear() {
    let dir = tempfile::tempdir().unwrap();
    let contract = r#"
id: site.login
version: 1.0.0
title: Log in
description: Gives a token.
kind: skill
source: builtin
input: { type: object }
output: { type: object }
risk: low
effects: { fs: { write: ["**"] } }
handler: { builtin: site.login }
"#;
    let skill = OwnSkill::new(&Source::new("login.yaml", contract.as_bytes()), Login).unwrap();
    let runtime = open(dir.path(), |options| options.own_skills = vec![skill]).await;
    let agent = runtime.agent(&session());
    let key = Digest::of(b"one intent");
    let ask = || {
        let id = CapabilityId::parse("site.login").unwrap();
        agent.action(id, json!({})).with_idempotency_key(key)
    };
    let first = agent.act(ask(), None).await.unwrap();
    let again = agent.act(ask(), None).await.unwrap();
    assert_eq!(again.record.execution_id, first.record.execution_id);
    assert_eq!(again.record.output, json!({ "token": PASSWORD }));
    runtime.store().close();
    drop((agent, runtime));
    assert!(!holds(dir.path(), PASSWORD));
}
