//! What was imported and nobody let in is callable by no door: the OpenAPI document of a public product
//! (quay.io, as the crate `openapiv3` carries it for its own tests), by the command, the library, a workflow
//! and over MCP. The one operation that was let in is called by each of them, over real HTTP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use lictor::capability::{CapabilityId, tool_name};
use lictor::context::{Name, Principal, Session, SystemClock};
use lictor::document::Source;
use lictor::handlers::SecretSource;
use lictor::workflow::Workflow;
use lictor::{Runtime, RuntimeOptions};
use serde_json::{Value, json};

use crate::client::{Client, Era};
use crate::place::Place;

const POLICY: &str = "version: 1\ndefault: deny\npaths: { allowed: [\"**\"] }\n\
    rules:\n  - { name: net, when: { effect: net }, verdict: allow }\n\
    risk: { low: allow, medium: allow, high: allow, critical: allow }\n";

const LET_IN: &str = "quay.create_repo";
const SECRET: &str = "t0k3n-of-quay";
const SECRET_NAME: &str = "LICTOR_SECRET_QUAY_OAUTH2_IMPLICIT";

/// A document that `openapiv3` carries: where cargo keeps the crate's files.
fn carried(name: &str) -> String {
    // What only other platforms need was not fetched.
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let told = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", &host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let metadata: Value = serde_json::from_slice(&told.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "openapiv3").unwrap();
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
    manifest.with_file_name("fixtures").join(name).to_str().unwrap().to_owned()
}

/// Reads a request to its end, answers it, and gives its first line with who called.
fn answer(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut line, mut who, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut line).unwrap();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let header = header.trim_end().to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        if let Some(value) = header.strip_prefix("authorization: ") {
            who = value.to_owned();
        }
        if header.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let said = r#"{"name":"lictor"}"#;
    let head = "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let answer = format!("{head}content-length: {}\r\n\r\n{said}", said.len());
    let mut stream = stream;
    stream.write_all(answer.as_bytes()).unwrap();
    format!("{} {who}", line.trim_end())
}

/// Answers so many requests; gives them, and whatever listens on.
fn server(requests: usize) -> (u16, std::thread::JoinHandle<(Vec<String>, TcpListener)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let seen = (0..requests).map(|_| answer(&listener.accept().unwrap().0)).collect();
        (seen, listener)
    });
    (port, thread)
}

/// The one secret that the document needs.
#[derive(Debug)]
struct Quay;

impl SecretSource for Quay {
    fn secret(&self, name: &str) -> Option<String> {
        (format!("LICTOR_SECRET_{name}") == SECRET_NAME).then(|| SECRET.to_owned())
    }
}

fn input() -> Value {
    json!({ "body": { "repository": "r", "visibility": "private", "description": "d" } })
}

fn workflow(id: &str, input: &Value) -> String {
    format!(
        "id: w\nversion: 1.0.0\ntitle: W\ninput: {{ type: object }}\nsteps:\n  - {{ id: a, use: {id}, with: {input} }}\n"
    )
}

/// A workspace with all the proposals, of which one was let in.
fn place(port: u16) -> (Place, Vec<String>) {
    let place = Place::with_policy(POLICY);
    let (document, url) = (carried("quayio.json"), format!("http://127.0.0.1:{port}"));
    let imported = place.done(&[
        "capability",
        "import",
        &document,
        "--from",
        "openapi",
        "--namespace",
        "quay",
        "--server",
        &url,
        "--user",
        "bob",
    ]);
    let ids = imported["proposed"].as_array().unwrap().iter();
    let mut ids: Vec<String> = ids.map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 95);
    place.approver(&["capability", "approve", LET_IN]);
    ids.retain(|id| id != LET_IN);
    (place, ids)
}

/// A few of those that nobody let in, of every method.
fn some(ids: &[String]) -> impl Iterator<Item = &String> {
    ids.iter().step_by(16).chain(ids.iter().filter(|id| id.ends_with("delete_repository")))
}

async fn by_library(place: &Place, ids: &[String]) {
    let mut options = RuntimeOptions::new(&place.root, place.keys());
    options.secrets = Arc::new(Quay);
    let runtime = Runtime::open(options).await.unwrap();
    let name = |text| Name::parse(text).unwrap();
    let principal = Principal { org: name("local"), user: name("ann"), agent: name("planner") };
    let agent = runtime.agent(&Session::new(principal, &SystemClock));
    for id in some(ids) {
        let refused = agent.call(id, json!({})).await.unwrap_err().to_json();
        assert_eq!(refused["error"]["code"], "denied", "{id}: {refused}");
        let capability = CapabilityId::parse(id).unwrap();
        assert!(agent.check(agent.action(capability.clone(), json!({}))).is_err(), "{id}");
        assert!(agent.graph().get(&capability, None).is_none(), "{id}");
        let text = workflow(id, &json!({}));
        let document = Workflow::from_yaml(&Source::new("w.yaml", text.as_bytes())).unwrap();
        assert!(runtime.validate_workflow(agent.session(), &document).is_err(), "{id}");
        // The engine alone, without anybody who held the document against anything.
        let run = runtime.engine(None).run(agent.session(), &document, json!({})).await.unwrap();
        assert_eq!(run.status().as_str(), "rolled_back", "{id}: {:?}", run.error);
    }
    let done = agent.call(LET_IN, input()).await.unwrap();
    assert_eq!(done.record.output["status"], 201);
}

fn by_command(place: &Place, ids: &[String]) {
    for id in some(ids) {
        let (code, json) = place.run(&["call", id, "--input", "{}"]);
        assert_eq!((code, &json["error"]["code"]), (3, &json!("denied")), "{id}");
        let (code, _) = place.run(&["check", "call", id, "--input", "{}"]);
        assert_eq!(code, 3, "{id}");
        place.write("w.workflow.yaml", &workflow(id, &json!({})));
        let (code, json) = place.run(&["run", "w.workflow.yaml"]);
        assert_eq!(code, 2, "{id}: {json}");
        assert!(json.to_string().contains(id.as_str()), "{json}");
    }
    let done = place.done(&["call", LET_IN, "--input", &input().to_string()]);
    assert_eq!(done["output"]["status"], 201);
    place.write("w.workflow.yaml", &workflow(LET_IN, &input()));
    assert_eq!(place.done(&["run", "w.workflow.yaml"])["status"], "completed");
}

async fn by_mcp(place: &Place, ids: &[String], era: Era) {
    let secret = |command: &mut tokio::process::Command| _ = command.env(SECRET_NAME, SECRET);
    let client = Client::connect_with(place, era, &[], secret).await;
    let tools = client.tools().await;
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    let of_it = |id: &str| tool_name(&CapabilityId::parse(id).unwrap());
    assert!(names.contains(&of_it(LET_IN).as_str()), "{names:?}");
    for id in ids {
        assert!(!names.contains(&of_it(id).as_str()) && !names.contains(&id.as_str()), "{id}");
    }
    for id in some(ids) {
        for name in [of_it(id), id.clone()] {
            let answer = client.call(&name, json!({})).await;
            assert!(answer.is_refused(), "{name}: {}", answer.whole());
        }
    }
    let done = client.call(&of_it(LET_IN), input()).await.done();
    assert_eq!(done["status"], 201);
    client.end().await;
}

#[tokio::test]
async fn what_nobody_let_in_is_callable_by_no_door_and_what_was_by_each() {
    // By the command, as a step, by the library, and over MCP of both eras.
    let (port, thread) = server(5);
    let (place, ids) = place(port);
    let place = place.with_secret(SECRET_NAME, SECRET);
    by_command(&place, &ids);
    by_library(&place, &ids).await;
    by_mcp(&place, &ids, Era::Legacy).await;
    by_mcp(&place, &ids, Era::Modern).await;
    let (seen, listener) = thread.join().unwrap();
    for line in &seen {
        assert_eq!(line, &format!("POST /api/v1/repository HTTP/1.1 bearer {SECRET}"));
    }
    assert_eq!(seen.len(), 5);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody else was asked for anything");
    let trail = place.trail();
    assert!(!json!(trail).to_string().contains(SECRET));
    let done = trail.iter().filter(|event| event["event_type"] == "action_completed");
    let named = |event: &&Value| event["action_name"].as_str().unwrap().starts_with("quay.");
    let done: Vec<&Value> = done.filter(named).collect();
    assert!(done.iter().all(|event| event["action_name"] == LET_IN), "{done:?}");
    assert_eq!(done.len(), 5);
}
