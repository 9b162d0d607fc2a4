//! Several at once write into folders that are not there yet: it works, and the folders go with the
//! last of them.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::crash::{killed, usual};
use crate::place::{Answer, Place, text};
use crate::random::Random;

/// A workflow of parallel steps that write to these paths, and of more that come after all of them.
fn writing(paths: &[String], after: &str) -> String {
    let mut document =
        "id: folders\nversion: 1.0.0\ntitle: Write into new folders\nsteps:\n".to_owned();
    for (n, path) in paths.iter().enumerate() {
        document += &format!(
            "  - {{ id: w{n}, use: fs.write, with: {{ path: {path}, content: '{n}' }} }}\n"
        );
    }
    let needs: Vec<String> = (0..paths.len()).map(|n| format!("w{n}")).collect();
    document + &after.replace("ALL", &needs.join(", "))
}

/// Steps side by side into `out`, into folders of it, and deeper.
fn paths(width: usize) -> Vec<String> {
    (0..width)
        .map(|n| match n % 4 {
            0 => format!("out/{n}"),
            1 => format!("out/a/{n}"),
            2 => format!("out/a/b/{n}"),
            _ => format!("out/c/{n}"),
        })
        .collect()
}

const FAILS: &str = "  - { id: last, use: fs.hash, with: { path: missing.txt }, needs: [ALL] }\n";

#[test]
fn parallel_steps_write_into_one_new_folder() {
    let place = Place::new();
    let files = ["out/one", "out/two", "out/three"].map(str::to_owned);
    let file = place.document("w.workflow.yaml", writing(&files, ""));
    for _ in 0..3 {
        let before = place.tree();
        let run = place.run(&["run", &file]).done();
        assert_eq!(run["status"], "completed", "{run}");
        assert_eq!(
            ["out/one", "out/two", "out/three"].map(|path| place.read(path)),
            ["0", "1", "2"]
        );
        let undone = place.run(&["undo", text(&run, "run_id")]).done();
        assert_eq!(undone["undo_of"].as_array().unwrap().len(), 3);
        assert_eq!(place.tree(), before, "an undo of the run leaves the tree as it was");
    }
    place.verify();
}

#[test]
fn any_number_of_steps_write_into_nested_new_folders_and_are_taken_back_whole() {
    for width in [2, 4, 7, 16] {
        let place = Place::new();
        place.write("stays.txt", "here");
        let before = place.tree();
        let files = paths(width);
        let failing = place.document("f.workflow.yaml", writing(&files, FAILS));
        let run = place.run(&["run", &failing]).ends(1, "failed");
        assert_eq!(run["status"], "rolled_back", "width {width}: {run}");
        assert_eq!(place.tree(), before, "width {width}: something is left of a run that failed");

        let file = place.document("w.workflow.yaml", writing(&files, ""));
        let run = place.run(&["run", &file]).done();
        let written = place.tree();
        for (n, path) in files.iter().enumerate() {
            assert_eq!(place.read(path), n.to_string());
        }
        place.run(&["undo", text(&run, "run_id")]).done();
        assert_eq!(place.tree(), before, "width {width}");
        for _ in 0..width {
            place.run(&["redo"]).done();
        }
        assert_eq!(place.tree(), written, "width {width}: redo brings all of it back");
        place.verify();
    }
}

/// A policy that speaks of what goes into the folder, and not of the folder itself.
#[test]
fn a_policy_about_the_files_is_enough_to_take_their_folder_back() {
    let policy = "version: 1\ndefault: deny\nrisk: { low: allow, medium: allow }\n";
    let place = Place::with_policy(&format!(
        "{policy}paths: {{ allowed: [\"out/*.txt\", \"missing.txt\"] }}\n"
    ));
    let before = place.tree();
    let files = ["out/1.txt", "out/2.txt", "out/3.txt"].map(str::to_owned);
    let failing = place.document("f.workflow.yaml", writing(&files, FAILS));
    let run = place.run(&["run", &failing]).ends(1, "failed");
    assert_eq!(run["status"], "rolled_back", "{run}");
    assert_eq!(place.tree(), before);
    place.run(&["call", "fs.write", "path=out/1.txt", "content=x"]).done();
    place.run(&["undo"]).done();
    assert_eq!(place.tree(), before);
    // Whoever forbids the folder itself is heard all the same.
    place.run(&["call", "fs.write", "path=out/1.txt", "content=x"]).done();
    place.policy(&format!("{policy}paths: {{ allowed: [\"out/*.txt\"], forbidden: [\"out\"] }}\n"));
    place.run(&["undo"]).ends(3, "denied");
    place.verify();
}

/// Starts all of them at once; every one of them succeeds.
#[track_caller]
fn at_once(place: &Place, all: &[Vec<&str>]) -> Vec<Value> {
    let spawn = |arguments: &Vec<&str>| {
        let mut command = place.command(arguments);
        command.arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let children: Vec<_> = all.iter().map(spawn).collect();
    let answer = |(child, arguments): (std::process::Child, &Vec<&str>)| {
        let output = child.wait_with_output().unwrap();
        Answer::new(arguments, output.status.code(), output.stdout, output.stderr).done()
    };
    children.into_iter().zip(all).map(answer).collect()
}

#[test]
fn processes_at_once_write_into_one_new_folder_and_undo_it_at_once() {
    let place = Place::new();
    let before = place.tree();
    let names: Vec<String> = (0..6).map(|n| format!("path=out/a/{n}")).collect();
    let calls: Vec<_> =
        names.iter().map(|path| vec!["call", "fs.write", path, "content=x"]).collect();
    at_once(&place, &calls);
    assert!((0..6).all(|n| place.exists(&format!("out/a/{n}"))));
    let log = place.run(&["log"]).done();
    let ids: Vec<&str> =
        log["executions"].as_array().unwrap().iter().map(|one| text(one, "execution_id")).collect();
    assert_eq!(ids.len(), 6);
    let undos: Vec<_> = ids.iter().map(|id| vec!["undo", *id]).collect();
    at_once(&place, &undos);
    assert_eq!(place.tree(), before, "the folders went with the last");
    place.verify();
}

#[test]
fn a_run_into_new_folders_that_is_killed_anywhere_is_done_or_taken_back_whole() {
    let mut random = Random::new();
    let place = Place::new();
    let files = paths(6);
    let good = place.document("w.workflow.yaml", writing(&files, ""));
    let bad = place.document("f.workflow.yaml", writing(&files, FAILS));
    let before = place.tree();
    let usual = usual(&place, &["run", &good]);
    let after = place.tree();
    place.run(&["undo", "--last", "6"]).done();
    assert_eq!(place.tree(), before);
    let mut taken_up = 0;
    for round in 0..10 {
        let (file, expected, then) = match round % 2 {
            0 => (&good, "completed", &after),
            _ => (&bad, "rolled_back", &before),
        };
        let known = place.run(&["workflow", "list"]).done()["runs"].as_array().unwrap().len();
        killed(&place, &["run", file], Duration::from_micros(random.below(usual * 3 / 2)));
        place.run(&["recover"]).ends_with_one_of(&[0, 1]);
        let runs = place.run(&["workflow", "list"]).done();
        let runs = runs["runs"].as_array().unwrap();
        if runs.len() == known {
            assert_eq!(place.tree(), before, "round {round}: nothing was submitted");
            continue;
        }
        taken_up += 1;
        assert_eq!(runs[0]["status"], expected, "round {round}: {}", runs[0]);
        assert_eq!(&place.tree(), then, "round {round}");
        if expected == "completed" {
            place.run(&["undo", text(&runs[0], "run_id")]).done();
            assert_eq!(place.tree(), before, "round {round}");
        }
    }
    eprintln!("{taken_up} runs had begun when they were killed");
    place.verify();
}
