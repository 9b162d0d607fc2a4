//! `undo` and `redo` as a person uses them: what they say, what they do, how they end.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::place::{Place, message, text};

const OLD: &str = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";

/// Changes one line of `a`; the execution.
fn changed(place: &Place) -> String {
    place.write("a", OLD);
    write(place, "a", &OLD.replace('2', "two"))
}

fn write(place: &Place, path: &str, content: &str) -> String {
    let (path, content) = (format!("path={path}"), format!("content={content}"));
    text(&place.run(&["call", "fs.write", &path, &content]).done(), "execution_id").to_owned()
}

fn names(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(&place.root).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('a')).collect()
}

/// What is done to the folder of a transaction.
type Damage = fn(&Path);

#[test]
fn undo_keeps_both_when_it_is_told_to() {
    let place = Place::new();
    let execution = changed(&place);
    place.write("a", "theirs\n");
    let refused = place.run(&["undo"]).ends(5, "conflict");
    assert!(refused["error"]["next_steps"].to_string().contains("--keep-both"), "{refused}");
    let undone = place.run(&["undo", "--keep-both"]).done();
    let beside = format!("a.lictor-{execution}");
    let kept = json!([{ "path": "a", "beside": beside, "reason": "content_differs" }]);
    assert_eq!(undone["kept"], kept);
    assert_eq!((place.read("a"), place.read(&beside)), ("theirs\n".to_owned(), OLD.to_owned()));
    place.run(&["redo"]).done();
    assert_eq!((place.read("a"), names(&place)), ("theirs\n".to_owned(), vec!["a".to_owned()]));
    place.verify();
}

#[test]
fn undo_merges_when_it_is_told_to() {
    let place = Place::new();
    changed(&place);
    place.write("a", OLD.replace('2', "two").replace('8', "eight"));
    let undone = place.run(&["undo", "--merge"]).done();
    assert_eq!(undone["merged"], json!(["a"]));
    assert_eq!(place.read("a"), OLD.replace('8', "eight"));
    place.run(&["redo"]).done();
    place.write("a", OLD.replace('2', "zwei"));
    let tree = place.tree();
    place.run(&["undo", "--merge"]).ends(5, "conflict");
    assert_eq!(place.tree(), tree, "nothing is done");
    place.run(&["undo", "--merge", "--keep-both"]).ends(2, "usage");
    place.verify();
}

#[test]
fn a_dry_run_and_a_diff_show_what_an_undo_would_do() {
    let place = Place::new();
    changed(&place);
    write(&place, "b", "new\n");
    let tree = place.tree();
    let dry = place.run(&["undo", "--last", "2", "--dry-run"]).done();
    assert_eq!(dry["undo_of"].as_array().map(Vec::len), Some(2));
    let shown = place.run(&["undo", "--last", "2", "--diff"]).done();
    let diff = text(&shown, "diff");
    for line in ["-new\n", "-two\n", "+2\n", "--- b/b", "+++ /dev/null"] {
        let line = line.replace("--- b/b", "--- a/b");
        assert!(diff.contains(&line), "{line} in {diff}");
    }
    place.write("a", OLD.replace('2', "two").replace('8', "eight"));
    place.run(&["undo", "--last", "2", "--diff"]).ends(5, "conflict");
    let shown = place.run(&["undo", "--last", "2", "--merge", "--diff"]).done();
    assert!(text(&shown, "diff").contains("-two\n+2\n"), "{shown}");
    let kept = place.run(&["undo", "--last", "2", "--keep-both", "--dry-run"]).done();
    assert_eq!(kept["kept"].as_array().map(Vec::len), Some(1), "{kept}");
    place.write("a", OLD.replace('2', "two"));
    assert_eq!(place.tree(), tree, "nothing was done");
}

#[test]
fn the_undo_of_a_middle_execution_names_what_is_in_its_way() {
    let place = Place::new();
    let first = write(&place, "a", "one\n");
    let second = write(&place, "a", "two\n");
    write(&place, "b", "elsewhere\n");
    let refused = place.run(&["undo", &first]).ends(5, "conflict");
    assert_eq!(refused["in_the_way"], json!([second]));
    assert!(refused["error"]["next_steps"][0].to_string().contains(&second), "{refused}");
    assert_eq!(place.read("a"), "two\n");
    // One that nothing is in the way of goes by itself.
    place.run(&["undo", &second]).done();
    place.run(&["undo", &first]).done();
    assert!(!place.exists("a") && place.exists("b"));
    place.verify();
}

/// Whatever is missing is found before the first thing is touched.
#[test]
fn a_missing_or_damaged_record_undoes_nothing() {
    let damage: [(&str, Damage); 4] = [
        ("purged", |tx| fs::remove_dir_all(tx).unwrap()),
        ("damaged", |tx| {
            let journal = tx.join("journal");
            let old = fs::read_to_string(&journal).unwrap();
            fs::write(&journal, old.replacen("\"v\":1", "\"v\":7", 1)).unwrap();
        }),
        ("gone", |tx| {
            for slot in fs::read_dir(tx.join("s")).unwrap() {
                fs::remove_file(slot.unwrap().path()).unwrap();
            }
        }),
        ("changed since", |tx| {
            for slot in fs::read_dir(tx.join("s")).unwrap() {
                fs::write(slot.unwrap().path(), "a late save").unwrap();
            }
        }),
    ];
    for (what, damage) in damage {
        let place = Place::new();
        place.write("a", "old a\n");
        place.write("b", "old b\n");
        let changes = json!([
            { "op": "modify", "path": "a", "before": digest("old a\n"), "content": "new a\n" },
            { "op": "modify", "path": "b", "before": digest("old b\n"), "content": "new b\n" },
        ]);
        let sealed = place.seal("set.json", &changes);
        let done = place.run(&["apply", &sealed]).done();
        let execution = text(&done, "execution_id").to_owned();
        let tree = place.tree();
        damage(&place.root.join(".lictor/tx").join(&execution));
        let answer: Value = place.run(&["undo"]).ends_with_one_of(&[1, 2, 6]);
        assert!(answer["error"]["message"].to_string().len() > 20, "{what}: {answer}");
        assert_eq!(place.tree(), tree, "{what}");
    }
}

fn digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// What was set aside was written to since, through a handle that was open before or by hand: that
/// is not what anybody agreed to have back.
#[test]
fn what_was_set_aside_and_changed_since_is_not_put_back() {
    let place = Place::new();
    place.write("a", "old");
    let changes = json!([
        { "op": "modify", "path": "a", "before": digest("old"), "content": "new" },
    ]);
    let document = place.seal("change.json", &changes);
    let done = place.run(&["apply", &document]).done();
    let slot = format!(".lictor/tx/{}/s/0000", text(&done, "execution_id"));
    place.write(&slot, "something else");
    let refused = place.run(&["undo"]).ends(6, "integrity");
    assert!(message(&refused).contains("was changed since"), "{refused}");
    assert_eq!(refused["error"]["details"]["rollback"]["status"], "not_begun", "{refused}");
    assert_eq!(place.read("a"), "new");
    place.write(&slot, "old");
    place.run(&["undo"]).done();
    assert_eq!(place.read("a"), "old");
    place.verify();
}

/// What a contract does elsewhere stays done, or is made up for: said when it is judged, with where.
#[test]
fn a_decision_names_what_cannot_be_undone() {
    let policy = "version: 1\ndefault: deny\npaths: { allowed: [\"**\"] }\n\
                  rules:\n  - { name: net, when: { effect: net }, verdict: allow }\n";
    let contract = |undo: &str| {
        format!(
            "id: desk.tell\nversion: 1.0.0\ntitle: T\ndescription: D\nkind: tool\nsource: http\n\
             input: {{ type: object }}\noutput: {{}}\nrisk: low\n\
             effects: {{ net: [\"127.0.0.1:9\"] }}\nundo: {undo}\n\
             handler: {{ http: {{ method: POST, url: \"http://127.0.0.1:9/tell\" }} }}\n"
        )
    };
    for (undo, scope, reason) in [
        ("{ strategy: automatic }", "none", "what is done at `127.0.0.1:9` stays done"),
        ("{ strategy: none }", "none", "the contract of `desk.tell` rules an undo out"),
        (
            "{ strategy: compensate, compensate: { use: fs.write } }",
            "partial",
            "what is done at `127.0.0.1:9` is made up for by `fs.write`, and not undone",
        ),
    ] {
        let place = Place::with_policy(policy);
        let file = place.document("c.yaml", contract(undo));
        let bob = |command: &mut std::process::Command| _ = command.env("LICTOR_USER", "bob");
        place.run_with(&["capability", "propose", &file], bob).done();
        place.run_as_approver(&["capability", "approve", "desk.tell"]).done();
        let judged = place.run(&["check", "call", "desk.tell"]).done();
        assert_eq!(judged["decision"]["undo"], scope, "{undo}: {judged}");
        let because = judged["decision"]["undo_because"].as_array().unwrap();
        assert!(because.contains(&json!(reason)), "{undo}: {because:?}");
        let said = place.person(&["check", "call", "desk.tell"]);
        assert!(said.stdout.contains(reason), "{said:?}");
    }
}
