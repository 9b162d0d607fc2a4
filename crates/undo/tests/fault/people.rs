//! `undo_never_clobbers` in the very moment: somebody saves a file between any two calls of ours.

use std::fs;
use std::path::Path;

use crate::child::{Case, Step, count_lacking};
use crate::tree::read_tree;

const PATHS: [&str; 5] = ["created", "modified", "deleted", "renamed", "target"];

/// Whether what somebody saved is there: at their path, or kept in a slot.
fn theirs_is_kept(case: &Case, path: &str) -> bool {
    kept(case, path) > 0
}

fn is_theirs(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes == b"theirs\n")
}

/// How many of somebody's saves are there.
fn kept(case: &Case, path: &str) -> usize {
    let at_path = usize::from(is_theirs(&case.root().join(path)));
    let folders = fs::read_dir(case.root().join(".lictor/tx")).expect("transactions");
    let slots = folders.filter_map(Result::ok).map(|folder| folder.path().join("s"));
    let kept = slots.filter_map(|slots| fs::read_dir(slots).ok()).flatten();
    at_path + kept.filter_map(Result::ok).filter(|slot| is_theirs(&slot.path())).count()
}

/// Somebody saves at each path at each point, before and after which the process may die.
#[track_caller]
fn nobody_loses_a_save(lacks: &'static str) {
    let points = count_lacking(Step::Small, lacks);
    let (mut stood, mut back, mut stuck) = (0, 0, 0);
    for (n, name) in (1..).zip(&points) {
        for path in PATHS {
            let context = format!("lacking {lacks:?}, `{path}` saved at {n} ({name})");
            let case = Case::lacking(Step::Small, lacks);
            let answer = case.run_with(Step::Small, &format!("save@{n}"), path);
            let answer = answer.unwrap_or_else(|| panic!("{context}: it died"));
            assert!(theirs_is_kept(&case, path), "{context}: {answer}: the save is lost");
            // What is said of everything else is true.
            let mut tree = read_tree(&case.root());
            tree.remove(path);
            let like = |whole: &crate::tree::Tree| {
                let mut whole = whole.clone();
                whole.remove(path);
                whole == tree
            };
            match answer.split(':').next().unwrap_or_default() {
                "ok" => {
                    stood += 1;
                    // In a slot it is kept, but whoever saved it does not see it any more. Where
                    // nothing can be exchanged nor linked, nobody can tell in time.
                    let seen = is_theirs(&case.root().join(path)) || lacks.contains("link");
                    assert!(seen, "{context}: the save was put out of sight");
                    assert!(like(&case.new), "{context}: {answer}\n{}", case.mixture(&tree));
                }
                "not begun" | "rolled back" => {
                    back += 1;
                    assert!(like(&case.old), "{context}: {answer}\n{}", case.mixture(&tree));
                }
                _ => stuck += 1,
            }
        }
    }
    eprintln!("lacking {lacks:?}: {stood} stood, {back} went back, {stuck} stuck");
    assert!(stood > 20 && back > 20, "both happen");
}

#[test]
fn nobody_loses_a_save_at_any_point() {
    nobody_loses_a_save("");
}

#[test]
fn by_links_nobody_loses_a_save_at_any_point() {
    nobody_loses_a_save("exchange,no_replace");
}

#[test]
fn by_looking_nobody_loses_a_save_at_any_point_but_between_the_look_and_the_rename() {
    nobody_loses_a_save("exchange,no_replace,link");
}

/// One save is taken by mistake, and while it is given back the next one has arrived.
#[test]
fn of_two_saves_in_one_moment_both_are_kept() {
    for (before, path) in [("take.before", "deleted"), ("swap.before", "modified")] {
        for lacks in ["", "exchange,no_replace"] {
            let points = count_lacking(Step::Small, lacks);
            let Some(n) = points.iter().position(|name| name == before) else { continue };
            let case = Case::lacking(Step::Small, lacks);
            let fault = format!("save@{}+{}", n + 1, n + 2);
            let answer = case.run_with(Step::Small, &fault, path).expect("it lives");
            assert_eq!(kept(&case, path), 2, "{lacks:?}, {path}: {answer}");
            assert!(answer.starts_with("incomplete"), "{lacks:?}, {path}: {answer}");
        }
    }
}

/// A slot that holds something is never overwritten, whoever put it there.
#[test]
fn what_lies_in_a_slot_is_never_replaced() {
    for lacks in ["", "exchange,no_replace,link"] {
        let points = count_lacking(Step::Small, lacks);
        let taken = points.iter().position(|name| name == "take.before").expect("a take") + 1;
        for slot in 0..6 {
            let case = Case::lacking(Step::Small, lacks);
            let path = format!(".lictor/tx/*/s/{slot:04}");
            let answer = case.run_with(Step::Small, &format!("save@{taken}"), &path);
            let answer = answer.expect("it lives");
            if answer == "ok" {
                let somewhere = PATHS.iter().any(|path| theirs_is_kept(&case, path));
                assert!(somewhere, "{lacks:?}, {path}: it was replaced");
            }
        }
    }
}
