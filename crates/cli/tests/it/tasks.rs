//! A call that waits for people, as a task: it is done when they agree, and not before; they can refuse, and
//! the client can give it up.

use rmcp::model::{CallToolResponse, CancelTaskParams, GetTaskParams};
use serde_json::{Value, json};

use crate::client::{Client, Era};
use crate::http_client::{HttpClient, HttpServer};
use crate::place::Place;
use crate::relay::person;

/// A client that knows tasks.
async fn client(server: &HttpServer) -> HttpClient {
    let token = server.token.clone().unwrap();
    let mut client = HttpClient::ready(server, &token, Era::Modern).await;
    client.can = json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } });
    client
}

/// A write that people are asked about; the task's id, which is the approval's.
async fn asked(client: &HttpClient) -> String {
    let task = client.call("fs-write", json!({ "path": "ask/x", "content": "agreed" })).await;
    assert_eq!(task["resultType"], "task", "{task}");
    assert_eq!(task["status"], "working");
    let id = task["taskId"].as_str().unwrap().to_owned();
    assert!(task["statusMessage"].as_str().unwrap().contains(&id), "{task}");
    id
}

async fn says(client: &HttpClient, method: &str, id: &str) -> Value {
    let params = json!({ "taskId": id, "inputResponses": {} });
    client.request(1, method, params).await.answer().await
}

/// How a task stands when it stands still, by whoever asks.
async fn still<F: Future<Output = Value>>(ask: impl Fn() -> F) -> Value {
    loop {
        let task = ask().await;
        if task["status"] != "working" {
            return task;
        }
    }
}

async fn ended(client: &HttpClient, id: &str) -> Value {
    still(|| async { says(client, "tasks/get", id).await["result"].clone() }).await
}

/// What was asked for was done, once.
#[track_caller]
fn was_done_once(place: &Place) {
    let done = |event: &&Value| {
        event["event_type"] == "action_completed" && event["action_name"] == "fs.write"
    };
    assert_eq!(place.trail().iter().filter(done).count(), 1);
}

#[tokio::test]
async fn a_task_is_done_when_people_agree_and_once() {
    let place = Place::new();
    let server = HttpServer::start(&place, &[]).await;
    let client = client(&server).await;
    let id = asked(&client).await;
    assert_eq!(asked(&client).await, id, "the same call is the same task");
    let task = says(&client, "tasks/get", &id).await["result"].clone();
    assert_eq!((&task["status"], place.read("ask/x")), (&json!("working"), None));
    place.approver(&["approvals", "approve", &id]);
    assert_eq!(place.read("ask/x"), None, "it is done when the client asks for it");
    let task = ended(&client, &id).await;
    assert_eq!(task["status"], "completed", "{task}");
    assert_ne!(task["result"]["isError"], true, "{task}");
    assert_eq!(place.read("ask/x").as_deref(), Some("agreed"));
    std::fs::remove_file(place.path("ask/x")).unwrap();
    assert_eq!(ended(&client, &id).await, task, "looking again does nothing again");
    assert_eq!(place.read("ask/x"), None);
    server.end().await;
    was_done_once(&place);
}

#[tokio::test]
async fn a_task_that_people_refuse_ends_with_their_reason() {
    let place = Place::new();
    let server = HttpServer::start(&place, &[]).await;
    let client = client(&server).await;
    let id = asked(&client).await;
    place.approver(&["approvals", "deny", &id, "--reason", "not today"]);
    let task = ended(&client, &id).await;
    assert_eq!(task["status"], "completed");
    assert_eq!(task["result"]["isError"], true);
    assert!(task["result"].to_string().contains("not today"), "{task}");
    assert_eq!(place.read("ask/x"), None);
    server.end().await;
}

#[tokio::test]
async fn a_task_that_the_client_gives_up_asks_nobody_any_more() {
    let place = Place::new();
    let server = HttpServer::start(&place, &[]).await;
    let client = client(&server).await;
    let id = asked(&client).await;
    let told = says(&client, "tasks/cancel", &id).await;
    assert!(told.get("result").is_some(), "{told}");
    assert_eq!(ended(&client, &id).await["status"], "cancelled");
    assert_eq!(place.done(&["approvals", "list"])["approvals"], json!([]));
    server.end().await;
}

#[tokio::test]
async fn a_task_is_known_to_its_own_principal_alone_and_to_clients_that_know_tasks() {
    let place = Place::new();
    let other = place.done(&["mcp", "clients", "add", "--user", "bob", "--agent", "ide"]);
    let ann = place.done(&["mcp", "clients", "add", "--user", "ann", "--agent", "ide"]);
    let server = HttpServer::start(&place, &[]).await;
    let token = |made: &Value| Some(made["token"].as_str().unwrap().to_owned());
    let mut one = HttpClient::ready(&server, &token(&ann).unwrap(), Era::Modern).await;
    one.can = json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } });
    let id = asked(&one).await;
    let mut bob = one.clone();
    bob.token = token(&other);
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let refused = says(&bob, method, &id).await;
        assert_eq!(refused["error"]["code"], -32602, "{method}: {refused}");
    }
    assert_eq!(says(&one, "tasks/get", &id).await["result"]["status"], "working");
    one.can = json!({});
    let refused = says(&one, "tasks/get", &id).await;
    assert_eq!(refused["error"]["code"], -32021, "{refused}");
    let waits = one.call("fs-write", json!({ "path": "ask/x", "content": "agreed" })).await;
    assert_eq!(waits["structuredContent"]["error"]["code"], "approval_required");
    server.end().await;
}

/// The same on standard input and output: the protocol's own client, that knows tasks.
async fn on_stdio(place: &Place) -> Client {
    let can = json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } });
    let (nobody, _) = person();
    Client::able(place, Era::Modern, "serve", &[], (can, nobody)).await
}

async fn asked_on_stdio(client: &Client) -> String {
    let wish = json!({ "path": "ask/x", "content": "agreed" });
    let CallToolResponse::Task(task) = client.round("fs-write", wish, None).await.unwrap() else {
        panic!("it is no task")
    };
    json!(task)["taskId"].as_str().unwrap().to_owned()
}

async fn stands(client: &Client, id: &str) -> Value {
    json!(client.peer().get_task(GetTaskParams::new(id)).await.unwrap())
}

#[tokio::test]
async fn a_task_on_standard_input_is_done_when_people_agree_and_once() {
    let place = Place::new();
    let client = on_stdio(&place).await;
    let id = asked_on_stdio(&client).await;
    assert_eq!(
        (&stands(&client, &id).await["status"], place.read("ask/x")),
        (&json!("working"), None)
    );
    place.approver(&["approvals", "approve", &id]);
    let ended = still(|| stands(&client, &id)).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    assert_ne!(ended["result"]["isError"], true, "{ended}");
    assert_eq!(place.read("ask/x").as_deref(), Some("agreed"));
    assert_eq!(stands(&client, &id).await, ended, "looking again does nothing again");
    client.end().await;
    was_done_once(&place);
}

#[tokio::test]
async fn a_task_on_standard_input_that_is_given_up_asks_nobody_any_more() {
    let place = Place::new();
    let client = on_stdio(&place).await;
    let id = asked_on_stdio(&client).await;
    client.peer().cancel_task(CancelTaskParams::new(id.clone())).await.unwrap();
    assert_eq!(stands(&client, &id).await["status"], "cancelled");
    client.end().await;
    assert_eq!(place.done(&["approvals", "list"])["approvals"], json!([]));
    assert_eq!(place.read("ask/x"), None);
}
