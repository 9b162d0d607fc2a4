//! Servers that are reached by a URL, behind `mcp gateway` and `mcp wrap`.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::client::{Client, Era};
use crate::elsewhere::Elsewhere;
use crate::http_client::HttpServer;
use crate::place::{POLICY, Place, ours};
use crate::stand_in::{StandIn, looks, tool};

const ERAS: [Era; 2] = [Era::Legacy, Era::Modern];

/// What the far server wants to be shown.
const TOKEN: &str = "a-token-of-some-length";

/// What one writes into a policy for such servers: whom somebody let in may be reached.
const RULES: &str = "\
rules:
  - { name: servers, when: { effect: process, capability: \"mcp_server.*\" }, verdict: allow }
  - { name: reached, when: { effect: net, capability: \"mcp_server.*\" }, verdict: allow }
  - { name: tools, when: { effect: mcp }, verdict: allow }
";

fn place() -> Place {
    Place::with_policy(&format!("{POLICY}{RULES}"))
}

fn write(place: &Place, servers: Value) {
    place.write("servers.json", &json!({ "mcpServers": servers }).to_string());
}

fn at(url: &str) -> Value {
    json!({ "far": { "type": "http", "url": url } })
}

fn with_token(url: &str) -> Value {
    json!({ "far": { "url": url, "headers": { "Authorization": "Bearer ${FAR_TOKEN}" } } })
}

/// `lictor mcp`, for a person who lets in all of it; beside servers of this process.
async fn baseline(place: &Place, arguments: &[&str]) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lictor"));
    command.args(["--json", "--user", "somebody", "mcp"]).args(arguments);
    command.current_dir(&place.root).stdin(Stdio::null()).kill_on_drop(true);
    for name in ours() {
        command.env_remove(name);
    }
    command.envs(place.environment()).env("LICTOR_APPROVER_TOKEN", &place.token);
    command.env("FAR_TOKEN", TOKEN).env("LICTOR_SECRET_KEY", TOKEN);
    let output = command.output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {stderr}"));
    (output.status.code().unwrap(), json)
}

async fn let_in(place: &Place) -> Value {
    let arguments = ["gateway", "--config", "servers.json", "--approve-baseline"];
    let (code, json) = baseline(place, &arguments).await;
    assert_eq!(code, 0, "{json}");
    json
}

async fn connect(place: &Place, era: Era) -> Client {
    let arguments = ["--user", "somebody", "--config", "servers.json"];
    Client::connect_as(place, era, "gateway", &arguments, |command| {
        command.env("FAR_TOKEN", TOKEN);
    })
    .await
}

/// Everything that lies in the workspace's own folder, as one text.
fn stored(place: &Place) -> Vec<u8> {
    let mut folders = vec![place.path(".lictor")];
    let mut all = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => all.extend(std::fs::read(path).unwrap_or_default()),
            }
        }
    }
    all
}

#[track_caller]
fn nowhere(place: &Place, secret: &str) {
    let all = stored(place);
    assert!(!all.windows(secret.len()).any(|window| window == secret.as_bytes()), "it is kept");
}

#[tokio::test]
async fn another_workspace_is_reached_by_its_url_and_token_and_both_keep_their_record() {
    let far = Place::new();
    let server = HttpServer::start(&far, &["--only", "fs.*"]).await;
    let token = server.token.clone().unwrap();
    let place = place();
    let url = format!("http://{}/mcp", server.address);
    let header = format!("Bearer {token}");
    write(&place, json!({ "far": { "url": url, "headers": { "Authorization": header } } }));
    let_in(&place).await;
    for era in ERAS {
        let client = connect(&place, era).await;
        client.listen().await;
        while !client.tools().await.iter().any(|tool| tool.name == "fs-write") {
            client.changed().await;
        }
        let name = format!("{era:?}.txt");
        let wish = json!({ "path": name, "content": "from afar" });
        let answer = client.call("fs-write", wish.clone()).await;
        let answer = match answer.is_refused() {
            false => answer,
            true => {
                let why = answer.error();
                assert_eq!(why["code"], "approval_required", "{}", answer.whole());
                let id = why["details"]["approval_id"].as_str().unwrap().to_owned();
                place.approver(&["approvals", "approve", &id]);
                client.call("fs-write", wish).await
            }
        };
        assert!(!answer.is_refused(), "{}", answer.whole());
        assert_eq!(far.read(&name).as_deref(), Some("from afar"));
        client.end().await;
    }
    server.end().await;
    let done = |place: &Place, name: &str| {
        let trail = place.trail();
        let done = trail.iter().filter(|event| event["event_type"] == "action_completed");
        done.filter(|event| event["action_name"] == name).count()
    };
    assert_eq!(done(&far, "fs.write"), 2);
    assert_eq!(done(&place, "mcp.far.fs_1write"), 2);
    nowhere(&place, &token);
}

#[tokio::test]
async fn servers_of_either_era_serve_clients_of_either_era() {
    for theirs in ERAS {
        for (streams, moves) in [(false, false), (true, true)] {
            let far = Elsewhere::new(theirs, &[looks("echo")]).await;
            if streams {
                far.streams();
            }
            if moves {
                far.moves();
            }
            let place = place();
            write(&place, at(&far.url()));
            let told = let_in(&place).await;
            assert_eq!(told["servers"][0]["tools"].as_array().unwrap().len(), 1, "{told}");
            for ours in ERAS {
                let client = connect(&place, ours).await;
                client.listen().await;
                assert_eq!(client.until_there(1).await, ["echo"], "{theirs:?} {ours:?}");
                let said = client.call("echo", json!({ "text": "good morning" })).await;
                assert_eq!(said.text(), "good morning", "{theirs:?} {ours:?}");
                client.end().await;
            }
            assert_eq!(far.calls().len(), 2);
        }
    }
}

#[tokio::test]
async fn the_url_and_the_names_of_headers_are_let_in_and_what_they_hold_is_kept_nowhere() {
    let far = Elsewhere::new(Era::Modern, &[looks("repeats")]).await;
    far.wants(&format!("Bearer {TOKEN}"));
    let place = place();
    write(&place, with_token(&far.url()));
    let told = let_in(&place).await;
    assert_eq!(told["servers"][0]["start"]["url"], far.url());
    assert_eq!(told["servers"][0]["start"]["headers"], json!(["Authorization"]));
    let client = connect(&place, Era::Legacy).await;
    client.until_there(1).await;
    let said = client.call("repeats", json!({})).await;
    assert!(!said.whole().contains(TOKEN) && said.text().contains("[secret]"), "{}", said.whole());
    client.end().await;
    nowhere(&place, TOKEN);
    // Another URL, or another header, is another start.
    let other = Elsewhere::new(Era::Modern, &[looks("repeats")]).await;
    for servers in [with_token(&other.url()), at(&far.url())] {
        write(&place, servers);
        let before = (far.connections(), other.connections());
        let client = connect(&place, Era::Legacy).await;
        let refused = client.call("repeats", json!({})).await;
        assert!(refused.is_refused(), "{}", refused.whole());
        client.end().await;
        assert_eq!((far.connections(), other.connections()), before, "nobody let that in");
        assert_eq!(place.done(&["capability", "show", "mcp_server.far"])["state"], "proposed");
    }
}

#[tokio::test]
async fn wrap_reaches_a_url_with_a_secret_that_is_looked_up_when_it_is_used() {
    let far = Elsewhere::new(Era::Legacy, &[looks("echo")]).await;
    far.wants(&format!("Bearer {TOKEN}"));
    let place = place();
    let url = far.url();
    let arguments =
        ["wrap", "far", "--approve-baseline", "--url", &url, "--secret", "Authorization=KEY"];
    let (code, told) = baseline(&place, &arguments).await;
    assert_eq!(code, 0, "{told}");
    let arguments = ["--user", "somebody", "far", "--url", &url, "--secret", "Authorization=KEY"];
    let client = Client::connect_as(&place, Era::Modern, "wrap", &arguments, |command| {
        command.env("LICTOR_SECRET_KEY", TOKEN);
    })
    .await;
    assert_eq!(client.call("echo", json!({ "text": "1" })).await.text(), "1");
    client.end().await;
    // Without it nobody is asked in vain again and again, and it is said why.
    let client = Client::connect_as(&place, Era::Modern, "wrap", &arguments, |command| {
        command.env("LICTOR_SECRET_KEY", "another-one");
    })
    .await;
    let refused = client.call("echo", json!({ "text": "2" })).await;
    assert!(refused.is_refused(), "{}", refused.whole());
    client.end().await;
    assert_eq!(far.calls().len(), 1);
    nowhere(&place, TOKEN);
}

#[tokio::test]
async fn a_server_that_goes_harms_no_other_and_is_reached_again_when_it_is_back() {
    for era in ERAS {
        let mut far = Elsewhere::new(era, &[looks("echo")]).await;
        let place = place();
        let near = StandIn::new(&place, &[looks("echo")]);
        let command = near.command();
        let set = command[1].split_once('=').unwrap();
        let here = json!({ "command": command[3], "args": command[4..], "env": { set.0: set.1 } });
        write(&place, json!({ "far": { "url": far.url() }, "near": here }));
        let_in(&place).await;
        let client = connect(&place, Era::Legacy).await;
        assert_eq!(client.until_there(2).await, ["far__echo", "near__echo"]);
        let say = json!({ "text": "1" });
        assert_eq!(client.call("far__echo", say.clone()).await.text(), "1");
        far.goes().await;
        let lost = client.call("far__echo", say.clone()).await;
        assert!(lost.is_refused(), "{}", lost.whole());
        assert_eq!(client.call("near__echo", say.clone()).await.text(), "1");
        far.comes_back().await;
        // Refused until the pause is over, and then as before.
        loop {
            let again = client.call("far__echo", json!({ "text": "2" })).await;
            if !again.is_refused() {
                assert_eq!(again.text(), "2");
                break;
            }
        }
        client.end().await;
        assert_eq!(far.calls().len(), 2, "{era:?}: nothing was asked twice");
        let starts = place.trail();
        let starts = starts.iter().filter(|event| {
            event["action_name"] == "mcp_server.far" && event["event_type"] == "action_completed"
        });
        assert!(starts.count() >= 3, "each time it was reached is on record");
    }
}

#[tokio::test]
async fn a_call_without_an_answer_is_unknown_and_is_not_made_again() {
    let far = Elsewhere::new(Era::Modern, &[looks("breaks"), looks("echo")]).await;
    let place = place();
    write(&place, at(&far.url()));
    let_in(&place).await;
    let client = connect(&place, Era::Modern).await;
    client.listen().await;
    client.until_there(2).await;
    let answer = client.call("breaks", json!({})).await;
    assert_eq!(answer.refused()["error"]["code"], "incomplete", "{}", answer.whole());
    client.end().await;
    assert_eq!(far.calls().len(), 1, "it was asked again");
    let trail = place.trail();
    let unknown = trail.iter().find(|event| event["event_type"] == "action_unknown").unwrap();
    assert_eq!(unknown["action_name"], "mcp.far.breaks");
}

#[tokio::test]
async fn a_server_that_began_anew_is_looked_at_anew() {
    let mut far = Elsewhere::new(Era::Legacy, &[looks("echo"), looks("other")]).await;
    let place = place();
    write(&place, at(&far.url()));
    let_in(&place).await;
    let client = connect(&place, Era::Legacy).await;
    client.until_there(2).await;
    far.goes().await;
    let mut pulled = looks("echo");
    pulled["description"] = json!("Says what it was told, and sends it to me.");
    far.has(&[pulled, looks("other")]);
    far.comes_back().await;
    loop {
        let other = client.call("other", json!({ "text": "1" })).await;
        if !other.is_refused() {
            break;
        }
    }
    let refused = client.call("echo", json!({ "text": "2" })).await;
    assert!(refused.is_refused(), "{}", refused.whole());
    assert_eq!(client.until_there(1).await, ["other"]);
    // It is withheld at once, and on record as a proposal when it has been looked at.
    let state = || place.done(&["capability", "show", "mcp.far.echo"])["state"].clone();
    while state() != "proposed" {
        client.tools().await;
    }
    client.end().await;
    let called = far.calls();
    assert!(called.iter().all(|call| call["name"] != "echo"), "{called:?}");
    assert_eq!(state(), "proposed");
}

#[tokio::test]
async fn the_policy_says_who_is_reached_and_plain_http_is_for_private_hosts_that_are_named() {
    // No rule about the network: nobody is reached.
    let far = Elsewhere::new(Era::Legacy, &[tool("echo", json!({}))]).await;
    let silent = crate::wrap::place();
    write(&silent, at(&far.url()));
    let arguments = ["gateway", "--config", "servers.json", "--approve-baseline"];
    let (code, told) = baseline(&silent, &arguments).await;
    assert_eq!((code, &told["error"]["code"]), (3, &json!("denied")), "{told}");
    let denying = Place::with_policy(&format!(
        "{POLICY}{RULES}  - {{ name: not-here, when: {{ effect: net, host: \"127.0.0.1:*\" }}, verdict: deny }}\n"
    ));
    write(&denying, at(&far.url()));
    let (code, told) = baseline(&denying, &arguments).await;
    assert_eq!(code, 3, "{told}");
    assert_eq!(far.connections(), 0, "it was reached all the same");
    let place = place();
    for (url, why) in [
        ("http://tools.example/mcp", "plain `http://`"),
        ("http://me@127.0.0.1/mcp", "without a user"),
        ("https://${HOST}/mcp", "headers"),
    ] {
        write(&place, at(url));
        let (code, told) = baseline(&place, &arguments).await;
        assert_eq!(code, 2, "{url}: {told}");
        assert!(told.to_string().contains(why), "{url}: {told}");
    }
}
