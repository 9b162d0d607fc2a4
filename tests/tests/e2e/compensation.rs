//! Taking back what was done elsewhere: the contract says what makes up for it, that is called once, as
//! an action of its own.

use std::process::Command;

use serde_json::{Value, json};

use crate::http::{Seen, Server, says};
use crate::place::{Answer, Place, text};
use crate::subrun::let_in;

const POLICY: &str = "version: 1\ndefault: deny\npaths: { protected: [\"ask/**\"], allowed: [\"**\"] }\n\
    rules:\n  - { name: net, when: { effect: net }, verdict: allow }\n";

fn contract(id: &str, port: u16, method: &str, path: &str, more: &str) -> String {
    format!(
        "id: {id}\nversion: 1.0.0\ntitle: T\ndescription: D\nkind: tool\nsource: http\n\
         input: {{ type: object, properties: {{ id: {{ type: string }} }}{} }}\n\
         output: {{ type: object, required: [status, body] }}\nrisk: low\n\
         effects: {{ net: [\"127.0.0.1:{port}\"] }}\n{more}\
         handler: {{ http: {{ method: {method}, url: \"http://127.0.0.1:{port}/{path}\" }} }}\n",
        if path.contains('{') { ", required: [id]" } else { "" },
    )
}

const BACK: &str = "undo: { strategy: compensate, compensate: { use: desk.close, with: { id: \"{{ output.body.id }}\" } } }\n";

/// Tickets are opened, and closing one makes up for that.
fn desk(server: &Server) -> Place {
    let place = Place::with_policy(POLICY);
    let_in(&place, "desk.open", &contract("desk.open", server.port(), "POST", "t", BACK));
    let close =
        contract("desk.close", server.port(), "DELETE", "t/{id}", "undo: { strategy: none }\n");
    let_in(&place, "desk.close", &close);
    place
}

fn opened() -> String {
    says("201 Created", r#"{"id":"t7"}"#)
}

fn lines(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|one| one.line.as_str()).collect()
}

const OPEN: &str = "POST /t HTTP/1.1";
const CLOSE: &str = "DELETE /t/t7 HTTP/1.1";

fn flow(place: &Place, step: &str) -> Answer {
    let workflow = format!(
        "id: w\nversion: 1.0.0\ntitle: W\ninput: {{ type: object }}\nsteps:\n  \
         - {{ id: before, use: fs.write, with: {{ path: before.txt, content: b }} }}\n  \
         - {{ id: open, needs: [before], use: desk.open{step} }}\n  \
         - {{ id: last, needs: [open], use: fs.hash, with: {{ path: missing.txt }} }}\n"
    );
    place.run(&["run", &place.document("w.workflow.yaml", workflow)])
}

#[test]
fn a_rollback_calls_what_the_contract_says_unless_the_step_says_something_else() {
    let server = Server::answering(vec![
        opened(),
        says("200 OK", "{}"),
        opened(),
        says("200 OK", "{}"),
        opened(),
        says("409 Conflict", "{}"),
        says("200 OK", "{}"),
    ]);
    let place = desk(&server);
    let rolled_back = flow(&place, "").ends(1, "failed");
    assert_eq!(rolled_back["status"], "rolled_back", "{rolled_back}");
    assert!(!place.exists("before.txt"));
    let own = ", compensate: { use: desk.close, with: { id: own } }";
    let rolled_back = flow(&place, own).ends(1, "failed");
    assert_eq!(rolled_back["status"], "rolled_back", "{rolled_back}");
    // One that failed is stuck, and taken up again once its cause is gone.
    let stuck = flow(&place, ", undo: { retry: { attempts: 1 } }").ends(8, "incomplete");
    assert_eq!(stuck["rollback"]["stuck"][0]["step"], "open", "{stuck}");
    let run = text(&stuck, "run_id").to_owned();
    let repaired = place.run(&["workflow", "resume", &run, "--rollback"]);
    assert_eq!(repaired.json["status"], "rolled_back", "{}", repaired.json);
    let own = "DELETE /t/own HTTP/1.1";
    assert_eq!(lines(&server.ended()), [OPEN, CLOSE, OPEN, own, OPEN, CLOSE, CLOSE]);
    place.verify();
}

#[test]
fn the_plan_of_a_run_says_how_it_would_be_taken_back() {
    let server = Server::answering(vec![]);
    let place = desk(&server);
    let workflow = "id: w\nversion: 1.0.0\ntitle: W\nsteps:\n  - { id: open, use: desk.open }\n  \
        - { id: close, use: desk.close, with: { id: x } }\n";
    let file = place.document("w.workflow.yaml", workflow);
    let mut command: Command = place.command(&["run", &file, "--dry-run", "--json"]);
    let output = command.output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let undo = |at: usize| json["steps"][at]["undo"].clone();
    assert_eq!((undo(0), undo(1)), (json!("compensation"), json!("impossible")), "{json}");
}
