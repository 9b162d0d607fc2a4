//! What is imported is proposed, and a proposal is callable by no door of the library: not by a call, a
//! preview, a workflow, a tool's name or a graph that was built before.

use lictor::capability::import::from_openapi;
use lictor::capability::{Action, CapabilityId, ToolFormat};
use lictor::context::Session;
use lictor::document::Source;
use lictor::governance::{CatalogueKey, CatalogueKind, Channel, LifeState};
use lictor::workflow::Workflow;
use lictor::{Agent, LifeStep, Runtime};
use serde_json::{Value, json};

use crate::rig::{self, name};

const POLICY: &str = "version: 1\ndefault: deny\npaths: { allowed: [\"**\"] }\n\
    rules:\n  - { name: net, when: { effect: net }, verdict: allow }\n\
    risk: { low: allow, medium: allow, high: allow, critical: allow }\n";

/// Six operations of a server that nobody runs: whatever got through would fail, and not be denied.
fn document() -> Value {
    let operation = |id: &str| json!({ "operationId": id, "responses": {} });
    json!({
        "openapi": "3.0.0", "info": { "title": "T", "version": "1" },
        "paths": {
            "/pets": { "get": operation("listPets"), "post": operation("addPet") },
            "/pets/all": { "get": operation("allPets"), "delete": operation("dropPets") },
            "/owners": { "get": operation("listOwners"), "put": operation("setOwners") },
        },
    })
}

fn session() -> Session {
    rig::session_of("bob", "bot")
}

fn action(agent: &Agent, id: &str) -> Action {
    agent.action(CapabilityId::parse(id).unwrap(), json!({}))
}

/// Every door of the library, and what it says to this id.
async fn doors(runtime: &Runtime, agent: &Agent, id: &str) -> Vec<Result<(), String>> {
    let id_of = CapabilityId::parse(id).unwrap();
    let text = format!(
        "id: w\nversion: 1.0.0\ntitle: W\ninput: {{ type: object }}\nsteps:\n  - {{ id: a, use: {id}, with: {{}} }}\n"
    );
    let workflow = Workflow::from_yaml(&Source::new("w.yaml", text.as_bytes())).unwrap();
    let mut said = vec![
        agent.call(id, json!({})).await.map(drop).map_err(|error| error.to_string()),
        agent.act(action(agent, id), None).await.map(drop).map_err(|error| error.to_string()),
        agent.check(action(agent, id)).map(drop).map_err(|error| error.to_string()),
        agent.graph().admit(action(agent, id)).map(drop).map_err(|error| error.to_string()),
        agent.graph().get(&id_of, None).map(drop).ok_or_else(|| "none".to_owned()),
        runtime.validate_workflow(agent.session(), &workflow).map_err(|error| error.to_string()),
    ];
    for format in [ToolFormat::OpenAi, ToolFormat::Anthropic, ToolFormat::Mcp] {
        let list = agent.graph().tools(format);
        let named = list.tools.iter().any(|tool| tool.capability == id_of);
        said.push(if named { Ok(()) } else { Err("not in the list".to_owned()) });
    }
    let tool = lictor::capability::tool_name(&id_of);
    said.push(agent.graph().by_tool_name(&tool).map(drop).ok_or_else(|| "no such tool".to_owned()));
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_let_in_is_callable_by_no_door_of_the_library() {
    let dir = tempfile::tempdir().unwrap();
    let (workspace, keys) = (dir.path().join("workspace"), dir.path().join("keys"));
    let runtime = rig::open((&workspace, &keys), POLICY, |_| {}).await;
    let (_, token) = runtime.approvers().bootstrap(name("ann"), Vec::new()).unwrap();
    let ann = runtime.approvers().authenticate(token.expose()).unwrap();
    let before = runtime.agent(&session());

    let import = from_openapi("pets", &document(), Some("http://127.0.0.1:1")).unwrap();
    assert_eq!((import.contracts.len(), import.left_out.len()), (6, 0));
    let mut keys: Vec<CatalogueKey> = Vec::new();
    for imported in &import.contracts {
        let text = imported.to_text();
        let source = Source::new(imported.id(), text.as_bytes());
        let kind = CatalogueKind::Capability;
        let proposed = runtime.propose(&session(), kind, &source, "imported").await.unwrap();
        keys.push(proposed.entry.document.key());
    }
    let approved = keys.iter().find(|key| key.id == "pets.list_pets").unwrap();
    let step = |next| LifeStep {
        key: approved,
        next,
        seen: None,
        by: &ann,
        channel: Channel::Token,
        why: "looked at",
    };
    for agent in [&before, &runtime.agent(&session())] {
        for key in &keys {
            for (door, said) in doors(&runtime, agent, &key.id).await.into_iter().enumerate() {
                assert!(said.is_err(), "door {door} lets {} in", key.id);
            }
        }
    }
    runtime.step_life(&session(), step(LifeState::Active)).await.unwrap();
    let agent = runtime.agent(&session());
    for key in &keys {
        let said = doors(&runtime, &agent, &key.id).await;
        if key == approved {
            // It is let in, and fails where nobody listens.
            assert!(said[0].as_ref().unwrap_err().contains("refused"), "{said:?}");
            assert!(said[2..].iter().all(Result::is_ok), "{said:?}");
        } else {
            assert!(said.iter().all(Result::is_err), "{}: {said:?}", key.id);
        }
    }
    // Taken out of use again: also for an agent that was made while it was in use.
    runtime.step_life(&session(), step(LifeState::Frozen)).await.unwrap();
    for called in [
        agent.call(&approved.id, json!({})).await,
        agent.act(action(&agent, &approved.id), None).await,
    ] {
        let said = called.unwrap_err().to_string();
        assert!(!said.contains("onnection"), "nobody was asked for it: {said}");
    }
}
