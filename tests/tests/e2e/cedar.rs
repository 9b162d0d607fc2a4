//! Policies in Cedar, through the command: with the feature, and by a build without it.

use std::fs;

use crate::place::Place;

const FORBID: &str = "@id(\"keys\")\n@message(\"keys stay where they are\")\n\
                      forbid(principal, action, resource in Path::\"keys\");\n";

fn cedar(place: &Place, name: &str, text: &str) {
    let folder = place.root.join(".lictor/policies");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), text).unwrap();
}

#[cfg(not(feature = "cedar"))]
#[test]
fn a_build_without_cedar_does_nothing_where_there_are_policies_in_it() {
    let place = Place::new();
    cedar(&place, "a.cedar", FORBID);
    for arguments in [
        ["call", "fs.write", "path=a", "content=x"].as_slice(),
        &["policy", "lint"],
        &["policy", "show"],
        &["policy", "schema"],
    ] {
        let refused = place.run(arguments).ends(2, "invalid_input");
        assert!(refused.to_string().contains("with the feature `cedar`"), "{refused}");
    }
    assert!(!place.exists("a"));
    fs::remove_dir_all(place.root.join(".lictor/policies")).unwrap();
    place.run(&["call", "fs.write", "path=a", "content=x"]).done();
}

#[cfg(feature = "cedar")]
mod with_cedar {
    use serde_json::json;

    use super::*;
    use crate::place::{POLICY, text};

    #[test]
    fn a_forbid_denies_is_explained_and_is_proven_when_it_is_gone() {
        let place = Place::new();
        cedar(&place, "a.cedar", FORBID);
        let denied = place.run(&["call", "fs.write", "path=keys/a", "content=x"]).ends(3, "denied");
        assert!(!place.exists("keys"));
        let reasons = denied["decision"]["reasons"].as_array().unwrap();
        let forbid = reasons.iter().find(|reason| reason["rule"] == "cedar:keys").unwrap();
        assert_eq!(forbid["where"], "policies/a.cedar:1:1");
        assert_eq!(forbid["message"], "keys stay where they are");
        let done = place.run(&["call", "fs.write", "path=a", "content=x"]).done();
        fs::remove_dir_all(place.root.join(".lictor/policies")).unwrap();
        place.run(&["call", "fs.write", "path=keys/a", "content=x"]).done();
        for answer in [&denied, &done] {
            let id = text(&answer["decision"], "id").to_owned();
            let explained = place.run(&["policy", "explain", &id]).done();
            assert_eq!(explained["proof"]["status"], "proven", "{explained}");
            assert_eq!(explained["reasons"], answer["decision"]["reasons"]);
        }
    }

    #[test]
    fn a_policy_that_does_not_fit_the_catalogue_stops_everything() {
        let place = Place::new();
        cedar(&place, "a.cedar", "forbid(principal, action == Action::\"fs.wirte\", resource);");
        let refused =
            place.run(&["call", "fs.write", "path=a", "content=x"]).ends(2, "invalid_input");
        assert!(refused.to_string().contains("policies/a.cedar:1:"), "{refused}");
        place.run(&["policy", "lint"]).ends(2, "invalid_input");
        // What is a folder cannot be read, and never counts as nothing.
        fs::remove_file(place.root.join(".lictor/policies/a.cedar")).unwrap();
        fs::create_dir(place.root.join(".lictor/policies/a.cedar")).unwrap();
        place.run(&["call", "fs.write", "path=a", "content=x"]).ends(2, "invalid_input");
        assert!(!place.exists("a"));
    }

    #[test]
    fn the_policy_tools_know_cedar() {
        let place = Place::new();
        let schema = place.run(&["policy", "schema"]).done();
        let schema = text(&schema, "schema");
        for capability in ["fs.write", "change.undo", "time.now"] {
            assert!(schema.contains(&format!("action \"{capability}\" in ")), "{schema}");
        }
        cedar(&place, "a.cedar", FORBID);
        let shown = place.run(&["policy", "show"]).done();
        assert_eq!(shown["cedar"], json!([{ "name": "policies/a.cedar", "text": FORBID }]));
        let cases = "cases: [{ ask: { write: [keys/a] }, verdict: deny, rule: 'cedar:keys' }]\n";
        let cases = place.document("a.policy-test.yaml", cases);
        place.run(&["policy", "test", "--cases", &cases]).done();
        // A file alone is held against the catalogue of the workspace.
        let never = "forbid(principal, action == Action::\"fs.write\", resource is Host);";
        let file = place.document("b.cedar", never);
        let linted = place.run(&["policy", "lint", &file]).done();
        assert_eq!(linted["findings"][0]["code"], "cedar", "{linted}");
        place.run(&["policy", "lint", &file, "--strict"]).ends(1, "failed");
    }

    #[test]
    fn diff_holds_folders_with_cedar_against_the_log() {
        let place = Place::new();
        place.run(&["call", "fs.write", "path=keys/a", "content=x"]).done();
        let folder = |name: &str, forbid: Option<&str>| {
            let folder = place.beside(name);
            fs::create_dir_all(folder.join("policies")).unwrap();
            fs::write(folder.join("policy.yaml"), POLICY).unwrap();
            if let Some(forbid) = forbid {
                fs::write(folder.join("policies/a.cedar"), forbid).unwrap();
            }
            folder.to_str().unwrap().to_owned()
        };
        let (old, new) = (folder("old", None), folder("new", Some(FORBID)));
        let diff = place.run(&["policy", "diff", &old, &new]).done();
        let changed = diff["changed"].as_array().unwrap();
        assert_eq!(changed.len(), 1, "{diff}");
        assert_eq!(changed[0]["because"][0]["rule"], "cedar:keys");
    }
}
