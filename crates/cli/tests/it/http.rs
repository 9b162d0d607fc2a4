//! Over HTTP: nobody without a token, nobody from another page, and everybody apart.

use serde_json::{Value, json};

use crate::client::Era;
use crate::http_client::{HttpClient, HttpServer};
use crate::place::Place;

const ERAS: [Era; 2] = [Era::Legacy, Era::Modern];

fn code(result: &Value) -> &Value {
    assert_eq!(result["isError"], true, "{result}");
    &result["structuredContent"]["error"]["code"]
}

fn client_for(place: &Place, user: &str) -> String {
    let made = place.done(&["mcp", "clients", "add", "--user", user, "--agent", "ide"]);
    made["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_first_start_makes_a_token_and_shows_it_once() {
    let place = Place::new();
    let first = HttpServer::start(&place, &[]).await;
    let token = first.token.clone().expect("a token");
    let client = HttpClient::ready(&first, &token, Era::Legacy).await;
    let written = client.call("fs-write", json!({ "path": "a.txt", "content": "x" })).await;
    assert_ne!(written["isError"], true, "{written}");
    first.end().await;
    let second = HttpServer::start(&place, &[]).await;
    assert_eq!(second.token, None);
    let again = HttpClient::ready(&second, &token, Era::Modern).await;
    let read = again.call("fs-read", json!({ "path": "a.txt" })).await;
    assert_eq!(read["structuredContent"]["content"], "x", "{read}");
    second.end().await;
    let trail = place.trail();
    let added = trail.iter().filter(|event| event["action_name"] == "mcp.clients.add").count();
    assert_eq!(added, 1, "and that stands in the trail");
    assert!(!json!(trail).to_string().contains(&token));
}

#[tokio::test]
async fn without_a_token_that_counts_nobody_comes_in() {
    let place = Place::new();
    let server = HttpServer::start(&place, &[]).await;
    let good = server.token.clone().unwrap();
    let other = format!("{}A", good.split_at(good.len() - 1).0);
    let wrong = [
        None,
        Some(""),
        Some("lct_"),
        Some("secret"),
        Some(other.as_str()).filter(|other| *other != good),
    ];
    for era in ERAS {
        for token in wrong {
            let client = HttpClient::new(&server, token, era);
            let refused = client.request(1, "tools/list", json!({})).await;
            assert_eq!(refused.status, 401, "{token:?}");
            assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"lictor\""));
            assert!(!refused.text().await.contains("fs-write"));
        }
    }
    let mut basic = HttpClient::new(&server, None, Era::Modern);
    basic.headers.push(("authorization", format!("Basic {good}")));
    assert_eq!(basic.request(1, "tools/list", json!({})).await.status, 401);
    server.end().await;
    assert!(place.trail().iter().all(|event| event["event_type"] != "session_started"));
}

#[tokio::test]
async fn a_token_that_is_taken_back_is_nobodys_at_once() {
    let place = Place::new();
    let token = client_for(&place, "ann");
    let server = HttpServer::start(&place, &[]).await;
    assert_eq!(server.token, None, "somebody could come in already");
    let client = HttpClient::ready(&server, &token, Era::Legacy).await;
    client.call("time-now", json!({})).await;
    place.done(&["mcp", "clients", "revoke", "--user", "ann", "--agent", "ide"]);
    assert_eq!(client.request(2, "tools/list", json!({})).await.status, 401);
    server.end().await;
}

#[tokio::test]
async fn another_host_or_the_page_of_another_origin_is_refused() {
    let place = Place::new();
    let server = HttpServer::start(&place, &["--host", "tools.example"]).await;
    let token = server.token.clone().unwrap();
    let port = server.address.rsplit_once(':').unwrap().1.to_owned();
    for era in ERAS {
        let status = async |name: &'static str, value: &str| {
            let mut client = HttpClient::new(&server, Some(&token), era);
            client.headers.push((name, value.to_owned()));
            let method = if era == Era::Legacy { "initialize" } else { "tools/list" };
            let params = json!({
                "protocolVersion": "2025-11-25", "capabilities": {},
                "clientInfo": { "name": "tests", "version": "1" },
            });
            client.request(1, method, params).await.status
        };
        for wrong in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example"] {
            assert_eq!(status("host", wrong).await, 403, "{wrong}");
            assert_eq!(status("host", &format!("{wrong}:{port}")).await, 403, "{wrong}");
            assert_eq!(status("origin", &format!("http://{wrong}")).await, 403, "{wrong}");
        }
        assert_eq!(status("origin", "null").await, 403);
        for right in ["localhost", "tools.example"] {
            assert_eq!(status("host", &format!("{right}:{port}")).await, 200, "{right}");
            assert_eq!(status("origin", &format!("http://{right}:{port}")).await, 200, "{right}");
        }
    }
    server.end().await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_read() {
    let place = Place::new();
    let server = HttpServer::start(&place, &[]).await;
    let token = server.token.clone().unwrap();
    let client = HttpClient::new(&server, Some(&token), Era::Modern);
    let params = json!({ "name": "hash-text", "arguments": { "text": "x".repeat(5 << 20) } });
    assert_eq!(client.request(1, "tools/call", params).await.status, 413);
    server.end().await;
}

async fn what_one_principal_does_is_not_seen_by_another(era: Era) {
    let place = Place::new();
    let (ann, bob) = (client_for(&place, "ann"), client_for(&place, "bob"));
    let server = HttpServer::start(&place, &[]).await;
    let ann = HttpClient::ready(&server, &ann, era).await;
    let bob = HttpClient::ready(&server, &bob, era).await;
    let done = ann.call("fs-write", json!({ "path": "a.txt", "content": "of ann" })).await;
    let execution = &done["_meta"]["lictor/execution"]["execution_id"];
    let waits = ann.call("fs-write", json!({ "path": "ask/a.txt", "content": "x" })).await;
    assert_eq!(code(&waits), "approval_required");
    let shown = |result: Value| result["structuredContent"].to_string();
    let log = shown(bob.call("log", json!({})).await);
    assert!(!log.contains(execution.as_str().unwrap()) && !log.contains("a.txt"), "{log}");
    let pending = shown(bob.call("pending", json!({})).await);
    assert!(!pending.contains("apr_"), "{pending}");
    assert_eq!(code(&bob.call("undo", json!({ "execution": execution })).await), "not_found");
    assert_eq!(code(&bob.call("undo", json!({})).await), "not_found");
    let decision = &waits["structuredContent"]["decision"]["id"];
    assert!(decision.is_string(), "{waits}");
    assert_eq!(code(&bob.call("explain", json!({ "id": decision })).await), "invalid_input");
    assert!(shown(ann.call("log", json!({})).await).contains("a.txt"));
    assert!(shown(ann.call("pending", json!({})).await).contains("apr_"));
    assert_eq!(place.read("a.txt").as_deref(), Some("of ann"));
    let undone = ann.call("undo", json!({ "execution": execution })).await;
    assert_ne!(undone["isError"], true, "{undone}");
    assert_eq!(place.read("a.txt"), None);
    server.end().await;
    let users: Vec<Value> = place
        .trail()
        .into_iter()
        .filter(|event| event["event_type"] == "session_started" && event["agent_id"] == "ide")
        .map(|event| event["user_id"].clone())
        .collect();
    assert_eq!(users, ["ann", "bob"], "each acts as who they are");
    let trail = place.trail();
    let ended = trail.iter().filter(|event| event["event_type"] == "session_ended");
    let ended = ended.filter(|event| event["agent_id"] == "ide").count();
    assert_eq!(ended, 2, "each session ends with the server");
}

#[tokio::test]
async fn principals_with_initialize_are_apart() {
    what_one_principal_does_is_not_seen_by_another(Era::Legacy).await;
}

#[tokio::test]
async fn principals_without_initialize_are_apart() {
    what_one_principal_does_is_not_seen_by_another(Era::Modern).await;
}

#[tokio::test]
async fn a_protocol_session_is_of_no_use_to_another_principal() {
    let place = Place::new();
    let (ann, bob) = (client_for(&place, "ann"), client_for(&place, "bob"));
    let server = HttpServer::start(&place, &[]).await;
    let mut client = HttpClient::ready(&server, &ann, Era::Legacy).await;
    client.call("time-now", json!({})).await;
    client.token = Some(bob);
    assert_eq!(client.request(2, "tools/list", json!({})).await.status, 404);
    server.end().await;
}

#[tokio::test]
async fn a_token_of_ones_own_making_is_kept_nowhere() {
    let place = Place::new();
    let token = "made-elsewhere-0123456789-0123456789";
    let server = HttpServer::start_with(&place, &["--user", "ann"], |command| {
        command.env("LICTOR_CLIENT_TOKEN", token);
    })
    .await;
    assert_eq!(server.token, None);
    let client = HttpClient::ready(&server, token, Era::Modern).await;
    client.call("time-now", json!({})).await;
    server.end().await;
    assert_eq!(place.done(&["mcp", "clients", "list"])["clients"], json!([]));
    let file = place.path("../short");
    std::fs::write(&file, "guessable").unwrap();
    let (code, refused) = place.run(&[
        "mcp",
        "serve",
        "--http",
        "127.0.0.1:0",
        "--client-token-file",
        file.to_str().unwrap(),
    ]);
    assert_eq!(code, 2, "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("32 characters"), "{refused}");
}

#[tokio::test]
async fn an_address_that_others_can_reach_has_to_be_allowed() {
    let place = Place::new();
    let (code, refused) = place.run(&["mcp", "serve", "--http", "0.0.0.0:0"]);
    assert_eq!(code, 2, "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("--allow-remote"), "{refused}");
}
