//! Names of every script: what was done is told by them as they are; what people are asked about, and
//! what would steer a terminal, is not.

use crate::place::{Place, text};

const NAMES: [&str; 4] = ["日本/Grüße.txt", "الملف.txt", "it's \u{2713} naïve.txt", "ж.txt"];

#[test]
fn what_was_done_is_told_in_every_script() {
    let place = Place::new();
    for name in NAMES {
        let path = format!("path={name}");
        let done = place.person(&["call", "fs.write", &path, "content=x"]);
        assert!(
            done.code == Some(0) && done.stdout.contains(name),
            "{}{}",
            done.stdout,
            done.stderr
        );
        let execution = place.run(&["log", "--limit", "1"]).done();
        let execution = text(&execution["executions"][0], "execution_id").to_owned();
        for verb in
            [vec!["log", "--limit", "1"], vec!["show", &execution], vec!["undo"], vec!["redo"]]
        {
            let told = place.person(&verb).stdout;
            assert!(told.contains(name), "{verb:?}: {told}");
            assert!(!told.contains("u{"), "{verb:?}: {told}");
        }
    }
    place.verify();
}

#[test]
fn a_conflict_is_told_in_every_script() {
    let place = Place::new();
    place.run(&["call", "fs.write", "path=日本", "content=x"]).done();
    place.write("日本", "theirs");
    let refused = place.person(&["undo"]);
    assert_eq!(refused.code, Some(5), "{}", refused.stderr);
    assert!(refused.stderr.contains("日本"), "{}", refused.stderr);
    let kept = place.person(&["undo", "--keep-both"]).stdout;
    assert!(kept.contains("kept   日本"), "{kept}");
}

#[test]
fn what_turns_text_around_or_hides_is_escaped_wherever_names_are_told() {
    let place = Place::new();
    let (name, shown) = ("日\u{202e}txt.exe\u{200b}", "日\\u{202e}txt.exe\\u{200b}");
    place.write(name, "old");
    let changes = serde_json::json!([
        { "op": "modify", "path": name, "before": crate::tree::digest(b"old"), "content": "new" },
    ]);
    let sealed = place.seal("c.json", &changes);
    let done = place.person(&["apply", &sealed]);
    assert!(done.code == Some(0) && done.stdout.contains(shown), "{}{}", done.stdout, done.stderr);
    for verb in [&["log"][..], &["undo"], &["redo"]] {
        let told = place.person(verb).stdout;
        assert!(told.contains(shown), "{verb:?}: {told}");
        assert!(!told.contains(['\u{202e}', '\u{200b}']), "{verb:?}: {told}");
    }
}

#[test]
fn what_people_are_asked_about_has_no_letter_with_a_twin() {
    let place = Place::new();
    place.run(&["call", "fs.write", "path=ask/ж", "content=x"]).ends(4, "approval_required");
    let asked = place.person(&["approvals", "show", &place.waiting()]).stdout;
    assert!(asked.contains("ask/\\u{436}") && !asked.contains('ж'), "{asked}");
}
