//! `http.get` and `http.post`: the host is the input's, and the policy's affair.

use serde_json::{Value, json};

use crate::http::{Server, says};
use crate::place::{Place, message};

/// This machine may be talked to, and nobody else.
const POLICY: &str = "version: 1\ndefault: deny\nnetwork: { private: [\"127.0.0.1\"] }\n\
    rules:\n  - { name: here, when: { effect: net, host: \"127.0.0.1\" }, verdict: allow }\n\
    risk: { low: allow, medium: allow, high: allow, critical: deny }\n";

/// One server for one answer, or none where nobody is asked.
fn server(answer: Option<&Value>) -> (Option<Server>, u16) {
    let Some(answer) = answer else { return (None, 1) };
    let text = |key: &str| answer[key].as_str().unwrap();
    let body = text("body").repeat(answer["times"].as_u64().unwrap_or(1).try_into().unwrap());
    let location = answer["location"].as_str();
    let location = location.map(|to| format!("location: {to}\r\n")).unwrap_or_default();
    let reply = format!(
        "HTTP/1.1 {}\r\ncontent-type: {}\r\n{location}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        text("status"),
        text("type"),
        body.len()
    );
    let server = Server::answering(vec![reply]);
    let port = server.port();
    (Some(server), port)
}

#[test]
fn the_examples_of_http_get_and_post_hold() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/handlers/tests/data/examples.json");
    let examples: Vec<Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let place = Place::with_policy(POLICY);
    for capability in ["http.get", "http.post"] {
        assert!(
            examples
                .iter()
                .any(|one| one["capability"] == capability && one.get("output").is_some())
        );
    }
    for example in &examples {
        let name = example["name"].as_str().unwrap();
        let (server, port) = server(example.get("answer"));
        let here = format!("http://127.0.0.1:{port}");
        let input = example["input"].to_string().replace("{server}", &here);
        let capability = example["capability"].as_str().unwrap();
        let answer = place.run(&["call", capability, "--input", &input]);
        if let Some(error) = example.get("error") {
            assert_eq!(answer.json["error"]["code"], error["code"], "{name}: {}", answer.json);
            let says = error["says"].as_str().unwrap();
            assert!(answer.json["error"].to_string().contains(says), "{name}: {}", answer.json);
        } else {
            assert_eq!(answer.done()["output"], example["output"], "{name}");
        }
        let Some(server) = server else { continue };
        let seen = server.ended().remove(0);
        let request = &example["request"];
        assert_eq!(
            (seen.line.as_str(), &json!(seen.body)),
            (request["line"].as_str().unwrap(), &request["body"]),
            "{name}"
        );
        for header in request["headers"].as_array().unwrap() {
            let header = header.as_str().unwrap().to_owned();
            assert!(seen.headers.contains(&header), "{name}: {header} of {:?}", seen.headers);
        }
    }
    place.verify();
}

#[test]
fn no_host_is_allowed_until_somebody_writes_it_down() {
    let ask =
        |place: &Place, url: &str| place.run(&["check", "call", "http.get", &format!("url={url}")]);
    // What `init` writes, and every policy to begin with, allows no host.
    let place = Place::initialised();
    let denied = ask(&place, "https://api.example.com/").ends_with_one_of(&[3, 4]);
    assert!(denied.to_string().contains("api.example.com"), "it says which: {denied}");
    let place = Place::with_policy(
        "version: 1\ndefault: deny\nrules:\n  \
         - { name: api, when: { effect: net, host: [\"api.example.com\", \"*.wiki.example\"] }, verdict: allow }\n",
    );
    ask(&place, "https://api.example.com/v1?x=y").done();
    ask(&place, "https://API.example.com:443/").done();
    ask(&place, "https://en.wiki.example/").done();
    for other in [
        "https://example.com/",
        "https://api.example.com.evil.example/",
        "https://evil.example/api.example.com",
        "https://evil.example/?api.example.com",
    ] {
        ask(&place, other).ends(3, "denied");
    }
    ask(&place, "https://evil.example\\@api.example.com/").ends(2, "invalid_input");
    ask(&place, "https://api.example.com@evil.example/").ends(2, "invalid_input");
}

#[test]
fn a_private_host_needs_a_rule_and_a_name_in_the_policy() {
    let server = Server::answering(vec![says("200 OK", "1")]);
    let url = format!("url=http://127.0.0.1:{}/", server.port());
    let everything = "version: 1\ndefault: deny\nrules:\n  - { name: net, when: { effect: net }, verdict: allow }\n";
    let place = Place::with_policy(everything);
    for host in
        ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "[::ffff:127.0.0.1]"]
    {
        let refused = place.run(&["call", "http.get", &format!("url=https://{host}/")]);
        assert!(message(&refused.ends(2, "invalid_input")).contains("network.private"), "{host}");
    }
    // Spellings that only a resolver takes for numbers.
    for host in ["127.1", "2130706433", "0x7f.1", "0"] {
        let refused = place.run(&["call", "http.get", &format!("url=https://{host}/")]);
        assert!(message(&refused.ends(2, "invalid_input")).contains("is written out"), "{host}");
    }
    let refused = place.run(&["call", "http.get", "url=https://localhost./"]);
    let refused = refused.ends_with_one_of(&[1, 2]);
    let why = ["not found, or has only", "failed to lookup"];
    assert!(why.iter().any(|why| message(&refused).contains(why)), "{refused}");
    // Named, and yet no rule allows it.
    place.policy("version: 1\ndefault: deny\nnetwork: { private: [\"127.0.0.1\"] }\n");
    place.run(&["call", "http.get", &url]).ends(3, "denied");
    place.policy(&format!(
        "{everything}network: {{ private: [\"127.0.0.1:{}\"] }}\n",
        server.port()
    ));
    place.run(&["call", "http.get", "url=http://127.0.0.1:1/"]).ends(2, "invalid_input");
    assert_eq!(place.run(&["call", "http.get", &url]).done()["output"]["body"], 1);
    assert_eq!(server.ended().len(), 1);
    place.policy("version: 1\nnetwork: { private: [\"10.*\"] }\n");
    let wrong = place.run(&["call", "http.get", &url]).ends(2, "invalid_input");
    assert!(wrong.to_string().contains("no patterns"), "{wrong}");
}

#[test]
fn a_post_is_asked_about_and_cannot_be_undone() {
    let server = Server::answering(vec![says("200 OK", "{}")]);
    let place = Place::with_policy(&POLICY.replace("high: allow", "high: need_approval"));
    let url = format!("url=http://127.0.0.1:{}/hook", server.port());
    let call = ["call", "http.post", url.as_str(), "json:={\"go\":true}"];
    let asked = place.run(&call).ends(4, "approval_required");
    let id = place.waiting();
    let view = place.run(&["approvals", "show", &id]).done();
    let view = view["view"].as_str().unwrap();
    assert!(view.contains("127.0.0.1") && view.contains("/hook"), "{view}");
    assert!(asked.to_string().contains("none"), "how much can be undone is said: {asked}");
    place.run_as_approver(&["approvals", "approve", &id]).done();
    // Approved for this input and no other.
    place.run(&["call", "http.post", &url, "json:={\"go\":false}"]).ends(4, "approval_required");
    let done = place.run(&call).done();
    let undone = place.run(&["undo", done["execution_id"].as_str().unwrap()]);
    undone.ends_with_one_of(&[1, 2, 3, 5]);
    assert_eq!(server.ended().len(), 1);
    place.verify();
}

#[test]
fn a_redirect_to_another_host_is_not_followed() {
    let to = |place: &str| {
        format!(
            "HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
    };
    let place = Place::with_policy(POLICY);
    for elsewhere in
        ["http://127.0.0.1:1/", "https://127.0.0.1/", "//127.0.0.2/", "http://localhost/"]
    {
        let server = Server::answering(vec![to(elsewhere)]);
        let url = format!("url=http://127.0.0.1:{}/", server.port());
        let refused = place.run(&["call", "http.get", &url]).ends(1, "failed");
        assert!(message(&refused).contains("another host"), "{elsewhere}: {refused}");
        drop(server.ended());
    }
}
