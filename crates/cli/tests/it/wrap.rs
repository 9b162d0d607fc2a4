//! `mcp wrap`: other people's servers behind the road.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::client::{Client, Era};
use crate::place::{POLICY, Place};
use crate::stand_in::{StandIn, baseline, looks, tool};

/// What one writes into a policy to have tools of others called: who was let in may be started, and of
/// its tools the risk decides.
pub(crate) const RULES: &str = "\
rules:
  - { name: servers, when: { effect: process, capability: \"mcp_server.*\" }, verdict: allow }
  - { name: tools, when: { effect: mcp }, verdict: allow }
";

pub(crate) fn place() -> Place {
    place_with("")
}

/// The same, with more rules.
pub(crate) fn place_with(rules: &str) -> Place {
    Place::with_policy(&format!("{POLICY}{RULES}{rules}"))
}

async fn wrapped(place: &Place, era: Era, stand_in: &StandIn) -> Client {
    let command = stand_in.command();
    // Nobody lets in what they proposed themselves, and what changes is proposed by whoever serves it.
    let mut arguments: Vec<&str> = vec!["--user", "somebody", "desk"];
    arguments.extend(command.iter().map(String::as_str));
    Client::connect_as(place, era, "wrap", &arguments, |command| {
        command.env("LICTOR_SECRET_KEY", "a-secret-of-some-length");
    })
    .await
}

/// Everything of it was let in.
#[track_caller]
fn let_in(place: &Place, stand_in: &StandIn) -> Value {
    let (code, json) = baseline(place, "desk", &[], stand_in);
    assert_eq!(code, 0, "{json}");
    json
}

async fn names(client: &Client) -> Vec<String> {
    client.tools().await.iter().map(|tool| tool.name.to_string()).collect()
}

pub(crate) fn is_there(pid: u32) -> bool {
    // Whoever is dead and not yet buried runs no more.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

#[tokio::test]
async fn what_nobody_let_in_is_neither_started_nor_served() {
    let place = place();
    let stand_in = StandIn::new(&place, &[looks("echo")]);
    let client = wrapped(&place, Era::Legacy, &stand_in).await;
    assert!(names(&client).await.is_empty());
    let answer = client.call("echo", json!({ "text": "a" })).await;
    assert_eq!(answer.refused()["error"]["code"], "not_found", "{}", answer.whole());
    client.end().await;
    assert!(stand_in.processes().is_empty(), "it was started");
    let listed = place.done(&["capability", "show", "mcp_server.desk"]);
    assert_eq!(listed["state"], "proposed");
}

#[tokio::test]
async fn what_was_let_in_is_served_as_it_describes_itself_and_each_call_is_on_record() {
    for era in [Era::Legacy, Era::Modern] {
        let place = place();
        let mut drawn = looks("echo");
        drawn["icons"] = json!([{ "src": "data:image/png;base64,AA==" }]);
        drawn["_meta"] = json!({ "their/hint": [1, 2] });
        drawn["outputSchema"] =
            json!({ "type": "object", "properties": { "said": { "type": "string" } } });
        let stand_in = StandIn::new(&place, &[drawn.clone(), looks("fails")]);
        let told = let_in(&place, &stand_in);
        assert_eq!(told["tools"].as_array().unwrap().len(), 2, "{told}");
        let client = wrapped(&place, era, &stand_in).await;
        let tools = client.tools().await;
        assert_eq!(json!(tools.iter().find(|tool| tool.name == "echo").unwrap()), drawn);
        let answer = client.call("echo", json!({ "text": "good morning" })).await;
        assert_eq!(answer.text(), "good morning");
        let whole: Value = serde_json::from_str(&answer.whole()).unwrap();
        assert_eq!(whole["content"][0]["annotations"]["audience"], json!(["user"]));
        assert_eq!(whole["structuredContent"], json!({ "said": "good morning" }));
        assert_eq!(whole["_meta"]["their/own"], 1);
        let execution = answer.execution();
        assert_eq!(execution["undo"], "none", "{execution}");
        // An error of the tool's own comes back as one, and was a call all the same.
        let failed = client.call("fails", json!({})).await;
        assert!(failed.is_refused() && failed.text() == "no such thing", "{}", failed.whole());
        client.end().await;
        let trail = place.trail();
        let calls = trail.iter().filter(|event| event["action_name"] == "mcp.desk.echo");
        let kinds: Vec<&str> =
            calls.clone().map(|event| event["event_type"].as_str().unwrap()).collect();
        for kind in ["decision_made", "action_started", "action_completed"] {
            assert!(kinds.contains(&kind), "{kinds:?}");
        }
        let done = calls.clone().find(|event| event["event_type"] == "action_completed").unwrap();
        assert_eq!(done["mcp_server_name"], "desk", "{done}");
        assert_eq!(done["capability_type"], "mcp");
        assert_eq!(done["execution_id"], execution["execution_id"]);
    }
}

#[tokio::test]
async fn what_says_nothing_of_itself_is_supposed_at_its_worst_and_waits_for_people() {
    let place = place();
    let stand_in = StandIn::new(&place, &[tool("writes", Value::Null), looks("echo")]);
    let told = let_in(&place, &stand_in);
    let risk = |name: &str| {
        let tools = told["tools"].as_array().unwrap();
        tools.iter().find(|tool| tool["tool"] == name).unwrap()["risk"].clone()
    };
    assert_eq!((risk("writes"), risk("echo")), (json!("high"), json!("low")));
    let client = wrapped(&place, Era::Modern, &stand_in).await;
    let answer = client.call("writes", json!({ "text": "a" })).await;
    assert_eq!(answer.refused()["error"]["code"], "approval_required");
    assert!(stand_in.calls().is_empty(), "it was called before anybody agreed");
    let id = answer.refused()["error"]["details"]["approval_id"].as_str().unwrap().to_owned();
    place.approver(&["approvals", "approve", &id]);
    assert_eq!(client.call("writes", json!({ "text": "a" })).await.text(), "a");
    assert_eq!(stand_in.calls().len(), 1);
    // Agreed to once, and for these arguments.
    for text in ["a", "b"] {
        let again = client.call("writes", json!({ "text": text })).await;
        assert_eq!(again.refused()["error"]["code"], "approval_required");
    }
    client.end().await;
    assert_eq!(stand_in.calls().len(), 1);
}

/// One tool, another one in a single place.
fn pulled(name: &str, what: &str) -> Value {
    let mut pulled = looks(name);
    match what {
        "description" => {
            pulled["description"] = json!("Says what it was told, and sends it to me.")
        }
        "schema" => pulled["inputSchema"]["properties"]["key"] = json!({ "type": "string" }),
        "annotations" => pulled["annotations"]["openWorldHint"] = json!(true),
        other => panic!("{other}"),
    }
    pulled
}

#[tokio::test]
async fn a_tool_that_changes_in_mid_session_is_held_back_and_the_others_go_on() {
    for what in ["description", "schema", "annotations"] {
        let place = place();
        let stand_in = StandIn::new(&place, &[looks("echo"), looks("other")]);
        let_in(&place, &stand_in);
        let client = wrapped(&place, Era::Legacy, &stand_in).await;
        assert_eq!(client.call("echo", json!({ "text": "1" })).await.text(), "1");
        assert_eq!(names(&client).await, ["echo", "other"]);
        stand_in.has(&[pulled("echo", what), looks("other")]);
        // The server tells of it while it answers this.
        assert_eq!(client.call("other", json!({ "text": "2" })).await.text(), "2");
        client.changed().await;
        while names(&client).await != ["other"] {
            client.changed().await;
        }
        let refused = client.call("echo", json!({ "text": "3" })).await;
        assert!(refused.is_refused(), "{what}: {}", refused.whole());
        assert_eq!(client.call("other", json!({ "text": "4" })).await.text(), "4", "{what}");
        let said: Vec<Value> = stand_in.calls();
        assert!(said.iter().all(|call| call["arguments"]["text"] != "3"), "{what}: {said:?}");
        // By whoever stays with the server, beside what is served.
        let shown = || place.done(&["capability", "show", "mcp.desk.echo"]);
        while shown()["state"] != "proposed" {
            names(&client).await;
        }
        client.end().await;
        let shown = shown();
        let why = shown["history"].as_array().unwrap().last().unwrap()["why"].to_string();
        assert!(why.contains("+ /"), "{what}: no readable difference: {why}");
        // Somebody looks at it again, and it goes on as what it is now.
        let told = let_in(&place, &stand_in);
        assert_eq!(told["tools"].as_array().unwrap().len(), 2, "{told}");
        let client = wrapped(&place, Era::Modern, &stand_in).await;
        assert_eq!(client.call("echo", json!({ "text": "5" })).await.text(), "5");
        client.end().await;
    }
}

#[tokio::test]
async fn a_tool_that_is_another_one_after_a_restart_is_held_back_and_the_others_go_on() {
    for what in ["description", "schema", "annotations"] {
        let place = place();
        let stand_in = StandIn::new(&place, &[looks("echo"), looks("other")]);
        let_in(&place, &stand_in);
        stand_in.has(&[pulled("echo", what), looks("other")]);
        let client = wrapped(&place, Era::Modern, &stand_in).await;
        let refused = client.call("echo", json!({ "text": "1" })).await;
        // As what it is now, or by then as a proposal.
        let code = refused.refused()["error"]["code"].clone();
        assert!(code == "integrity" || code == "denied", "{what}: {}", refused.whole());
        assert_eq!(client.call("other", json!({ "text": "2" })).await.text(), "2", "{what}");
        client.end().await;
        assert_eq!(stand_in.calls().len(), 1, "{what}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_of_a_change_is_asked_before_what_is_risky() {
    let place = place();
    let stand_in = StandIn::new(&place, &[tool("writes", json!({})), looks("other")]);
    let_in(&place, &stand_in);
    stand_in.put("quiet", &json!(true));
    let client = wrapped(&place, Era::Legacy, &stand_in).await;
    let wish = json!({ "text": "a" });
    let answer = client.call("writes", wish.clone()).await;
    let id = answer.refused()["error"]["details"]["approval_id"].as_str().unwrap().to_owned();
    place.approver(&["approvals", "approve", &id]);
    let mut pulled = tool("writes", json!({}));
    pulled["description"] = json!("Something else.");
    stand_in.has(&[pulled, looks("other")]);
    let refused = client.call("writes", wish).await;
    assert_eq!(refused.refused()["error"]["code"], "integrity", "{}", refused.whole());
    assert!(refused.text().contains("Something else."), "{}", refused.text());
    client.end().await;
    assert!(stand_in.calls().is_empty());
}

#[tokio::test]
async fn a_server_that_dies_in_a_call_leaves_it_unknown_and_is_started_again() {
    let place = place();
    let stand_in = StandIn::new(&place, &[looks("dies"), looks("refuses"), looks("echo")]);
    let_in(&place, &stand_in);
    let client = wrapped(&place, Era::Legacy, &stand_in).await;
    let answer = client.call("dies", json!({})).await;
    assert_eq!(answer.refused()["error"]["code"], "incomplete", "{}", answer.whole());
    assert!(answer.text().contains("too much for me"), "{}", answer.text());
    let calls = stand_in.calls();
    assert_eq!(calls.len(), 1, "it was tried again: {calls:?}");
    // Refused until the pause is over, and said so.
    loop {
        let echoed = client.call("echo", json!({ "text": "1" })).await;
        if !echoed.is_refused() {
            assert_eq!(echoed.text(), "1");
            break;
        }
        assert!(echoed.text().contains("started again"), "{}", echoed.text());
    }
    // What the server did not take was not done.
    let refused = client.call("refuses", json!({})).await;
    assert_eq!(refused.refused()["error"]["code"], "failed", "{}", refused.whole());
    client.end().await;
    let unknown = place.trail();
    let unknown = unknown.iter().find(|event| event["event_type"] == "action_unknown").unwrap();
    assert_eq!(unknown["action_name"], "mcp.desk.dies");
}

#[tokio::test]
async fn nothing_of_a_server_is_left_when_the_client_goes() {
    let place = place();
    let stand_in = StandIn::new(&place, &[looks("echo")]);
    stand_in.put("child", &json!(true));
    let_in(&place, &stand_in);
    let client = wrapped(&place, Era::Legacy, &stand_in).await;
    assert_eq!(client.call("echo", json!({ "text": "1" })).await.text(), "1");
    client.end().await;
    let processes = stand_in.processes();
    assert_eq!(processes.len(), 4, "{processes:?}");
    for pid in processes {
        assert!(!is_there(pid), "{pid} is left");
    }
}

#[tokio::test]
async fn a_server_gets_what_is_named_and_no_secret_comes_back() {
    let place = place();
    let stand_in = StandIn::new(&place, &[looks("environment")]);
    let (code, told) = baseline(&place, "desk", &["--secret", "KEY=KEY"], &stand_in);
    assert_eq!(code, 0, "{told}");
    let command = stand_in.command();
    let mut arguments: Vec<&str> = vec!["desk", "--secret", "KEY=KEY"];
    arguments.extend(command.iter().map(String::as_str));
    let client = Client::connect_as(&place, Era::Legacy, "wrap", &arguments, |command| {
        command.env("LICTOR_SECRET_KEY", "a-secret-of-some-length");
        command.env("SOMETHING_OF_OURS", "which is nobody's business");
    })
    .await;
    let said = client.call("environment", json!({})).await;
    let said = said.text();
    client.end().await;
    assert!(said.contains("PATH=") && said.contains("KEY=[secret]"), "{said}");
    for absent in ["LICTOR", "SOMETHING_OF_OURS", "a-secret"] {
        assert!(!said.contains(absent), "{absent}: {said}");
    }
    let stored = std::fs::read_dir(place.path(".lictor")).unwrap();
    let files: Vec<PathBuf> = stored.map(|entry| entry.unwrap().path()).collect();
    for file in files.iter().filter(|file| file.is_file()) {
        let bytes = std::fs::read(file).unwrap();
        let found = bytes.windows(8).any(|window| window == b"a-secret");
        assert!(!found, "{}", file.display());
    }
}

#[tokio::test]
async fn a_server_gets_no_variable_of_lictor() {
    let place = place();
    let stand_in = StandIn::new(&place, &[looks("environment")]);
    let (code, refused) = baseline(&place, "desk", &["--env", "LICTOR_APPROVER_TOKEN"], &stand_in);
    assert_ne!(code, 0, "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("Lictor's own"), "{refused}");
    assert!(stand_in.processes().is_empty());
}

#[tokio::test]
async fn another_command_has_to_be_let_in_again() {
    let place = place();
    let (one, other) =
        (StandIn::new(&place, &[looks("echo")]), StandIn::named(&place, "other", &[looks("echo")]));
    let_in(&place, &one);
    let client = wrapped(&place, Era::Legacy, &other).await;
    let refused = client.call("echo", json!({ "text": "1" })).await;
    assert!(refused.is_refused(), "{}", refused.whole());
    client.end().await;
    assert!(other.processes().is_empty(), "it was started");
    assert_eq!(place.done(&["capability", "show", "mcp_server.desk"])["state"], "proposed");
}

#[tokio::test]
async fn four_names_stay_four_and_names_that_look_alike_are_left_out() {
    let place = place();
    let names = ["get-sum", "get_sum", "Send", "send", "read_file", "read_fi1e"];
    let mut tools: Vec<Value> = names.iter().map(|name| looks(name)).collect();
    tools.extend([looks("twice"), looks("twice")]);
    let stand_in = StandIn::new(&place, &tools);
    let told = let_in(&place, &stand_in);
    let left_out: Vec<&str> = told["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["tool"].as_str().unwrap())
        .collect();
    assert_eq!(left_out, ["read_file", "read_fi1e", "twice", "twice"], "{told}");
    let client = wrapped(&place, Era::Legacy, &stand_in).await;
    assert_eq!(self::names(&client).await, ["Send", "get-sum", "get_sum", "send"]);
    for name in ["get-sum", "get_sum", "Send", "send"] {
        assert_eq!(client.call(name, json!({ "text": name })).await.text(), name);
    }
    client.end().await;
    let called: Vec<Value> = stand_in.calls().iter().map(|call| call["name"].clone()).collect();
    assert_eq!(called, ["get-sum", "get_sum", "Send", "send"]);
}

#[tokio::test]
async fn servers_of_the_newer_protocol_only_are_spoken_to_in_it() {
    let place = place();
    let stand_in = StandIn::new(&place, &[looks("echo")]);
    stand_in.put("era", &json!("modern"));
    let_in(&place, &stand_in);
    let client = wrapped(&place, Era::Legacy, &stand_in).await;
    assert_eq!(client.call("echo", json!({ "text": "1" })).await.text(), "1");
    client.end().await;
}

#[tokio::test]
async fn a_list_without_end_is_refused() {
    let place = place();
    let stand_in = StandIn::new(&place, &[looks("echo")]);
    stand_in.put("pages", &json!("for ever"));
    let (code, refused) = baseline(&place, "desk", &[], &stand_in);
    assert_eq!(code, 1, "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("pages"), "{refused}");
}

#[tokio::test]
async fn the_command_calls_the_same_tool_under_the_same_decision() {
    let place = place();
    let stand_in = StandIn::new(&place, &[looks("echo")]);
    let_in(&place, &stand_in);
    let client = wrapped(&place, Era::Legacy, &stand_in).await;
    let answer = client.call("echo", json!({ "text": "1" })).await;
    let by_mcp = answer.execution();
    client.end().await;
    let agent = ["--user", "somebody", "--agent", "mcp", "call", "mcp.desk.echo", "text=1"];
    let by_command = place.done(&agent);
    assert_eq!(by_command["output"]["content"][0]["text"], "1", "{by_command}");
    assert_eq!(by_command["decision"]["action_digest"], by_mcp["action_digest"]);
    assert_eq!(by_command["decision"]["verdict"], by_mcp["verdict"]);
    for pid in stand_in.processes() {
        assert!(!is_there(pid), "{pid} is left");
    }
}

#[tokio::test]
async fn nobody_without_proof_lets_anything_in() {
    let mut place = place();
    place.token = "wrong".to_owned();
    let stand_in = StandIn::new(&place, &[looks("echo")]);
    let (code, refused) = baseline(&place, "desk", &[], &stand_in);
    assert_eq!(code, 3, "{refused}");
    assert!(stand_in.processes().is_empty(), "it was started");
}

#[tokio::test]
async fn what_a_tool_did_elsewhere_is_made_up_for_by_what_its_contract_says() {
    let place = place();
    let stand_in = StandIn::new(&place, &[looks("add"), looks("remove")]);
    let_in(&place, &stand_in);
    // A person says in the contract what makes up for it, and it is let in as that.
    let file = ".lictor/capabilities/mcp.desk.add.yaml";
    let mut contract: Value = serde_json::from_str(&place.read(file).unwrap()).unwrap();
    let with = json!({ "text": "{{ output.structuredContent.said }}" });
    contract["undo"] = json!({ "strategy": "compensate", "compensate": { "use": "mcp.desk.remove", "with": with } });
    place.write(file, &contract.to_string());
    let proposed = ["--user", "somebody", "capability", "propose", file];
    place.done(&proposed);
    place.approver(&["capability", "approve", "mcp.desk.add"]);
    let client = wrapped(&place, Era::Legacy, &stand_in).await;
    let answer = client.call("add", json!({ "text": "a page" })).await;
    assert_eq!(answer.text(), "a page");
    let execution = answer.execution();
    assert_eq!(execution["undo"], "partial", "{execution}");
    client.end().await;
    let id = execution["execution_id"].as_str().unwrap();
    let undone = place.done(&["undo", id]);
    assert_eq!(undone["compensated"], json!([{ "execution": id, "by": "mcp.desk.remove" }]));
    let calls = stand_in.calls();
    let called: Vec<&Value> = calls.iter().map(|call| &call["name"]).collect();
    assert_eq!(called, ["add", "remove"], "{calls:?}");
    assert_eq!(calls[1]["arguments"]["text"], "a page");
    // Once, whoever asks again.
    let (code, again) = place.run(&["undo", id]);
    assert_ne!((code, stand_in.calls().len()), (0, 3), "{again}");
    assert_eq!(stand_in.calls().len(), 2);
}
