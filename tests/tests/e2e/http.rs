//! Contracts of HTTP requests, called over real HTTP: what is let in is done once, and what is not
//! known to be done is said to be so.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::place::{Place, message};

/// A request as it arrived.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

/// A server that gives the answers that it was given, one a connection, and then ends.
pub(crate) struct Server {
    port: u16,
    seen: Receiver<Seen>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// An empty answer closes the connection without one.
    pub(crate) fn answering(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, seen) = channel();
        let thread = std::thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                tell.send(read(&stream)).unwrap();
                // Whoever asked may have gone.
                drop((&stream).write_all(answer.as_bytes()));
            }
        });
        Self { port, seen, thread: Some(thread) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn ended(mut self) -> Vec<Seen> {
        self.thread.take().unwrap().join().unwrap();
        self.seen.try_iter().collect()
    }
}

pub(crate) fn read(stream: &TcpStream) -> Seen {
    let mut reader = BufReader::new(stream);
    let mut next = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let line = next();
    let mut headers = Vec::new();
    loop {
        let header = next();
        if header.is_empty() {
            break;
        }
        headers.push(header.to_ascii_lowercase());
    }
    let length = headers.iter().find_map(|header| header.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    Seen { line, headers, body: String::from_utf8(body).unwrap() }
}

pub(crate) fn says(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

const ID: &str = "tickets.open";

fn contract(net: &str, http: &str, more: &str) -> String {
    format!(
        "id: {ID}\nversion: 1.0.0\ntitle: T\ndescription: D\nkind: tool\nsource: http\n\
         input: {{ type: object, required: [id], properties: {{ id: {{ type: string }}, note: {{ type: object }} }} }}\n\
         output: {{ type: object, required: [status, body] }}\nrisk: low\n\
         effects: {{ net: [\"{net}\"] }}\n{more}handler:\n  http: {http}\n"
    )
}

const POLICY: &str = "version: 1\ndefault: deny\npaths: { allowed: [\"**\"] }\n\
    rules:\n  - { name: net, when: { effect: net }, verdict: allow }\n";

/// A contract that is in use; its server is at `port` of this machine.
fn in_use(contract: &str) -> Place {
    let place = Place::with_policy(POLICY);
    let file = place.document("c.yaml", contract);
    let bob = |command: &mut std::process::Command| _ = command.env("LICTOR_USER", "bob");
    place.run_with(&["capability", "propose", &file], bob).done();
    place.run_as_approver(&["capability", "approve", ID]).done();
    place
}

fn post(port: u16) -> String {
    let http = format!(
        "{{ method: POST, url: \"http://127.0.0.1:{port}/v1/{{id}}\", body: note, \
         headers: {{ authorization: {{ secret: DESK, prefix: \"Bearer \" }} }} }}"
    );
    contract(&format!("127.0.0.1:{port}"), &http, "")
}

const CANARY: &str = "s3cr3t-c4n4ry";

fn call(place: &Place) -> crate::place::Answer {
    let arguments = ["call", ID, "id=a b/c", "note:={\"text\":\"hello\"}"];
    place.run_with(&arguments, |command| _ = command.env("LICTOR_SECRET_DESK", CANARY))
}

#[test]
fn a_request_goes_out_as_the_contract_says_and_its_secret_stays_in_it() {
    let server = Server::answering(vec![says("201 Created", &format!(r#"{{"echo":"{CANARY}"}}"#))]);
    let place = in_use(&post(server.port));
    let done = call(&place).done();
    assert_eq!(done["output"], json!({ "status": 201, "body": { "echo": "[secret]" } }));
    let seen = server.ended().remove(0);
    assert_eq!(seen.line, "POST /v1/a%20b%2Fc HTTP/1.1");
    assert!(seen.headers.contains(&format!("authorization: bearer {CANARY}")));
    assert_eq!(seen.body, r#"{"text":"hello"}"#);
    let shown = place.run(&["show", done["execution_id"].as_str().unwrap()]).done();
    assert_eq!(shown["status"], "applied", "what is done elsewhere is on record");
    let trail = place.trail();
    let of = |kind: &str| trail.iter().filter(|event| event["event_type"] == kind).count();
    assert_eq!((of("action_started"), of("action_completed")), (1, 1));
    assert_eq!(on_the_way(&place), ["decision_made", "action_started", "action_completed"]);
    for (path, bytes) in files(&place) {
        assert!(!bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes()), "{path}");
    }
    place.verify();
}

/// The events of the last action, in the order of the trail.
fn on_the_way(place: &Place) -> Vec<String> {
    let trail = place.trail();
    let id = |event: &Value| event["action_id"].as_str().map(str::to_owned);
    let last = trail.iter().filter(|event| event["event_type"] == "action_started");
    let last = last.filter_map(id).next_back().unwrap();
    let its = trail.iter().filter(|event| event["action_id"] == last.as_str());
    its.map(|event| event["event_type"].as_str().unwrap().to_owned()).collect()
}

/// A step that nobody waits for any more, whose request has gone out: five seconds are enough for that on
/// a machine that has much else to do.
#[test]
fn what_is_given_up_was_decided_before_it_began() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = in_use(&post(listener.local_addr().unwrap().port()));
    let workflow = format!(
        "id: w\nversion: 1.0.0\ntitle: W\nsteps:\n  \
         - {{ id: tell, use: {ID}, with: {{ id: x }}, timeout: 5s }}\n"
    );
    let file = place.document("w.workflow.yaml", workflow);
    let run = ["run", &file];
    let ended = place.run_with(&run, |command| _ = command.env("LICTOR_SECRET_DESK", CANARY));
    ended.ends_with_one_of(&[1, 8]);
    read(&listener.accept().unwrap().0);
    assert_eq!(on_the_way(&place)[..2], ["decision_made", "action_started"]);
    place.verify();
}

/// Everything below the workspace and the home.
fn files(place: &Place) -> Vec<(String, Vec<u8>)> {
    let mut folders = vec![place.root.clone(), place.home()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn a_refusal_of_the_server_is_a_failure_and_silence_is_a_doubt() {
    let server = Server::answering(vec![
        says("404 Not Found", "{}"),
        says("500 Internal Server Error", "{}"),
        String::new(),
    ]);
    let place = in_use(&post(server.port));
    call(&place).ends(1, "failed");
    let doubted = call(&place).ends(8, "incomplete");
    assert!(message(&doubted).contains("may or may not have happened"), "{doubted}");
    call(&place).ends(8, "incomplete");
    assert_eq!(server.ended().len(), 3, "nothing was done again by itself");
    let trail = place.trail();
    let of = |kind: &str| trail.iter().filter(|event| event["event_type"] == kind).count();
    assert_eq!((of("action_started"), of("action_failed"), of("action_unknown")), (3, 1, 2));
    // Nobody listens any more, so nothing can have happened.
    call(&place).ends(1, "failed");
    place.verify();
}

#[test]
fn an_answer_that_breaks_the_contract_was_done_all_the_same() {
    let server = Server::answering(vec![says("200 OK", r#"{"n":1}"#)]);
    let text = post(server.port).replace(
        "output: { type: object, required: [status, body] }",
        "output: { type: object, properties: { body: { type: string } } }",
    );
    let place = in_use(&text);
    let doubted = call(&place).ends(8, "incomplete");
    assert!(message(&doubted).contains("it was done"), "{doubted}");
    drop(server.ended());
}

#[test]
fn only_what_is_safe_or_idempotent_is_tried_again() {
    let busy = || says("503 Service Unavailable", "{}");
    let server = Server::answering(vec![busy(), busy(), says("200 OK", "[1]")]);
    let http = format!("{{ method: GET, url: \"http://127.0.0.1:{}/{{id}}\" }}", server.port);
    let retry = "retry: { attempts: 3, initial: 1ms }\n";
    let place = in_use(&contract(&format!("127.0.0.1:{}", server.port), &http, retry));
    let done = place.run(&["call", ID, "id=x"]).done();
    assert_eq!(done["output"]["body"], json!([1]));
    assert_eq!(server.ended().len(), 3);

    let server = Server::answering(vec![busy()]);
    let http = format!("{{ method: POST, url: \"http://127.0.0.1:{}/{{id}}\" }}", server.port);
    let place = in_use(&contract(&format!("127.0.0.1:{}", server.port), &http, retry));
    place.run(&["call", ID, "id=x"]).ends(8, "incomplete");
    assert_eq!(server.ended().len(), 1);
}

#[test]
fn private_addresses_are_refused_unless_the_contract_names_them() {
    // The name leads to this machine, and the contract names the name only by a pattern.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let http = format!("{{ method: GET, url: \"http://localhost:{port}/{{id}}\" }}");
    let place = in_use(&contract("*", &http, ""));
    let refused = place.run(&["call", ID, "id=x"]).ends(1, "failed");
    assert!(message(&refused).contains("does not name"), "{refused}");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody came");
}

#[test]
fn redirects_are_followed_at_home_and_nowhere_else() {
    let to = |place: &str| {
        format!(
            "HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
    };
    let server =
        Server::answering(vec![to("/other"), says("200 OK", "{}"), to("http://127.0.0.2/")]);
    let http = format!("{{ method: GET, url: \"http://127.0.0.1:{}/{{id}}\" }}", server.port);
    let place = in_use(&contract(&format!("127.0.0.1:{}", server.port), &http, ""));
    place.run(&["call", ID, "id=x"]).done();
    let refused = place.run(&["call", ID, "id=x"]).ends(1, "failed");
    assert!(message(&refused).contains("another host"), "{refused}");
    assert_eq!(server.ended().remove(1).line, "GET /other HTTP/1.1");
}

#[test]
fn an_answer_is_bounded() {
    let big = says("200 OK", &format!("\"{}\"", "x".repeat(200_000)));
    let server = Server::answering(vec![big]);
    let http = format!(
        "{{ method: GET, url: \"http://127.0.0.1:{}/{{id}}\", max_bytes: 64KiB }}",
        server.port
    );
    let place = in_use(&contract(&format!("127.0.0.1:{}", server.port), &http, ""));
    place.run(&["call", ID, "id=x"]).ends(1, "failed");
    drop(server.ended());
}

#[test]
fn a_crash_while_it_is_done_leaves_a_doubt() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = in_use(&post(listener.local_addr().unwrap().port()));
    let mut command = place.command(&["call", ID, "id=x", "--json"]);
    let mut child = command.env("LICTOR_SECRET_DESK", CANARY).spawn().unwrap();
    let (stream, _) = listener.accept().unwrap();
    drop(read(&stream));
    child.kill().unwrap();
    child.wait().unwrap();
    let unknown = |place: &Place| {
        let trail = place.trail();
        let unknown = trail.iter().filter(|event| event["event_type"] == "action_unknown");
        unknown.cloned().collect::<Vec<Value>>()
    };
    let found = unknown(&place);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["action_name"], ID);
    assert_eq!(unknown(&place).len(), 1, "said once");
    assert!(found[0]["execution_id"].is_string());
    place.verify();
}

/// A secret that looks different in a URL, in JSON, in base64 and in a message.
const ODD: &str = "s3cr3t c4n4ry/+it's \"7\" \u{f6}";

/// The parts of it that survive every escaping, and what base64 makes of one.
const ODD_PARTS: [&str; 4] = ["s3cr3t", "c4n4ry", "czNjcjN0", "c4n4ry%2F"];

fn with_secrets(port: u16) -> Place {
    let http = format!(
        "{{ method: POST, url: \"http://127.0.0.1:{port}/v1/{{id}}\", \
         query: {{ key: {{ secret: DESK }}, format: json, id: {{ input: id }} }}, \
         body: {{ auth: {{ token: {{ secret: DESK, prefix: \"k \" }} }}, note: {{ input: note }}, none: {{ input: id }}, n: [1] }} }}"
    );
    in_use(&contract(&format!("127.0.0.1:{port}"), &http, ""))
}

fn call_with_secret(place: &Place) -> crate::place::Answer {
    let arguments = ["call", ID, "id=7", "note:={\"secret\":\"OTHER\"}"];
    let answer = place.run_with(&arguments, |command| {
        command.env("LICTOR_SECRET_DESK", ODD).env("LICTOR_SECRET_OTHER", "0ther-s3cret");
    });
    // As a person sees it.
    let mut command = place.command(&["log"]);
    command.env("LICTOR_SECRET_DESK", ODD);
    let told = command.output().unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&told.stdout), answer.json);
    assert!(ODD_PARTS.iter().all(|part| !told.contains(part)), "{told}");
    answer
}

fn kept_nowhere(place: &Place) {
    place.trail();
    for (path, bytes) in files(place) {
        for part in ODD_PARTS {
            assert!(!bytes.windows(part.len()).any(|w| w == part.as_bytes()), "{part}: {path}");
        }
    }
    place.verify();
}

#[test]
fn secrets_in_query_and_body_go_to_the_server_and_nowhere_else() {
    let encoded = "s3cr3t%20c4n4ry%2F%2Bit%27s%20%227%22%20%C3%B6";
    // The server tells all that it knows, in every form in which it may have it.
    let told = json!({
        "plain": ODD, "url": format!("/v1/7?key={encoded}"), "lower": encoded.to_lowercase(),
        "form": encoded.replace("%20", "+"), "json": json!({ "a": ODD }).to_string(),
        "debug": format!("{ODD:?}"), ODD: 1, "list": [[format!("x{ODD}y")]],
        "base64": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("k {ODD}")),
    });
    let server = Server::answering(vec![says("200 OK", &told.to_string())]);
    let place = with_secrets(server.port);
    let done = call_with_secret(&place).done();
    assert_eq!(done["output"]["body"]["url"], "/v1/7?key=[secret]");
    let seen = server.ended().remove(0);
    assert_eq!(seen.line, format!("POST /v1/7?format=json&id=7&key={encoded} HTTP/1.1"));
    let sent: Value = serde_json::from_str(&seen.body).unwrap();
    // What the input says is no template: it names no secret.
    let note = json!({ "secret": "OTHER" });
    let wanted =
        json!({ "auth": { "token": format!("k {ODD}") }, "note": note, "none": "7", "n": [1] });
    assert_eq!(sent, wanted);
    let shown = place.run(&["show", done["execution_id"].as_str().unwrap()]).done();
    assert!(ODD_PARTS.iter().all(|part| !shown.to_string().contains(part)), "{shown}");
    kept_nowhere(&place);
}

#[test]
fn secrets_in_a_query_stand_in_no_failure() {
    let encoded = "s3cr3t%20c4n4ry%2F%2Bit%27s%20%227%22%20%C3%B6";
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.2/?{encoded}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    let broken = format!("HTTP/1.1 200 {encoded}\r\n{encoded}\r\n\r\n");
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\ns3cr3t c4n4ry".to_owned();
    let server = Server::answering(vec![
        says("400 Bad Request", &format!("{{\"key\":\"{encoded}\"}}")),
        says("500 Internal Server Error", &format!("\"{encoded}\"")),
        redirect,
        broken,
        short,
        String::new(),
    ]);
    let place = with_secrets(server.port);
    for ended in [1, 8, 1, 8, 8, 8, 1] {
        call_with_secret(&place).ends_with_one_of(&[ended]);
    }
    drop(server.ended());
    let without = place.run(&["call", ID, "id=7"]).ends(1, "failed");
    assert!(message(&without).contains("there is no secret `DESK`"), "{without}");
    kept_nowhere(&place);
}
