//! Bad input: an error with its place, never a panic, never anything done.

use serde_json::json;

use crate::place::{POLICY, Place, message};
use crate::tree::digest;
use crate::workflow::has_place;

fn deep(open: &str, close: &str, levels: usize) -> String {
    format!("{}{}", open.repeat(levels), close.repeat(levels))
}

/// Documents that are neither JSON nor YAML of any kind that is accepted, with their names.
fn bad_documents() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("deep", deep("{\"a\":", "}", 100).replace(":}", ":1}").into_bytes()),
        ("very deep", deep("[", "]", 200_000).into_bytes()),
        ("duplicate key", b"{\"changes\": [], \"changes\": []}".to_vec()),
        ("binary", b"{\x00\x01\x02\xff\xfe".to_vec()),
        ("not UTF-8", b"{\"a\": \"\xff\xfe\"}".to_vec()),
        ("byte-order mark", b"\xef\xbb\xbf{\"changes\": []}".to_vec()),
        ("truncated", b"{\"changes\": [{\"op\": \"create\", \"pa".to_vec()),
        ("not a number", b"{\"changes\": NaN}".to_vec()),
        ("a number too large", b"{\"changes\": 1e999}".to_vec()),
        ("half a surrogate", b"{\"changes\": \"\\ud800\"}".to_vec()),
        ("trailing", b"{\"changes\": []} {}".to_vec()),
        ("unknown key", b"{\"chnges\": []}".to_vec()),
        ("a list", b"[1, 2]".to_vec()),
    ]
}

#[test]
fn a_bad_change_set_is_refused_with_its_place() {
    let place = Place::new();
    let before = place.tree();
    let mut cases = bad_documents();
    let change = |change: &str| format!("{{\"changes\": [{change}]}}").into_bytes();
    cases.extend([
        ("no operation", change(r#"{"path": "a"}"#)),
        ("another operation", change(r#"{"op": "chown", "path": "a"}"#)),
        ("no content", change(r#"{"op": "create", "path": "a"}"#)),
        ("a key of another operation", change(r#"{"op": "mkdir", "path": "a", "before": "x"}"#)),
        (
            "a mode that is none",
            change(r#"{"op": "create", "path": "a", "content": "", "mode": "9"}"#),
        ),
        ("set-uid", change(r#"{"op": "create", "path": "a", "content": "", "mode": "4755"}"#)),
        ("a digest that is none", change(r#"{"op": "delete", "path": "a", "before": "sha256:1"}"#)),
        ("base64 that is none", change(r#"{"op": "create", "path": "a", "content_base64": "!"}"#)),
        ("an empty path", change(r#"{"op": "create", "path": "", "content": ""}"#)),
        ("a path with NUL", change(r#"{"op": "create", "path": "a\u0000b", "content": ""}"#)),
        ("a path with a backslash", change(r#"{"op": "create", "path": "a\\b", "content": ""}"#)),
        ("a path that is not NFC", change(r#"{"op": "create", "path": "u\u0308", "content": ""}"#)),
    ]);
    for (what, bytes) in cases {
        let file = place.document("bad.json", bytes);
        for arguments in
            [&["apply", file.as_str()][..], &["change", "seal", &file], &["check", "apply", &file]]
        {
            let refused = place.run(arguments).ends(2, "invalid_input");
            assert!(has_place(message(&refused), "bad.json"), "{what}: {refused}");
        }
    }
    assert_eq!(place.tree(), before);
    place.verify();
}

#[test]
fn a_change_set_that_contradicts_itself_is_refused() {
    let place = Place::new();
    place.write("a", "a");
    let before = place.tree();
    let a = digest(b"a");
    for changes in [
        json!([]),
        json!([{ "op": "create", "path": "b", "content": "" }, { "op": "create", "path": "b", "content": "" }]),
        json!([{ "op": "rename", "path": "a", "to": "b", "before": a }, { "op": "create", "path": "b", "content": "" }]),
        json!([{ "op": "symlink", "path": "l", "target": "/etc/passwd" }]),
        json!([{ "op": "symlink", "path": "l", "target": "../../x" }]),
    ] {
        let file = place.document("bad.json", json!({ "changes": changes }).to_string());
        place.run(&["apply", &file]).ends_with_one_of(&[2, 3]);
    }
    for changes in [
        json!([{ "op": "create", "path": "a/b", "content": "" }]),
        json!([{ "op": "delete", "path": "a", "before": a }, { "op": "delete", "path": "a", "before": a }]),
    ] {
        let file = place.document("bad.json", json!({ "changes": changes }).to_string());
        place.run(&["apply", &file]).ends_with_one_of(&[2, 5]);
    }
    assert_eq!(place.tree(), before);
}

#[test]
fn what_is_over_the_limits_is_refused() {
    let limits =
        format!("{POLICY}limits: {{ max_files: 3, max_patch_lines: 10, max_bytes: 1KiB }}\n");
    let place = Place::with_policy(&limits);
    let before = place.tree();
    let many: Vec<_> = (0..4)
        .map(|n| json!({ "op": "create", "path": format!("f{n}"), "content": "x" }))
        .collect();
    let long = json!([{ "op": "create", "path": "f", "content": "x\n".repeat(11) }]);
    let large = json!([{ "op": "create", "path": "f", "content": "x".repeat(1025) }]);
    for (rule, changes) in
        [("max_files", json!(many)), ("max_patch_lines", long), ("max_bytes", large)]
    {
        let file = place.document("big.json", json!({ "changes": changes }).to_string());
        let denied = place.run(&["apply", &file]).ends(3, "denied");
        assert!(denied["decision"].to_string().contains(rule), "{denied}");
    }
    let huge = place.document("huge.yaml", format!("# {}\n", "x".repeat(1 << 20)));
    for arguments in [&["run", huge.as_str()][..], &["policy", "lint", &huge]] {
        let refused = place.run(arguments).ends(2, "invalid_input");
        assert!(message(&refused).contains("huge.yaml"), "{refused}");
    }
    let huge = place.beside("huge.json");
    std::fs::File::create(&huge).unwrap().set_len((64 << 20) + 2).unwrap();
    place.run(&["apply", huge.to_str().unwrap()]).ends(2, "invalid_input");
    assert_eq!(place.tree(), before);
}

#[test]
fn a_bad_diff_is_refused_with_its_line() {
    let place = Place::new();
    place.write("a", "one\ntwo\n");
    let before = place.tree();
    let head = "--- a/a\n+++ b/a\n";
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("text", b"hello\nworld\n".to_vec()),
        ("binary", b"--- a/a\n+++ b/a\n\x00\x01\xff".to_vec()),
        ("no hunk", head.into()),
        ("a broken header", format!("{head}@@ -1 +x @@\n").into()),
        ("a truncated hunk", format!("{head}@@ -1,2 +1,2 @@\n one\n").into()),
        ("numbers out of range", format!("{head}@@ -1,99999999999999999999 +1 @@\n-one\n").into()),
        ("too many lines", format!("{head}@@ -1 +1 @@\n-one\n-two\n+1\n").into()),
        ("a binary patch", b"diff --git a/x b/x\nnew file mode 100644\nGIT binary patch\nliteral 1\nIcmZPo000310RR91\n\n".to_vec()),
        ("binary files differ", b"diff --git a/a b/a\nBinary files a/a and b/a differ\n".to_vec()),
        ("a submodule", b"diff --git a/m b/m\nnew file mode 160000\n--- /dev/null\n+++ b/m\n@@ -0,0 +1 @@\n+Subproject commit 1\n".to_vec()),
        ("twice", format!("{head}@@ -1 +1 @@\n-one\n+1\n{head}@@ -2 +2 @@\n-two\n+2\n").into()),
    ];
    for (what, bytes) in cases {
        let file = place.document("bad.diff", bytes);
        let refused = place.run(&["apply", &file]).ends(2, "invalid_input");
        assert!(message(&refused).contains("bad.diff"), "{what}: {refused}");
        place.run(&["change", "from-diff", &file]).ends(2, "invalid_input");
    }
    assert_eq!(place.tree(), before);
    place.verify();
}

#[test]
fn a_bad_workflow_is_refused_with_its_place() {
    let place = Place::new();
    let head = "id: w\nversion: 1.0.0\ntitle: W\n";
    let mut cases = bad_documents();
    cases.extend([
        ("empty", Vec::new()),
        ("deep YAML", format!("{head}steps: {}\n", deep("[", "]", 100)).into_bytes()),
        ("very deep YAML", format!("{head}steps: {}\n", deep("[", "]", 100_000)).into_bytes()),
        ("an alias bomb", alias_bomb(head).into_bytes()),
        ("a duplicate key", format!("{head}id: x\nsteps: []\n").into_bytes()),
        ("a tab", format!("{head}steps:\n\t- id: a\n").into_bytes()),
        ("two documents", format!("{head}steps: []\n---\nid: x\n").into_bytes()),
        ("a tag", format!("{head}steps: !!python/object []\n").into_bytes()),
        ("truncated", format!("{head}steps:\n  - {{ id: a, use: \"ti").into_bytes()),
    ]);
    for (what, bytes) in cases {
        let file = place.document("bad.workflow.yaml", bytes);
        let refused = place.run(&["run", &file]).ends(2, "invalid_input");
        assert!(message(&refused).contains("bad.workflow.yaml"), "{what}: {refused}");
    }
    assert_eq!(place.run(&["workflow", "list"]).done()["runs"], json!([]));
}

fn alias_bomb(head: &str) -> String {
    let mut text = format!("{head}steps:\n  - &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("  - &a{level} [{before}]\n"));
    }
    text
}

#[test]
fn under_a_broken_policy_nothing_is_done() {
    let place = Place::new();
    place.write("a", "a");
    place.run(&["call", "fs.write", "path=done", "content=x"]).done();
    place.run(&["call", "fs.write", "path=ask/x", "content=x"]).ends(4, "approval_required");
    let approval = place.waiting();
    let document = place.seal("a.json", &json!([{ "op": "create", "path": "b", "content": "b" }]));
    let workflow = place.document("w.workflow.yaml", "id: w\nversion: 1.0.0\ntitle: W\nsteps:\n  - { id: a, use: fs.write, with: { path: b, content: b } }\n");
    let mut policies: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("another version", b"version: 2\n".to_vec()),
        ("no version", b"default: allow\n".to_vec()),
        ("an unknown key", b"version: 1\ndefualt: allow\n".to_vec()),
        ("a verdict that is none", b"version: 1\ndefault: maybe\n".to_vec()),
        ("a glob that is none", b"version: 1\npaths: { allowed: [\"a[\"] }\n".to_vec()),
        ("a duration that is none", b"version: 1\nlimits: { max_step_time: soon }\n".to_vec()),
        ("a duplicate key", b"version: 1\nversion: 1\n".to_vec()),
        ("binary", b"\x00\xff\xfe\x01".to_vec()),
        ("a byte-order mark", b"\xef\xbb\xbfversion: 1\n".to_vec()),
        ("truncated", b"version: 1\npaths: { allowed: [\"**\n".to_vec()),
        ("deep", format!("version: 1\nrules: {}\n", deep("[", "]", 5000)).into_bytes()),
        ("an alias bomb", alias_bomb("version: 1\n").into_bytes()),
        ("a test that fails", b"version: 1\nrules:\n  - name: r\n    when: { capability: \"fs.*\" }\n    verdict: deny\n    not_match: [ { capability: fs.read } ]\n".to_vec()),
    ];
    policies.push(("huge", format!("version: 1\n# {}\n", "x".repeat(1 << 20)).into_bytes()));
    for (what, policy) in policies {
        std::fs::write(place.root.join(".lictor/policy.yaml"), policy).unwrap();
        let before = place.tree();
        for arguments in [
            &["apply", document.as_str()][..],
            &["call", "fs.write", "path=b", "content=b"],
            &["call", "fs.read", "path=a"],
            &["run", &workflow],
            &["undo"],
            &["approvals", "approve", &approval],
            &["approvers", "add", "eve"],
            &["check", "apply", &document],
            &["policy", "lint"],
        ] {
            let refused = place.run_as_approver(arguments).ends(2, "invalid_input");
            let message = message(&refused);
            assert!(message.contains("policy.yaml"), "{what}: {arguments:?}: {refused}");
            let has_no_line = ["empty", "huge", "no version"].contains(&what);
            assert!(has_no_line || has_place(message, "policy.yaml"), "{what}: {refused}");
        }
        assert_eq!(place.tree(), before, "{what}");
    }
    place.policy(POLICY);
    assert_eq!(place.run(&["approvals", "show", &approval]).done()["state"], "pending");
    assert_eq!(place.run(&["approvers", "list"]).done()["approvers"].as_array().unwrap().len(), 1);
    place.verify();
}

#[test]
fn without_any_policy_everything_is_denied() {
    let place = Place::new();
    std::fs::remove_file(place.root.join(".lictor/policy.yaml")).unwrap();
    place.run(&["call", "fs.write", "path=b", "content=b"]).ends(3, "denied");
    assert!(!place.exists("b"));
}

#[test]
fn a_lower_layer_only_tightens() {
    let place = Place::with_policy(
        "version: 1\ndefault: allow\npaths: { allowed: [\"**\"] }\nrisk: { low: allow, medium: allow }\n",
    );
    place.run(&["call", "fs.write", "path=a", "content=a"]).done();
    let config = place.home().join("config/lictor");
    std::fs::create_dir_all(&config).unwrap();
    let upper = "version: 1\ndefault: allow\npaths: { forbidden: [\"a\"], allowed: [\"**\"] }\n";
    std::fs::write(config.join("policy.yaml"), upper).unwrap();
    let denied = place.run(&["call", "fs.write", "path=a", "content=b"]).ends(3, "denied");
    assert!(denied["decision"]["reasons"].to_string().contains("user"), "{denied}");
    place.run(&["call", "fs.write", "path=b", "content=b"]).done();
    std::fs::write(config.join("policy.yaml"), "version: 1\nnonsense: 1\n").unwrap();
    place.run(&["call", "fs.write", "path=b", "content=c"]).ends(2, "invalid_input");
    assert_eq!(place.read("b"), "b");
}

#[test]
fn odd_arguments_never_panic() {
    let place = Place::new();
    for input in ["\u{feff}{}", "{\"path\": \"\\ud800\"}", "null", "1e999", "", "{\"a\":1}x"] {
        place.run(&["call", "fs.read", "--input", input]).ends_with_one_of(&[2]);
    }
    for path in ["", ".", "/", "a//b", "a/./b", "a\n", "con\u{202e}", "a ", "a.", "C:x", "a\\b"] {
        let pair = format!("path={path}");
        place.run(&["call", "fs.write", &pair, "content=x"]).ends_with_one_of(&[0, 2, 3]);
    }
    let long = format!("path={}", "a/".repeat(5000));
    place.run(&["call", "fs.write", &long, "content=x"]).ends_with_one_of(&[1, 2, 3]);
    let name = format!("path={}", "n".repeat(300));
    place.run(&["call", "fs.write", &name, "content=x"]).ends_with_one_of(&[1, 2, 3, 5]);
    place.run(&["call", "regex.match", "pattern=((a*)*)*b", &format!("text={}", "a".repeat(5000))]);
    place
        .run(&["call", "text.render", "template={% for i in range(100000000) %}x{% endfor %}"])
        .ends_with_one_of(&[1, 2]);
    place.verify();
}
