//! What is refused is told to the model: why, and what to do next, as the command tells it.

use serde_json::{Value, json};

use crate::client::{Client, Era};
use crate::place::Place;

/// What differs from one asking to the next.
fn without_ids(mut answer: Value) -> Value {
    fn blank(value: &mut Value) {
        match value {
            Value::String(text) => {
                let id = text.split_once('_').is_some_and(|(_, hex)| {
                    hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
                });
                let time = text.len() == 27 && text.ends_with('Z');
                if id || time {
                    "…".clone_into(text);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(blank),
            Value::Object(fields) => fields.values_mut().for_each(blank),
            _ => {}
        }
    }
    blank(&mut answer);
    answer
}

#[tokio::test]
async fn a_refusal_is_the_commands_own_json() {
    let place = Place::new();
    place.write("there.txt", "as it is");
    let client = Client::connect(&place, Era::Legacy, &["--agent", "cli"]).await;
    let refused: [(&str, &str, Value, &str); 6] = [
        ("fs.write", "fs-write", json!({ "path": "no/x", "content": "x" }), "denied"),
        ("fs.read", "fs-read", json!({ "path": "sub/.env" }), "denied"),
        ("fs.write", "fs-write", json!({ "content": "x" }), "invalid_input"),
        ("fs.wrote", "fs-wrote", json!({}), "not_found"),
        (
            "fs.write",
            "fs-write",
            json!({ "path": "there.txt", "content": "x", "create_only": true }),
            "conflict",
        ),
        (
            "fs.write",
            "fs-write",
            json!({ "path": "there.txt", "content": "x", "before": format!("sha256:{}", "0".repeat(64)) }),
            "conflict",
        ),
    ];
    for (id, name, input, code) in refused {
        let (exit, said) = place.run(&["call", id, "--input", &input.to_string()]);
        assert_ne!(exit, 0);
        let answer = client.call(name, input.clone()).await;
        assert_eq!(answer.refused()["error"]["code"], code, "{name} {input}");
        assert_eq!(without_ids(answer.refused()), without_ids(said), "{name} {input}");
        let text = answer.text();
        assert!(text.starts_with(code) && text.contains("Nothing was done"), "{text}");
    }
    assert_eq!(place.read("there.txt").as_deref(), Some("as it is"));
    client.end().await;
    place.trail();
}

#[tokio::test]
async fn the_nearest_tool_is_named_by_the_name_that_it_has_here() {
    let place = Place::new();
    let client = Client::connect(&place, Era::Modern, &[]).await;
    for (wrong, right) in [("fs-wrote", "fs-write"), ("undoo", "undo"), ("pendin", "pending")] {
        let answer = client.call(wrong, json!({})).await;
        assert_eq!(answer.refused()["error"]["code"], "not_found");
        assert!(answer.text().contains(&format!("`{right}`")), "{}", answer.text());
    }
    client.end().await;
}

#[tokio::test]
async fn nothing_that_can_be_called_approves_anything() {
    let place = Place::new();
    let client = Client::connect(&place, Era::Legacy, &[]).await;
    let waits = client.call("fs-write", json!({ "path": "ask/x", "content": "x" })).await.refused();
    let id = waits["error"]["details"]["approval_id"].as_str().unwrap().to_owned();

    // By name: nothing that sounds like it is there, nor is the engine's own asking.
    let tools = client.tools().await;
    for word in ["approv", "grant", "consent", "resume", "policy", "capability", "halt", "token"] {
        let sounds = tools.iter().find(|tool| tool.name.contains(word));
        assert!(sounds.is_none(), "{sounds:?}");
    }
    for name in [
        "workflow-approval",
        "change-undo",
        "approvals-approve",
        "approvals.approve",
        "approve",
        "capability-approve",
        "session-pending",
        "fs.write",
        "",
        "../x",
        "undo\u{0}",
    ] {
        let input = json!({ "id": id, "approval_id": id, "approve": true });
        assert!(client.call(name, input).await.is_refused(), "{name:?} was called");
    }
    // By doing: every tool, with everything that could be an answer among its arguments.
    for tool in &tools {
        let mut input = json!({ "id": id, "approval": id, "approval_id": id, "approve": true });
        let fields = tool.input_schema.get("properties").and_then(Value::as_object);
        for name in fields.into_iter().flat_map(|fields| fields.keys()) {
            input[name] = json!(id);
        }
        client.call(&tool.name, input).await;
    }
    // By writing: state, policies and the catalogue are out of reach.
    for path in [".lictor/policy.yaml", ".lictor/lictor.db", ".lictor/capabilities/x.y.yaml"] {
        let written = client.call("fs-write", json!({ "path": path, "content": "x" })).await;
        assert_eq!(written.refused()["error"]["code"], "denied", "{path}");
    }
    let waiting = place.done(&["approvals", "show", &id]);
    assert_eq!(waiting["state"], "pending");
    assert_eq!(waiting["granted_by"], json!([]));
    assert_eq!(place.read("ask/x"), None);
    client.end().await;
    assert!(place.trail().iter().all(|event| event["event_type"] != "approval_granted"));
}

#[tokio::test]
async fn declared_secrets_reach_no_model() {
    const CANARY: &str = "canary-5b1f0e7a9c";
    let place = Place::new();
    place.write("notes.txt", &format!("the word is {CANARY}\n"));
    let client = Client::connect_with(&place, Era::Legacy, &[], |command| {
        command.env("LICTOR_SECRET_WORD", CANARY);
    })
    .await;
    for (name, input) in [
        ("fs-read", json!({ "path": "notes.txt" })),
        ("fs-search", json!({ "pattern": "word is", "path": "." })),
        ("fs-write", json!({ "path": CANARY, "content": "x" })),
        (CANARY, json!({ "x": CANARY })),
    ] {
        let answer = client.call(name, input).await;
        assert!(!answer.whole().contains(CANARY), "{name}: {}", answer.whole());
    }
    client.end().await;
}
