//! Whoever stops waiting stops what runs: a command in its copy, a request to somebody else. What
//! became of it is on record.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::client::{Client, Era};
use crate::http_client::{HttpClient, HttpServer};
use crate::life::let_in;
use crate::place::Place;

const POLICY: &str = "\
version: 1
default: deny
paths: { allowed: [\"**\"] }
rules:
  - { name: programs, when: { effect: process }, verdict: allow }
  - { name: hosts, when: { effect: net }, verdict: allow }
";

/// A command that takes very long, and can be told from all others of this machine.
struct Slow {
    seconds: String,
}

impl Slow {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        Self { seconds: format!("90.{:07}{n:03}", std::process::id()) }
    }

    /// A workspace where it may be called; it is held by a sandbox where this machine has one.
    fn place(&self) -> Place {
        let place = Place::with_policy(POLICY);
        let sandbox = if is_held(&place) { "required" } else { "best_effort" };
        let contract = format!(
            "id: local.slow\nversion: 1.0.0\ntitle: Take a long time\ndescription: Takes long.\n\
             kind: tool\nsource: local\ninput: {{ type: object }}\noutput: {{ type: object }}\n\
             risk: low\neffects: {{ fs: {{ read: [], write: [\"**\"], delete: [] }}, process: [sleep] }}\n\
             timeout: 80s\nhandler: {{ command: {{ argv: [sleep, \"{}\"], sandbox: {sandbox}, \
             output: text, inputs: [] }} }}\n",
            self.seconds
        );
        let_in(&place, "local.slow", &contract);
        place
    }

    fn runs(&self) -> bool {
        let wanted = format!("sleep\0{}\0", self.seconds);
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut lines = processes.map(|one| std::fs::read(one.path().join("cmdline")));
        lines.any(|line| line.is_ok_and(|line| line == wanted.as_bytes()))
    }

    /// Waits until it runs; on the way a client hears again and again that it goes on.
    async fn begun(&self, client: &Client) {
        client.progressed().await;
        while !self.runs() {
            client.progressed().await;
        }
    }
}

fn is_held(place: &Place) -> bool {
    let (_, doctor) = place.run(&["doctor"]);
    let checks = doctor["checks"].as_array().unwrap();
    checks.iter().any(|check| check["name"] == "command sandbox" && check["ok"] == true)
}

/// The events of one capability's actions.
fn events(place: &Place, capability: &str) -> Vec<Value> {
    let of = |event: &Value| event["action_name"] == capability;
    place.trail().into_iter().filter(of).collect()
}

#[track_caller]
fn was_stopped(place: &Place) {
    let events = events(place, "local.slow");
    // What no sandbox holds may have done anything before it was killed.
    let (ends, status) = match is_held(place) {
        true => ("action_failed", "rolled_back"),
        false => ("action_unknown", "incomplete"),
    };
    let last = events.last().unwrap();
    assert_eq!(last["event_type"], ends, "{last}");
    let why = last["error_message"].as_str().unwrap();
    assert!(why.contains("stopped waiting"), "{why}");
    let found = place.done(&["log", "--all"]);
    assert_eq!(found["executions"][0]["status"], status, "{found}");
}

async fn a_command_is_stopped_when_its_call_is_cancelled(era: Era) {
    let slow = Slow::new();
    let place = slow.place();
    let client = Client::connect(&place, era, &[]).await;
    let call = client.begin("local-slow", json!({})).await;
    slow.begun(&client).await;
    call.cancel(Some("enough".to_owned())).await.unwrap();
    client.call("time-now", json!({})).await.done();
    client.end().await;
    assert!(!slow.runs());
    was_stopped(&place);
}

#[tokio::test]
async fn a_command_is_stopped_when_its_call_is_cancelled_with_initialize() {
    a_command_is_stopped_when_its_call_is_cancelled(Era::Legacy).await;
}

#[tokio::test]
async fn a_command_is_stopped_when_its_call_is_cancelled_without_initialize() {
    a_command_is_stopped_when_its_call_is_cancelled(Era::Modern).await;
}

#[tokio::test]
async fn a_command_is_stopped_when_its_client_goes() {
    let slow = Slow::new();
    let place = slow.place();
    let client = Client::connect(&place, Era::Legacy, &[]).await;
    let _call = client.begin("local-slow", json!({})).await;
    slow.begun(&client).await;
    client.end().await;
    assert!(!slow.runs());
    was_stopped(&place);
}

#[tokio::test]
async fn a_command_is_stopped_when_a_server_whose_client_stays_is_told_to_end() {
    let slow = Slow::new();
    let place = slow.place();
    let client = Client::connect(&place, Era::Legacy, &[]).await;
    let _call = client.begin("local-slow", json!({})).await;
    slow.begun(&client).await;
    client.told_to_end(Signal::TERM).await;
    assert!(!slow.runs());
    was_stopped(&place);
}

#[tokio::test]
async fn a_command_is_stopped_when_the_stream_of_its_answer_is_closed() {
    let slow = Slow::new();
    let place = slow.place();
    let server = HttpServer::start(&place, &[]).await;
    let token = server.token.clone().unwrap();
    let client = HttpClient::ready(&server, &token, Era::Modern).await;
    let params = json!({ "name": "local-slow", "arguments": {}, "_meta": { "progressToken": 7 } });
    let mut call = client.request(1, "tools/call", params).await;
    loop {
        let told = call.message().await.expect("it goes on");
        assert_eq!(told["method"], "notifications/progress", "{told}");
        assert_eq!(told["params"]["progressToken"], 7);
        if slow.runs() {
            break;
        }
    }
    drop(call);
    // Long before its own end, while the server goes on.
    while slow.runs() {
        let told = client.call("time-now", json!({})).await;
        assert_ne!(told["isError"], true, "{told}");
    }
    server.end().await;
    was_stopped(&place);
}

#[tokio::test]
async fn a_command_is_stopped_when_the_server_is_told_to_end() {
    let slow = Slow::new();
    let place = slow.place();
    let server = HttpServer::start(&place, &[]).await;
    let token = server.token.clone().unwrap();
    let client = HttpClient::ready(&server, &token, Era::Legacy).await;
    let params = json!({ "name": "local-slow", "arguments": {}, "_meta": { "progressToken": 7 } });
    let mut call = client.request(1, "tools/call", params).await;
    while !slow.runs() {
        call.message().await.expect("it goes on");
    }
    server.end().await;
    assert!(!slow.runs());
    was_stopped(&place);
}

/// Somebody to send a request to, who takes it and says nothing.
struct Silent {
    listener: TcpListener,
    port: u16,
}

impl Silent {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, port }
    }

    fn contract(&self, id: &str, method: &str) -> String {
        let port = self.port;
        format!(
            "id: {id}\nversion: 1.0.0\ntitle: T\ndescription: D\nkind: tool\nsource: http\n\
             input: {{ type: object }}\noutput: {{ type: object }}\nrisk: low\n\
             effects: {{ net: [\"127.0.0.1:{port}\"] }}\ntimeout: 80s\nhandler:\n  \
             http: {{ method: {method}, url: \"http://127.0.0.1:{port}/\" }}\n"
        )
    }

    /// Takes a request, and gives the connection.
    async fn asked(&self) -> BufReader<TcpStream> {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert!(stream.read_line(&mut line).await.unwrap() > 0);
        }
        stream
    }
}

async fn a_request_is_given_up(method: &str, ends: &str, status: &str) {
    let silent = Silent::new().await;
    let place = Place::with_policy(POLICY);
    let_in(&place, "local.ask", &silent.contract("local.ask", method));
    let client = Client::connect(&place, Era::Modern, &[]).await;
    let call = client.begin("local-ask", json!({})).await;
    let mut asked = silent.asked().await;
    call.cancel(None).await.unwrap();
    let mut rest = Vec::new();
    // Its end, or a reset: the connection is closed, long before the request's time is over.
    drop(asked.read_to_end(&mut rest).await);
    client.end().await;
    let events = events(&place, "local.ask");
    let last = events.last().unwrap();
    assert_eq!(last["event_type"], ends, "{last}");
    let found = place.done(&["log", "--all"]);
    assert_eq!(found["executions"][0]["status"], status, "{found}");
}

#[tokio::test]
async fn a_request_that_only_asks_has_failed_when_it_is_given_up() {
    a_request_is_given_up("GET", "action_failed", "rolled_back").await;
}

#[tokio::test]
async fn of_a_request_that_does_something_nobody_knows_when_it_is_given_up() {
    a_request_is_given_up("POST", "action_unknown", "incomplete").await;
}
