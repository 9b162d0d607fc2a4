//! What changes nothing: a wish that is fulfilled already, an undo of what is back already, and
//! what was only looked at. Every id that is handed out names something.

use std::fs;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::place::{Answer, Place, message, text};

fn write(place: &Place, path: &str, content: &str) -> Answer {
    place.run(&["call", "fs.write", &format!("path={path}"), &format!("content={content}")])
}

fn logged(place: &Place, more: &[&str]) -> Vec<String> {
    let log = place.run(&[&["log"], more].concat()).done();
    let all = log["executions"].as_array().unwrap();
    all.iter().map(|one| text(one, "execution_id").to_owned()).collect()
}

#[test]
fn a_wish_that_is_fulfilled_already_is_on_record_and_nothing_to_undo() {
    let place = Place::new();
    let first = write(&place, "a", "x").done();
    let again = write(&place, "a", "x").done();
    assert_eq!((&again["status"], &again["files"]), (&json!("applied"), &json!([])));
    let (first, again) = (text(&first, "execution_id"), text(&again, "execution_id"));
    assert_eq!(logged(&place, &["--all"]), [again, first]);
    assert_eq!(logged(&place, &[]), [first], "what changed something");
    let shown = place.run(&["show", again]).done();
    assert_eq!((&shown["status"], &shown["files"]), (&json!("applied"), &json!([])));
    assert_eq!(place.run(&["diff", again]).done()["diff"], "");
    let refused = place.run(&["undo", again]).ends(2, "invalid_input");
    assert!(message(&refused).contains("changed nothing"), "{refused}");
    // The last one that there is something to take back of.
    let undone = place.run(&["undo"]).done();
    assert_eq!(undone["undo_of"], json!([first]));
    assert!(!place.exists("a"));
    place.verify();
}

/// What was answered under a plan is the answer to it, also when nothing was left to do.
#[test]
fn a_fulfilled_plan_is_answered_from_the_record() {
    let place = Place::new();
    place.write("a", "x");
    let same = json!({ "op": "modify", "path": "a", "before": digest("x"), "content": "x" });
    let planned = place.seal("planned.json", &json!([same]));
    let done = place.run(&["apply", &planned]).done();
    assert_eq!((&done["status"], &done["files"]), (&json!("applied"), &json!([])));
    let person = place.person(&["apply", &planned]);
    assert_eq!(person.code, Some(0), "{person:?}");
    assert!(!person.stdout.contains("take it back"), "{person:?}");
    let bare = place.document("bare.json", json!({ "changes": [same] }).to_string());
    place.run(&["apply", &bare]).done();
    place.write("a", "y");
    let again = place.run(&["apply", &planned]).done();
    assert_eq!(again["status"], "duplicate");
    assert_eq!(again["execution_id"], done["execution_id"]);
    // Without a plan it is a wish of its own each time, and this one does not fit any more.
    place.run(&["apply", &bare]).ends(5, "conflict");
    assert_eq!(place.read("a"), "y");
    place.verify();
}

fn digest(text: &str) -> String {
    let hex: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[test]
fn what_only_looked_or_never_began_is_shown_from_the_trail() {
    let place = Place::new();
    place.write("a", "x");
    let read = place.run(&["call", "fs.read", "path=a"]).done();
    let id = text(&read, "execution_id");
    assert!(logged(&place, &["--all"]).is_empty(), "it is no change");
    let shown = place.run(&["show", id]).done();
    assert_eq!((&shown["execution_id"], &shown["status"]), (&json!(id), &json!("applied")));
    assert_eq!((&shown["capability"], &shown["files"]), (&json!("fs.read"), &json!([])));
    assert_eq!(shown["decision"]["id"], read["decision"]["id"], "{shown}");
    let told = shown["events"].as_array().unwrap();
    assert_eq!(told.len(), 2, "{shown}");
    let unknown = place.run(&["show", "exe_01a1f876923b7eea9c09ed718d4afd1b"]);
    unknown.ends(2, "not_found");
    place.verify();
}

/// Who may not read a file cannot find out what it holds by wishing it to hold a guess.
#[test]
fn a_forbidden_file_tells_no_guess_from_another() {
    let place = Place::new();
    place.write(".env", "secret");
    place.write("no/dir/f", "secret");
    place.write("b", "b");
    fs::hard_link(place.root.join("no/dir/f"), place.root.join("alias")).unwrap();
    for path in [".env", "no/dir/f", "alias"] {
        let answers = ["secret", "guess"].map(|guess| {
            let refused = write(&place, path, guess).ends(3, "denied");
            refused["decision"]["reasons"].to_string().replace("fs.read", "fs.write")
        });
        assert_eq!(answers[0], answers[1], "{path}");
        // Also as one of many changes.
        let guess = json!({ "op": "modify", "path": path, "before": digest("secret"), "content": "secret" });
        let set = json!([{ "op": "create", "path": "new", "content": "" }, guess]);
        let set = place.seal("set.json", &set);
        place.run(&["apply", &set]).ends(3, "denied");
    }
    for path in ["no/dir", "no/none"] {
        place.run(&["call", "fs.mkdir", &format!("path={path}")]).ends(3, "denied");
    }
    assert!(!place.exists("new"));
    // What may be read may be wished for: a protected file that is so already asks nobody.
    place.write("ask/a", "x");
    write(&place, "ask/a", "x").done();
    write(&place, "ask/a", "y").ends(4, "approval_required");
    place.verify();
}

#[test]
fn an_undo_that_finds_everything_back_counts_and_says_what_a_redo_cannot() {
    let place = Place::new();
    place.write("a", "old");
    let first = text(&write(&place, "a", "new").done(), "execution_id").to_owned();
    let second = text(&write(&place, "b", "b").done(), "execution_id").to_owned();
    // A person puts both back.
    place.write("a", "old");
    fs::remove_file(place.root.join("b")).unwrap();
    let undone = place.run(&["undo"]).done();
    assert_eq!((&undone["undo_of"], &undone["files"]), (&json!([second]), &json!([])));
    let by = text(&undone, "execution_id").to_owned();
    assert_eq!(place.run(&["show", &second]).done()["status"], "undone");
    assert_eq!(place.run(&["show", &by]).done()["undo_of"], json!([second]));
    let tree = place.tree();
    for redo in [&["redo"][..], &["redo", &second], &["redo", &by], &["undo", &by]] {
        let refused = place.run(redo).ends(2, "invalid_input");
        let why = message(&refused);
        assert!(why.contains(&second) && why.contains("nothing to redo"), "{redo:?}: {why}");
    }
    assert_eq!(place.tree(), tree);
    let again = place.run(&["undo", &second]).ends(2, "invalid_input");
    assert!(message(&again).contains(&by), "{again}");
    // The next undo is about the one before it.
    assert_eq!(place.run(&["undo"]).done()["undo_of"], json!([first]));
    // Another undo and its redo go on as ever.
    write(&place, "c", "c").done();
    place.run(&["undo"]).done();
    place.run(&["redo"]).done();
    assert_eq!(place.read("c"), "c");
    place.verify();
}

/// Part of it was back: the redo brings again what the undo took back.
#[test]
fn a_redo_brings_back_what_the_undo_had_found() {
    let place = Place::new();
    place.write("a", "old");
    let set = json!([
        { "op": "modify", "path": "a", "before": digest("old"), "content": "new" },
        { "op": "create", "path": "b", "content": "b" },
    ]);
    let set = place.seal("set.json", &set);
    place.run(&["apply", &set]).done();
    place.write("a", "old");
    let undone = place.run(&["undo"]).done();
    assert_eq!(undone["files"].as_array().map(Vec::len), Some(1), "{undone}");
    place.run(&["redo"]).done();
    assert_eq!((place.read("a"), place.read("b")), ("old".to_owned(), "b".to_owned()));
    // A redo of what is there already: somebody made it anew.
    place.run(&["undo"]).done();
    place.write("b", "b");
    let redone = place.run(&["redo"]).done();
    assert_eq!(redone["files"], json!([]));
    place.run(&["undo"]).done();
    assert!(!place.exists("b"));
    place.verify();
}
