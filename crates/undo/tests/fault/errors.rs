//! `status_never_overstates` when a system call fails: once, or from some point on for good.

use std::collections::BTreeMap;

use crate::child::{Case, Step, count, count_lacking};
use crate::tree::read_tree;

/// Lets every point of a step fail, and compares what is told with what is there.
#[track_caller]
fn tells_the_truth(step: Step, faults: &[&str]) {
    tells_the_truth_lacking(step, "", faults);
}

/// The same on a file system without some calls.
#[track_caller]
fn tells_the_truth_lacking(step: Step, lacks: &'static str, faults: &[&str]) {
    tells_the_truth_from((step, step.skipped(lacks)), lacks, faults);
}

/// The same without the first so many points.
#[track_caller]
fn tells_the_truth_from((step, from): (Step, usize), lacks: &'static str, faults: &[&str]) {
    let points = count_lacking(step, lacks);
    let mut told: BTreeMap<String, u32> = BTreeMap::new();
    for (n, name) in (1..).zip(&points).skip(from) {
        for fault in faults {
            let fault = fault.replace('#', &n.to_string());
            let context = format!("{step:?}, lacking {lacks:?}, {fault} ({name})");
            let case = Case::lacking(step, lacks);
            let answer = case.run(&fault).unwrap_or_else(|| panic!("{context}: it died"));
            *told.entry(is_true(&case, &answer, &context)).or_default() += 1;
        }
    }
    eprintln!("{step:?}: {} points by {} faults: {told:?}", points.len(), faults.len());
}

/// What a step told is what is there, and stays true whoever recovers afterwards; told in a word.
#[track_caller]
pub(crate) fn is_true(case: &Case, answer: &str, context: &str) -> String {
    let tree = read_tree(&case.root());
    let status = answer.split(':').next().unwrap_or_default().to_owned();
    match status.as_str() {
        "ok" => assert_eq!(tree, case.new, "{context}"),
        "not begun" | "rolled back" => {
            assert!(tree == case.old, "{context}: {answer}\n{}", case.mixture(&tree))
        }
        "incomplete" => {
            let unknown = answer.contains("durable") || answer.contains("removed");
            assert!(tree != case.old || unknown, "{context}: it is all back: {answer}");
        }
        _ => panic!("{context}: {answer}"),
    }
    case.recovers(context);
    let after = read_tree(&case.root());
    match status.as_str() {
        "ok" => assert_eq!(after, case.new, "{context}: {answer}"),
        "not begun" | "rolled back" => {
            assert!(after == case.old, "{context}: {answer}\n{}", case.mixture(&after))
        }
        _ => {}
    }
    status
}

#[test]
fn an_apply_with_an_error_anywhere_says_what_is_left() {
    tells_the_truth(Step::Apply, &["EIO@#", "ENOSPC@#"]);
}

#[test]
fn an_apply_with_another_error_anywhere_says_what_is_left() {
    tells_the_truth(Step::Apply, &["EROFS@#", "EACCES@#"]);
}

#[test]
fn an_apply_on_a_disk_that_does_not_come_back_says_what_is_left() {
    tells_the_truth(Step::Apply, &["EROFS@#.."]);
}

#[test]
fn a_staged_check_with_an_error_anywhere_says_what_is_left() {
    tells_the_truth(Step::ApplyStaged, &["EIO@#", "ENOSPC@#"]);
}

/// Until it is in place it is an apply like any other; `verified` and its barrier are its own.
#[test]
fn a_checked_apply_with_an_error_behind_it_says_what_is_left() {
    let in_place = count(Step::Apply).len() - 2;
    for step in [Step::ApplyChecked, Step::CheckedLazy] {
        let faults = ["EIO@#", "ENOSPC@#", "EROFS@#..", "EACCES@#"];
        tells_the_truth_from((step, in_place), "", &faults);
    }
}

#[test]
fn a_rollback_with_an_error_anywhere_says_what_is_left() {
    tells_the_truth(Step::ApplyRefused, &["EIO@#", "ENOSPC@#.."]);
}

#[test]
fn an_undo_with_an_error_anywhere_says_what_is_left() {
    tells_the_truth(Step::Undo, &["EIO@#", "EROFS@#.."]);
}

#[test]
fn an_undo_with_another_error_anywhere_says_what_is_left() {
    tells_the_truth(Step::Undo, &["ENOSPC@#", "EACCES@#"]);
}

#[test]
fn a_redo_with_an_error_anywhere_says_what_is_left() {
    tells_the_truth(Step::Redo, &["ENOSPC@#", "EIO@#.."]);
}

#[test]
fn a_redo_with_another_error_anywhere_says_what_is_left() {
    tells_the_truth(Step::Redo, &["EROFS@#", "EACCES@#"]);
}

/// A recovery that fails changes nothing for the worse: the next one settles it.
#[track_caller]
fn is_done_again(steps: &[Step], faults: &[&str]) {
    for step in steps {
        let n = count(*step).len() / 2;
        let case = Case::new(*step);
        case.run(&format!("kill@{n}"));
        case.points();
        case.run_step(Step::Recover, "none@0");
        for at in 1..=case.points().len() {
            for fault in faults {
                let context = format!("{step:?} killed at {n}, recovery with {fault} at {at}");
                let case = Case::new(*step);
                case.run(&format!("kill@{n}"));
                let answer = case.run_step(Step::Recover, &format!("{fault}@{at}"));
                assert!(answer.is_some(), "{context}: it died");
                case.recovers(&context);
            }
        }
    }
}

#[test]
fn a_recovery_with_an_error_anywhere_is_done_again() {
    is_done_again(&[Step::Apply, Step::ApplyChecked, Step::Undo], &["EIO"]);
}

#[test]
fn a_recovery_with_another_error_anywhere_is_done_again() {
    is_done_again(&[Step::Apply, Step::ApplyChecked], &["ENOSPC", "EROFS", "EACCES"]);
}

#[test]
fn a_recovery_of_an_undo_with_another_error_anywhere_is_done_again() {
    is_done_again(&[Step::Undo], &["ENOSPC", "EROFS", "EACCES"]);
}

#[test]
fn a_recovery_of_a_redo_with_an_error_anywhere_is_done_again() {
    is_done_again(&[Step::Redo], &["EIO", "ENOSPC", "EROFS", "EACCES"]);
}

#[test]
fn by_links_an_apply_with_an_error_anywhere_says_what_is_left() {
    tells_the_truth_lacking(Step::Apply, "exchange,no_replace", &["EIO@#", "EROFS@#.."]);
}

#[test]
fn by_looking_an_undo_with_an_error_anywhere_says_what_is_left() {
    tells_the_truth_lacking(Step::Undo, "exchange,no_replace,link", &["EIO@#"]);
}

/// What the mount can do is found out once, used, and kept in the journal.
#[test]
fn a_file_system_that_lacks_calls_is_found_out_and_the_journal_says_so() {
    for (lacks, means) in [
        ("", "exchange"),
        ("exchange", "no_replace"),
        ("exchange,no_replace", "link"),
        ("no_replace", "link"),
        ("exchange,no_replace,link", "look"),
    ] {
        let case = Case::lacking(Step::Apply, lacks);
        assert_eq!(case.run("none@0").as_deref(), Some("ok"), "{lacks}");
        let probed = case.points().iter().filter(|name| *name == "probe").count();
        assert_eq!(probed, 1, "{lacks}");
        assert!(read_tree(&case.root()) == case.new, "{lacks}");
        let world = crate::support::World::at(&case.root());
        let journal = world.path(".lictor/tx").join(&world.folders()[0]).join("journal");
        let text = std::fs::read_to_string(journal).expect("a journal");
        assert!(text.contains(&format!("\"means\":\"{means}\"")), "{lacks}: {text}");
    }
}
