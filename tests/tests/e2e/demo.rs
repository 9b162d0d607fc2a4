//! The demo, as a newcomer runs it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::place::{Place, git};

#[test]
fn the_demo_shows_the_whole_road_and_leaves_the_repository() {
    let place = Place::bare();
    let folder = place.beside("demo");
    let shown = place.person(&["demo", "--dir", folder.to_str().unwrap()]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for line in ["paths.forbidden", "rolled", "undone", "complete", "git sees no change at all"] {
        assert!(
            shown.stdout.contains(line) || shown.stderr.contains(line),
            "no `{line}`: {shown:?}"
        );
    }
    let repository = folder.join("tally");
    assert_eq!(git(&repository, &place.home(), &["status", "--porcelain"]), "");
    let again = place.person(&["demo", "--dir", folder.to_str().unwrap()]);
    assert_eq!(again.code, Some(2), "what is there is left alone");
}

#[test]
fn the_demo_answers_in_json() {
    let place = Place::bare();
    let folder = place.beside("demo");
    let shown = place.run(&["demo", "--dir", folder.to_str().unwrap()]).done();
    assert_eq!(shown["workspace"].as_str(), folder.join("tally").to_str());
}

/// The README's first command names no program, so there has to be one that is meant.
#[test]
fn cargo_run_in_the_workspace_means_the_command() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    // Where somebody stands who reads the README.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = cargo.current_dir(root).output().unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let defaults = metadata["workspace_default_members"].as_array().unwrap();
    let meant: Vec<&str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| defaults.contains(&package["id"]))
        .filter_map(|package| package["default_run"].as_str())
        .collect();
    assert_eq!(meant, ["lictor"]);
}
