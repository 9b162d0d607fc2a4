//! The road with a real crate's sources and a patch that git made: there, back, there again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::place::{Place, git, has, text};
use crate::tree::{Tree, digest};

/// The sources of a public crate that cargo has fetched for this workspace.
fn fetched_crate() -> PathBuf {
    // What only other platforms need was not fetched.
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .args(["--filter-platform", &host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = metadata["packages"].as_array().unwrap().iter().find(|one| one["name"] == "semver");
    let manifest =
        found.expect("the workspace depends on semver")["manifest_path"].as_str().unwrap();
    Path::new(manifest).parent().unwrap().to_owned()
}

/// Copies files with their modes, made writable, as `cp -r` and `chmod -R u+w` do.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy(&path, &target);
        } else if kind.is_file() && entry.file_name() != ".cargo-ok" {
            fs::copy(&path, &target).unwrap();
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            fs::set_permissions(&target, fs::Permissions::from_mode(mode | 0o200)).unwrap();
        }
    }
}

/// A fresh clone of a public crate as a workspace, everything committed.
fn cloned() -> Place {
    let mut place = Place::bare();
    copy(&fetched_crate(), &place.root);
    place.git(&["init", "--quiet", "--initial-branch", "main"]);
    place.init();
    place.git(&["add", "--all"]);
    place.git(&["commit", "--quiet", "--message", "as published"]);
    assert_clean(&place);
    place
}

#[track_caller]
fn assert_clean(place: &Place) {
    assert_eq!(place.git(&["status", "--porcelain"]), "", "git sees a change");
}

/// Somebody works in a second clone; what they did, as git tells it.
fn patch(place: &Place) -> String {
    let other = place.beside("clone");
    git(
        place.root.parent().unwrap(),
        &place.home(),
        &["clone", "--quiet", place.root.to_str().unwrap(), other.to_str().unwrap()],
    );
    let library = fs::read_to_string(other.join("src/lib.rs")).unwrap();
    fs::write(other.join("src/lib.rs"), format!("// First.\n{library}// Last.\n")).unwrap();
    let display = fs::read_to_string(other.join("src/display.rs")).unwrap();
    let (first, rest) = display.split_once('\n').unwrap();
    fs::write(other.join("src/show.rs"), format!("{first}\n// Renamed.\n{rest}")).unwrap();
    fs::remove_file(other.join("src/display.rs")).unwrap();
    fs::remove_file(other.join("LICENSE-MIT")).unwrap();
    fs::set_permissions(other.join("LICENSE-APACHE"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(other.join("docs/deep/er")).unwrap();
    fs::write(other.join("docs/deep/er/new.md"), "new, without an end of line").unwrap();
    fs::write(other.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(other.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(other.join("empty"), "").unwrap();
    let home = place.home();
    git(&other, &home, &["add", "--all"]);
    let patch = git(&other, &home, &["diff", "--cached", "--find-renames", "HEAD"]);
    for part in ["rename from", "deleted file", "new file", "old mode", "No newline"] {
        assert!(patch.contains(part), "the patch has no `{part}`");
    }
    patch
}

#[test]
fn a_real_patch_applies_comes_back_and_applies_again() {
    let place = cloned();
    let patch = place.document("work.patch", patch(&place));
    let before = place.tree();

    let applied = place.run(&["apply", &patch, "--intent", "work"]).done();
    has(&applied, &["execution_id", "status", "decision", "files"]);
    assert_eq!(applied["status"], "applied");
    let id = text(&applied, "execution_id").to_owned();
    for file in applied["files"].as_array().unwrap() {
        has(file, &["path", "op", "before", "after"]);
    }
    let after = place.tree();
    assert_ne!(before, after);
    assert_eq!(place.read("docs/deep/er/new.md"), "new, without an end of line");
    assert!(!place.exists("LICENSE-MIT") && !place.exists("src/display.rs"));
    assert!(place.read("src/show.rs").contains("// Renamed."));
    // The workspace is what the other clone is, as far as git can tell.
    place.git(&["add", "--all"]);
    let other = place.beside("clone");
    let theirs = git(&other, &place.home(), &["write-tree"]);
    assert_eq!(place.git(&["write-tree"]), theirs);
    place.git(&["reset", "--quiet"]);

    let undone = place.run(&["undo"]).done();
    has(&undone, &["undo_of", "status", "files"]);
    assert_eq!(undone["undo_of"], json!([id]));
    assert_eq!(undone["status"], "undone");
    assert_eq!(place.tree().outside_git(), before.clone().outside_git());
    assert_clean(&place);

    let redone = place.run(&["redo"]).done();
    has(&redone, &["undo_of", "status", "files"]);
    assert_eq!(place.tree().outside_git(), after.outside_git());
    place.run(&["undo", text(&redone, "execution_id")]).done();
    assert_eq!(place.tree().outside_git(), before.outside_git());
    assert_clean(&place);
    place.verify();
}

impl Tree {
    /// Git refreshes its index when it is asked for the status.
    fn outside_git(self) -> Self {
        self.without(".git")
    }
}

#[test]
fn a_diff_that_is_turned_into_a_change_set_applies_alike() {
    let place = cloned();
    let patch = place.document("work.patch", patch(&place));
    let sealed = place.run(&["change", "from-diff", &patch]).done();
    has(&sealed["change_set"], &["id", "plan_id", "changes", "checksum"]);
    let before = place.tree();
    let document = place.document("work.json", sealed.to_string());
    place.run(&["apply", &document]).done();
    assert!(place.read("src/show.rs").contains("// Renamed."));
    place.run(&["undo"]).done();
    assert_eq!(place.tree(), before);
}

#[test]
fn the_diff_of_an_execution_is_what_it_did() {
    let place = cloned();
    let patch = place.document("work.patch", patch(&place));
    let applied = place.run(&["apply", &patch]).done();
    let shown = place.run(&["diff", text(&applied, "execution_id")]).done();
    let shown = text(&shown, "diff");
    for line in ["+// First.", "+// Last.", "+// Renamed.", "+new, without an end of line"] {
        assert!(shown.lines().any(|shown| shown == line), "no `{line}` in {shown}");
    }
}

#[test]
fn the_same_document_twice_is_answered_from_the_record() {
    let place = Place::new();
    place.write("b.txt", "old\n");
    let changes = json!([
        { "op": "create", "path": "a.txt", "content": "a\n" },
        { "op": "modify", "path": "b.txt", "before": digest(b"old\n"), "content": "new\n" },
    ]);
    let sealed = place.seal("sealed.json", &changes);
    let bare = place.document(
        "bare.json",
        json!({ "changes": [
        { "op": "create", "path": "c.txt", "content": "c\n" },
    ] })
        .to_string(),
    );
    let diff = place.document("d.diff", "--- /dev/null\n+++ b/d.txt\n@@ -0,0 +1 @@\n+d\n");
    for document in [sealed, bare, diff] {
        let first = place.run(&["apply", &document]).done();
        assert_eq!(first["status"], "applied");
        let before = Tree::touched(&place.root);
        let second = place.run(&["apply", &document]).done();
        assert_eq!(second["status"], "duplicate", "{document}");
        assert_eq!(second["execution_id"], first["execution_id"]);
        assert_eq!(second["files"], first["files"]);
        assert_eq!(Tree::touched(&place.root), before);
    }
    let trail = place.trail();
    let duplicates = trail.iter().filter(|event| event["event_type"] == "execution_duplicate");
    assert_eq!(duplicates.count(), 3);
    place.verify();
}

#[test]
fn a_person_sees_what_was_done_and_how_to_take_it_back() {
    let place = Place::new();
    let sealed =
        place.seal("a.json", &json!([{ "op": "create", "path": "a.txt", "content": "a" }]));
    let spoken = place.person(&["apply", &sealed]);
    assert_eq!(spoken.code, Some(0), "{spoken:?}");
    assert!(spoken.stdout.contains("a.txt") && spoken.stdout.contains("lictor undo exe_"));
    let refused = place.person(&["call", "fs.write", "path=no/x", "content=x"]);
    assert_eq!(refused.code, Some(3));
    assert!(refused.stdout.is_empty(), "a refusal goes to standard error: {refused:?}");
    assert!(refused.stderr.contains("no/x"), "{refused:?}");
}

#[test]
fn a_plan_is_judged_with_its_changes() {
    let place = Place::new();
    let change = json!([{ "op": "create", "path": "a.txt", "content": "a" }]);
    let bare = place.document("bare.json", json!({ "changes": change }).to_string());
    let plan =
        json!({ "id": "pln_01a1f87195887d508e144ffac6a323e7", "intent": "try it", "risk": "high" });
    let plan = place.document("plan.json", plan.to_string());
    let asked = place.run(&["apply", &bare, "--plan", &plan]).ends(4, "approval_required");
    assert_eq!(asked["decision"]["risk_proposed"], "high");
    let asked = place.run(&["apply", &bare, "--risk", "critical"]).ends(4, "approval_required");
    assert_eq!(asked["decision"]["approvals_needed"], 2);
    assert!(!place.exists("a.txt"));
    place.run(&["apply", &bare, "--risk", "low", "--intent", "now"]).done();
    let log = place.run(&["log"]).done();
    assert_eq!(log["executions"][0]["intent"], "now", "{log}");
}
