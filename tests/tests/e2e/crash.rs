//! The command is killed at random moments; what it leaves is the old tree or the new one.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::place::{Place, text};
use crate::random::Random;
use crate::tree::digest;

const ROUNDS: u32 = 60;

/// A workspace with a few files, so that there is something to be half done.
fn furnished() -> Place {
    let place = Place::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        place.write(&format!("{name}.txt"), name.repeat(3000));
    }
    place.set_mode("a.txt", 0o755);
    place
}

/// A change of every kind to [`furnished`].
fn change(place: &Place) -> String {
    let before = |name: &str| digest(name.repeat(3000).as_bytes());
    place.seal(
        "change.json",
        &json!([
            { "op": "modify", "path": "a.txt", "before": before("a"), "content": "new a" },
            { "op": "modify", "path": "b.txt", "before": before("b"), "content": "new b" },
            { "op": "delete", "path": "c.txt", "before": before("c") },
            { "op": "rename", "path": "d.txt", "to": "moved/d.txt", "before": before("d") },
            { "op": "rename", "path": "e.txt", "to": "f.txt", "before": before("e") },
            { "op": "rename", "path": "f.txt", "to": "e.txt", "before": before("f") },
            { "op": "create", "path": "new/deep/g.txt", "content": "g" },
            { "op": "symlink", "path": "link", "target": "a.txt" },
        ]),
    )
}

/// Starts it and kills it after so long.
pub(crate) fn killed(place: &Place, arguments: &[&str], after: Duration) {
    let mut command = place.command(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    while start.elapsed() < after {
        std::hint::spin_loop();
    }
    // It may have ended already; then there is nobody to kill.
    child.kill().unwrap();
    child.wait().unwrap();
}

/// How long it takes when nobody kills it.
pub(crate) fn usual(place: &Place, arguments: &[&str]) -> u64 {
    let start = Instant::now();
    place.run(arguments).done();
    u64::try_from(start.elapsed().as_micros()).unwrap()
}

/// Whether the log says that the first execution stands; a redo lets it stand again.
fn log_says_new(place: &Place) -> bool {
    let log = place.run(&["log", "--limit", "1000"]).done();
    let first = log["executions"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(first["capability"], "change.apply");
    first["status"] == "applied"
}

fn n_applied(place: &Place) -> usize {
    let log = place.run(&["log", "--limit", "1000"]).done();
    let all = log["executions"].as_array().unwrap().iter();
    all.filter(|one| one["status"] == "applied").count()
}

fn lock_is_clean(place: &Place) -> bool {
    let status = place.run(&["lock", "status"]).done();
    status["held"] == false && status["last"]["released"] != false
}

#[test]
fn a_kill_leaves_the_old_tree_or_the_new_one() {
    let mut random = Random::new();
    let place = furnished();
    let document = change(&place);
    let apply = ["apply", document.as_str()];
    let old = place.tree();
    let usual = usual(&place, &apply);
    let new = place.tree();
    assert_ne!(old, new);
    place.run(&["undo"]).done();
    assert_eq!(place.tree(), old);
    let mut applied = false;
    let mut crashes = 0;
    for round in 0..ROUNDS {
        // An apply, or the undo of one: both are to be all or nothing. The undone document would
        // be answered as a duplicate, so it is redone.
        let arguments: &[&str] = if applied { &["undo"] } else { &["redo"] };
        killed(&place, arguments, Duration::from_micros(random.below(usual * 3 / 2)));
        crashes += u32::from(!lock_is_clean(&place));
        // Any start settles what is left, and so does a person who breaks the lock.
        let settling: &[&str] = match round % 3 {
            0 => &["recover"],
            1 => &["log"],
            _ => &["lock", "break"],
        };
        place.run(settling).done();
        let tree = place.tree();
        assert!(tree == old || tree == new, "round {round}: neither old nor new: {tree:?}");
        let is_new = tree == new;
        assert_eq!(log_says_new(&place), is_new, "round {round}");
        assert!(lock_is_clean(&place), "round {round}");
        place.verify();
        applied = is_new;
    }
    eprintln!("{crashes} of {ROUNDS} kills left something to settle");
    let trail = place.trail();
    assert!(trail.len() > 10);
}

#[test]
fn a_killed_apply_is_applied_by_the_next_or_not_at_all() {
    let mut random = Random::new();
    for _ in 0..8 {
        let place = furnished();
        let document = change(&place);
        let old = place.tree();
        killed(&place, &["apply", &document], Duration::from_micros(random.below(60_000)));
        let recovered = place.run(&["recover"]).done();
        let was_applied = place.tree() != old;
        assert_eq!(n_applied(&place), usize::from(was_applied), "{recovered}");
        let again = place.run(&["apply", &document]).done();
        assert_eq!(again["status"], if was_applied { "duplicate" } else { "applied" });
        assert!(place.exists("moved/d.txt"));
        place.run(&["undo"]).done();
        assert_eq!(place.tree(), old);
        place.verify();
    }
}

/// Three files, one after the other.
const WORKFLOW: &str = "\
id: three
version: 1.0.0
title: Three files
steps:
  - { id: a, use: fs.write, with: { path: a, content: a } }
  - { id: b, use: fs.write, needs: [a], with: { path: b, content: b } }
  - { id: c, use: fs.write, needs: [b], with: { path: c, content: c } }
";

#[test]
fn a_killed_run_goes_on_where_it_was() {
    let mut random = Random::new();
    let place = Place::new();
    let file = place.document("w.workflow.yaml", WORKFLOW);
    let run = ["run", file.as_str()];
    let usual = usual(&place, &run);
    let after = place.tree();
    place.run(&["undo", "--last", "3"]).done();
    let before = place.tree();
    let mut resumed = 0;
    for round in 0..12 {
        let known = place.run(&["workflow", "list"]).done();
        let known = known["runs"].as_array().unwrap().len();
        killed(&place, &run, Duration::from_micros(random.below(usual)));
        let runs = place.run(&["workflow", "list"]).done();
        let runs = runs["runs"].as_array().unwrap();
        if runs.len() == known {
            assert_eq!(place.tree(), before, "round {round}: nothing was submitted");
            continue;
        }
        let id = text(&runs[0], "run_id");
        if runs[0]["status"] != "completed" {
            resumed += 1;
            if round % 2 == 0 {
                let done = place.run(&["workflow", "resume", id]).done();
                assert_eq!(done["status"], "completed", "round {round}: {done}");
            } else {
                // Whoever comes to repair needs not know which runs there were.
                let done = place.run(&["recover"]).done();
                assert_eq!(text(&done["runs"][0], "run_id"), id, "round {round}: {done}");
                assert_eq!(done["runs"][0]["status"], "completed", "round {round}: {done}");
            }
        }
        assert_eq!(place.tree(), after, "round {round}");
        // Each step was done once, whatever the crash left of it.
        let undone = place.run(&["undo", id]).done();
        assert_eq!(undone["undo_of"].as_array().unwrap().len(), 3, "round {round}");
        assert_eq!(place.tree(), before, "round {round}");
    }
    eprintln!("{resumed} runs went on");
    place.verify();
}
