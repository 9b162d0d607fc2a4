//! `diff`: a patch that git and the command itself take, for every id that stands for changes.

use std::process::Command;

use serde_json::json;

use crate::place::{Place, has, message, text};
use crate::tree::digest;

/// Runs git as the place does, with the rights that new files get here.
fn git_apply(place: &Place, arguments: &str, patch: &str) {
    let applied = Command::new("sh")
        .args(["-c", &format!("umask 022; git apply --whitespace=nowarn {arguments} \"$0\"")])
        .arg(patch)
        .current_dir(&place.root)
        .env("HOME", place.home())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&applied.stderr);
    assert!(applied.status.success(), "{said}");
}

/// Texts in which a careless diff loses something: blank context at the end, what a terminal acts on,
/// carriage returns, no line feed at the end.
const TEXTS: &[(&str, &str, &str)] = &[
    ("a b.txt", "1\n2\n\n", "1\nzwei\n\n"),
    ("escape", "\u{1b}[31mred\u{1b}[0m\nx\n", "\u{1b}[31mred\u{1b}[0m\ny\n"),
    ("ü/return", "a\rb\r\nc", "a\rb\r\nd"),
    ("end", "one\ntwo", "one\ntwo\n"),
    ("start", "one\n", "zero\none\n"),
    ("void", "was\n", ""),
];

fn everything(place: &Place) -> String {
    let mut changes = Vec::new();
    for (path, old, new) in TEXTS {
        place.write(path, old);
        let before = digest(old.as_bytes());
        changes.push(json!({ "op": "modify", "path": path, "before": before, "content": new }));
    }
    for path in ["gone", "old name", "run.sh"] {
        place.write(path, format!("{path}\n"));
        place.set_mode(path, 0o644);
    }
    changes.extend([
        json!({ "op": "create", "path": "new \"file\"", "content": "#!/bin/sh\n", "mode": "0755" }),
        json!({ "op": "create", "path": "empty", "content": "" }),
        json!({ "op": "delete", "path": "gone", "before": digest(b"gone\n") }),
        json!({ "op": "rename", "path": "old name", "to": "in/new name",
                "before": digest(b"old name\n") }),
        json!({ "op": "chmod", "path": "run.sh", "before_mode": "0644", "mode": "0755" }),
        json!({ "op": "symlink", "path": "link", "target": "escape" }),
    ]);
    place.seal("all.json", &json!(changes))
}

#[test]
fn a_diff_is_a_patch_that_git_and_the_command_take() {
    let place = Place::new();
    place.git(&["init", "--quiet"]);
    let document = everything(&place);
    let before = place.tree();
    let applied = place.run(&["apply", &document]).done();
    let after = place.tree();
    let id = text(&applied, "execution_id");
    let shown = place.person(&["diff", id]);
    assert_eq!(shown.code, Some(0));
    assert_eq!(place.run(&["diff", id]).done()["diff"], shown.stdout, "not a byte is another");
    let patch = place.document("shown.patch", &shown.stdout);

    place.run(&["undo"]).done();
    assert_eq!(place.tree(), before);
    git_apply(&place, "", &patch);
    assert_eq!(place.tree(), after, "git makes of it what the execution made");
    git_apply(&place, "--reverse", &patch);
    place.run(&["apply", &patch]).done();
    assert_eq!(place.tree(), after, "and so does the command");
}

#[test]
fn what_a_patch_cannot_hold_is_not_left_out_unseen() {
    let place = Place::new();
    place.git(&["init", "--quiet"]);
    let changes = json!([
        { "op": "create", "path": "blob", "content_base64": "AAEC/w==" },
        { "op": "create", "path": "text", "content": "x\n" },
        { "op": "mkdir", "path": "folder" },
    ]);
    let applied = place.run(&["apply", &place.seal("blob.json", &changes)]).done();
    let shown = place.person(&["diff", text(&applied, "execution_id")]).stdout;
    assert!(shown.contains("Binary files a/blob and b/blob differ"), "{shown}");
    assert!(shown.contains("# directory folder is new"), "{shown}");
    place.run(&["undo"]).done();
    let patch = place.document("shown.patch", &shown);
    let refused = place.run(&["apply", &patch]).ends(2, "invalid_input");
    assert!(message(&refused).contains("binary"), "{refused}");
    assert!(!place.exists("text"), "nobody takes the rest for all of it");
}

#[test]
fn a_request_is_shown_as_the_patch_that_it_asks_for() {
    let place = Place::new();
    place.write("ask/a", "old\n");
    let asked = place
        .run(&["call", "fs.write", "path=ask/a", "content=new\n"])
        .ends(4, "approval_required");
    let id = text(&asked["error"]["details"], "approval_id");
    let shown = place.run(&["diff", id]).done();
    has(&shown, &["approval_id", "files", "diff"]);
    let diff = text(&shown, "diff");
    assert!(diff.contains("--- a/ask/a\n+++ b/ask/a\n@@ -1 +1 @@\n-old\n+new\n"), "{diff}");
    place.run_as_approver(&["approvals", "deny", id]).done();
    let gone = place.run(&["diff", id]).ends(2, "not_found");
    assert!(message(&gone).contains("settled"), "{gone}");
}

#[test]
fn a_run_and_a_decision_have_the_diff_of_what_they_did() {
    let place = Place::new();
    let workflow = "id: w\nversion: 1.0.0\ntitle: W\nsteps:\n  - id: a\n    use: fs.write\n    \
                    with: { path: a, content: \"1\\n\" }\n  - id: b\n    use: fs.write\n    needs: [a]\n    \
                    with: { path: b, content: \"2\\n\" }\n";
    let file = place.document("w.workflow.yaml", workflow);
    let ran = place.run(&["run", &file]).done();
    let shown = place.run(&["diff", text(&ran, "run_id")]).done();
    assert_eq!(shown["files"].as_array().map(Vec::len), Some(2), "{shown}");
    let diff = text(&shown, "diff");
    let (a, b) = (diff.find("+++ b/a\n").unwrap(), diff.find("+++ b/b\n").unwrap());
    assert!(a < b, "in the order in which it was done: {diff}");

    let written = place.run(&["call", "fs.write", "path=c", "content=3\n"]).done();
    let decision = text(&written["decision"], "id");
    let shown = place.run(&["diff", decision]).done();
    assert_eq!(shown["diff"], place.run(&["diff", text(&written, "execution_id")]).done()["diff"]);
    let denied = place.run(&["call", "fs.write", "path=no/c", "content=3"]).ends(3, "denied");
    place.run(&["diff", text(&denied["decision"], "id")]).ends(2, "not_found");
    place.run(&["diff", "wfr_00000000000000000000000000000000"]).ends(2, "not_found");
    place.run(&["diff", "apr_00000000000000000000000000000000"]).ends(2, "not_found");
    place.run(&["diff", "exe_00000000000000000000000000000000"]).ends(2, "not_found");
}

/// A decision is shown with the same keys whatever came of it.
#[test]
fn a_denied_decision_is_shown_as_one_that_let_something_through() {
    let place = Place::new();
    let allowed = place.run(&["call", "fs.write", "path=a", "content=x"]).done();
    let denied = place.run(&["call", "fs.write", "path=no/a", "content=x"]).ends(3, "denied");
    let asked =
        place.run(&["call", "fs.write", "path=ask/a", "content=x"]).ends(4, "approval_required");
    for answer in [allowed, denied, asked] {
        let decision = &answer["decision"];
        assert_eq!(place.run(&["show", text(decision, "id")]).done(), *decision);
    }
}

#[test]
fn what_is_forbidden_by_now_is_not_told_by_the_past() {
    let place = Place::new();
    let written = place.run(&["call", "fs.write", "path=keys", "content=hush\n"]).done();
    place.policy("version: 1\npaths: { forbidden: [\"keys\"], allowed: [\"**\"] }\n");
    let shown = place.run(&["diff", text(&written, "execution_id")]).done().to_string();
    assert!(shown.contains("keys") && !shown.contains("hush"), "{shown}");
}

/// Every line of a diff begins with a sign, which would take a secret of two lines apart.
#[test]
fn a_secret_of_two_lines_is_in_no_diff() {
    let place = Place::new();
    place.write("a", "x\n");
    let content = "content=x\nfirst-half-of-it\nother-half-of-it\n";
    let written = place.run(&["call", "fs.write", "path=a", content]).done();
    let shown = place
        .run_with(&["diff", text(&written, "execution_id")], |command| {
            command.env("LICTOR_SECRET_KEY", "first-half-of-it\nother-half-of-it");
        })
        .done();
    let diff = text(&shown, "diff");
    assert!(!diff.contains("half-of-it") && diff.contains("redacted"), "{diff}");
}
