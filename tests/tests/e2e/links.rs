//! Hard links: a file is judged by every name that it has.

use std::fs::hard_link;
use std::process::Command;

use serde_json::json;

use crate::place::{POLICY, Place, message};
use crate::tree::digest;

fn linked(from: &str, to: &str) -> Place {
    let place = Place::new();
    place.write(from, "what stands there");
    let name = place.root.join(to);
    std::fs::create_dir_all(name.parent().unwrap()).unwrap();
    hard_link(place.root.join(from), name).unwrap();
    place
}

#[test]
fn a_second_name_of_a_forbidden_file_opens_nothing() {
    for forbidden in ["no/secret", ".env", "deep/er/.ENV"] {
        let place = linked(forbidden, "free/name");
        let trees = place.tree();
        let patch = json!([{ "op": "modify", "path": "free/name",
                             "before": digest(b"what stands there"), "content": "x" }]);
        let document = place.seal("a.json", &patch);
        let moved = json!([{ "op": "rename", "path": "free/name", "to": "free/other",
                             "before": digest(b"what stands there") }]);
        let rename = place.seal("b.json", &moved);
        for arguments in [
            &["call", "fs.read", "path=free/name"][..],
            &["call", "fs.write", "path=free/name", "content=x"],
            &["call", "fs.delete", "path=free/name"],
            &["call", "fs.copy", "from=free/name", "to=free/copy"],
            &["call", "fs.move", "from=free/name", "to=free/other"],
            &["apply", &document],
            &["apply", &rename],
        ] {
            let refused = place.run(arguments).ends(3, "denied");
            assert!(!refused.to_string().contains("what stands"), "{arguments:?}: {refused}");
        }
        assert_eq!(place.tree(), trees, "{forbidden}");
    }
}

#[test]
fn state_of_lictor_itself_is_reached_by_no_other_name() {
    let place = Place::new();
    for own in ["policy.yaml", "lictor.db"] {
        hard_link(place.root.join(".lictor").join(own), place.root.join(own)).unwrap();
        place.run(&["call", "fs.read", &format!("path={own}")]).ends(3, "denied");
        let write = ["call", "fs.write", &format!("path={own}"), "content=version: 1"];
        place.run(&write).ends(3, "denied");
    }
}

#[test]
fn a_search_does_not_look_into_a_forbidden_file_by_another_name() {
    let place = linked("no/secret", "free/name");
    place.write("free/other", "what stands elsewhere");
    let found = place.run(&["call", "fs.search", "glob=free/**", "pattern=stands"]);
    let said = found.json.to_string();
    assert!(!said.contains("what stands there"), "{said}");
}

/// A rule about reading holds for every name that a file has, and for every way to read it.
#[test]
fn what_a_rule_keeps_from_being_read_is_read_by_no_other_name_and_in_no_other_way() {
    let rule = "rules:\n  - { name: secrets, when: { effect: fs.read, path: \"secret/**\" }, verdict: deny }\n";
    let place = Place::with_policy(&format!("{POLICY}{rule}"));
    place.write("secret/key", "what stands there");
    place.write("free/other", "what stands elsewhere");
    hard_link(place.root.join("secret/key"), place.root.join("free/name")).unwrap();
    let trees = place.tree();
    for arguments in [
        &["call", "fs.read", "path=secret/key"][..],
        &["call", "fs.read", "path=free/name"],
        &["call", "fs.hash", "path=free/name"],
        &["call", "fs.copy", "from=free/name", "to=free/copy"],
        &["call", "fs.copy", "from=free", "to=copied"],
        &["call", "fs.search", "glob=free/**", "pattern=stands"],
        &["call", "fs.search", "glob=**", "pattern=stands"],
        &["call", "archive.zip", "from=free", "to=free.zip"],
        &["call", "fs.move", "from=secret/key", "to=free/moved"],
        &["call", "fs.list", "path=secret"],
    ] {
        let refused = place.run(arguments).ends(3, "denied");
        assert!(refused["decision"].to_string().contains("secrets"), "{arguments:?}: {refused}");
        assert!(!refused.to_string().contains("what stands"), "{arguments:?}: {refused}");
    }
    // Moving the other name away changes nothing about what the file is called besides.
    place.run(&["call", "fs.move", "from=free/name", "to=free/moved"]).done();
    place.run(&["call", "fs.read", "path=free/moved"]).ends(3, "denied");
    place.run(&["undo"]).done();
    assert_eq!(place.tree(), trees);
    place.run(&["call", "fs.read", "path=free/other"]).done();
}

#[test]
fn what_people_are_asked_about_under_one_name_they_are_asked_about_under_another() {
    let place = linked("ask/a", "free/name");
    let call = ["call", "fs.write", "path=free/name", "content=x"];
    let asked = place.run(&call).ends(4, "approval_required");
    assert!(asked["decision"].to_string().contains("ask/a"), "{asked}");
    place.run_as_approver(&["approvals", "approve", &place.waiting()]).done();
    place.run(&call).done();
    // The name that was asked for is another file now.
    assert_eq!(place.read("ask/a"), "what stands there");
    assert_eq!(place.read("free/name"), "x");
}

#[test]
fn a_link_that_is_made_after_the_approval_is_seen_before_the_change() {
    let place = Place::new();
    place.write("ask/a", "old");
    let call = ["call", "fs.write", "path=ask/a", "content=new"];
    place.run(&call).ends(4, "approval_required");
    place.run_as_approver(&["approvals", "approve", &place.waiting()]).done();
    std::fs::create_dir_all(place.root.join("no")).unwrap();
    hard_link(place.root.join("ask/a"), place.root.join("no/a")).unwrap();
    place.run(&call).ends(3, "denied");
    assert_eq!(place.read("ask/a"), "old");
}

#[test]
fn names_that_nothing_is_said_against_and_names_elsewhere_change_nothing() {
    let place = linked("free/one", "free/two");
    place.run(&["call", "fs.write", "path=free/two", "content=x"]).done();
    assert_eq!(
        (place.read("free/one").as_str(), place.read("free/two").as_str()),
        ("what stands there", "x")
    );
    place.write("a", "outside as well");
    hard_link(place.root.join("a"), place.beside("a")).unwrap();
    let read = place.run(&["call", "fs.read", "path=a"]).done();
    assert!(read["output"].to_string().contains("outside as well"), "{read}");
}

#[test]
fn a_name_that_no_rule_can_be_held_against_denies() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::with_policy(POLICY);
    place.write("a", "text");
    let odd = place.root.join(std::ffi::OsStr::from_bytes(b"odd-\xff"));
    std::fs::create_dir(&odd).unwrap();
    hard_link(place.root.join("a"), odd.join(".env")).unwrap();
    let refused = place.run(&["call", "fs.read", "path=a"]);
    assert_ne!(refused.code, 0, "{}", refused.json);
    assert!(message(&refused.json).contains("name"), "{}", refused.json);
    // A way out for whoever wants it: one name fewer.
    assert!(Command::new("rm").arg("-r").arg(&odd).status().unwrap().success());
    place.run(&["call", "fs.read", "path=a"]).done();
}
