//! `change`: sealing, and turning diffs into change sets.

use serde_json::json;

use crate::place::{Place, has, text};
use crate::tree::digest;

#[test]
fn sealing_fills_ids_and_checksum_and_a_sealed_document_stays_the_same() {
    let place = Place::new();
    let changes = json!([
        { "op": "create", "path": "a.txt", "content": "ü\n", "mode": "0644" },
        { "op": "mkdir", "path": "new" },
    ]);
    let bare = place.document("bare.json", json!({ "changes": changes }).to_string());
    let sealed = place.run(&["change", "seal", &bare]).done();
    has(&sealed["change_set"], &["id", "plan_id", "changes", "checksum"]);
    assert_eq!(sealed["change_set"]["changes"], changes);
    assert_eq!(sealed["change_set"]["checksum"], digest(changes.to_string().as_bytes()));
    assert_eq!(sealed["change_set"]["plan_id"], sealed["plan"]["id"]);
    let again = place.document("sealed.json", sealed.to_string());
    assert_eq!(place.run(&["change", "seal", &again]).done(), sealed);
    let spoken = place.person(&["change", "seal", &again]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&spoken.stdout).unwrap(), sealed);
}

#[test]
fn a_diff_gets_its_digests_from_the_workspace() {
    let place = Place::new();
    place.write("a.txt", "one\ntwo\n");
    let diff = b"--- a/a.txt\n+++ b/a.txt\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n";
    let sealed = place.run_with_stdin(&["change", "from-diff", "-"], diff).done();
    let change = &sealed["change_set"]["changes"][0];
    assert_eq!(change["before"], digest(b"one\ntwo\n"));
    assert_eq!(text(change, "content"), "one\n2\n");
    // Nothing was applied, and what does not match is a conflict.
    assert_eq!(place.read("a.txt"), "one\ntwo\n");
    place.write("a.txt", "one\nthree\n");
    place.run_with_stdin(&["change", "from-diff", "-"], diff).ends(5, "conflict");
}

#[test]
fn every_operation_applies_and_is_taken_back() {
    let place = Place::new();
    place.write("b.txt", "b");
    place.write("old.txt", "old");
    place.write("run.sh", "run");
    place.set_mode("run.sh", 0o644);
    place.write("bin", [0_u8, 159, 146, 150]);
    std::fs::create_dir_all(place.root.join("empty/dir")).unwrap();
    let before = place.tree();
    let document = place.seal("all.json", &json!([
        { "op": "create", "path": "notes/a.txt", "content": "hello\n", "mode": "0600" },
        { "op": "modify", "path": "bin", "before": digest(&[0, 159, 146, 150]), "content_base64": "AAEC/w==" },
        { "op": "delete", "path": "old.txt", "before": digest(b"old") },
        { "op": "rename", "path": "b.txt", "to": "c.txt", "before": digest(b"b") },
        { "op": "chmod", "path": "run.sh", "before_mode": "0644", "mode": "0755" },
        { "op": "mkdir", "path": "new/dir" },
        { "op": "rmdir", "path": "empty/dir" },
        { "op": "symlink", "path": "latest", "target": "c.txt" },
    ]));
    place.run(&["apply", &document]).done();
    let after = place.tree();
    assert!(after.at("notes/a.txt").unwrap().starts_with("100600 "), "{after:?}");
    assert!(after.at("bin").unwrap().ends_with(&digest(&[0, 1, 2, 255])), "{after:?}");
    assert!(after.at("run.sh").unwrap().starts_with("100755 "));
    assert_eq!(after.at("latest"), Some("120777 -> c.txt"));
    for gone in ["old.txt", "b.txt", "empty/dir"] {
        assert!(!after.holds(gone), "{gone} is still there");
    }
    assert!(after.holds("new/dir") && after.holds("c.txt"));
    place.run(&["undo"]).done();
    assert_eq!(place.tree(), before);
    place.run(&["redo"]).done();
    assert_eq!(place.tree(), after);
    place.verify();
}
