//! The command is killed at random moments; what it leaves is the old tree or the new one.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::place::Place;
use crate::random::Random;
use crate::tree::{Tree, digest};

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
    place.seal("change.json", &json!([
        { "op": "modify", "path": "a.txt", "before": before("a"), "content": "new a" },
        { "op": "modify", "path": "b.txt", "before": before("b"), "content": "new b" },
        { "op": "delete", "path": "c.txt", "before": before("c") },
        { "op": "rename", "path": "d.txt", "to": "moved/d.txt", "before": before("d") },
        { "op": "rename", "path": "e.txt", "to": "f.txt", "before": before("e") },
        { "op": "rename", "path": "f.txt", "to": "e.txt", "before": before("f") },
        { "op": "create", "path": "new/deep/g.txt", "content": "g" },
        { "op": "symlink", "path": "link", "target": "a.txt" },
    ]))
}

/// Starts it and kills it after so long.
fn killed(place: &Place, arguments: &[&str], after: Duration) {
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
fn usual(place: &Place, arguments: &[&str]) -> u64 {
    let start = Instant::now();
    place.run(arguments).done();
    u64::try_from(start.elapsed().as_micros()).unwrap()
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
        match round % 3 {
            // A person who does not know better breaks the lock first.
            0 => _ = place.run(&["lock", "break"]).done(),
            1 => _ = place.run(&["log"]).done(),
            _ => {}
        }
        if round % 3 != 1 {
            place.run(&["recover"]).done();
        }
        let tree = place.tree();
        assert!(tree == old || tree == new, "round {round}: neither old nor new: {tree:?}");
        let is_new = tree == new;
        assert_eq!(Tree::of(&place.root), tree);
        let log = place.run(&["log", "--limit", "1"]).done();
        // Every execution that stands changes between the two, so their number tells which.
        let changed = n_applied(&place);
        assert_eq!(changed % 2 == 1, is_new, "round {round}: {log}");
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
