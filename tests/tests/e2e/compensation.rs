//! Taking back what was done elsewhere: the step of a run or its contract says what makes up for it, that
//! is called once, as an action of its own, and the record says so. What nothing makes up for is said to
//! stay done.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::http::{Seen, Server, says};
use crate::place::{Answer, Place, message, text};
use crate::subrun::{let_in, place_of};

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

fn open(place: &Place) -> String {
    let done = place.run(&["call", "desk.open"]).done();
    text(&done, "execution_id").to_owned()
}

fn show(place: &Place, id: &str) -> Value {
    place.run(&["show", id]).done()
}

#[test]
fn an_undo_calls_what_makes_up_for_it_once_and_is_on_record() {
    let server = Server::answering(vec![opened(), says("200 OK", "{}")]);
    let place = desk(&server);
    let id = open(&place);
    let dry = place.run(&["undo", &id, "--dry-run"]).done();
    assert!(dry.to_string().contains("allow"), "{dry}");
    let undone = place.run(&["undo", &id]).done();
    assert_eq!(undone["undo_of"], json!([id]));
    assert_eq!(undone["compensated"], json!([{ "execution": id, "by": "desk.close" }]));
    assert_eq!(undone["files"], json!([]));
    let by = text(&undone, "execution_id").to_owned();
    let (original, compensation) = (show(&place, &id), show(&place, &by));
    assert_eq!((&original["status"], &original["undone_by"]), (&json!("undone"), &json!(by)));
    assert_eq!(
        (&compensation["capability"], &compensation["undo_of"]),
        (&json!("desk.close"), &json!([id]))
    );
    // Neither again, nor back: what was done elsewhere is not done anew by itself.
    let again = place.run(&["undo", &id]).ends(2, "invalid_input");
    assert!(message(&again).contains("was undone already"), "{again}");
    let redo = place.run(&["redo"]).ends(2, "invalid_input");
    assert!(message(&redo).contains("cannot be undone"), "{redo}");
    place.run(&["undo"]).ends(2, "not_found");
    assert_eq!(lines(&server.ended()), [OPEN, CLOSE]);
    let trail = place.trail();
    let told: Vec<&Value> =
        trail.iter().filter(|event| event["event_type"] == "undo_completed").collect();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["action_name"], &told[0]["metadata"]["undo_of"]),
        (&json!("desk.close"), &json!([id]))
    );
    place.verify();
}

#[test]
fn what_makes_up_for_it_is_judged_by_itself() {
    let server = Server::answering(vec![opened(), says("200 OK", "{}")]);
    let place = desk(&server);
    let id = open(&place);
    let asks = "  - { name: close, when: { capability: desk.close }, verdict: need_approval }\n";
    place.policy(&format!("{POLICY}{asks}"));
    place.run(&["undo", &id, "--dry-run"]).ends(4, "approval_required");
    place.run(&["undo", &id]).ends(4, "approval_required");
    assert_eq!(show(&place, &id)["status"], "applied", "nothing was done yet");
    place.run_as_approver(&["approvals", "approve", &place.waiting()]).done();
    place.run(&["undo", &id]).done();
    assert_eq!(lines(&server.ended()), [OPEN, CLOSE]);
    place.policy(&format!("{POLICY}{}", asks.replace("need_approval", "deny")));
    place.verify();
}

#[test]
fn one_that_failed_can_be_asked_for_again_and_one_in_doubt_is_not_repeated() {
    let server = Server::answering(vec![
        opened(),
        says("409 Conflict", "{}"),
        says("200 OK", "{}"),
        opened(),
        String::new(),
    ]);
    let place = desk(&server);
    let id = open(&place);
    place.run(&["undo", &id]).ends(1, "failed");
    assert_eq!(show(&place, &id)["status"], "applied", "it stands");
    place.run(&["undo", &id]).done();
    assert_eq!(show(&place, &id)["status"], "undone");

    let id = open(&place);
    place.run(&["undo", &id]).ends(8, "incomplete");
    assert_eq!(show(&place, &id)["status"], "applied");
    for _ in 0..2 {
        let doubt = place.run(&["undo", &id]).ends(8, "incomplete");
        assert!(message(&doubt).contains("not known"), "{doubt}");
    }
    assert_eq!(lines(&server.ended()), [OPEN, CLOSE, CLOSE, OPEN, CLOSE]);
    place.verify();
}

/// The server has got the request, and the process is gone before an answer.
#[test]
fn killed_in_the_middle_it_is_in_doubt_and_not_repeated() {
    let (tell, told) = std::sync::mpsc::channel::<std::net::TcpStream>();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        use std::io::Write as _;
        let (stream, _) = listener.accept().unwrap();
        crate::http::read(&stream);
        (&stream).write_all(opened().as_bytes()).unwrap();
        drop(stream);
        let (stream, _) = listener.accept().unwrap();
        let line = crate::http::read(&stream).line;
        tell.send(stream).unwrap();
        listener.set_nonblocking(true).unwrap();
        (line, listener)
    });
    let place = Place::with_policy(POLICY);
    let_in(&place, "desk.open", &contract("desk.open", port, "POST", "t", BACK));
    let_in(&place, "desk.close", &contract("desk.close", port, "DELETE", "t/{id}", ""));
    let id = open(&place);
    let mut lictor = place.command(&["undo", &id, "--json"]).stdout(Stdio::null()).spawn().unwrap();
    let held = told.recv().unwrap();
    lictor.kill().unwrap();
    lictor.wait().unwrap();
    drop(held);
    let (line, listener) = thread.join().unwrap();
    assert_eq!(line, CLOSE);
    place.run(&["recover"]).ends_with_one_of(&[0, 8]);
    place.run(&["undo", &id]).ends(8, "incomplete");
    assert!(listener.accept().is_err(), "nobody asked again");
    let trail = place.trail();
    let first = |kind: &str| {
        trail.iter().position(|it| it["event_type"] == kind && it["action_name"] == "desk.close")
    };
    let (decided, started) = (first("decision_made").unwrap(), first("action_started").unwrap());
    assert!(decided < started, "what let it begin was on record before it did");
    assert_eq!(show(&place, &id)["status"], "applied");
    place.verify();
}

#[test]
fn what_nothing_makes_up_for_is_said_to_stay_done() {
    let server = Server::answering(vec![opened(), opened()]);
    let place = desk(&server);
    let_in(&place, "desk.tell", &contract("desk.tell", server.port(), "POST", "t", ""));
    let done = place.run(&["call", "desk.tell"]).done();
    let refused = place.run(&["undo", text(&done, "execution_id")]).ends(2, "invalid_input");
    let said = message(&refused);
    assert!(said.contains("stays done") && said.contains("no compensation is known"), "{said}");
    // What the contract says now is not what was let in when it was called.
    let id = open(&place);
    let file = place.root.join(".lictor/capabilities/desk.open.yaml");
    let changed = std::fs::read_to_string(&file).unwrap().replace("desk.close", "desk.tell");
    std::fs::write(&file, changed).unwrap();
    let refused = place.run(&["undo", &id]).ends(2, "invalid_input");
    assert!(message(&refused).contains("not the one any more"), "{refused}");
    assert_eq!(lines(&server.ended()), [OPEN, OPEN]);
    place.verify();
}

#[test]
fn several_are_refused_whole_where_one_of_them_stays_done() {
    let server = Server::answering(vec![opened()]);
    let place = desk(&server);
    let_in(&place, "desk.tell", &contract("desk.tell", server.port(), "POST", "t", ""));
    place.run(&["call", "desk.tell"]).done();
    place.run(&["call", "fs.write", "path=a", "content=x"]).done();
    place.run(&["undo", "--last", "2"]).ends(2, "invalid_input");
    assert!(place.exists("a"), "nothing of it was done");
    place.run(&["undo"]).done();
    assert!(!place.exists("a"));
    drop(server.ended());
}

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

/// A run of three tickets, closed by what its steps say, each with its own name.
const TICKETS: &str = "id: w\nversion: 1.0.0\ntitle: W\ninput: { type: object }\nsteps:\n  \
    - { id: before, use: fs.write, with: { path: before.txt, content: b } }\n  \
    - { id: open, needs: [before], use: desk.open, compensate: { use: desk.close, with: { id: \"{{ output.body.id }}-{{ input.as }}\" } } }\n  \
    - { id: each, needs: [open], foreach: \"{{ ['x', 'y'] }}\", use: desk.open, compensate: { use: desk.close, with: { id: \"{{ item }}-{{ steps.open.output.body.id }}\" } } }\n";

fn tickets(place: &Place) -> String {
    let file = place.document("w.workflow.yaml", TICKETS);
    let done = place.run(&["run", &file, "--input", r#"{"as":"me"}"#]).done();
    text(&done, "run_id").to_owned()
}

fn undone(place: &Place, run: &str) -> Value {
    place.run(&["undo", run]).done()
}

#[test]
fn undoing_a_run_calls_what_its_steps_say_in_reverse_start_order_and_once() {
    let closed = (0..3).map(|_| says("200 OK", "{}"));
    let server = Server::answering((0..3).map(|_| opened()).chain(closed).collect());
    let place = desk(&server);
    let run = tickets(&place);
    let dry = place.run(&["undo", &run, "--dry-run"]).done();
    let would: Vec<&Value> = dry["compensated"].as_array().unwrap().iter().collect();
    assert_eq!(would.len(), 3, "{dry}");
    assert!(would.iter().all(|one| one["by"] == "desk.close"), "{dry}");
    let done = undone(&place, &run);
    assert_eq!(done["compensated"], dry["compensated"], "as the dry run said");
    assert_eq!(done["undo_of"].as_array().unwrap().len(), 4);
    assert!(!place.exists("before.txt"));
    place.run(&["undo", &run]).ends(2, "not_found");
    place.run(&["undo"]).ends(2, "not_found");
    let seen = server.ended();
    let mut closed: Vec<&str> = lines(&seen)[3..].to_vec();
    // Items are begun side by side; what came before them is made up for after them.
    assert_eq!(closed.pop(), Some("DELETE /t/t7-me HTTP/1.1"));
    closed.sort_unstable();
    assert_eq!(closed, ["DELETE /t/x-t7 HTTP/1.1", "DELETE /t/y-t7 HTTP/1.1"]);
    place.verify();
}

#[test]
fn an_undo_of_a_run_that_was_cut_short_goes_on_where_it_was() {
    let answers = [opened(), opened(), opened()].into_iter();
    let answers = answers.chain([says("200 OK", "{}"), says("409 Conflict", "{}")]);
    let answers = answers.chain([says("200 OK", "{}"), says("200 OK", "{}")]);
    let server = Server::answering(answers.collect());
    let place = desk(&server);
    let run = tickets(&place);
    let stopped = place.run(&["undo", &run]).ends(8, "incomplete");
    let details = &stopped["error"]["details"];
    let n = |key: &str| details[key].as_array().unwrap().len();
    assert_eq!((n("undone"), n("left")), (1, 3), "{stopped}");
    assert!(place.exists("before.txt"), "what came before it stands");
    let dry = place.run(&["undo", &run, "--dry-run"]).done();
    assert_eq!(dry["compensated"].as_array().unwrap().len(), 2, "one of them is done: {dry}");
    undone(&place, &run);
    assert!(!place.exists("before.txt"));
    let seen = server.ended();
    let seen = lines(&seen);
    assert_eq!(seen.len(), 7);
    assert_eq!(seen[4], seen[5], "only the one that failed was asked for again");
    place.verify();
}

#[test]
fn what_a_rollback_has_made_up_for_stands_as_undone() {
    let server = Server::answering(vec![opened(), says("200 OK", "{}")]);
    let place = desk(&server);
    let own = ", compensate: { use: desk.close, with: { id: own } }";
    let rolled_back = flow(&place, own).ends(1, "failed");
    place.run(&["undo", text(&rolled_back, "run_id")]).ends(2, "not_found");
    place.run(&["undo"]).ends(2, "not_found");
    assert_eq!(lines(&server.ended()), [OPEN, "DELETE /t/own HTTP/1.1"]);
    place.verify();
}

/// A workflow closes tickets, by these steps.
fn closing_by(server: &Server, steps: &str) -> Place {
    let place = desk(server);
    close_by(&place, server, steps);
    place
}

fn close_by(place: &Place, server: &Server, steps: &str) {
    let head = "id: closing\nversion: 1.0.0\ntitle: C\ninput: { type: object }\n";
    place.write(&place_of("closing"), format!("{head}{steps}"));
    let by = crate::subrun::contract("desk.closing", "closing", &json!({}));
    let_in(place, "desk.closing", &by);
    let back = BACK.replace("use: desk.close", "use: desk.closing");
    let open = contract("desk.begin", server.port(), "POST", "t", &back);
    let_in(place, "desk.begin", &open);
}

/// A workflow closes tickets, and writes that down where `path` says.
fn closing_by_workflow(server: &Server, path: &str) -> Place {
    let note = format!(
        "  - {{ id: note, use: fs.write, with: {{ path: {path}, content: \"{{{{ input.id }}}}\" }} }}\n"
    );
    closing_by(server, &format!("steps:\n{note}{CLOSES}"))
}

/// The last step of a workflow that closes a ticket.
const CLOSES: &str =
    "  - { id: close, needs: [note], use: desk.close, with: { id: \"{{ input.id }}\" } }\n";

/// What such a workflow did stands when it fails.
const KEEPS: &str = "auto_rollback: false\nsteps:\n";

fn begun(place: &Place) -> String {
    text(&place.run(&["call", "desk.begin"]).done(), "execution_id").to_owned()
}

#[test]
fn a_workflow_makes_up_for_it_once_its_run_has_completed() {
    let server = Server::answering(vec![opened(), says("200 OK", "{}")]);
    let place = closing_by_workflow(&server, "note.txt");
    let id = begun(&place);
    let done = place.run(&["undo", &id]).done();
    assert_eq!(done["compensated"], json!([{ "execution": id, "by": "desk.closing" }]));
    assert_eq!(place.read("note.txt"), "t7");
    let by = text(&done, "execution_id");
    assert_eq!(show(&place, &id)["undone_by"], json!(by));
    assert_eq!(show(&place, by)["undo_of"], json!([id]));
    place.run(&["undo", &id]).ends(2, "invalid_input");
    assert_eq!(lines(&server.ended()), [OPEN, CLOSE]);
    place.verify();
}

#[test]
fn a_workflow_that_failed_has_made_up_for_nothing_and_can_be_asked_for_again() {
    let server =
        Server::answering(vec![opened(), says("409 Conflict", "{}"), says("200 OK", "{}")]);
    let place = closing_by_workflow(&server, "note.txt");
    let id = begun(&place);
    place.run(&["undo", &id]).ends(1, "failed");
    assert!(!place.exists("note.txt"), "its own run was taken back");
    assert_eq!(show(&place, &id)["status"], "applied");
    place.run(&["undo", &id]).done();
    assert_eq!(show(&place, &id)["status"], "undone");
    assert_eq!(lines(&server.ended()), [OPEN, CLOSE, CLOSE]);
    place.verify();
}

#[test]
fn one_that_failed_without_being_taken_back_can_be_asked_for_again_if_it_left_nothing() {
    let server =
        Server::answering(vec![opened(), says("409 Conflict", "{}"), says("200 OK", "{}")]);
    let looks = "  - { id: note, use: fs.list }\n";
    let place = closing_by(&server, &format!("{KEEPS}{looks}{CLOSES}"));
    let id = begun(&place);
    place.run(&["undo", &id]).ends(1, "failed");
    assert_eq!(run_of(&place)["status"], "failed", "nobody took it back");
    assert_eq!(show(&place, &id)["status"], "applied");
    place.run(&["undo", &id]).done();
    assert_eq!(show(&place, &id)["status"], "undone");
    assert_eq!(lines(&server.ended()), [OPEN, CLOSE, CLOSE]);
    place.verify();
}

/// The run that was begun last.
fn run_of(place: &Place) -> Value {
    place.run(&["workflow", "list"]).done()["runs"][0].clone()
}

/// It is not begun anew, and says that it is not, and why.
#[track_caller]
fn is_not_begun_anew(place: &Place, id: &str, why: &str) {
    for _ in 0..2 {
        let refused = place.run(&["undo", id]).ends(8, "incomplete");
        let said = message(&refused);
        assert!(said.contains("not begun anew") && said.contains(why), "{said}");
        assert_eq!(show(place, id)["status"], "applied");
    }
    let runs = place.run(&["workflow", "list"]).done();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1);
}

#[test]
fn one_of_which_something_stands_is_not_begun_anew_before_that_is_taken_back() {
    let server =
        Server::answering(vec![opened(), says("409 Conflict", "{}"), says("200 OK", "{}")]);
    let note = "  - { id: note, use: fs.write, with: { path: note.txt, content: n } }\n";
    let place = closing_by(&server, &format!("{KEEPS}{note}{CLOSES}"));
    let id = begun(&place);
    is_not_begun_anew(&place, &id, "(`fs.write`) stands");
    let run = run_of(&place);
    undone(&place, text(&run, "run_id"));
    assert!(!place.exists("note.txt"));
    place.run(&["undo", &id]).done();
    assert_eq!(
        (place.read("note.txt").as_str(), &show(&place, &id)["status"]),
        ("n", &json!("undone"))
    );
    assert_eq!(lines(&server.ended()), [OPEN, CLOSE, CLOSE]);
    place.verify();
}

#[test]
fn one_of_which_a_step_is_in_doubt_is_not_begun_anew() {
    let server = Server::answering(vec![opened(), String::new()]);
    let looks = "  - { id: note, use: fs.list }\n";
    let place = closing_by(&server, &format!("{KEEPS}{looks}{CLOSES}"));
    let id = begun(&place);
    is_not_begun_anew(&place, &id, "it is not known what became of it");
    assert_eq!(lines(&server.ended()), [OPEN, CLOSE]);
    place.verify();
}

#[test]
fn one_whose_failed_step_nothing_has_made_up_for_is_not_begun_anew_before_that() {
    let server = Server::answering(vec![
        opened(),
        says("409 Conflict", "{}"),
        says("200 OK", "{}"),
        says("200 OK", "{}"),
    ]);
    let own = "  - { id: close, use: desk.close, with: { id: \"{{ input.id }}\" }, \
               compensate: { use: desk.close, with: { id: again } } }\n";
    let place = closing_by(&server, &format!("{KEEPS}{own}"));
    let id = begun(&place);
    is_not_begun_anew(&place, &id, "has not been made up for");
    let run = run_of(&place);
    let run = text(&run, "run_id");
    let taken_back = place.run(&["workflow", "resume", run, "--rollback"]);
    assert_eq!(taken_back.json["status"], "rolled_back", "{}", taken_back.json);
    place.run(&["undo", &id]).done();
    let again = "DELETE /t/again HTTP/1.1";
    assert_eq!(lines(&server.ended()), [OPEN, CLOSE, again, CLOSE]);
    place.verify();
}

#[test]
fn one_whose_own_workflow_waits_is_not_begun_anew_before_that_has_ended() {
    let server = Server::answering(vec![opened(), says("200 OK", "{}")]);
    let place = desk(&server);
    let noting = "id: noting\nversion: 1.0.0\ntitle: N\nsteps:\n  \
        - { id: ask, use: fs.write, with: { path: ask/note.txt, content: n } }\n";
    place.write(&place_of("noting"), noting);
    let_in(&place, "desk.noting", &crate::subrun::contract("desk.noting", "noting", &json!({})));
    let note = "  - { id: note, use: desk.noting }\n";
    close_by(&place, &server, &format!("{KEEPS}{note}{CLOSES}"));
    let id = begun(&place);
    place.run(&["undo", &id]).ends(4, "approval_required");
    let runs = place.run(&["workflow", "list"]).done();
    let with = |parent: &str| {
        let runs = runs["runs"].as_array().unwrap().iter();
        let ids = runs.map(|run| text(run, "run_id").to_owned());
        ids.into_iter()
            .find(|run| {
                place.run(&["workflow", "show", run]).done()["parent"]["capability"] == parent
            })
            .unwrap()
    };
    let (closing, noting) = (with("desk.closing"), with("desk.noting"));
    place.run(&["workflow", "cancel", &closing, "--keep"]);
    let refused = place.run(&["undo", &id]).ends(8, "incomplete");
    let said = message(&refused);
    assert!(said.contains("not begun anew") && said.contains(&noting), "{said}");
    place.run(&["workflow", "resume", &closing, "--rollback"]);
    place.policy(&POLICY.replace("\"ask/**\"", "\"other/**\""));
    place.run(&["undo", &id]).done();
    assert_eq!(show(&place, &id)["status"], "undone");
    assert_eq!(lines(&server.ended()), [OPEN, CLOSE]);
    place.verify();
}

#[test]
fn a_workflow_that_waits_for_people_has_made_up_for_nothing_yet() {
    let server = Server::answering(vec![opened(), says("200 OK", "{}")]);
    let place = closing_by_workflow(&server, "ask/note.txt");
    let id = begun(&place);
    place.run(&["undo", &id]).ends(4, "approval_required");
    assert_eq!(show(&place, &id)["status"], "applied");
    place.run_as_approver(&["approvals", "approve", &place.waiting()]).done();
    place.run(&["undo", &id]).done();
    assert_eq!(show(&place, &id)["status"], "undone");
    let runs = place.run(&["workflow", "list"]).done();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "it was taken up, not begun anew");
    assert_eq!(lines(&server.ended()), [OPEN, CLOSE]);
    place.verify();
}

#[test]
fn a_rollback_is_made_up_for_by_a_workflow_as_well() {
    let server = Server::answering(vec![opened(), says("200 OK", "{}")]);
    let place = closing_by_workflow(&server, "note.txt");
    let workflow = "id: w\nversion: 1.0.0\ntitle: W\nsteps:\n  - { id: open, use: desk.begin }\n  \
        - { id: last, needs: [open], use: fs.hash, with: { path: missing.txt } }\n";
    let rolled_back = place.run(&["run", &place.document("w.workflow.yaml", workflow)]);
    let rolled_back = rolled_back.ends(1, "failed");
    assert_eq!(rolled_back["status"], "rolled_back", "{rolled_back}");
    assert_eq!(place.read("note.txt"), "t7");
    assert_eq!(lines(&server.ended()), [OPEN, CLOSE]);
    place.verify();
}
