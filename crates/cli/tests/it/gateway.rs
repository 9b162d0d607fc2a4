//! `mcp gateway`: all the servers of a client's file.

use std::process::{Command, Stdio};

use rmcp::model::{ArgumentInfo, CompleteRequestParams, Reference};
use serde_json::{Value, json};

use crate::client::{Client, Era};
use crate::place::{Place, ours};
use crate::relay::{ERAS, get, prompts, read, resource};
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

/// A server with more than tools, of one of two servers that have some of it alike.
fn rich(place: &Place, name: &str, era: &str, (uris, templates): (&[&str], &[&str])) -> StandIn {
    let stand_in = StandIn::named(place, name, &[looks("echo")]);
    stand_in.put("era", &json!(era));
    stand_in.put("capabilities", &json!({ "prompts": {}, "resources": {}, "completions": {} }));
    stand_in.put("instructions", &json!(format!("Ask {name} first.")));
    stand_in.put(
        "prompts",
        &json!([{
            "name": "greet", "description": format!("Greets for {name}."),
            "arguments": [{ "name": "whom", "description": "Who it is." }],
        }]),
    );
    let resources: Vec<Value> = uris.iter().map(|uri| resource(uri)).collect();
    stand_in.put("resources", &json!(resources));
    let templates: Vec<Value> = templates
        .iter()
        .map(|uri| json!({ "uriTemplate": uri, "name": "notes", "description": "Notes." }))
        .collect();
    stand_in.put("resourceTemplates", &json!(templates));
    stand_in
}

#[tokio::test]
async fn of_several_servers_prompts_say_whose_they_are_and_a_uri_of_two_is_neithers() {
    for era in ERAS {
        let place = place();
        let one = rich(
            &place,
            "one",
            "legacy",
            (&["note://one", "note://shared"], &["note://{x}/deep", "both://{x}"]),
        );
        let two = rich(
            &place,
            "two",
            "modern",
            (&["note://two", "note://shared"], &["note://by/{y}", "both://{x}", "memo://{z}"]),
        );
        write(&place, &[("one", entry(&one)), ("two", entry(&two))]);
        let (code, told) = baseline(&place);
        assert_eq!(code, 0, "{told}");
        let client = connect(&place, era).await;
        client.until_there(2).await;
        assert_eq!(prompts(&client).await, ["one__greet", "two__greet"], "{era:?}");
        let listed = json!(client.peer().list_resources(None).await.unwrap().resources);
        let uris: Vec<&Value> = listed.as_array().unwrap().iter().map(|one| &one["uri"]).collect();
        assert_eq!(uris, ["note://one", "note://two"], "{era:?}");
        let listed = client.peer().list_resource_templates(None).await.unwrap();
        let listed = json!(listed.resource_templates).to_string();
        assert!(listed.contains("memo://") && !listed.contains("both://"), "{listed}");
        let info = json!(client.peer().peer_info().unwrap());
        let said = info["instructions"].as_str().unwrap();
        for server in ["one", "two"] {
            let theirs = format!("The server `{server}` says of itself:\nAsk {server} first.");
            assert!(said.contains(&theirs), "{said}");
        }

        // What is one server's reaches that one, under its own name for it.
        assert!(get(&client, "two__greet").await.is_ok());
        assert!(get(&client, "greet").await.is_err(), "nobody says whose");
        for uri in ["note://one", "note://a/deep"] {
            assert!(read(&client, uri).await.is_ok(), "{era:?} {uri}");
        }
        for uri in ["note://two", "note://by/name", "memo://x"] {
            assert!(read(&client, uri).await.is_ok(), "{era:?} {uri}");
        }
        // What both could have is not guessed.
        for uri in ["note://shared", "note://by/deep", "both://x"] {
            let refused = read(&client, uri).await.unwrap_err();
            assert!(refused.contains("there is no resource"), "{era:?} {uri}: {refused}");
        }
        let argument: ArgumentInfo =
            serde_json::from_value(json!({ "name": "whom", "value": "a" })).unwrap();
        let about = CompleteRequestParams::new(Reference::for_prompt("one__greet"), argument);
        let completed = json!(client.peer().complete(about).await.unwrap());
        assert_eq!(completed["completion"]["values"], json!(["a-completed"]), "{completed}");
        client.end().await;

        let asked = |stand_in: &StandIn| -> Vec<String> {
            let what = |call: &Value| {
                let name = call["uri"].as_str().or_else(|| call["name"].as_str());
                name.or_else(|| call["ref"]["name"].as_str()).map(str::to_owned)
            };
            stand_in.calls().iter().filter_map(what).collect()
        };
        assert_eq!(asked(&one), ["note://one", "note://a/deep", "greet"], "{era:?}");
        assert_eq!(asked(&two), ["greet", "note://two", "note://by/name", "memo://x"], "{era:?}");
    }
}
