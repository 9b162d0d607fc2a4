//! Several at once write into folders that are not there yet: it works, and the folders go with the
//! last of them.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::command::can_hold;
use crate::crash::{killed, usual};
use crate::place::{Answer, Place, message, text};
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

/// Programs are allowed, and so is writing but below `ask`, which people are asked about.
const COMMANDS: &str = "version: 1\ndefault: deny\n\
    paths: { protected: [\"ask/**\"], allowed: [\"**\"] }\n\
    risk: { low: allow, medium: allow, high: allow }\n\
    rules:\n  - { name: programs, when: { effect: process }, verdict: allow }\n";

/// A workspace for commands; nothing, said aloud, on a machine that cannot hold them.
fn for_commands() -> Option<Place> {
    let place = Place::with_policy(COMMANDS);
    can_hold(&place).then_some(place)
}

/// A call of a shell script.
fn script(text: &str) -> String {
    json!({ "argv": ["sh", "-c", text] }).to_string()
}

/// Commands that make one and the same folder: empty, with a folder in it that is one of several of
/// them too, and with something in it.
fn scripts() -> Vec<String> {
    let all = [
        "mkdir -p out",
        "mkdir -p out/a/empty",
        "mkdir -p out/a; echo 1 > out/a/file",
        "mkdir -p out/a/empty",
        "mkdir -p out; echo 2 > out/file",
        "mkdir -p out/a",
    ];
    all.map(script).to_vec()
}

#[test]
fn parallel_commands_land_in_one_new_folder_and_are_taken_back_whole() {
    let Some(place) = for_commands() else { return };
    let steps = |after: &str| {
        let mut document = "id: commands\nversion: 1.0.0\nsteps:\n".to_owned();
        let all = scripts();
        for (n, input) in all.iter().enumerate() {
            document += &format!("  - {{ id: w{n}, use: process.run, with: {input} }}\n");
        }
        let needs: Vec<String> = (0..all.len()).map(|n| format!("w{n}")).collect();
        document + &after.replace("ALL", &needs.join(", "))
    };
    let file = place.document("w.workflow.yaml", steps(""));
    let failing = place.document("f.workflow.yaml", steps(FAILS));
    let before = place.tree().without(".lictor");
    for _ in 0..2 {
        let run = place.run(&["run", &file]).done();
        assert_eq!(run["status"], "completed", "{run}");
        assert_eq!(
            (place.read("out/a/file"), place.read("out/file")),
            ("1\n".into(), "2\n".into())
        );
        assert!(place.exists("out/a/empty"));
        place.run(&["undo", text(&run, "run_id")]).done();
        assert_eq!(place.tree().without(".lictor"), before, "an undo of the run leaves nothing");
        let run = place.run(&["run", &failing]).ends(1, "failed");
        assert_eq!(run["status"], "rolled_back", "{run}");
        assert_eq!(place.tree().without(".lictor"), before, "something is left of a failed run");
    }
    place.verify();
}

#[test]
fn commands_at_once_land_in_one_new_folder_and_are_undone_in_any_order() {
    let Some(place) = for_commands() else { return };
    let before = place.tree().without(".lictor");
    for backwards in [false, true] {
        let scripts = scripts();
        let calls: Vec<_> =
            scripts.iter().map(|input| vec!["call", "process.run", "--input", input]).collect();
        at_once(&place, &calls);
        assert_eq!(
            (place.read("out/a/file"), place.read("out/file")),
            ("1\n".into(), "2\n".into())
        );
        assert!(place.exists("out/a/empty"));
        let mut done = standing(&place);
        assert!(done.len() >= 3, "two files and an empty folder: {done:?}");
        if backwards {
            done.reverse();
        }
        for id in done {
            place.run(&["undo", &id]).done();
        }
        assert_eq!(place.tree().without(".lictor"), before, "backwards: {backwards}");
    }
    place.verify();
}

/// Agrees to what waits for people.
fn agree(place: &Place) {
    let all = place.run(&["approvals", "list"]).done();
    let all = all["approvals"].as_array().unwrap();
    let pending: Vec<_> = all.iter().filter(|one| one["state"] == "pending").collect();
    assert_eq!(pending.len(), 1, "{all:?}");
    place.run_as_approver(&["approvals", "approve", text(pending[0], "id")]).done();
}

/// Runs a command whose changes wait, and agrees to these; gives the execution to be landed.
fn staged(place: &Place, input: &str) -> String {
    let asked = place.run(&["call", "process.run", "--input", input]);
    let asked = asked.ends(4, "approval_required");
    agree(place);
    message(&asked).split('`').nth(1).unwrap().to_owned()
}

/// The executions that stand and have changed something, the newest first.
fn standing(place: &Place) -> Vec<String> {
    let log = place.run(&["log"]).done();
    let all = log["executions"].as_array().unwrap().iter();
    let all = all.filter(|one| one["status"] == "applied" && one["undo_of"].is_null());
    let all = all.filter(|one| one["files"] != json!([]));
    all.map(|one| text(one, "execution_id").to_owned()).collect()
}

/// Both commands have made the folder in their copies before either of them lands: people are asked
/// about it, so that the test says which is first.
#[test]
fn a_folder_that_another_command_has_made_meanwhile_is_as_it_was_asked_to_be() {
    let Some(place) = for_commands() else { return };
    place.write("ask/stays", "");
    let before = place.tree().without(".lictor");
    let (empty, filled) = ("mkdir -p ask/new/empty", "echo x > ask/new/empty/file");
    let filled = format!("{empty}; {filled}");
    for (n, (first, second)) in
        [(empty, empty), (empty, &filled), (&filled, empty)].iter().enumerate()
    {
        for backwards in [false, true] {
            // An agreement is to one action and waits until it is used: each of these is another one.
            let another =
                |input: &str, which: &str| script(&format!("{input}; : {n} {backwards} {which}"));
            let inputs = [another(first, "first"), another(second, "second")];
            let ran = inputs.each_ref().map(|input| staged(&place, input));
            place.run(&["land", &ran[0]]).done();
            if *second == filled {
                // Less is to be done than people had agreed to: they are asked about that.
                place.run(&["land", &ran[1]]).ends(4, "approval_required");
                agree(&place);
            }
            place.run(&["land", &ran[1]]).done();
            assert!(place.exists("ask/new/empty"));
            assert_eq!(place.exists("ask/new/empty/file"), n > 0);
            let mut done = standing(&place);
            // Who found all of it there has nothing to take back.
            assert_eq!(done.len(), if *second == filled { 2 } else { 1 }, "{first}, {second}");
            if backwards {
                done.reverse();
            }
            // What is undone is of no interest to people here.
            place.policy(&COMMANDS.replace("ask/**", "none/**"));
            for id in done {
                place.run(&["undo", &id]).done();
            }
            place.policy(COMMANDS);
            let now = place.tree().without(".lictor");
            assert_eq!(now, before, "{first}, {second}, backwards: {backwards}");
        }
    }
    place.verify();
}

/// Somebody else has done all of it meanwhile, so that there was nothing to agree to any more: what
/// people had agreed to is no agreement to another landing.
#[test]
fn an_agreement_to_a_landing_ends_with_the_landing() {
    let Some(place) = for_commands() else { return };
    place.write("ask/stays", "");
    let (first, second) =
        (script("mkdir -p ask/new; : first"), script("mkdir -p ask/new; : second"));
    let ran = [staged(&place, &first), staged(&place, &second)];
    for ran in &ran {
        place.run(&["land", ran]).done();
    }
    let all = place.run(&["approvals", "list"]).done();
    let states = |of: &Value| -> Vec<String> {
        let all = of["approvals"].as_array().unwrap().iter();
        all.map(|one| text(one, "state").to_owned()).collect()
    };
    assert_eq!(states(&all), Vec::<String>::new(), "what is open: {all}");
    let withdrawn = |event: &&Value| event["event_type"] == "approval_cancelled";
    assert_eq!(place.trail().iter().filter(withdrawn).count(), 1, "it is on record");
    std::fs::remove_dir(place.root.join("ask/new")).unwrap();
    place.run(&["call", "process.run", "--input", &second]).ends(4, "approval_required");
    assert!(!place.exists("ask/new"));
    place.verify();
}

#[test]
fn a_folder_where_a_command_had_made_another_of_a_file_is_a_conflict() {
    let Some(place) = for_commands() else { return };
    place.write("old/file", "old");
    // People are asked about what is below `ask`, so that somebody can come between.
    let input = |more: &str| {
        let text = format!("rm old/file; mkdir old/file; mkdir -p ask; {more}");
        json!({ "argv": ["sh", "-c", text], "inputs": ["old/**"] }).to_string()
    };
    let empty = staged(&place, &input("echo 1 > ask/one"));
    let filled = staged(&place, &input("echo 2 > ask/two; echo 2 > old/file/mine"));
    std::fs::remove_file(place.root.join("old/file")).unwrap();
    place.write("old/file/theirs", "theirs");
    let before = place.tree().without(".lictor");
    for ran in [empty, filled] {
        let found = place.run(&["land", &ran]).ends(5, "conflict");
        assert!(found.to_string().contains("old/file"), "{found}");
    }
    assert_eq!(place.tree().without(".lictor"), before, "what somebody put there is lost");
    place.verify();
}

#[test]
fn what_is_not_the_folder_that_a_command_has_made_is_a_conflict() {
    let Some(place) = for_commands() else { return };
    place.write("ask/stays", "");
    let private = staged(&place, &script("mkdir -p ask/new; chmod 700 ask/new"));
    let file = staged(&place, &script("mkdir -p ask/file"));
    place.write("ask/new/theirs", "theirs");
    place.write("ask/file", "theirs");
    let before = place.tree().without(".lictor");
    for ran in [private, file] {
        place.run(&["land", &ran]).ends(5, "conflict");
    }
    assert_eq!(place.tree().without(".lictor"), before);
    place.verify();
}
