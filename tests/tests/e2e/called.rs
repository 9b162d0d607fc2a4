//! A contract that names a workflow by its id stands for that workflow's document: whoever changes the
//! document has changed what was let in, wherever the change falls.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::http::{read, says};
use crate::place::{Place, message, text};
use crate::subrun::{ID, INNER, WRITES, call, contract, in_use, let_in, outer, place_of, tree};

fn document(place: &Place) -> PathBuf {
    place.root.join(place_of("publish"))
}

fn show(place: &Place) -> Value {
    place.run(&["capability", "show", ID]).done()
}

fn propose(place: &Place, id: &str, contract: &str) -> crate::place::Answer {
    let file = place.document(&format!("{id}.yaml"), contract);
    let bob = |command: &mut Command| _ = command.env("LICTOR_USER", "bob");
    place.run_with(&["capability", "propose", &file], bob)
}

/// Neither called alone nor as a step, and nothing of it is done.
#[track_caller]
fn is_refused(place: &Place, what: &str) {
    let refused = call(place, "out/two.txt").ends(6, "integrity");
    assert!(message(&refused).contains("not what was approved"), "{what}: {refused}");
    let refused =
        place.run(&["run", &outer(place, "out/two.txt", WRITES)]).ends(2, "invalid_input");
    assert!(message(&refused).contains(ID), "{what}: {refused}");
    assert!(!place.exists("out") && !place.exists("before.txt"), "{what}");
}

#[test]
fn what_is_shown_and_drawn_says_which_document_it_is() {
    let place = in_use();
    let shown = show(&place);
    assert_eq!(shown["handler"], json!({ "workflow": "publish" }));
    assert_eq!(shown["workflow"]["file"], place_of("publish"));
    let digest = format!("sha256:{}", sha256(INNER.as_bytes()));
    assert_eq!(shown["workflow"]["digest"], digest);
    let list = place.run(&["capability", "list"]).done();
    let listed = list["capabilities"].as_array().unwrap().iter().find(|one| one["id"] == ID);
    assert_eq!(listed.unwrap()["workflow"], "publish");
    for drawing in ["--mermaid", "--dot"] {
        let drawn = place.run(&["capability", "graph", drawing]).done();
        let drawn = text(&drawn, "drawing").to_owned();
        assert!(drawn.contains("composed of") && drawn.contains("workflow:publish"), "{drawn}");
    }
    for format in ["openai", "anthropic", "mcp"] {
        let list = place.run(&["capability", "export", "--format", format]).done();
        assert!(list["names"].as_object().unwrap().values().any(|id| id == ID), "{format}");
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_workflow_that_is_not_there_or_there_twice_is_refused_by_name() {
    let place = Place::new();
    let contract = contract(ID, "publish", &json!({}));
    let none = propose(&place, ID, &contract).ends(2, "invalid_input");
    let said = message(&none);
    assert!(
        said.contains("holds the workflow `publish`") && said.contains("line 1, column "),
        "{said}"
    );
    place.write(&place_of("other"), INNER.replace("id: publish", "id: publisher"));
    place.write(&place_of("broken"), "id: publish\n");
    let none = propose(&place, ID, &contract).ends(2, "invalid_input");
    let said = message(&none);
    assert!(said.contains("there are `publisher` (other.workflow.yaml)"), "{said}");
    assert!(said.contains("no workflow are `broken.workflow.yaml`"), "{said}");

    fs::remove_file(place.root.join(place_of("broken"))).unwrap();
    place.write(&place_of("publish"), INNER);
    let_in(&place, ID, &contract);
    place.write(&place_of("again"), INNER);
    let twice = propose(&place, ID, &contract).ends(2, "invalid_input");
    let said = message(&twice);
    assert!(said.contains("`again.workflow.yaml`, `publish.workflow.yaml`"), "{said}");
    // What was let in before means neither of them now.
    call(&place, "out/two.txt").ends_with_one_of(&[2, 6]);
    let problems = place.run(&["capability", "list"]).done()["problems"].to_string();
    assert!(problems.contains("and so none counts"), "{problems}");
    assert!(!place.exists("out"));
    fs::remove_file(place.root.join(place_of("again"))).unwrap();
    call(&place, "out/two.txt").done();

    let mapping = contract.replace("\"publish\"}", "{\"id\":\"publish\"}}");
    assert_ne!(mapping, contract);
    let refused = propose(&place, ID, &mapping).ends(2, "invalid_input");
    assert!(message(&refused).contains("accepted here: text"), "{refused}");
}

/// Edits of a document of any kind. Each of them is another document, and the first one again is not.
#[test]
fn any_edit_of_the_document_sends_the_capability_back_to_proposed() {
    let place = in_use();
    let approved = text(&show(&place), "digest").to_owned();
    let edits: [(&str, String); 6] = [
        ("a comment", format!("{INNER}# nothing\n")),
        ("a content", INNER.replace("content: two", "content: evil")),
        ("another capability", INNER.replacen("fs.write", "fs.append", 1)),
        ("the steps turned round", INNER.replace("needs: [one], ", "")),
        ("a version", INNER.replace("1.0.0", "1.0.1")),
        ("a step more", format!("{INNER}\x20 - {{ id: three, use: time.now }}\n")),
    ];
    for (what, edit) in edits {
        assert_ne!(edit, INNER, "{what}");
        fs::write(document(&place), edit).unwrap();
        let shown = show(&place);
        assert_eq!(
            (text(&shown, "state"), &shown["changed"]),
            ("proposed", &json!(true)),
            "{what}"
        );
        assert_ne!(text(&shown, "digest"), approved, "{what}");
        is_refused(&place, what);
        fs::write(document(&place), INNER).unwrap();
        assert_eq!(text(&show(&place), "state"), "active", "{what}");
    }
    fs::remove_file(document(&place)).unwrap();
    call(&place, "out/two.txt").ends_with_one_of(&[2, 6]);
    assert!(!place.exists("out"));

    // Let in as it is now, it is that which runs.
    fs::write(document(&place), INNER.replace("content: two", "content: new")).unwrap();
    let output = json!({ "type": "object", "required": ["wrote"], "properties": { "wrote": { "type": "string" } } });
    let_in(&place, ID, &contract(ID, "publish", &output));
    call(&place, "out/two.txt").done();
    assert_eq!(place.read("out/two.txt"), "new");
    place.verify();
}

#[test]
fn another_file_under_the_same_id_and_a_link_are_not_the_document() {
    let place = in_use();
    let evil = INNER.replace("content: two", "content: evil");
    fs::remove_file(document(&place)).unwrap();
    place.write(&place_of("elsewhere"), &evil);
    is_refused(&place, "another file");
    fs::remove_file(place.root.join(place_of("elsewhere"))).unwrap();
    place.write("linked.yaml", INNER);
    std::os::unix::fs::symlink(place.root.join("linked.yaml"), document(&place)).unwrap();
    call(&place, "out/two.txt").ends_with_one_of(&[2, 6]);
    assert!(!place.exists("out"));
}

#[test]
fn no_capability_writes_into_the_folder_of_the_workflows() {
    let place = in_use();
    let path = format!("path={}", place_of("publish"));
    place.run(&["call", "fs.write", &path, "content=x"]).ends(3, "denied");
    assert_eq!(fs::read_to_string(document(&place)).unwrap(), INNER);
}

#[test]
fn an_edit_between_check_and_use_is_refused() {
    let place = in_use();
    place.run(&["check", "call", ID, "second=out/two.txt"]).done();
    fs::write(document(&place), INNER.replace("content: two", "content: evil")).unwrap();
    is_refused(&place, "between check and use");
}

#[test]
fn an_edit_while_people_are_asked_is_refused_when_it_goes_on() {
    let place = in_use();
    let high = contract(ID, "publish", &json!({})).replace("\"risk\":\"low\"", "\"risk\":\"high\"");
    fs::write(place.root.join(format!(".lictor/capabilities/{ID}.yaml")), &high).unwrap();
    let_in(&place, ID, &high);
    call(&place, "out/two.txt").ends(4, "approval_required");
    fs::write(document(&place), INNER.replace("content: two", "content: evil")).unwrap();
    place.run_as_approver(&["approvals", "approve", &place.waiting()]);
    call(&place, "out/two.txt").ends(6, "integrity");
    assert!(!place.exists("out"));
    fs::write(document(&place), INNER).unwrap();
    call(&place, "out/two.txt").done();
    assert_eq!(place.read("out/two.txt"), "two");
}

/// A server that does something to a file before it answers.
fn server(touch: impl FnOnce() + Send + 'static) -> (u16, std::thread::JoinHandle<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let asked = read(&stream).line.starts_with("GET");
        touch();
        drop((&stream).write_all(says("200 OK", "{}").as_bytes()));
        asked
    });
    (port, thread)
}

#[test]
fn an_edit_under_a_running_workflow_is_refused_by_the_process_that_runs_it() {
    let place = in_use();
    place.policy(
        "version: 1\ndefault: deny\npaths: { allowed: [\"**\"] }\n\
         rules:\n  - { name: net, when: { effect: net }, verdict: allow }\n",
    );
    let edited: PathBuf = document(&place);
    let evil = INNER.replace("content: two", "content: evil");
    let (port, thread) = server(move || fs::write(Path::new(&edited), evil).unwrap());
    let ask = format!(
        "id: desk.ask\nversion: 1.0.0\ntitle: Ask\ndescription: Asks.\nkind: tool\nsource: http\n\
         input: {{ type: object }}\noutput: {{ type: object }}\nrisk: low\neffects: {{ net: [\"127.0.0.1:{port}\"] }}\n\
         handler: {{ http: {{ method: GET, url: \"http://127.0.0.1:{port}/\" }} }}\n"
    );
    let_in(&place, "desk.ask", &ask);
    let before = tree(&place);
    let workflow = format!(
        "id: w\nversion: 1.0.0\ntitle: W\ninput: {{ type: object }}\nsteps:\n  \
         - {{ id: before, use: fs.write, with: {{ path: before.txt, content: b }} }}\n  \
         - {{ id: ask, needs: [before], use: desk.ask }}\n  \
         - {{ id: inner, needs: [ask], use: {ID}, with: {{ second: out/two.txt }} }}\n"
    );
    let workflow = place.document("w.workflow.yaml", workflow);
    let ended = place.run(&["run", &workflow]);
    // Where nobody asked, the server waits no longer.
    drop(std::net::TcpStream::connect(("127.0.0.1", port)));
    assert!(thread.join().unwrap(), "the first step asked: {}", ended.json);
    assert_ne!(ended.code, 0, "{}", ended.json);
    assert!(ended.json.to_string().contains("not what was approved"), "{}", ended.json);
    assert_eq!(tree(&place), before, "the steps before it are taken back");
    assert_eq!(text(&show(&place), "state"), "proposed");
    place.verify();
}

#[test]
fn a_run_that_began_before_the_edit_ends_as_it_began() {
    let place = in_use();
    let waits = place.run(&["run", &outer(&place, "ask/two.txt", WRITES)]);
    let waits = waits.ends(4, "approval_required");
    fs::write(document(&place), INNER.replace("content: two", "content: evil")).unwrap();
    let approval = text(&waits["error"]["details"], "approval_id").to_owned();
    place.run_as_approver(&["approvals", "approve", &approval]).done();
    let done = place.run(&["workflow", "resume", text(&waits, "run_id")]).done();
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(place.read("ask/two.txt"), "two", "under the document that was let in");
    call(&place, "out/two.txt").ends(6, "integrity");
    place.verify();
}
