//! Grants, the kill switch, and approvals that a call is held to: `approval_binds_everything`,
//! `grant_is_narrow`, `halt_stops_everything_new`.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::place::{Answer, POLICY, Place, message, text};
use crate::tree::digest;

fn document(place: &Place, content: &str) -> String {
    let changes = json!([
        { "op": "modify", "path": "ask/a.txt", "before": digest(b"old"), "content": content },
    ]);
    place.seal("ask.json", &changes)
}

/// A change that was approved; gives the document and the approval's id.
fn approved(place: &Place) -> (String, String) {
    place.write("ask/a.txt", "old");
    let document = document(place, "new");
    place.run(&["apply", &document]).ends(4, "approval_required");
    let id = place.waiting();
    place.run_as_approver(&["approvals", "approve", &id]).done();
    (document, id)
}

#[track_caller]
fn nothing_done(place: &Place) {
    let found = std::fs::read_to_string(place.root.join("ask/a.txt")).unwrap_or_default();
    assert_ne!(found, "new");
    assert_eq!(place.run(&["log"]).done()["executions"], json!([]));
    place.verify();
}

/// Changes what a document says and seals it anew.
fn edited(place: &Place, document: &str, edit: impl FnOnce(&mut Value)) -> String {
    let text = std::fs::read_to_string(document).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    edit(&mut value);
    place.document("edited.json", value.to_string())
}

#[test]
fn what_was_approved_is_applied_under_its_approval() {
    let place = Place::new();
    let (document, id) = approved(&place);
    place.run(&["apply", &document, "--approval", "apr_0"]).ends(3, "denied");
    let done = place.run(&["apply", &document, "--approval", &id]).done();
    assert_eq!(place.read("ask/a.txt"), "new");
    let record = place.run(&["show", text(&done, "execution_id")]).done();
    assert_eq!(record["agreement"]["by"]["approval"], id.as_str());
    assert_eq!(record["agreement"]["granted_by"].as_array().unwrap().len(), 1);
}

#[test]
fn every_bound_part_that_changes_after_the_approval_is_refused_as_broken() {
    type Change = fn(&Place, &str) -> Vec<String>;
    let changes: Vec<(&str, Change)> = vec![
        ("content", |place, _| vec![document(place, "evil")]),
        ("path", |place, _| {
            place.write("ask/b.txt", "old");
            let changes = json!([
                { "op": "modify", "path": "ask/b.txt", "before": digest(b"old"), "content": "new" },
            ]);
            vec![place.seal("other.json", &changes)]
        }),
        ("one more file", |place, _| {
            let changes = json!([
                { "op": "modify", "path": "ask/a.txt", "before": digest(b"old"), "content": "new" },
                { "op": "create", "path": "ask/c.txt", "content": "new" },
            ]);
            vec![place.seal("other.json", &changes)]
        }),
        ("intent", |place, given| {
            vec![edited(place, given, |value| value["plan"]["intent"] = json!("another"))]
        }),
        ("verification", |place, given| {
            vec![edited(place, given, |value| value["plan"]["rollback_plan"] = json!("none"))]
        }),
        ("risk", |place, given| {
            vec![edited(place, given, |value| value["plan"]["risk"] = json!("high"))]
        }),
        ("user", |_, given| vec![given.to_owned(), "--user".to_owned(), "eve".to_owned()]),
        ("agent", |_, given| vec![given.to_owned(), "--agent".to_owned(), "eve".to_owned()]),
        ("org", |_, given| vec![given.to_owned(), "--org".to_owned(), "eve".to_owned()]),
        ("policy", |place, given| {
            place.policy(&format!("{POLICY}# another comment\n"));
            vec![given.to_owned()]
        }),
        ("mode of the file", |place, given| {
            place.set_mode("ask/a.txt", 0o755);
            vec![given.to_owned()]
        }),
        ("bytes of the file", |place, given| {
            place.write("ask/a.txt", "somebody else's");
            vec![given.to_owned()]
        }),
        ("the file, which is gone", |place, given| {
            std::fs::remove_file(place.root.join("ask/a.txt")).unwrap();
            vec![given.to_owned()]
        }),
        ("the file, which is a link now", |place, given| {
            std::fs::remove_file(place.root.join("ask/a.txt")).unwrap();
            std::os::unix::fs::symlink("b.txt", place.root.join("ask/a.txt")).unwrap();
            vec![given.to_owned()]
        }),
        ("document without its seal", |place, given| {
            let text = std::fs::read_to_string(given).unwrap();
            vec![place.document("edited.json", text.replace("\"new\"", "\"evil\""))]
        }),
    ];
    for (what, change) in changes {
        let place = Place::new();
        let (given, id) = approved(&place);
        let arguments = change(&place, &given);
        let mut all = vec!["apply"];
        all.extend(arguments.iter().map(String::as_str));
        all.extend(["--approval", &id]);
        let answer = place.run(&all);
        assert_eq!(answer.code, 6, "{what}: {}", answer.json);
        nothing_done(&place);
        // The approval itself is as good as before for what it is about.
        let state = place.run(&["approvals", "show", &id]).done();
        assert_eq!(state["state"], "granted", "{what}");
    }
}

#[test]
fn what_is_kept_of_a_request_is_checked_before_it_is_shown_and_before_it_is_used() {
    for (what, sql) in [
        ("a byte", "UPDATE approval_part SET bytes = x'00' WHERE length(bytes) = 3"),
        ("the action", "UPDATE approval_part SET bytes = zeroblob(40) WHERE length(bytes) > 40"),
        ("all of it", "DELETE FROM approval_part"),
    ] {
        let place = Place::new();
        let (document, id) = approved(&place);
        let db = rusqlite::Connection::open(place.root.join(".lictor/lictor.db")).unwrap();
        assert!(db.execute(sql, []).unwrap() > 0, "{what}");
        drop(db);
        place.run(&["approvals", "show", &id]).ends(6, "integrity");
        place.run_as_approver(&["approvals", "approve", &id]).ends(6, "integrity");
        place.run(&["apply", &document]).ends(6, "integrity");
        nothing_done(&place);
    }
}

#[test]
fn fifty_processes_with_one_approval_execute_once() {
    let place = Place::new();
    let call = ["call", "fs.write", "path=ask/x", "content=x", "--json"];
    place.run(&call[..4]).ends(4, "approval_required");
    let id = place.waiting();
    place.run_as_approver(&["approvals", "approve", &id]).done();
    let start = || {
        let mut command = place.command(&call);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let all: Vec<_> = (0..50).map(|_| start()).collect();
    let mut wrote = Vec::new();
    for child in all {
        let output = child.wait_with_output().unwrap();
        let answer = Answer::new(&call, output.status.code(), output.stdout, output.stderr);
        match answer.code {
            0 => {
                let done = answer.done();
                let (verdict, files) = (&done["decision"]["verdict"], &done["files"]);
                if files == &json!([]) {
                    // It came after the one that wrote: what it wants stands there already, there
                    // is nothing to change, and nothing to ask anybody about.
                    assert_eq!(verdict, "allow", "{done}");
                    assert_eq!(done["decision"]["approvals_needed"], 0, "{done}");
                    assert_eq!(done["output"]["created"], false, "{done}");
                } else {
                    assert_eq!(verdict, "need_approval", "{done}");
                    wrote.push(text(&done, "execution_id").to_owned());
                }
            }
            // It came while the one that has the approval wrote: people are asked anew, or it
            // finds the file as it did not expect it.
            4 => drop(answer.ends(4, "approval_required")),
            5 => drop(answer.ends(5, "conflict")),
            other => panic!("{other}: {}", answer.json),
        }
    }
    assert_eq!(wrote.len(), 1, "one of them wrote");
    let executions = place.run(&["log", "--limit", "100"]).done();
    let executions = executions["executions"].as_array().unwrap().clone();
    assert_eq!(executions.len(), 1);
    assert_eq!(executions[0]["execution_id"], wrote[0].as_str());
    assert_eq!(executions[0]["agreement"]["by"]["approval"], id.as_str());
    let spent = place.run(&["approvals", "show", &id]).done();
    assert_eq!(spent["state"], "spent");
    place.verify();
}

#[test]
fn a_request_that_is_withdrawn_opens_nothing() {
    let place = Place::new();
    let (document, id) = approved(&place);
    let withdrawn = place.run(&["approvals", "cancel", &id, "--reason", "not wanted"]).done();
    assert_eq!(withdrawn["state"], "cancelled");
    place.run(&["approvals", "cancel", &id]).ends(2, "not_found");
    place.run_as_approver(&["approvals", "approve", &id]).ends(3, "denied");
    place.run(&["apply", &document, "--approval", &id]).ends(4, "approval_required");
    nothing_done(&place);
    let trail = place.trail();
    let event = trail.iter().find(|event| event["event_type"] == "approval_cancelled").unwrap();
    assert_eq!(event["metadata"]["reason"], "not wanted");
}

#[test]
fn a_grant_answers_what_fits_it_and_says_who_gave_it() {
    let place = Place::new();
    place.run(&["call", "fs.write", "path=ask/a/1", "content=1"]).ends(4, "approval_required");
    let id = place.waiting();
    let approve = ["approvals", "approve", &id, "--grant", "--paths", "ask/a/**", "--until", "1h"];
    let with = |more: &[&'static str]| -> Vec<&str> { [&approve[..], more].concat() };
    place.run(&approve).ends(3, "denied");
    let given = place.run_as_approver(&with(&["--uses", "2"])).done();
    let grant = text(&given["grant"], "id").to_owned();
    place.run(&["call", "fs.write", "path=ask/a/1", "content=1"]).done();

    let done = place.run(&["call", "fs.write", "path=ask/a/2", "content=2"]).done();
    let record = place.run(&["show", text(&done, "execution_id")]).done();
    assert_eq!(record["agreement"]["by"]["grant"], grant.as_str());
    place.run(&["call", "fs.write", "path=ask/b", "content=2"]).ends(4, "approval_required");
    place.run(&["call", "fs.delete", "path=ask/a/2"]).ends(4, "approval_required");
    let other = ["call", "fs.write", "path=ask/a/3", "content=3", "--agent", "other"];
    place.run(&other).ends(4, "approval_required");
    let listed = place.run(&["grants", "list"]).done();
    assert_eq!(listed["grants"][0]["state"], "open");
    assert_eq!(listed["grants"][0]["uses"], 1);
    place.run(&["call", "fs.write", "path=ask/a/4", "content=4"]).done();
    place.run(&["call", "fs.write", "path=ask/a/5", "content=5"]).ends(4, "approval_required");
    assert_eq!(place.run(&["grants", "list"]).done()["grants"], json!([]));
    assert_eq!(place.run(&["grants", "list", "--all"]).done()["grants"][0]["state"], "used_up");

    let trail = place.trail();
    let of = |kind: &str| trail.iter().filter(|event| event["event_type"] == kind).count();
    assert_eq!(of("grant_created"), 1);
    let used =
        trail.iter().filter(|event| event["metadata"]["approval"]["grant"] == grant.as_str());
    assert_eq!(used.count(), 2);
    place.verify();
}

#[test]
fn a_grant_is_taken_back() {
    let place = Place::new();
    place.run(&["call", "fs.write", "path=ask/1", "content=1"]).ends(4, "approval_required");
    let id = place.waiting();
    let approve = ["approvals", "approve", &id, "--grant", "--paths"];
    for bad in
        [&["**", "--until", "1h"][..], &["ask/**", "--until", "99d"], &["no/**", "--until", "1h"]]
    {
        place.run_as_approver(&[&approve[..], bad].concat()).ends_with_one_of(&[2, 3]);
    }
    place.run_as_approver(&[&approve[..], &["ask/**"]].concat()).ends(2, "usage");
    let given =
        place.run_as_approver(&[&approve[..], &["ask/**", "--until", "1h"]].concat()).done();
    let grant = text(&given["grant"], "id").to_owned();
    place.run(&["grants", "revoke", &grant, "--dry-run"]).done();
    place.run(&["call", "fs.write", "path=ask/2", "content=2"]).done();
    assert_eq!(place.run(&["grants", "revoke", &grant]).done()["state"], "revoked");
    place.run(&["grants", "revoke", "gnt_0"]).ends(2, "not_found");
    place.run(&["call", "fs.write", "path=ask/3", "content=3"]).ends(4, "approval_required");
}

#[test]
fn a_halt_refuses_what_is_new_withdraws_what_waits_and_takes_a_person_to_lift() {
    let place = Place::new();
    let (document, id) = approved(&place);
    place.run(&["halt"]).ends(2, "usage");
    let halted = place.run(&["halt", "--reason", "looks wrong"]).done();
    assert_eq!(halted["withdrawn"], json!([id]));
    let halt = text(&halted["halt"], "id").to_owned();
    let calls: [&[&str]; 4] = [
        &["call", "fs.write", "path=free", "content=x"],
        &["call", "fs.list"],
        &["apply", &document, "--approval", &id],
        &["undo"],
    ];
    for call in &calls[..3] {
        let refused = place.run(call).ends(3, "denied");
        assert!(message(&refused).contains("looks wrong"), "{refused}");
        assert_eq!(refused["error"]["details"]["halt"]["id"], halt.as_str());
    }
    place
        .run_as_approver(&["call", "fs.write", "path=ask/x", "content=x", "--approve"])
        .ends(3, "denied");
    nothing_done(&place);
    assert!(!place.exists("free"));
    let doctor = place.run(&["doctor"]).done();
    let switch =
        doctor["checks"].as_array().unwrap().iter().find(|one| one["name"] == "kill switch");
    assert!(switch.unwrap()["detail"].as_str().unwrap().contains("looks wrong"), "{doctor}");

    place.run(&["resume"]).ends(3, "denied");
    place.run_with_stdin(&["resume", &halt], b"yes\n").ends(3, "denied");
    place.run_with_token("wrong", &["resume", &halt]).ends(3, "denied");
    place.run_as_approver(&["resume", "hlt_0"]).ends(2, "not_found");
    place.run(calls[0]).ends(3, "denied");
    place.run_as_approver(&["resume", &halt, "--reason", "it was fine"]).done();
    place.run_as_approver(&["resume"]).ends(2, "not_found");
    place.run(calls[0]).done();
    place.run(&["apply", &document]).ends(4, "approval_required");
    let trail = place.trail();
    for kind in ["halted", "resumed", "approval_cancelled"] {
        assert_eq!(trail.iter().filter(|event| event["event_type"] == kind).count(), 1, "{kind}");
    }
    place.verify();
}

#[test]
fn a_halt_of_one_agent_or_session_leaves_the_others_be() {
    let place = Place::new();
    place.run(&["halt", "--agent", "planner", "--reason", "x"]).done();
    place.run(&["halt", "--session", "ses_1", "--reason", "y"]).done();
    place.run(&["halt", "--org", "acme", "--reason", "z", "--dry-run"]).done();
    let call = ["call", "fs.write", "path=a", "content=x"];
    let with = |more: &[&'static str]| -> Vec<&str> { [&call[..], more].concat() };
    place.run(&with(&["--agent", "planner"])).ends(3, "denied");
    place.run(&with(&["--agent", "PLANNER"])).ends(3, "denied");
    place.run(&with(&["--session", "ses_1"])).ends(3, "denied");
    place.run(&with(&["--org", "acme"])).done();
    place.run(&with(&["--agent", "other", "--session", "ses_2"])).done();
    // Two are in force: which one is meant has to be said.
    place.run_as_approver(&["resume"]).ends(2, "usage");
}

#[test]
fn what_an_approver_gave_ends_with_them() {
    let place = Place::new();
    let added = place.run_as_approver(&["approvers", "add", "ann"]).done();
    let ann = text(&added, "token").to_owned();
    place.run(&["call", "fs.write", "path=ask/1", "content=1"]).ends(4, "approval_required");
    let id = place.waiting();
    let approve = ["approvals", "approve", &id, "--grant", "--paths", "ask/**", "--until", "1h"];
    let given = place.run_with_token(&ann, &approve).done();
    let grant = text(&given["grant"], "id").to_owned();
    // The request itself is granted as well, and not used yet.
    let revoked = place.run_as_approver(&["approvers", "revoke", "ann"]).done();
    assert_eq!(revoked["grants"], json!([grant]));
    assert_eq!(revoked["withdrawn"], json!([id]));
    for path in ["path=ask/1", "path=ask/2"] {
        place.run(&["call", "fs.write", path, "content=1"]).ends(4, "approval_required");
    }
    assert!(!place.exists("ask/1") && !place.exists("ask/2"));
    assert_eq!(place.run(&["grants", "list", "--all"]).done()["grants"][0]["state"], "revoked");
    let trail = place.trail();
    let ended = trail.iter().find(|event| event["event_type"] == "grant_revoked").unwrap();
    assert_eq!(ended["metadata"]["revoked_approver"], "ann");
    place.verify();
}

#[test]
fn a_grant_of_somebody_who_was_struck_off_answers_nothing_even_if_it_was_not_ended() {
    let place = Place::new();
    let added = place.run_as_approver(&["approvers", "add", "ann"]).done();
    place.run(&["call", "fs.write", "path=ask/1", "content=1"]).ends(4, "approval_required");
    let id = place.waiting();
    let approve = ["approvals", "approve", &id, "--grant", "--paths", "ask/**", "--until", "1h"];
    place.run_with_token(text(&added, "token"), &approve).done();
    place.run(&["call", "fs.write", "path=ask/1", "content=1"]).done();
    // As after a crash between the two.
    let db = rusqlite::Connection::open(place.root.join(".lictor/lictor.db")).unwrap();
    let sql = "UPDATE approver SET record = json_set(record, '$.revoked_at', '2026-01-01T00:00:00.000000Z')
               WHERE folded_name = 'ann'";
    assert_eq!(db.execute(sql, []).unwrap(), 1);
    drop(db);
    place.run(&["call", "fs.write", "path=ask/2", "content=1"]).ends(4, "approval_required");
}
