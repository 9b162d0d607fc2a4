//! Sagas: the crash matrix, the examples of this repository, and what a bad one is told.

use std::path::{Path, PathBuf};

use lictor_document::Source;
use lictor_testkit::Saga;
use lictor_workflow::Workflow;
use serde_json::json;

fn workflow(text: &str) -> Workflow {
    Workflow::from_yaml(&Source::new("test.workflow.yaml", text.as_bytes())).unwrap()
}

/// Six calls outside, each with its compensation, one after the other.
fn six() -> String {
    let mut text = "id: six\nversion: 1.0.0\nsteps:\n".to_owned();
    for n in 1..=6 {
        let needs = if n > 1 { format!("needs: [s{}], ", n - 1) } else { String::new() };
        text.push_str(&format!(
            "  - {{ id: s{n}, use: remote.put, {needs}compensate: {{ use: remote.remove }} }}\n"
        ));
    }
    text
}

#[test]
fn six_remote_steps_killed_at_every_commit_are_done_once_or_taken_back_once_in_reverse() {
    let report = Saga::new(workflow(&six()), json!({})).check().unwrap();
    assert_eq!((report.n_failed_steps, report.n_failed_backs), (6, 5));
    // A step's end and the next one's intent are one save; one more ends the run.
    assert_eq!(report.n_saves, 7);
    // On the way back there are six intents, five ends with the next step's intent, and the end.
    assert_eq!(report.n_deaths, 2 * 7 + 2 * 12);
}

#[test]
fn branches_lists_and_waits_are_taken_back_as_well() {
    let text = r#"
id: many
version: 1.0.0
steps:
  - { id: look, use: time.now }
  - { id: left, use: fs.write, needs: [look], with: { path: a } }
  - { id: right, use: remote.put, needs: [look], compensate: { use: remote.remove } }
  - { id: maybe, use: fs.write, needs: [look], with: { path: m }, on_error: continue }
  - { id: rest, wait: 1h, needs: [left] }
  - id: each
    use: remote.put
    needs: [right, rest]
    foreach: "{{ input.names }}"
    parallel: 2
    with: { name: "{{ item }}" }
    compensate: { use: remote.remove, with: { name: "{{ item }}" } }
  - { id: ask, needs: [each], approval: { message: "Go?" } }
  - { id: last, use: fs.write, needs: [ask, maybe], with: { path: z } }
"#;
    let saga = Saga::new(workflow(text), json!({ "names": ["x", "y", "z"] })).looks("time.now");
    let report = saga.check().unwrap();
    assert_eq!((report.n_failed_steps, report.n_failed_backs), (8, 6));
}

#[test]
fn steps_side_by_side_into_one_folder_are_killed_and_failed_everywhere() {
    let mut text = "id: folder\nversion: 1.0.0\nsteps:\n".to_owned();
    for n in 0..4 {
        text.push_str(&format!("  - {{ id: w{n}, use: fs.write, with: {{ path: out/a/{n} }} }}\n"));
    }
    text.push_str(
        "  - { id: last, use: fs.write, needs: [w0, w1, w2, w3], with: { path: out/z } }\n",
    );
    let report = Saga::new(workflow(&text), json!({})).check().unwrap();
    assert_eq!((report.n_failed_steps, report.n_failed_backs), (5, 4));
}

#[test]
fn what_leaves_something_behind_is_named() {
    let text = r#"
id: leaves
version: 1.0.0
auto_rollback: false
steps:
  - { id: one, use: fs.write, with: { path: a } }
  - { id: two, use: fs.write, needs: [one], with: { path: b } }
"#;
    let error = Saga::new(workflow(text), json!({})).check().unwrap_err();
    assert_eq!(error.case(), "step `one` fails");
    assert!(error.problem().starts_with("it is failed and not rolled_back"), "{error}");
}

fn examples(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                examples(&path, found);
            }
        } else if name.ends_with(".workflow.yaml") {
            found.push(path);
        }
    }
}

#[test]
fn every_example_workflow_leaves_nothing_behind() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    examples(&root, &mut found);
    assert!(!found.is_empty());
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let saga = Saga::new(workflow(&text), json!({ "version": "1.0.0" }))
            .looks("time.now")
            .looks("text.render")
            .looks("fs.hash")
            .looks("fs.read")
            .output("fs.read", json!({ "content": "- one\n" }))
            .output("fs.write", json!({ "digest": "sha256:00" }))
            .output("time.now", json!({ "time": "12:00" }))
            .output("text.render", json!({ "text": "x" }));
        let checked = saga.check();
        assert!(checked.is_ok(), "{}: {checked:?}", path.display());
    }
}
