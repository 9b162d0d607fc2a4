//! `verify: staged` through the command: a verification command sees the change before anybody
//! else does, and what it refuses was never there.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::checks::{document, ends, nothing_is_left, sleeps_for_ever};
use crate::place::{POLICY, Place, message, text};

/// A policy whose verification command is a shell line that is run on the staged tree.
fn staged_by(line: &str, more: &str) -> String {
    let command = json!(["sh", "-c", line]);
    format!("{POLICY}verification:\n  check: {{ command: {command}, verify: staged{more} }}\n")
}

fn planned(place: &Place) -> String {
    document(place, json!({ "verification": ["check"] }))
}

/// What lies in the folder of transactions, of executions and their checks.
fn left(place: &Place) -> Vec<String> {
    let Ok(entries) = fs::read_dir(place.root.join(".lictor/tx")) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != ".gitignore" && name != ".purge").collect()
}

#[test]
fn a_staged_command_sees_the_change_while_the_workspace_does_not_have_it() {
    let place = Place::new();
    place.write("deps/big", "big");
    let real = place.root.display().to_string();
    let line = format!(
        "test \"$(cat new.txt old.txt)\" = newchanged && test ! -e '{real}/new.txt' && \
         test \"$(cat '{real}/old.txt')\" = old && test ! -e .lictor && test ! -e deps && \
         echo spoiled > old.txt && echo seen"
    );
    place.policy(&staged_by(&line, ", leave_out: [deps]"));
    let done = place.run(&["apply", &planned(&place)]).done();
    assert_eq!((place.read("new.txt"), place.read("old.txt")), ("new".into(), "changed".into()));
    let check = &done["checks"][0];
    assert_eq!((&check["staged"], &check["passed"]), (&json!(true), &json!(true)), "{done}");
    assert_eq!((&check["before"], &check["after"]), (&json!("passed"), &json!("not_made")));
    assert_eq!(text(check, "output"), "seen");
    assert_eq!(left(&place), [text(&done, "execution_id")]);
    let undone = place.run(&["undo"]).done();
    assert_eq!(undone["status"], "undone", "{undone}");
    place.verify();
}

#[test]
fn what_a_staged_command_refuses_was_never_published_and_the_answer_says_so() {
    let place = Place::new();
    let tries = place.beside("tries");
    let line = format!("echo x >> '{}'; echo not green >&2; exit 3", tries.display());
    let more = ", retry: { attempts: 2, backoff: constant, initial: 1ms }";
    place.policy(&staged_by(&line, more));
    let document = planned(&place);
    let before = place.tree();
    let failed = place.run(&["apply", &document]).ends(1, "failed");
    assert_eq!(place.tree(), before);
    assert!(message(&failed).contains("nothing was published"), "{failed}");
    let details = &failed["error"]["details"];
    assert_eq!(details["rollback"]["status"], "not_begun", "{failed}");
    let check = &details["checks"][0];
    assert_eq!((&check["attempts"], &check["output"]), (&json!(2), &json!("not green")));
    assert_eq!((&check["before"], &check["after"]), (&json!("failed"), &json!("not_made")));
    assert_eq!(fs::read_to_string(tries).unwrap().lines().count(), 2);
    assert_eq!(left(&place), Vec::<String>::new());
    let types: Vec<Value> =
        place.trail().into_iter().map(|event| event["event_type"].clone()).collect();
    for expected in ["verification_failed", "action_failed"] {
        assert!(types.contains(&json!(expected)), "{types:?}");
    }
    assert!(!types.contains(&json!("rollback_started")), "{types:?}");
    assert_eq!(place.run(&["lock", "status"]).done()["held"], false);
    place.verify();
}

#[test]
fn a_staged_command_that_never_ends_is_ended_with_its_children() {
    for limits in [", timeout: 3s", ", timeout: 10m }\nlimits: { max_execution_time: 3s"] {
        let place = Place::new();
        place.policy(&staged_by(&sleeps_for_ever(&place), limits));
        let document = planned(&place);
        let before = place.tree();
        let failed = place.run(&["apply", &document]).ends(1, "failed");
        assert_eq!(place.tree(), before, "{failed}");
        nothing_is_left(&place);
        assert_eq!(failed["error"]["details"]["checks"][0]["output"], "has begun", "{failed}");
        assert_eq!(left(&place), Vec::<String>::new());
    }
}

#[test]
fn a_kill_during_a_staged_command_leaves_nothing() {
    let place = Place::new();
    place.policy(&staged_by(&sleeps_for_ever(&place), ", timeout: 10m"));
    let document = planned(&place);
    let before = place.tree();
    let mut command = place.command(&["apply", &document]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let give_up = Instant::now() + Duration::from_secs(60);
    let pids = || fs::read_to_string(place.beside("pids")).unwrap_or_default();
    while !pids().ends_with('\n') && Instant::now() < give_up {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // The command itself outlives whoever started it when that is killed so.
    let group = format!("-{}", pids().split_whitespace().last().unwrap());
    let killed = std::process::Command::new("kill").args(["-9", "--", &group]).status().unwrap();
    assert!(killed.success());
    for pid in pids().split_whitespace() {
        assert!(ends(pid));
    }
    assert_eq!(left(&place).len(), 1, "the staged tree");
    assert_eq!(place.tree(), before);
    let recovered = place.run(&["recover"]).done();
    assert_eq!(recovered["recovered"], json!([]), "{recovered}");
    assert_eq!(left(&place), Vec::<String>::new());
    assert_eq!(place.tree(), before);
    let next = place.seal("next.json", &json!([{ "op": "create", "path": "b", "content": "b" }]));
    place.run(&["apply", &next]).done();
    place.verify();
}

#[test]
fn a_policy_is_told_what_verify_accepts() {
    let place = Place::new();
    place.policy(&staged_by("true", "").replace("staged", "sometimes"));
    let refused = place.run(&["apply", "none.json"]).ends_with_one_of(&[1, 2]);
    assert!(message(&refused).contains("published") && message(&refused).contains("staged"));
    place.policy(&staged_by("true", ", leave_out: [deps]").replace(", verify: staged", ""));
    let refused = place.run(&["apply", "none.json"]).ends_with_one_of(&[1, 2]);
    assert!(message(&refused).contains("beside `verify: staged`"), "{refused}");
}
