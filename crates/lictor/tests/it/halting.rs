//! The kill switch, as processes that are open already see it (`halt_stops_everything_new`).

use std::path::Path;

use lictor::context::Session;
use lictor::document::Source;
use lictor::governance::{ApprovalState, Channel, HaltScope};
use lictor::workflow::{Resume, RunStatus, Workflow};
use lictor::{ActErrorKind, ErrorCode, Runtime};
use serde_json::json;

use crate::rig::{self, name};

const POLICY: &str =
    "version: 1\ndefault: deny\npaths: { protected: [\"ask/**\"], allowed: [\"**\"] }\n";

const FLOW: &str = r#"
id: flow
version: 1.0.0
steps:
  - { id: free, use: fs.write, with: { path: run/a, content: x } }
  - { id: review, needs: [free], approval: { message: "Go on?" } }
  - { id: last, needs: [review], use: fs.write, with: { path: run/b, content: x } }
"#;

fn session(agent: &str) -> Session {
    rig::session_of("bob", agent)
}

/// A runtime as another process opens it: with its own connections to the database.
async fn open(dir: &Path) -> Runtime {
    let (workspace, keys) = (dir.join("workspace"), dir.join("keys"));
    rig::open((&workspace, &keys), POLICY, |_| {}).await
}

async fn write(runtime: &Runtime, agent: &str, path: &str) -> Result<(), ErrorCode> {
    let input = json!({ "path": path, "content": "x" });
    let done = runtime.agent(&session(agent)).call("fs.write", input).await;
    done.map(drop).map_err(|error| error.code())
}

#[tokio::test]
async fn what_one_process_halts_every_process_that_is_open_refuses_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(dir.path()).await, open(dir.path()).await);
    let (_, token) = one.approvers().bootstrap(name("ann"), Vec::new()).unwrap();
    let ann = one.approvers().authenticate(token.expose()).unwrap();
    // The other has worked, knows who asks, and has something that people agreed to already.
    let agent = other.agent(&session("bot"));
    let call = |path: &str| agent.call("fs.write", json!({ "path": path, "content": "x" }));
    let _done = call("a").await.unwrap();
    let error = call("ask/a").await.unwrap_err();
    let ActErrorKind::ApprovalRequired(asked) = error.kind() else { unreachable!("{error}") };
    let granted = one.approvals().grant(asked.id(), &ann, Channel::Token).unwrap();
    assert_eq!(granted.state(), ApprovalState::Granted);
    let flow = Workflow::from_yaml(&Source::new("flow.workflow.yaml", FLOW.as_bytes())).unwrap();
    let paused = other.engine(None).run(agent.session(), &flow, json!({})).await.unwrap();
    assert_eq!(paused.status(), RunStatus::Paused);

    let (halt, withdrawn) =
        one.halt(HaltScope::default(), "looks wrong", &session("eve")).await.unwrap();
    assert_eq!(withdrawn.len(), 2);
    for path in ["b", "ask/a"] {
        let error = call(path).await.unwrap_err();
        assert!(matches!(error.kind(), ActErrorKind::Halted(_)), "{path}: {error}");
    }
    let looks = agent.call("fs.list", json!({})).await.unwrap_err();
    assert_eq!(looks.code(), ErrorCode::Denied, "{looks}");
    let run = other.engine(None).resume(&paused.run_id, Resume::Continue).await.unwrap();
    assert_ne!(run.status(), RunStatus::Completed);
    let there = |path: &str| dir.path().join("workspace").join(path).exists();
    assert!(!there("b") && !there("ask/a") && !there("run/b"));

    one.resume(&halt.id, &ann, Channel::Token, "it was fine", &session("eve")).await.unwrap();
    let _done = call("b").await.unwrap();
    // What was withdrawn stays so: people are asked anew.
    assert_eq!(call("ask/a").await.unwrap_err().code(), ErrorCode::ApprovalRequired);
}

#[tokio::test]
async fn a_halt_of_one_agent_stops_it_in_every_process_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(dir.path()).await, open(dir.path()).await);
    let scope = HaltScope { agent: Some(name("bot")), ..HaltScope::default() };
    one.halt(scope, "it loops", &session("eve")).await.unwrap();
    for runtime in [&one, &other] {
        assert_eq!(write(runtime, "bot", "a").await, Err(ErrorCode::Denied));
        assert_eq!(write(runtime, "BOT", "a").await, Err(ErrorCode::Denied));
        write(runtime, "planner", "b").await.unwrap();
    }
}
