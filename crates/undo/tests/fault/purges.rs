//! A purge that dies, or whose disk fails, at any point: a record is whole or gone.

use lictor_context::ExecutionId;

use crate::child::{Case, Step, count, purge_all};
use crate::support::World;
use crate::tree::read_tree;

/// An execution and its undo, which share their slots.
fn prepared() -> (Case, [ExecutionId; 2]) {
    let case = Case::new(Step::Purge);
    assert_eq!(case.run_step(Step::Undo, "none@0").as_deref(), Some("ok"));
    case.points();
    let folders = World::at(&case.root()).folders();
    let ids: Vec<ExecutionId> =
        folders.iter().map(|name| ExecutionId::parse(name).expect("an id")).collect();
    (case, ids.try_into().expect("an execution and its undo"))
}

#[track_caller]
fn whole_or_gone(case: &Case, [first, undo]: &[ExecutionId; 2], context: &str) -> usize {
    let root = case.root();
    let world = World::at(&root);
    let before = read_tree(&root);
    assert!(world.recover().is_empty(), "{context}: a purge leaves nothing to settle");
    assert_eq!(read_tree(&root), before, "{context}: a recovery touches no file");
    let folders = world.folders();
    let has = |id: &ExecutionId| folders.iter().any(|name| name == id.as_str());
    assert!(folders.iter().all(|name| name.starts_with("exe_")), "{context}: {folders:?}");
    // The newer one goes first: its slots are those of the older one.
    assert!(has(first) || !has(undo), "{context}: {folders:?}");
    if has(undo) {
        // Whole: it can be taken back, and that again.
        let redo = world.undo(undo);
        world.undo(&redo);
    } else {
        let failure = world.try_undo(undo).expect_err("its record is gone");
        assert!(failure.why().contains("its record was purged"), "{context}: {}", failure.why());
    }
    assert_eq!(read_tree(&root), before, "{context}");
    let left = folders.len();
    purge_all(&world);
    assert_eq!(world.folders(), Vec::<String>::new(), "{context}: the next purge finishes it");
    assert_eq!(read_tree(&root), before, "{context}");
    left
}

#[test]
fn a_purge_that_is_killed_anywhere_leaves_each_record_whole_or_gone() {
    let (case, _) = prepared();
    assert_eq!(case.run("none@0").as_deref(), Some("ok"));
    let points = case.points();
    eprintln!("{} fault points of a purge", points.len());
    assert!(points.iter().filter(|name| name.starts_with("purge.")).count() == 8, "{points:?}");
    let mut left = [0; 3];
    for (n, name) in (1..).zip(&points) {
        let (case, ids) = prepared();
        assert_eq!(case.run(&format!("kill@{n}")), None, "killed at {n} ({name}): it lived");
        left[whole_or_gone(&case, &ids, &format!("killed at {n} ({name})"))] += 1;
    }
    assert!(left.iter().all(|n| *n > 0), "none, one and both were left: {left:?}");
}

#[test]
fn a_purge_whose_disk_fails_anywhere_leaves_each_record_whole_or_gone() {
    let points = {
        let (case, _) = prepared();
        case.run("none@0");
        case.points()
    };
    for (n, name) in (1..).zip(&points) {
        for error in ["EIO", "EROFS"] {
            let (case, ids) = prepared();
            case.run(&format!("{error}@{n}"));
            whole_or_gone(&case, &ids, &format!("{error} at {n} ({name})"));
        }
    }
    assert!(!count(Step::Purge).is_empty());
}
