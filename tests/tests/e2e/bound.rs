//! What an approval is bound to, exchanged between the answer and the commit: part by part of the
//! capability's definition, and what ends the answer itself. Nothing is done in any case.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::place::{POLICY, Place, text};

const ID: &str = "notes.put";

fn contract() -> Value {
    json!({
        "id": ID, "version": "1.0.0", "title": "Put", "description": "Writes a note.",
        "kind": "skill", "source": "local", "owner": "ann", "tags": ["notes"],
        "input": { "type": "object", "properties": {
            "path": { "type": "string" }, "content": { "type": "string" } } },
        "output": { "type": "object" },
        "risk": "high",
        "effects": { "fs": { "write": ["notes/**"] } },
        "undo": { "strategy": "automatic" },
        "confirm": "policy", "timeout": "30s", "retry": { "attempts": 1 }, "idempotent": true,
        "handler": { "builtin": "fs.write" },
    })
}

fn let_in(place: &Place, document: &str) {
    let file = place.document("c.yaml", document);
    let bob = |command: &mut Command| _ = command.env("LICTOR_USER", "bob");
    place.run_with(&["capability", "propose", &file], bob).done();
    place.run_as_approver(&["capability", "approve", ID]).done();
}

const CALL: [&str; 4] = ["call", ID, "path=notes/a", "content=x"];

/// A call that people have agreed to; gives the approval.
fn agreed(place: &Place) -> String {
    place.write("notes/keep", "");
    let_in(place, &contract().to_string());
    place.run(&CALL).ends(4, "approval_required");
    let id = place.waiting();
    place.run_as_approver(&["approvals", "approve", &id]).done();
    id
}

#[track_caller]
fn nothing_done(place: &Place, what: &str) {
    assert!(!place.exists("notes/a"), "{what}");
    let executions = place.run(&["log"]).done();
    assert_eq!(executions["executions"], json!([]), "{what}");
    place.verify();
}

/// Each part of a definition, as somebody edits it in the file that was let in.
const PARTS: &[(&str, &str, &str)] = &[
    ("the schema of the input", "/input", r#"{ "type": "object" }"#),
    ("a property of the input", "/input/properties/path", r#"{ "type": ["string", "null"] }"#),
    ("the schema of the output", "/output", "{}"),
    ("the handler", "/handler", r#"{ "builtin": "fs.delete" }"#),
    ("the handler, to one that does less", "/handler", r#"{ "builtin": "time.now" }"#),
    ("effects, to more", "/effects", r#"{ "fs": { "write": ["**"] } }"#),
    ("effects, to less", "/effects", r#"{ "fs": { "write": ["notes/a"] } }"#),
    ("effects, of another kind", "/effects/net", r#"["example.org"]"#),
    ("the risk, to less", "/risk", r#""medium""#),
    ("the risk, to more", "/risk", r#""critical""#),
    ("the undo", "/undo", r#"{ "strategy": "none" }"#),
    ("whether people confirm", "/confirm", r#""always""#),
    ("the time that it may take", "/timeout", r#""31s""#),
    ("how often it is tried", "/retry", r#"{ "attempts": 2 }"#),
    ("whether it is idempotent", "/idempotent", "false"),
    ("the title", "/title", r#""Take""#),
    ("the description", "/description", r#""Reads a note.""#),
    ("the source", "/source", r#""http""#),
    ("the owner", "/owner", r#""eve""#),
    ("the tags", "/tags", "[]"),
];

#[test]
fn each_part_of_a_definition_that_changes_after_the_approval_is_an_integrity_failure() {
    let place = Place::with_policy(POLICY);
    let id = agreed(&place);
    let file = place.root.join(format!(".lictor/capabilities/{ID}.yaml"));
    let before = fs::read(&file).unwrap();
    let mut wrong = Vec::new();
    for (what, pointer, value) in PARTS {
        let mut edited = contract();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let value: Value = serde_json::from_str(value).unwrap();
        edited.pointer_mut(parent).unwrap()[key] = value;
        assert_ne!(edited, contract(), "{what}");
        fs::write(&file, edited.to_string()).unwrap();
        for more in [&[][..], &["--approval", &id]] {
            let refused = place.run(&[&CALL[..], more].concat());
            if refused.code != 6 {
                wrong.push(format!("{what} {more:?}: {}", refused.json));
            }
        }
        nothing_done(&place, what);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What is no definition at all is none.
    for (what, text) in [("half of it", &before[..before.len() / 2]), ("nothing", b"")] {
        fs::write(&file, text).unwrap();
        let refused = place.run(&CALL);
        assert_ne!(refused.code, 0, "{what}: {}", refused.json);
        nothing_done(&place, what);
    }
    fs::remove_file(&file).unwrap();
    assert_ne!(place.run(&CALL).code, 0);
    nothing_done(&place, "it is gone");
    // As it was agreed to, it is done: nothing else stood in the way of it.
    fs::write(&file, before).unwrap();
    place.run(&[&CALL[..], &["--approval", &id]].concat()).done();
    assert!(place.exists("notes/a"));
}

#[test]
fn a_record_of_the_catalogue_that_changes_after_the_approval_is_an_integrity_failure() {
    for (what, set) in [
        ("its state", r#"record = replace(record, '"active"', '"frozen"')"#),
        ("its digest", "record = json_set(record, '$.digest', 'sha256:' || hex(zeroblob(32)))"),
        ("who approved", r#"record = replace(record, 'bob', 'eve')"#),
        ("its seal", "seal = 'sha256:00'"),
        ("all of it", "record = '{'"),
    ] {
        let place = Place::with_policy(POLICY);
        let id = agreed(&place);
        let db = rusqlite::Connection::open(place.root.join(".lictor/lictor.db")).unwrap();
        assert_eq!(db.execute(&format!("UPDATE catalogue SET {set}"), []).unwrap(), 1, "{what}");
        drop(db);
        let refused = place.run(&[&CALL[..], &["--approval", &id]].concat());
        let unreadable = what == "all of it" && refused.code == 3;
        assert!(refused.code == 6 || unreadable, "{what}: {}", refused.json);
        nothing_done(&place, what);
    }
}

#[test]
fn a_program_that_is_exchanged_after_the_approval_is_an_integrity_failure() {
    let policy = format!(
        "{POLICY}rules:\n  - {{ name: programs, when: {{ effect: process }}, verdict: need_approval }}\n"
    );
    let place = Place::with_policy(&policy);
    let doctor = place.run(&["doctor"]).done();
    let mut checks = doctor["checks"].as_array().unwrap().iter();
    if checks.any(|check| check["name"] == "command sandbox" && check["ok"] != true) {
        eprintln!("SKIPPED: this machine cannot hold commands");
        return;
    }
    let program = |text: &str| {
        place.write("tool.sh", format!("#!/bin/sh\n{text}\n"));
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(place.root.join("tool.sh"), mode).unwrap();
    };
    program("echo good");
    let contract = json!({
        "id": ID, "version": "1.0.0", "title": "T", "description": "D", "kind": "tool",
        "source": "local", "risk": "low", "input": { "type": "object" }, "output": {},
        "effects": { "fs": { "read": ["tool.sh"] }, "process": ["./tool.sh"] },
        "handler": { "command": { "argv": ["./tool.sh"], "output": "text" } },
    });
    let_in(&place, &contract.to_string());
    let call = ["call", ID];
    place.run(&call).ends(4, "approval_required");
    let id = place.waiting();
    place.run_as_approver(&["approvals", "approve", &id]).done();
    program("echo evil");
    let refused = place.run(&["call", ID, "--approval", &id]).ends(6, "integrity");
    assert!(!refused.to_string().contains("evil"), "{refused}");
    nothing_done(&place, "the program");
    program("echo good");
    place.run(&["call", ID, "--approval", &id]).done();
}

#[test]
fn what_ends_an_answer_leaves_it_good_for_nothing() {
    type End = fn(&Place, &str);
    let ends: [(&str, End); 5] = [
        ("it is withdrawn", |place, id| drop(place.run(&["approvals", "cancel", id]).done())),
        ("somebody else denies it", |place, id| {
            drop(place.run_as_approver(&["approvals", "deny", id]).done());
        }),
        ("whoever gave it is struck off", |place, _| {
            drop(place.run_as_approver(&["approvers", "revoke", "ann"]).done());
        }),
        ("whoever gave it is struck off, and nothing more was recorded", |place, _| {
            // As after a crash between the two.
            let db = rusqlite::Connection::open(place.root.join(".lictor/lictor.db")).unwrap();
            let sql = "UPDATE approver SET record = json_set(record, '$.revoked_at', \
                       json_extract(record, '$.added_at')) WHERE folded_name = 'ann'";
            assert_eq!(db.execute(sql, []).unwrap(), 1);
        }),
        ("its time is over", |place, id| {
            let db = rusqlite::Connection::open(place.root.join(".lictor/lictor.db")).unwrap();
            let sql = "UPDATE approval SET record = \
                       json_set(record, '$.expires_at', json_extract(record, '$.requested_at'))";
            assert_eq!(db.execute(sql, []).unwrap(), 1, "{id}");
        }),
    ];
    for (what, end) in ends {
        let place = Place::with_policy(POLICY);
        let added = place.run_as_approver(&["approvers", "add", "ann"]).done();
        let call = ["call", "fs.write", "path=ask/a", "content=x"];
        place.run(&call).ends(4, "approval_required");
        let id = place.waiting();
        place.run_with_token(text(&added, "token"), &["approvals", "approve", &id]).done();
        end(&place, &id);
        for more in [&[][..], &["--approval", &id]] {
            place.run(&[&call[..], more].concat()).ends_with_one_of(&[3, 4, 6]);
            assert!(!place.exists("ask/a"), "{what}");
        }
        assert_eq!(place.run(&["log"]).done()["executions"], json!([]), "{what}");
        place.verify();
    }
}

#[test]
fn what_a_person_saw_before_they_agreed_at_once_is_all_that_they_agreed_to() {
    use crate::terminal::Terminal;
    let place = Place::new();
    place.write("ask/a", "old");
    let call = ["call", "fs.write", "path=ask/a", "content=new", "--approve"];
    let mut terminal = Terminal::start(&place, &call);
    assert!(terminal.shows("to agree"), "{}", terminal.seen());
    // Somebody saves the file while the person reads the difference.
    place.write("ask/a", "what somebody else wrote");
    let code = terminal.code();
    terminal.types(&code);
    assert_eq!(terminal.ends(), 6);
    assert_eq!(place.read("ask/a"), "what somebody else wrote");
    assert_eq!(place.run(&["log"]).done()["executions"], json!([]));
}

/// A terminal that has shown what it asks about.
fn asking_about(place: &Place, arguments: &[&str], parts: &[&str]) -> crate::terminal::Terminal {
    let mut terminal = crate::terminal::Terminal::start(place, arguments);
    assert!(terminal.shows("to agree"), "{}", terminal.seen());
    for part in parts {
        assert!(terminal.seen().contains(part), "no `{part}` in {}", terminal.seen());
    }
    terminal
}

fn agrees(mut terminal: crate::terminal::Terminal) -> i32 {
    let code = terminal.code();
    terminal.types(&code);
    terminal.ends()
}

#[test]
fn several_undos_that_are_agreed_to_at_once_are_those_that_were_shown() {
    let place = Place::new();
    for content in ["content=one", "content=two"] {
        let call = ["call", "fs.write", "path=ask/a", content, "--approve"];
        place.run_as_approver(&call).done();
    }
    let undo = ["undo", "--last", "2", "--approve"];
    let parts = ["change.undo", "-two", "ask/a"];
    let terminal = asking_about(&place, &undo, &parts);
    // Somebody edits the policy while the person reads.
    place.policy(&format!("{POLICY}# another comment\n"));
    assert_eq!(agrees(terminal), 6);
    assert_eq!(place.read("ask/a"), "two");
    let refused = place.trail().into_iter().rfind(|event| event["event_type"] == "action_rejected");
    assert!(refused.unwrap().to_string().contains("not what was looked at"));
    assert_eq!(agrees(asking_about(&place, &undo, &parts)), 0);
    assert!(!place.exists("ask/a"));
    place.verify();
}

#[test]
fn a_run_that_is_agreed_to_at_once_is_the_one_that_was_shown() {
    let place = Place::new();
    let flow = "id: notes\nversion: 1.0.0\nsteps:\n  \
                - { id: one, use: fs.write, with: { path: ask/one, content: one } }\n  \
                - { id: review, needs: [one], approval: { message: Go on? } }\n  \
                - { id: two, needs: [review], use: fs.write, with: { path: ask/two, content: two } }\n";
    let file = place.document("n.workflow.yaml", flow);
    let run = ["run", &file, "--approve"];
    let parts =
        ["asks: Go on?", "one: fs.write, medium risk, by the contract sha256:", "policies sha256:"];
    let terminal = asking_about(&place, &run, &parts);
    place.policy(&format!("{POLICY}# another comment\n"));
    // What changed is asked about as if nobody had agreed.
    assert_eq!(agrees(terminal), 4);
    assert!(!place.exists("ask/one"));
    let paused = place.run(&["workflow", "list"]).done()["runs"][0]["run_id"].clone();
    let resume = ["workflow", "resume", paused.as_str().unwrap(), "--approve"];
    assert_eq!(agrees(asking_about(&place, &resume, &["ask/one", "paused"])), 0);
    assert_eq!(
        (place.read("ask/one"), place.read("ask/two")),
        ("one".to_owned(), "two".to_owned())
    );
    place.verify();
}
