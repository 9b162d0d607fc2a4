//! `mcp wrap --files`: servers that work on files of the workspace.

use serde_json::{Value, json};

use crate::client::{Client, Era};
use crate::place::Place;
use crate::relay::read;
use crate::stand_in::{StandIn, baseline, looks, tool};
use crate::wrap::place;

fn writes(name: &str) -> Value {
    let mut tool = tool(name, json!({ "destructiveHint": false }));
    tool["inputSchema"]["properties"]["path"] = json!({ "type": "string" });
    tool
}

/// A server that reads and writes, let in.
fn stand_in(place: &Place) -> StandIn {
    let mut read = looks("read");
    read["inputSchema"]["properties"]["path"] = json!({ "type": "string" });
    let stand_in = StandIn::new(place, &[read, writes("write"), writes("writes_and_dies")]);
    let (code, told) = baseline(place, "desk", &["--files"], &stand_in);
    assert_eq!(code, 0, "{told}");
    stand_in
}

async fn wrapped(place: &Place, stand_in: &StandIn) -> Client {
    let command = stand_in.command();
    let mut arguments: Vec<&str> = vec!["--user", "somebody", "desk", "--files"];
    arguments.extend(command.iter().map(String::as_str));
    Client::connect_as(place, Era::Legacy, "wrap", &arguments, |_| {}).await
}

fn wish(path: &str, text: &str) -> Value {
    json!({ "path": path, "text": text })
}

#[tokio::test]
async fn what_a_server_changes_in_files_lands_as_changes_and_is_undone() {
    let place = place();
    let stand_in = stand_in(&place);
    place.write("old.txt", "as it was");
    let client = wrapped(&place, &stand_in).await;
    let written = client.call("write", wish("notes/a.txt", "hello")).await;
    // It speaks of the workspace, as whoever asked does.
    let at = place.path("notes/a.txt");
    assert_eq!(written.text(), at.display().to_string(), "{}", written.whole());
    assert_eq!(place.read("notes/a.txt").as_deref(), Some("hello"));
    let first = written.execution();
    assert_eq!(first["undo"], "partial", "{first}");
    assert_eq!(first["files"].as_array().unwrap().len(), 1, "{first}");
    // By the path that the client knows, and over what is there.
    let whole = place.path("old.txt");
    let over = client.call("write", wish(whole.to_str().unwrap(), "as it is")).await;
    assert_eq!(place.read("old.txt").as_deref(), Some("as it is"), "{}", over.whole());
    // What others changed meanwhile is there for the server.
    place.write("old.txt", "by somebody");
    assert_eq!(client.call("read", wish("old.txt", "")).await.text(), "by somebody");
    let id = over.execution()["execution_id"].as_str().unwrap().to_owned();
    let (code, refused) = place.run(&["undo", &id]);
    assert_eq!(code, 5, "what somebody changed since was overwritten: {refused}");
    assert_eq!(place.read("old.txt").as_deref(), Some("by somebody"));
    let id = first["execution_id"].as_str().unwrap().to_owned();
    place.done(&["undo", &id]);
    assert_eq!(place.read("notes/a.txt"), None);
    let gone = client.call("read", wish("notes/a.txt", "")).await;
    assert!(gone.text().contains("No such"), "{}", gone.whole());
    client.end().await;
    assert!(std::fs::read_dir(place.path(".lictor/servers")).unwrap().next().is_none());
    place.trail();
}

#[tokio::test]
async fn what_the_policy_forbids_does_not_land_and_what_it_asks_about_waits() {
    let place = place();
    let stand_in = stand_in(&place);
    place.write("no/secret.txt", "s");
    let client = wrapped(&place, &stand_in).await;
    let seen = client.call("read", wish("no/secret.txt", "")).await;
    assert!(seen.text().contains("No such"), "it saw what is forbidden: {}", seen.whole());
    let refused = client.call("write", wish("no/other.txt", "x")).await;
    assert_eq!(refused.refused()["error"]["code"], "denied", "{}", refused.whole());
    assert_eq!(place.read("no/other.txt"), None);
    let waits = client.call("write", wish("ask/a.txt", "x")).await;
    let error = waits.refused()["error"].clone();
    assert_eq!(error["code"], "approval_required", "{}", waits.whole());
    assert_eq!(place.read("ask/a.txt"), None);
    let calls = stand_in.calls().len();
    place.approver(&["approvals", "approve", error["details"]["approval_id"].as_str().unwrap()]);
    let text = waits.text();
    let ran = text.split('`').find(|part| part.starts_with("exe_")).unwrap();
    place.done(&["--user", "somebody", "--agent", "mcp", "land", ran]);
    assert_eq!(place.read("ask/a.txt").as_deref(), Some("x"));
    assert_eq!(stand_in.calls().len(), calls, "it was called again");
    client.end().await;
}

#[tokio::test]
async fn a_server_that_dies_while_it_writes_has_changed_nothing() {
    let place = place();
    let stand_in = stand_in(&place);
    place.write("old.txt", "as it was");
    let client = wrapped(&place, &stand_in).await;
    let unknown = client.call("writes_and_dies", wish("old.txt", "half")).await;
    assert_eq!(unknown.refused()["error"]["code"], "incomplete", "{}", unknown.whole());
    assert_eq!(place.read("old.txt").as_deref(), Some("as it was"));
    client.end().await;
    assert_eq!(place.read("old.txt").as_deref(), Some("as it was"));
}

#[tokio::test]
async fn a_server_let_in_without_files_is_let_in_again_with_them() {
    let place = place();
    let stand_in = StandIn::new(&place, &[writes("write")]);
    assert_eq!(baseline(&place, "desk", &[], &stand_in).0, 0);
    let client = wrapped(&place, &stand_in).await;
    let refused = client.call("write", wish("a.txt", "x")).await;
    assert!(refused.is_refused(), "{}", refused.whole());
    client.end().await;
    let (code, told) = baseline(&place, "desk", &["--files"], &stand_in);
    assert_eq!((code, &told["tools"][0]["found"]), (0, &json!("changed")), "{told}");
    let client = wrapped(&place, &stand_in).await;
    let written = client.call("write", wish("a.txt", "x")).await;
    assert_eq!(place.read("a.txt").as_deref(), Some("x"), "{}", written.whole());
    client.end().await;
}

/// The folder of the copy is another one each time; what is pinned speaks of the workspace.
#[tokio::test]
async fn resources_that_are_files_are_those_of_the_workspace_as_the_policy_shows_them() {
    let place = place();
    place.write("notes/a.txt", "as it is");
    place.write("no/secret.txt", "s");
    let stand_in = StandIn::new(&place, &[looks("echo")]);
    stand_in.put("capabilities", &json!({ "resources": { "subscribe": true } }));
    stand_in.put("instructions", &json!("I work in {here}."));
    let file = |path: &str| json!({ "uri": format!("file://{{here}}/{path}"), "name": path });
    stand_in.put("resources", &json!([file("notes/a.txt"), file("no/secret.txt")]));
    stand_in.put(
        "resourceTemplates",
        &json!([{ "uriTemplate": "file://{here}/notes/{name}", "name": "notes" }]),
    );
    let (code, told) = baseline(&place, "desk", &["--files"], &stand_in);
    assert_eq!(code, 0, "{told}");
    let at = |path: &str| format!("file://{}", place.path(path).display());
    for _ in ["at first", "started again"] {
        let client = wrapped(&place, &stand_in).await;
        client.call("echo", json!({})).await;
        let listed = json!(client.peer().list_resources(None).await.unwrap().resources);
        let uris: Vec<&Value> = listed.as_array().unwrap().iter().map(|one| &one["uri"]).collect();
        assert_eq!(uris, [&json!(at("no/secret.txt")), &json!(at("notes/a.txt"))]);
        let info = json!(client.peer().peer_info().unwrap());
        let here = format!("I work in {}.", place.root.display());
        assert!(info["instructions"].as_str().unwrap().contains(&here), "{info}");
        for path in ["notes/a.txt", "notes/b.txt"] {
            let content = format!("{path} as others left it");
            place.write(path, &content);
            let got = read(&client, &at(path)).await.unwrap();
            assert_eq!(got["contents"][0]["text"], content, "{got}");
            assert_eq!(got["contents"][0]["uri"], at(path), "{got}");
        }
        let hidden = read(&client, &at("no/secret.txt")).await.unwrap();
        assert!(hidden["contents"][0]["text"].as_str().unwrap().contains("No such"), "{hidden}");
        client.end().await;
    }
}
