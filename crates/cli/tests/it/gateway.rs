//! `mcp gateway`: all the servers of a client's file.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::client::{Client, Era};
use crate::place::{Place, ours};
use crate::stand_in::{StandIn, looks};
use crate::wrap::place;

/// A file as people have it.
fn write(place: &Place, servers: &[(&str, Value)]) {
    let mut text = String::from("{\n  // What my agent has.\n  \"mcpServers\": {\n");
    for (name, said) in servers {
        text.push_str(&format!("    \"{name}\": {said},\n"));
    }
    text.push_str("  },\n  \"other\": [1, 2,],\n}\n");
    place.write("servers.json", &text);
}

fn entry(stand_in: &StandIn) -> Value {
    let command = stand_in.command();
    let set = command[1].split_once('=').unwrap();
    json!({
        "command": command[3], "args": command[4..],
        "env": { set.0: set.1, "THEIR_TOKEN": "a-token-of-theirs" },
    })
}

fn baseline(place: &Place) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lictor"));
    command.args(["--json", "--user", "somebody", "mcp", "gateway", "--approve-baseline"]);
    command.args(["--config", "servers.json"]).current_dir(&place.root).stdin(Stdio::null());
    for name in ours() {
        command.env_remove(name);
    }
    command.envs(place.environment()).env("LICTOR_APPROVER_TOKEN", &place.token);
    let output = command.output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code().unwrap(), json)
}

async fn connect(place: &Place, era: Era) -> Client {
    let arguments = ["--user", "somebody", "--config", "servers.json"];
    Client::connect_as(place, era, "gateway", &arguments, |_| {}).await
}

#[tokio::test]
async fn one_server_that_does_not_begin_is_nothing_to_the_others() {
    let place = place();
    let one = StandIn::named(&place, "one", &[looks("echo"), looks("environment")]);
    let two = StandIn::named(&place, "two", &[looks("echo"), looks("dies")]);
    let broken = json!({ "command": "false", "args": [] });
    let far = json!({ "type": "sse", "url": "https://example.org/sse" });
    write(&place, &[("one", entry(&one)), ("broken", broken), ("two", entry(&two)), ("far", far)]);
    let (code, told) = baseline(&place);
    assert_ne!(code, 0, "{told}");
    let details = &told["error"]["details"];
    assert_eq!(details["left_out"][0]["server"], "far", "{told}");
    assert_eq!(details["servers"].as_array().unwrap().len(), 3, "{told}");
    let client = connect(&place, Era::Legacy).await;
    let names = client.until_there(4).await;
    assert_eq!(names, ["one__echo", "one__environment", "two__dies", "two__echo"]);
    assert_eq!(client.call("one__echo", json!({ "text": "1" })).await.text(), "1");
    assert_eq!(client.call("two__echo", json!({ "text": "2" })).await.text(), "2");
    let died = client.call("two__dies", json!({})).await;
    assert_eq!(died.refused()["error"]["code"], "incomplete");
    assert_eq!(client.call("one__echo", json!({ "text": "3" })).await.text(), "3");
    // What the file says for a server reaches it, and stands nowhere else.
    let said = client.call("one__environment", json!({})).await;
    assert!(said.text().contains("THEIR_TOKEN=a-token-of-theirs"), "{}", said.whole());
    client.end().await;
    let folder = std::fs::read_dir(place.path(".lictor/capabilities")).unwrap();
    for entry in folder {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("a-token-of-theirs"), "{text}");
    }
}

#[tokio::test]
async fn a_server_alone_keeps_its_names_and_one_that_is_let_in_late_is_told_of() {
    let place = place();
    let stand_in = StandIn::new(&place, &[looks("echo")]);
    write(&place, &[("desk", entry(&stand_in))]);
    let client = connect(&place, Era::Modern).await;
    client.listen().await;
    assert!(client.tools().await.is_empty());
    assert_eq!(baseline(&place).0, 0);
    assert_eq!(client.until_there(1).await, ["echo"]);
    assert_eq!(client.call("echo", json!({ "text": "1" })).await.text(), "1");
    client.end().await;
}
