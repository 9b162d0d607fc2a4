//! The tools around policies: lint, test, fuzz, presets, and reloading.

use serde_json::json;

use crate::place::{POLICY, Place, text};

#[test]
fn lint_names_what_is_probably_not_meant() {
    let place = Place::new();
    let odd =
        "version: 1\npaths: { forbidden: [\"secrets/**\"], allowed: [\"src**\", \"secrets/a\"] }\n";
    let file = place.document("odd.yaml", odd);
    let linted = place.run(&["policy", "lint", &file]).done();
    let codes: Vec<&str> =
        linted["findings"].as_array().unwrap().iter().map(|one| text(one, "code")).collect();
    assert!(codes.contains(&"broader_than_meant"), "{linted}");
    assert!(codes.contains(&"unreachable"), "{linted}");
    assert!(linted.to_string().contains("odd.yaml:2:"), "{linted}");
    let strict = place.run(&["policy", "lint", &file, "--strict"]).ends(1, "failed");
    assert_eq!(strict["findings"], linted["findings"]);
    place.run(&["policy", "lint"]).done();
    let broken = place.document("broken.yaml", "version: 1\nrulez: []\n");
    place.run(&["policy", "lint", &broken]).ends(2, "invalid_input");
}

const CASES: &str = r#"cases:
  - { name: sources are free, ask: { write: [src/a.rs] }, verdict: allow, rule: paths.allowed }
  - { ask: { write: [no/a] }, verdict: deny, rule: paths.forbidden, says: is forbidden }
  - { ask: { rename: [{ from: no/a, to: b }] }, verdict: deny, rule: paths.forbidden }
  - { ask: { write: [ask/a] }, verdict: need_approval, approvals: 1 }
  - { ask: { write: [a/../no/b] }, verdict: deny, rule: path }
  - { ask: { risk: critical }, verdict: need_approval, risk: critical, approvals: 2 }
"#;

#[test]
fn test_runs_files_of_cases() {
    let place = Place::new();
    let empty = place.run(&["policy", "test"]).done();
    assert_eq!((&empty["valid"], &empty["cases"]), (&json!(true), &json!(0)));
    std::fs::write(place.root.join(".lictor/a.policy-test.yaml"), CASES).unwrap();
    let tested = place.run(&["policy", "test"]).done();
    assert_eq!((&tested["cases"], &tested["failed"]), (&json!(6), &json!(0)), "{tested}");
    let wrong = place.document(
        "wrong.policy-test.yaml",
        "cases:\n  - { name: hopeful, ask: { write: [no/a] }, verdict: allow }\n",
    );
    let failed = place.run(&["policy", "test", "--cases", &wrong]).ends(1, "failed");
    let result = &failed["results"][0];
    assert_eq!((text(result, "name"), &result["passed"]), ("hopeful", &json!(false)));
    assert!(result["problems"].to_string().contains("expected allow, got deny"), "{failed}");
    assert!(text(result, "where").ends_with("wrong.policy-test.yaml:2:5"), "{failed}");
    let broken = place.document("b.policy-test.yaml", "cases: [{ verdict: maybe }]\n");
    place.run(&["policy", "test", "--cases", &broken]).ends(2, "invalid_input");
    // The examples that stand in a policy are part of reading it.
    let unfit = format!(
        "{POLICY}rules: [{{ name: r, when: {{ user: ann }}, verdict: deny, match: [{{ user: bob }}] }}]\n"
    );
    let unfit = place.document("unfit.yaml", unfit);
    place.run(&["policy", "test", &unfit]).ends(2, "invalid_input");
}

#[test]
fn the_table_of_the_engine_is_a_file_that_the_command_runs() {
    let place = Place::new();
    let table = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../crates/governance/tests/data/table.policy-test.yaml"
    );
    let tested = place.run(&["policy", "test", "--cases", table]).done();
    assert_eq!(tested["failed"], 0, "{tested}");
    assert!(tested["cases"].as_u64().unwrap() >= 370, "{}", tested["cases"]);
}

#[test]
fn fuzz_lists_the_ways_around_a_policy() {
    let place = Place::new();
    let clean = place.run(&["policy", "fuzz"]).done();
    assert_eq!(clean["survivors"], json!([]), "{clean}");
    let hole = "version: 1\npaths: { allowed: [\"**\"] }\nrules:\n  - { name: unseen, when: { effect: fs.read, path: \"secrets/**\" }, verdict: deny }\n";
    let file = place.document("hole.yaml", hole);
    let found = place.run(&["policy", "fuzz", &file]).ends(1, "failed");
    let survivors = found["survivors"].as_array().unwrap();
    let upper = survivors.iter().find(|one| text(one, "mutation") == "upper case");
    let upper = upper.expect("the other spelling is found");
    assert_eq!((text(upper, "rule"), text(upper, "got")), ("unseen", "allow"));
    assert!(text(upper, "where").contains("hole.yaml:4"), "{upper}");
}

#[test]
fn presets_are_written_hold_and_have_no_way_around_them() {
    for preset in ["coding-agent", "docs-only", "read-only", "ops"] {
        let place = Place::bare();
        place.run(&["init", "--preset", preset]).done();
        place.run(&["policy", "lint", "--strict"]).done();
        let fuzzed = place.run(&["policy", "fuzz"]).done();
        assert_eq!(fuzzed["survivors"], json!([]), "{preset}");
        place.write("src/main.rs", "fn main() {}\n");
        place.write(".env", "TOKEN=1\n");
        place.run(&["call", "fs.read", "path=src/main.rs"]).done();
        place.run(&["call", "fs.read", "path=.env"]).ends(3, "denied");
        let write = place.run(&["call", "fs.write", "path=notes.txt", "content=x"]);
        let expected = match preset {
            "coding-agent" => 0,
            "ops" => 4,
            _ => 3,
        };
        let written = write.ends_with_one_of(&[expected]);
        assert_eq!(place.exists("notes.txt"), expected == 0, "{preset}: {written}");
    }
    Place::bare().run(&["init", "--preset", "anything"]).ends(2, "usage");
}

/// A link in the workspace is another way to what it leads to, and so is a copy.
#[test]
fn no_other_way_leads_to_what_is_forbidden() {
    let place = Place::new();
    place.write("no/secret", "s");
    let link = json!({ "changes": [{ "op": "symlink", "path": "a", "target": "no/secret" }] });
    let document = place.document("link.json", link.to_string());
    place.run(&["apply", &document]).ends(3, "denied");
    let folder = json!({ "changes": [{ "op": "symlink", "path": "b", "target": "./x/../no" }] });
    let document = place.document("folder.json", folder.to_string());
    place.run(&["apply", &document]).ends(3, "denied");
    std::os::unix::fs::symlink("no", place.root.join("linked")).unwrap();
    let before = place.tree();
    for arguments in [
        ["call", "fs.read", "path=linked/secret"],
        ["call", "fs.delete", "path=linked/secret"],
        ["call", "fs.read", "path=NO/secret"],
        ["call", "fs.copy", "from=no/secret"],
    ] {
        let mut arguments = arguments.to_vec();
        if arguments[1] == "fs.copy" {
            arguments.push("to=copied");
        }
        place.run(&arguments).ends_with_one_of(&[1, 2, 3, 5]);
        assert_eq!(place.tree(), before);
    }
}
