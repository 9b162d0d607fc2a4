//! A capability that is edited on disk after it was let in: refused wherever the edit falls. (Edits
//! between approval and use, between check and use and between two drives of a run are in `catalogue`.)

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;

use crate::http::{read, says};
use crate::place::{Place, text};

const POLICY: &str = "version: 1\ndefault: deny\npaths: { allowed: [\"**\"] }\n\
    rules:\n  - { name: net, when: { effect: net }, verdict: allow }\nrisk: { high: need_approval }\n";

fn let_in(place: &Place, id: &str, contract: &str) {
    let file = place.document(&format!("{id}.yaml"), contract);
    let bob = |command: &mut std::process::Command| _ = command.env("LICTOR_USER", "bob");
    place.run_with(&["capability", "propose", &file], bob).done();
    place.run_as_approver(&["capability", "approve", id]).done();
}

fn note(risk: &str) -> String {
    format!(
        "id: notes.put\nversion: 1.0.0\ntitle: Put\ndescription: Writes.\nkind: skill\nsource: local\n\
         input: {{ type: object }}\noutput: {{ type: object }}\nrisk: {risk}\n\
         effects: {{ fs: {{ write: [\"notes/**\"] }} }}\nhandler: {{ builtin: fs.write }}\n"
    )
}

fn file(place: &Place, id: &str) -> PathBuf {
    place.root.join(format!(".lictor/capabilities/{id}.yaml"))
}

/// More than was approved: everywhere in place of `notes`.
fn widen(file: &PathBuf) {
    let text = fs::read_to_string(file).unwrap();
    fs::write(file, text.replace("notes/**", "**")).unwrap();
}

#[test]
fn an_edit_while_a_call_waits_for_people_is_refused_when_it_goes_on() {
    let place = Place::with_policy(POLICY);
    place.write("notes/keep", "");
    let_in(&place, "notes.put", &note("high"));
    let call = || place.run(&["call", "notes.put", "path=notes/a", "content=x"]);
    call().ends(4, "approval_required");
    widen(&file(&place, "notes.put"));
    // What people agreed to is the contract that was there when they were asked.
    place.run_as_approver(&["approvals", "approve", &place.waiting()]);
    call().ends(6, "integrity");
    assert!(!place.exists("notes/a"));
    // As it was approved, the answer holds again.
    let text = fs::read_to_string(file(&place, "notes.put")).unwrap();
    fs::write(file(&place, "notes.put"), text.replace("[\"**\"]", "[\"notes/**\"]")).unwrap();
    call().done();
    place.verify();
}

#[test]
fn an_edit_under_a_running_workflow_is_refused_by_the_process_that_runs_it() {
    let place = Place::with_policy(POLICY);
    place.write("notes/keep", "");
    let_in(&place, "notes.put", &note("low"));
    // A server that edits the second step's capability while the first step waits for its answer.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let edited = file(&place, "notes.put");
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let asked = read(&stream).line.starts_with("GET");
        widen(&edited);
        drop((&stream).write_all(says("200 OK", "{}").as_bytes()));
        asked
    });
    let ask = format!(
        "id: desk.ask\nversion: 1.0.0\ntitle: Ask\ndescription: Asks.\nkind: tool\nsource: http\n\
         input: {{ type: object }}\noutput: {{ type: object }}\nrisk: low\neffects: {{ net: [\"127.0.0.1:{port}\"] }}\n\
         handler: {{ http: {{ method: GET, url: \"http://127.0.0.1:{port}/\" }} }}\n"
    );
    let_in(&place, "desk.ask", &ask);
    let workflow = "id: w\nversion: 1.0.0\ntitle: W\ninput: { type: object }\nsteps:\n  \
        - { id: before, use: notes.put, with: { path: notes/before, content: x } }\n  \
        - { id: ask, use: desk.ask, needs: [before] }\n  \
        - { id: after, use: notes.put, needs: [ask], with: { path: outside, content: x } }\n";
    let workflow = place.document("w.workflow.yaml", workflow);
    let ended = place.run(&["run", &workflow]);
    // Where nobody asked, the server waits no longer.
    drop(std::net::TcpStream::connect(("127.0.0.1", port)));
    assert!(server.join().unwrap(), "the first step asked: {}", ended.json);
    assert_ne!(ended.code, 0, "{}", ended.json);
    assert!(ended.json.to_string().contains("not what was approved"), "{}", ended.json);
    assert!(!place.exists("outside"));
    assert!(!place.exists("notes/before"), "the step before is taken back");
    let changed = place.run(&["capability", "show", "notes.put"]).done();
    assert_eq!(text(&changed, "state"), "proposed");
    place.verify();
}
