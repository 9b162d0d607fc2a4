//! Many at once: everything is done, one after the other, and nobody waits for ever.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::place::{Answer, POLICY, Place, text};

#[test]
fn eight_processes_at_once_all_apply() {
    let place = Place::new();
    let documents: Vec<String> = (0..8)
        .map(|n| {
            let files: Vec<Value> = (0..5)
                .map(|file| json!({ "op": "create", "path": format!("d{n}/f{file}"), "content": "x" }))
                .collect();
            place.seal(&format!("{n}.json"), &json!(files))
        })
        .collect();
    let children: Vec<_> = documents
        .iter()
        .map(|document| {
            let mut command = place.command(&["apply", document, "--json"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let answer = Answer::new(&["apply"], output.status.code(), output.stdout, output.stderr);
        assert_eq!(answer.done()["status"], "applied");
    }
    for n in 0..8 {
        assert!((0..5).all(|file| place.exists(&format!("d{n}/f{file}"))), "d{n} is not whole");
    }
    assert_eq!(place.run(&["log"]).done()["executions"].as_array().unwrap().len(), 8);
    place.trail();
    place.verify();
}

#[test]
fn the_same_document_in_eight_processes_is_applied_once() {
    let place = Place::new();
    let document = place.seal("a.json", &json!([{ "op": "create", "path": "a", "content": "x" }]));
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut command = place.command(&["apply", &document, "--json"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let mut applied = 0;
    let mut executions = Vec::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let answer = Answer::new(&["apply"], output.status.code(), output.stdout, output.stderr);
        let done = answer.done();
        applied += u32::from(done["status"] == "applied");
        executions.push(text(&done, "execution_id").to_owned());
    }
    assert_eq!(applied, 1);
    executions.dedup();
    assert_eq!(executions.len(), 1, "every answer names the one execution");
    place.verify();
}

#[test]
fn one_approval_is_used_by_one_of_eight() {
    let place = Place::new();
    let call = ["call", "fs.write", "path=ask/a", "content=x"];
    place.run(&call).ends(4, "approval_required");
    place.run_as_approver(&["approvals", "approve", &place.waiting()]).done();
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut command = place.command(&call);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        })
        .collect();
    let mut done = 0;
    for mut child in children {
        done += u32::from(child.wait().unwrap().code() == Some(0));
    }
    let log = place.run(&["log"]).done();
    assert_eq!(log["executions"].as_array().unwrap().len(), 1, "{log}");
    // A later one may find the file as it wants it, and then there is nothing to ask about.
    assert!(done >= 1);
    place.verify();
}

#[test]
fn a_lock_that_is_not_had_in_time_is_busy() {
    let place = Place::with_policy(&format!("{POLICY}concurrency: {{ lock_timeout: 50ms }}\n"));
    place.run(&["call", "fs.write", "path=a", "content=1"]).done();
    let before = place.tree();
    let file = std::fs::File::open(place.root.join(".lictor/lock")).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    place.run(&["call", "fs.write", "path=a", "content=2"]).ends(7, "busy");
    place.run(&["undo"]).ends(7, "busy");
    place.run(&["recover"]).ends(7, "busy");
    place.run(&["lock", "break"]).ends(7, "busy");
    assert_eq!(place.run(&["lock", "status"]).done()["held"], true);
    assert_eq!(place.tree(), before);
    // Reading waits for nobody.
    place.run(&["call", "fs.read", "path=a"]).done();
    drop(file);
    place.run(&["call", "fs.write", "path=a", "content=2"]).done();
    place.verify();
}

#[test]
fn only_who_waits_for_long_is_told_that_the_lock_is_held() {
    let place = Place::new();
    let steps: String = (0..8)
        .map(|n| format!("  - {{ id: w{n}, use: fs.write, with: {{ path: f{n}, content: x }} }}\n"))
        .collect();
    let document = format!("id: crowd\nversion: 1.0.0\ntitle: Crowd\nsteps:\n{steps}");
    let run = place.person(&["run", &place.document("w.workflow.yaml", document)]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "steps wait for each other");

    let file = std::fs::File::open(place.root.join(".lictor/lock")).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    let mut command = place.command(&["call", "fs.write", "path=a", "content=1"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("waiting for the workspace lock"), "{line}");
    drop(file);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    place.verify();
}

#[test]
fn a_lock_that_is_broken_by_force_can_be_taken_anew() {
    let place = Place::new();
    place.run(&["call", "fs.write", "path=a", "content=1"]).done();
    let file = std::fs::File::open(place.root.join(".lictor/lock")).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    let holder = place.run(&["lock", "status"]).done();
    let execution = text(&holder["holder"], "execution").to_owned();
    place.run(&["lock", "break", "exe_another", "--force"]).ends(5, "conflict");
    let broken = place.run(&["lock", "break", &execution, "--force"]).done();
    assert_eq!(broken["broken"], "forced");
    place.run(&["call", "fs.write", "path=a", "content=2"]).done();
    drop(file);
    assert!(place.trail().iter().any(|event| event["event_type"] == "lock_broken"));
    place.verify();
}
