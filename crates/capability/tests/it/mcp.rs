//! Tools of MCP servers: ids that lead to one tool, pins, and what is proposed of a listing.

use std::collections::BTreeSet;

use lictor_capability::import::{from_mcp, from_mcp_server};
use lictor_capability::{
    Contract, HandlerSpec, McpPart, McpPin, McpServer, McpTool, Risk, pin_digest,
};
use lictor_document::Source;
use proptest::prelude::*;
use serde_json::{Value, json};

fn server() -> McpServer {
    McpServer {
        server: "desk".to_owned(),
        command: vec!["desk-server".to_owned(), "--fast".to_owned()],
        url: None,
        headers: Vec::new(),
        cwd: None,
        env: Vec::new(),
        set: Default::default(),
        secrets: Default::default(),
        workspace: false,
    }
}

fn tool(name: &str, more: Value) -> Value {
    let mut tool = json!({ "name": name, "description": "d", "inputSchema": { "type": "object" } });
    for (key, value) in more.as_object().into_iter().flatten() {
        tool[key] = value.clone();
    }
    tool
}

fn contract(value: &Value) -> Result<Contract, String> {
    let text = value.to_string();
    Contract::from_yaml(&Source::new("c.yaml", text.as_bytes())).map_err(|error| error.to_string())
}

proptest! {
    #[test]
    fn different_tools_have_different_ids(
        one in "[a-zA-Z0-9_./-]{1,8}", other in "[a-zA-Z0-9_./-]{1,8}",
    ) {
        let (id, second) = (McpTool::id_of("s", McpPart::Tool, &one), McpTool::id_of("s", McpPart::Tool, &other));
        prop_assert_eq!(one == other, id.unwrap() == second.unwrap());
    }

    // Few letters, so that many pairs are nearly alike.
    #[test]
    fn names_of_escapes_and_letters_never_meet(one in "[x_a34A.-]{1,6}", other in "[x_a34A.-]{1,6}") {
        let id = |server: &str, tool: &str| McpTool::id_of(server, McpPart::Tool, tool).unwrap();
        prop_assert_eq!(one == other, id("s", &one) == id("s", &other));
        prop_assert_eq!(one == other, id(&one, "t") == id(&other, "t"));
    }
}

#[test]
fn all_names_of_three_letters_are_told_apart() {
    let letters = ["a", "x", "4", "0", "_", "-", ".", "/", "A", "X"];
    let mut ids = BTreeSet::new();
    let mut n = 0;
    for a in letters {
        for b in letters {
            for c in letters {
                n += 1;
                ids.insert(McpTool::id_of("s", McpPart::Tool, &format!("{a}{b}{c}")).unwrap());
            }
        }
    }
    assert_eq!(ids.len(), n);
}

#[test]
fn what_is_no_name_is_refused() {
    for name in ["", "a b", "ä", "a\u{200b}", &"x".repeat(129), &"A".repeat(100)] {
        assert!(McpTool::id_of("s", McpPart::Tool, name).is_err(), "{name:?}");
    }
    for name in ["", "a/b", "ö", &"x".repeat(65)] {
        assert!(McpServer::id_of(name).is_err(), "{name:?}");
    }
}

#[test]
fn a_pin_covers_everything_that_reaches_a_model() {
    let whole = tool(
        "t",
        json!({
            "title": "T", "outputSchema": { "type": "object" }, "annotations": { "readOnlyHint": true },
            "icons": [{ "src": "data:," }], "_meta": { "a": 1 },
        }),
    );
    let digest = pin_digest(McpPart::Tool, &whole).unwrap();
    for key in whole.as_object().unwrap().keys() {
        let mut other = whole.clone();
        other.as_object_mut().unwrap().remove(key);
        assert_ne!(pin_digest(McpPart::Tool, &other).unwrap(), digest, "{key}");
    }
    // The order of keys says nothing.
    let turned: Value = serde_json::from_str(&format!(
        "{{{}}}",
        whole
            .as_object()
            .unwrap()
            .iter()
            .rev()
            .map(|(key, value)| format!("\"{key}\":{value}"))
            .collect::<Vec<_>>()
            .join(",")
    ))
    .unwrap();
    assert_eq!(pin_digest(McpPart::Tool, &turned).unwrap(), digest);
}

#[test]
fn a_contract_that_contradicts_its_pin_is_refused() {
    let import = from_mcp(&server(), McpPart::Tool, &[tool("read", json!({}))]);
    let good = &import.contracts[0].contract;
    assert!(contract(good).is_ok(), "{good}");
    let refused = |at: &str, value: Value, why: &str| {
        let mut bad = good.clone();
        *bad.pointer_mut(at).unwrap() = value;
        let told = contract(&bad).unwrap_err();
        assert!(told.contains(why), "{at}: {told}");
    };
    refused("/handler/mcp/pin/definition/description", json!("other"), "digest is not that");
    refused("/handler/mcp/pin/formula", json!(2), "formula 2");
    refused("/handler/mcp/tool", json!("write"), "about another tool");
    refused("/id", json!("mcp.desk.write"), "`mcp.desk.read`");
    refused("/source", json!("mcp:other"), "mcp:desk");
}

#[test]
fn hints_may_raise_the_risk_and_what_is_not_said_is_supposed_at_its_worst() {
    let risk = |annotations: Value| {
        let import = from_mcp(&server(), McpPart::Tool, &[tool("t", annotations)]);
        contract(&import.contracts[0].contract).unwrap().risk
    };
    let hints = |hints: Value| json!({ "annotations": hints });
    assert_eq!(risk(json!({})), Risk::High);
    assert_eq!(risk(hints(json!({ "readOnlyHint": false }))), Risk::High);
    assert_eq!(risk(hints(json!({ "destructiveHint": false }))), Risk::Medium);
    assert_eq!(risk(hints(json!({ "readOnlyHint": true }))), Risk::Medium);
    assert_eq!(risk(hints(json!({ "readOnlyHint": true, "openWorldHint": false }))), Risk::Low);
    assert_eq!(risk(hints(json!({ "readOnlyHint": "true" }))), Risk::High);
}

#[test]
fn what_cannot_be_seen_is_said() {
    let poisoned = tool("t", json!({ "description": "adds\u{200b}\u{202e}" }));
    let import = from_mcp(&server(), McpPart::Tool, &[poisoned]);
    let notes = import.contracts[0].lost.join("\n");
    assert!(notes.contains("2 characters"), "{notes}");
}

#[test]
fn names_taken_twice_or_easily_mistaken_are_left_out_all_of_them() {
    let names = ["read_file", "read_fi1e", "a", "a", "Send", "send", "get-sum", "get_sum"];
    let tools: Vec<Value> = names.iter().map(|name| tool(name, json!({}))).collect();
    let import = from_mcp(&server(), McpPart::Tool, &tools);
    let kept: Vec<&str> = import.contracts.iter().map(|one| one.origin.as_str()).collect();
    assert_eq!(kept, ["Send", "send", "get-sum", "get_sum"]);
    assert_eq!(import.left_out.len(), 4);
}

#[test]
fn the_start_of_a_server_names_what_it_runs_and_nothing_of_lictor() {
    let import = from_mcp_server(&server()).unwrap();
    let started = contract(&import.contracts[0].contract).unwrap();
    assert_eq!(started.id.as_str(), "mcp_server.desk");
    assert_eq!(started.effects.process, ["desk-server"]);
    let HandlerSpec::McpServer(spec) = &started.handler else { panic!("{started:?}") };
    assert_eq!(**spec, server());
    for name in ["LICTOR_APPROVER_TOKEN", "lictor_secret_x", "A=B", "9", ""] {
        let mut other = server();
        other.env = vec![name.to_owned()];
        let import = from_mcp_server(&other).unwrap();
        assert!(import.contracts.is_empty(), "{name}");
    }
    let mut bad = import.contracts[0].contract.clone();
    bad["effects"]["process"] = json!(["other"]);
    assert!(contract(&bad).unwrap_err().contains("desk-server"));
}

#[test]
fn a_pin_keeps_a_definition_as_it_is() {
    let whole = tool("t", json!({ "_meta": { "n": 1.5, "deep": [{ "x": null }] } }));
    let pin = McpPin::of(McpPart::Tool, &whole).unwrap();
    assert_eq!(pin.definition.as_value(), &whole);
    assert_eq!(pin.digest, pin_digest(McpPart::Tool, &whole).unwrap());
}

fn reached() -> McpServer {
    let secrets = [("Authorization".to_owned(), "KEY".to_owned())].into_iter().collect();
    McpServer {
        command: Vec::new(),
        url: Some("https://Tools.example:8443/mcp".to_owned()),
        headers: vec!["X-Team".to_owned()],
        secrets,
        ..server()
    }
}

#[test]
fn a_server_with_a_url_is_a_contract_that_names_its_host() {
    let import = from_mcp_server(&reached()).unwrap();
    assert!(import.left_out.is_empty(), "{:?}", import.left_out);
    let contract = contract(&import.contracts[0].contract).unwrap();
    assert_eq!(contract.effects.net, ["tools.example:8443"]);
    assert!(contract.effects.process.is_empty());
    let HandlerSpec::McpServer(spec) = &contract.handler else { panic!() };
    assert_eq!(**spec, reached());
}

#[test]
fn a_contract_of_a_server_is_of_one_kind_and_sends_what_it_may() {
    let good = from_mcp_server(&reached()).unwrap().contracts[0].contract.clone();
    let with = |key: &str, value: Value| {
        let mut bad = good.clone();
        bad["handler"]["mcp_server"][key] = value;
        contract(&bad).unwrap_err()
    };
    for (key, value, why) in [
        ("command", json!(["c"]), "a `url` or a `command`"),
        ("env", json!(["PATH"]), "a `url` or a `command`"),
        ("workspace", json!(true), "a `url` or a `command`"),
        ("url", json!("https://other.example/mcp"), "does not name `other.example`"),
        ("url", json!("https://me@tools.example:8443/"), "without a user"),
        ("url", json!("ftp://tools.example:8443/"), "begins with"),
        ("headers", json!(["Mcp-Session-Id"]), "by the protocol itself"),
        ("headers", json!(["Accept"]), "by the protocol itself"),
        ("headers", json!(["Host"]), "by the request itself"),
        ("headers", json!(["authorization"]), "there twice"),
        ("set", json!({ "X-A": "a\r\nX-B: b" }), "what none can"),
    ] {
        let told = with(key, value);
        assert!(told.contains(why), "{key}: {told}");
    }
    let mut command = from_mcp_server(&server()).unwrap().contracts[0].contract.clone();
    command["handler"]["mcp_server"]["headers"] = json!(["X-Team"]);
    assert!(contract(&command).unwrap_err().contains("with a `url`"));
}
