//! A whole session of a client, from its first word to a trail that holds.

use serde_json::json;

use crate::client::{Client, Era};
use crate::place::Place;

async fn a_scripted_client_does_its_work(era: Era) {
    let place = Place::new();
    let client = Client::connect(&place, era, &[]).await;
    let tools = client.tools().await;
    for name in ["fs-write", "fs-read", "change-apply", "undo", "log", "explain", "pending"] {
        assert!(tools.iter().any(|tool| tool.name == name), "no `{name}`");
    }

    for (path, content) in [("a.txt", "one"), ("sub/b.txt", "two")] {
        let written = client.call("fs-write", json!({ "path": path, "content": content })).await;
        assert_eq!(written.done()["path"], path);
    }
    let change = json!({ "op": "create", "path": "c.txt", "content": "three" });
    client.call("change-apply", json!({ "intent": "a third", "changes": [change] })).await.done();
    assert_eq!(place.read("sub/b.txt").as_deref(), Some("two"));
    assert_eq!(place.read("c.txt").as_deref(), Some("three"));

    let denied = client.call("fs-write", json!({ "path": "no/x", "content": "x" })).await;
    assert_eq!(denied.refused()["error"]["code"], "denied");
    assert_eq!(place.read("no/x"), None);

    let write = json!({ "path": "ask/x", "content": "x" });
    let waits = client.call("fs-write", write.clone()).await;
    let refused = waits.refused();
    assert_eq!(refused["error"]["code"], "approval_required");
    let id = refused["error"]["details"]["approval_id"].as_str().unwrap().to_owned();
    assert!(waits.text().contains(&id) && waits.text().contains("lictor approvals approve"));
    let pending = client.call("pending", json!({})).await.done();
    assert_eq!(pending["approvals"][0]["approval_id"], id.as_str());
    assert_eq!(pending["approvals"][0]["state"], "pending");
    let again = client.call("fs-write", write.clone()).await.refused();
    assert_eq!(again["error"]["details"]["approval_id"], id.as_str(), "asked twice");

    place.approver(&["approvals", "approve", &id]);
    let pending = client.call("pending", json!({})).await.done();
    assert_eq!(pending["approvals"][0]["state"], "granted");
    client.call("fs-write", write.clone()).await.done();
    assert_eq!(place.read("ask/x").as_deref(), Some("x"));

    let why = client.call("explain", json!({ "id": id })).await.done();
    assert_eq!(why["decision"]["verdict"], "need_approval");
    let log = client.call("log", json!({})).await.done();
    assert_eq!(log["executions"].as_array().unwrap().len(), 4);

    let undo = client.call("undo", json!({ "last": 4 })).await;
    let undo = if undo.is_refused() {
        // Taking back what people were asked about is asked about, too.
        let id = undo.refused()["error"]["details"]["approval_id"].as_str().unwrap().to_owned();
        place.approver(&["approvals", "approve", &id]);
        client.call("undo", json!({ "last": 4 })).await
    } else {
        undo
    };
    assert_eq!(undo.done()["undo_of"].as_array().unwrap().len(), 4);
    for path in ["a.txt", "sub/b.txt", "c.txt", "ask/x"] {
        assert_eq!(place.read(path), None, "{path} is still there");
    }

    client.end().await;
    let trail = place.trail();
    let of_type = |kind: &str| trail.iter().filter(|event| event["event_type"] == kind).count();
    assert_eq!(of_type("session_started"), 1, "one connection, one session");
    let of_client: Vec<_> = trail.iter().filter(|event| event["agent_id"] == "mcp").collect();
    let ended = of_client.iter().filter(|event| event["event_type"] == "session_ended").count();
    assert_eq!(ended, 1, "it ends with the connection");
    assert_eq!(of_client.last().unwrap()["event_type"], "session_ended");
    assert!(of_type("approval_granted") >= 1 && of_type("approval_requested") >= 2);
    assert!(trail.iter().any(|event| event["event_type"] == "action_rejected"));
    assert!(
        trail
            .iter()
            .all(|event| event["agent_id"] != "cli" || event["event_type"] == "approval_granted")
    );
}

#[tokio::test]
async fn a_scripted_client_does_its_work_with_initialize() {
    a_scripted_client_does_its_work(Era::Legacy).await;
}

#[tokio::test]
async fn a_scripted_client_does_its_work_without_initialize() {
    a_scripted_client_does_its_work(Era::Modern).await;
}

#[tokio::test]
async fn a_session_sees_and_undoes_its_own_alone() {
    let place = Place::new();
    let one = Client::connect(&place, Era::Legacy, &[]).await;
    one.call("fs-write", json!({ "path": "a.txt", "content": "one" })).await.done();
    let theirs = one.call("log", json!({})).await.done();
    let theirs = theirs["executions"][0]["execution_id"].clone();
    let waits = one.call("fs-write", json!({ "path": "ask/x", "content": "x" })).await.refused();
    let approval = waits["error"]["details"]["approval_id"].clone();

    let other = Client::connect(&place, Era::Modern, &[]).await;
    assert_eq!(other.call("log", json!({})).await.done()["executions"], json!([]));
    assert_eq!(other.call("pending", json!({ "all": true })).await.done()["approvals"], json!([]));
    let undone = other.call("undo", json!({ "execution": theirs })).await.refused();
    assert_eq!(undone["error"]["code"], "not_found");
    for id in [&theirs, &approval, &waits["decision"]["id"]] {
        let explained = other.call("explain", json!({ "id": id })).await.refused();
        assert_eq!(explained["error"]["code"], "invalid_input", "{explained}");
    }
    assert_eq!(other.call("undo", json!({})).await.refused()["error"]["code"], "not_found");
    assert_eq!(place.read("a.txt").as_deref(), Some("one"));

    one.call("undo", json!({ "execution": theirs })).await.done();
    assert_eq!(place.read("a.txt"), None);
    one.end().await;
    other.end().await;
    place.trail();
}
