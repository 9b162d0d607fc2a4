//! Requests that are put to a service over real HTTP: what it signs counts for the very action, and
//! nothing else that comes back, or does not, lets anything through.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};

use crate::place::{POLICY, Place};
use crate::tree::digest;

const CALL: [&str; 4] = ["call", "fs.write", "path=ask/a", "content=the new text"];

fn key() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

/// What the service makes of a request: the status and the body of its answer.
type Answerer = Box<dyn Fn(&[u8]) -> (u16, String) + Send>;

/// A service that answers so many requests, and gives what it was sent.
struct Service {
    port: u16,
    thread: JoinHandle<Vec<(String, Vec<u8>)>>,
}

impl Service {
    fn answering(answers: Vec<Answerer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let serve = |answer: Answerer| {
                let (stream, _) = listener.accept().unwrap();
                let (headers, body) = read(&stream);
                let (status, said) = answer(&body);
                let text = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{said}",
                    said.len()
                );
                // Whoever asked may have gone.
                drop((&stream).write_all(text.as_bytes()));
                (headers, body)
            };
            answers.into_iter().map(serve).collect()
        });
        Self { port, thread }
    }

    fn ended(self) -> Vec<(String, Vec<u8>)> {
        self.thread.join().unwrap()
    }
}

fn read(stream: &TcpStream) -> (String, Vec<u8>) {
    let mut reader = BufReader::new(stream);
    let mut headers = String::new();
    while !headers.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut headers).unwrap() > 0, "{headers}");
    }
    let headers = headers.to_ascii_lowercase();
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().trim().parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    (headers, body)
}

/// The answer of `who` to a request as it arrived, before it is signed.
fn answer(body: &[u8], who: &str, verdict: &str) -> Value {
    let request: Value = serde_json::from_slice(body).unwrap();
    json!({
        "v": 1, "webhook": "oncall", "approval_id": request["approval_id"],
        "action_digest": request["action_digest"], "request_digest": digest(body),
        "nonce": request["nonce"], "approver": who, "verdict": verdict, "reason": "seen",
        "at": request["requested_at"],
    })
}

fn signed(answer: &Value) -> Value {
    // Sorted keys without blanks: for texts like these that is the canonical form.
    let bytes = [b"lictor/approval-answer/v1\n", answer.to_string().as_bytes()].concat();
    json!({ "answer": answer, "signature": STANDARD.encode(key().sign(&bytes).to_bytes()) })
}

fn says(answers: &[Value]) -> (u16, String) {
    (200, json!({ "answers": answers }).to_string())
}

fn place(port: u16, more: &str) -> Place {
    let public = STANDARD.encode(key().verifying_key().to_bytes());
    Place::with_policy(&format!(
        "{POLICY}approvals:\n  webhooks:\n    - {{ name: oncall, url: \"http://127.0.0.1:{port}/ask\", public_key: \"ed25519:{public}\"{more} }}\n"
    ))
}

/// The name of the first approver.
fn me(place: &Place) -> String {
    let people = place.run(&["approvers", "list"]).done();
    people["approvers"][0]["name"].as_str().unwrap().to_owned()
}

fn events(place: &Place, kind: &str) -> Vec<Value> {
    place.trail().into_iter().filter(|event| event["event_type"] == kind).collect()
}

/// Who approves: nobody can be named before the place is there, and its name is this one's.
fn os_user() -> String {
    let place = Place::new();
    me(&place)
}

#[test]
fn what_the_service_signs_at_once_lets_the_same_call_through() {
    let who = os_user();
    let service = Service::answering(vec![Box::new(move |body| {
        says(&[signed(&answer(body, &who, "approve"))])
    })]);
    let place = place(service.port, ", secret: { secret: HOOK }");
    place
        .run_with(&CALL, |command| _ = command.env("LICTOR_SECRET_HOOK", "k3y-0f-th3-h00k"))
        .done();
    assert_eq!(place.read("ask/a"), "the new text");
    let (headers, body) = service.ended().remove(0);
    let request: Value = serde_json::from_slice(&body).unwrap();
    assert!(request["view"].as_str().unwrap().contains("+the new text"), "{request}");
    assert!(headers.contains("lictor-signature: sha256="), "{headers}");
    assert_eq!(events(&place, "approval_delivered")[0]["success"], true);
    let granted = events(&place, "approval_granted").remove(0);
    assert_eq!(granted["metadata"]["approval"]["channel"], "webhook");
    crate::secrets::assert_nowhere(&place, "k3y-0f-th3-h00k");
    place.verify();
}

#[test]
fn a_service_that_is_down_fails_or_talks_nonsense_leaves_the_request_pending() {
    let nobody = place(1, ", attempts: 2");
    nobody.run(&CALL).ends(4, "approval_required");
    assert_eq!(events(&nobody, "approval_delivered")[0]["success"], false);
    let id = nobody.waiting();
    nobody.run_as_approver(&["approvals", "approve", &id]).done();
    nobody.run(&CALL).done();

    let answers: [(u16, &str); 6] =
        [(500, ""), (403, "no"), (200, "yes"), (200, "{\"approved\": true}"), (202, ""), (302, "")];
    for (status, said) in answers {
        let service = Service::answering(vec![Box::new(move |_| (status, said.to_owned()))]);
        let place = place(service.port, ", attempts: 1");
        place.run(&CALL).ends(4, "approval_required");
        assert!(!place.exists("ask/a"), "{status} {said}");
        let shown = place.run(&["approvals", "show", &place.waiting()]).done();
        assert_eq!(shown["state"], "pending", "{status} {said}");
        service.ended();
    }
}

#[test]
fn a_service_that_fails_is_tried_again() {
    let who = os_user();
    let service = Service::answering(vec![
        Box::new(|_| (503, String::new())),
        Box::new(move |body| says(&[signed(&answer(body, &who, "approve"))])),
    ]);
    let place = place(service.port, "");
    place.run(&CALL).done();
    let seen = service.ended();
    assert_eq!(seen[0].1, seen[1].1, "the same request, byte for byte");
}

#[test]
fn forged_answers_open_nothing() {
    type Forge = fn(&[u8], &str) -> Value;
    let forgeries: [(&str, Forge); 6] = [
        (
            "unsigned",
            |body, who| json!({ "answer": answer(body, who, "approve"), "signature": "" }),
        ),
        ("changed after signing", |body, who| {
            let mut signed = signed(&answer(body, who, "deny"));
            signed["answer"]["verdict"] = json!("approve");
            signed
        }),
        ("another action", |body, who| {
            let mut answer = answer(body, who, "approve");
            answer["action_digest"] = json!(digest(b"x"));
            signed(&answer)
        }),
        ("people were shown another text", |body, who| {
            let mut answer = answer(body, who, "approve");
            answer["request_digest"] = json!(digest(b"a harmless request"));
            signed(&answer)
        }),
        ("nobody's name", |body, _| signed(&answer(body, "eve", "approve"))),
        ("an old one", |body, who| {
            let mut answer = answer(body, who, "approve");
            answer["at"] = json!("2020-01-01T00:00:00.000000Z");
            signed(&answer)
        }),
    ];
    let who = os_user();
    for (what, forge) in forgeries {
        let who = who.clone();
        let service = Service::answering(vec![Box::new(move |body| says(&[forge(body, &who)]))]);
        let place = place(service.port, "");
        place.run(&CALL).ends(4, "approval_required");
        assert!(!place.exists("ask/a"), "{what}");
        assert_eq!(events(&place, "approval_delivered")[0]["success"], false, "{what}");
        service.ended();
    }
}

#[test]
fn several_approvals_are_several_people_and_a_refusal_ends_it() {
    let who = os_user();
    let first = who.clone();
    let service = Service::answering(vec![
        Box::new(move |body| {
            let twice = [answer(body, &first, "approve"), answer(body, &first, "approve")];
            says(&twice.map(|one| signed(&one)))
        }),
        Box::new(|body| says(&[signed(&answer(body, "ann", "approve"))])),
        Box::new(|body| says(&[signed(&answer(body, "ann", "deny"))])),
    ]);
    let place = place(service.port, "");
    place.run_as_approver(&["approvers", "add", "ann"]).done();
    let document = place.document(
        "bare.json",
        json!({ "changes": [{ "op": "create", "path": "ask/b", "content": "b" }] }).to_string(),
    );
    let critical = ["apply", document.as_str(), "--risk", "critical"];
    place.run(&critical).ends(4, "approval_required");
    assert_eq!(events(&place, "action_rejected").len(), 1, "twice the same person");
    place.run(&critical).done();
    assert_eq!(place.read("ask/b"), "b");
    let refused = place.run(&CALL).ends(3, "denied");
    assert!(crate::place::message(&refused).contains("ann"), "{refused}");
    assert!(!place.exists("ask/a"));
    service.ended();
    place.verify();
}

#[test]
fn an_answer_that_somebody_brings_later_counts_once() {
    let who = os_user();
    let service = Service::answering(vec![Box::new(|_| (202, String::new()))]);
    let place = place(service.port, "");
    place.run(&CALL).ends(4, "approval_required");
    let (_, body) = service.ended().remove(0);
    let given = signed(&answer(&body, &who, "approve"));
    let mut forged = given.clone();
    forged["answer"]["approver"] = json!("eve");
    let file = place.document("forged.json", forged.to_string());
    place.run(&["approvals", "answer", &file]).ends(3, "denied");
    let file = place.document("answer.json", given.to_string());
    assert_eq!(place.run(&["approvals", "answer", &file]).done()["state"], "granted");
    place.run(&["approvals", "answer", &file]).ends(3, "denied");
    place.run(&CALL).done();
    place.run(&["approvals", "answer", &file]).ends(3, "denied");
    assert_eq!(events(&place, "approval_granted").len(), 1);
    place.verify();
}
