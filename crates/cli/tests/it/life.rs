//! From the first byte to the last: lists, changes of lists, the end.

use serde_json::json;

use crate::client::{Client, Era};
use crate::place::Place;

/// A capability to let in and take out.
const SLOW: &str = "\
id: local.slow
version: 1.0.0
title: Take a long time
description: Takes a long time.
kind: tool
source: local
input: { type: object }
output: { type: object }
risk: low
effects: { fs: { read: [], write: [\"**\"], delete: [] }, process: [sleep] }
timeout: 5m
handler: { command: { argv: [sleep, \"600\"], sandbox: best_effort, output: text, inputs: [] } }
";

pub(crate) fn let_in(place: &Place, id: &str, contract: &str) {
    let file = place.path(format!("../{id}.yaml"));
    std::fs::write(&file, contract).unwrap();
    place.done(&["capability", "propose", file.to_str().unwrap(), "--user", "somebody"]);
    place.approver(&["capability", "approve", id]);
}

#[tokio::test]
async fn the_list_is_the_same_for_everybody_and_never_cached() {
    let place = Place::new();
    let legacy = Client::connect(&place, Era::Legacy, &[]).await;
    let modern = Client::connect(&place, Era::Modern, &[]).await;
    let list = modern.list().await;
    assert_eq!(list.ttl_ms, Some(0));
    assert_eq!(json!(list.cache_scope), "private");
    let tools = legacy.tools().await;
    assert_eq!(json!(tools), json!(list.tools));
    assert_eq!(json!(tools), json!(legacy.tools().await));
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    assert!(names.is_sorted(), "{names:?}");
    for tool in &tools {
        assert!(tool.title.is_some() && tool.description.is_some(), "{}", tool.name);
        let hints = tool.annotations.as_ref().unwrap();
        assert!(hints.read_only_hint.is_some() && hints.destructive_hint.is_some());
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        assert!(tool.name.len() <= 64 && tool.name.bytes().all(fits), "{}", tool.name);
    }
    legacy.end().await;
    modern.end().await;
}

#[tokio::test]
async fn a_session_can_be_narrowed() {
    let place = Place::new();
    let client =
        Client::connect(&place, Era::Legacy, &["--only", "fs.r*", "--only", "time.now"]).await;
    let tools = client.tools().await;
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    assert_eq!(names, ["fs-read", "time-now"]);
    let refused = client.call("fs-write", json!({ "path": "a", "content": "x" })).await.refused();
    assert_eq!(refused["error"]["code"], "not_found");
    client.end().await;
}

async fn a_client_hears_that_the_tools_have_changed(era: Era) {
    let place = Place::new();
    let client = Client::connect(&place, era, &[]).await;
    client.listen().await;
    assert!(client.tools().await.iter().all(|tool| tool.name != "local-slow"));
    let_in(&place, "local.slow", SLOW);
    client.changed().await;
    assert!(client.tools().await.iter().any(|tool| tool.name == "local-slow"));
    place.approver(&["capability", "freeze", "local.slow"]);
    client.changed().await;
    assert!(client.tools().await.iter().all(|tool| tool.name != "local-slow"));
    let refused = client.call("local-slow", json!({})).await.refused();
    assert_eq!(refused["error"]["code"], "denied", "frozen, not unknown: {refused}");
    client.end().await;
}

#[tokio::test]
async fn a_client_with_initialize_hears_that_the_tools_have_changed() {
    a_client_hears_that_the_tools_have_changed(Era::Legacy).await;
}

#[tokio::test]
async fn a_client_without_initialize_hears_that_the_tools_have_changed() {
    a_client_hears_that_the_tools_have_changed(Era::Modern).await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_no_failure() {
    let place = Place::new();
    Client::spawn(&place, &[], |_| {}).0.end_of_input().await;
    assert_eq!(place.done(&["audit", "count"])["count"], 0);
}

#[tokio::test]
async fn standard_output_holds_the_protocol_and_nothing_else() {
    let place = Place::new();
    let lines = Client::raw(&place, &[
        "this is no JSON",
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"fs-write","arguments":{"path":"ask/x","content":"x"}}}"#,
        r#"{"jsonrpc":"2.0","id":3,"method":"prompts/list"}"#,
    ], 3)
    .await;
    let of = |id: u64| lines.iter().find(|line| line["id"] == id).unwrap();
    assert_eq!(of(1)["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(of(2)["result"]["isError"], true);
    assert_eq!(of(2)["result"]["structuredContent"]["error"]["code"], "approval_required");
    assert_eq!(of(3)["error"]["code"], -32601, "what is not declared is not there");
}
