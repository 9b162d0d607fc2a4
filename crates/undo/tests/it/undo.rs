//! `undo_restores`: bytes, modes, kinds and absence, exactly, in any order and any number of times.

use std::fs;

use lictor_context::ExecutionId;
use lictor_undo::{Content, History, UndoError, plan_undo};

use crate::support::{Failure, world};
use crate::tree::{
    create, delete, mixed_changes, mixed_tree, mkdir, model, modify, read_tree, rename, rmdir,
    write_tree,
};

#[test]
fn undo_and_redo_go_back_and_forth_exactly() {
    let world = world();
    let old = mixed_tree();
    write_tree(&world.root, &old);
    let changes = mixed_changes();
    let new = model(&old, &changes);
    let mut execution = world.apply(changes);
    for _ in 0..4 {
        execution = world.undo(&execution);
        assert_eq!(read_tree(&world.root), old);
        execution = world.undo(&execution);
        assert_eq!(read_tree(&world.root), new);
    }
    assert_eq!(world.unsettled(), Vec::<String>::new());
}

/// After a redo the first execution stands again, and it is that one which people undo.
#[test]
fn an_execution_can_be_undone_again_after_a_redo() {
    let world = world();
    let old = mixed_tree();
    write_tree(&world.root, &old);
    let changes = mixed_changes();
    let new = model(&old, &changes);
    let execution = world.apply(changes);
    for _ in 0..3 {
        let undo = world.undo(&execution);
        assert_eq!(read_tree(&world.root), old);
        world.undo(&undo);
        assert_eq!(read_tree(&world.root), new);
    }
}

#[test]
fn a_middle_execution_is_undone_when_nothing_later_touched_its_paths() {
    let world = world();
    world.write("a", "a0\n");
    let first = world.apply(vec![modify("a", "a0\n", "a1\n")]);
    let middle = world.apply(vec![create("b", "b1\n"), mkdir("dir")]);
    let last = world.apply(vec![modify("a", "a1\n", "a2\n"), create("c", "c1\n")]);
    world.undo(&middle);
    assert!(!world.path("b").exists());
    assert!(!world.path("dir").exists());
    assert_eq!((world.read("a"), world.read("c")), ("a2\n".to_owned(), "c1\n".to_owned()));
    let conflict = world.try_undo(&first).expect_err("a later one changed it").conflicts();
    assert_eq!(conflict[0].path, "a");
    world.undo(&last);
    world.undo(&first);
    assert_eq!(world.read("a"), "a0\n");
}

#[test]
fn several_undos_are_planned_against_what_the_ones_before_leave() {
    let world = world();
    world.write("a", "0\n");
    let first = world.apply(vec![modify("a", "0\n", "1\n")]);
    let second = world.apply(vec![rename("a", "b", "1\n")]);
    let plans = plan_undo(&world.transactions, &[second.clone(), first.clone()]).expect("plans");
    assert!(plans.iter().all(|plan| plan.conflicts.is_empty()), "{plans:?}");
    let plans = plan_undo(&world.transactions, &[first, second]).expect("plans");
    assert!(!plans[0].conflicts.is_empty());
}

#[test]
fn a_directory_of_ours_that_a_person_put_something_into_stays() {
    let world = world();
    let execution = world.apply(vec![create("made/deep/file", "ours\n"), mkdir("also")]);
    world.write("made/theirs", "theirs\n");
    let undo = world.undo(&execution);
    assert_eq!(world.read("made/theirs"), "theirs\n");
    assert!(!world.path("made/deep").exists());
    assert!(!world.path("also").exists());
    world.undo(&undo);
    assert_eq!(world.read("made/deep/file"), "ours\n");
    assert_eq!(world.read("made/theirs"), "theirs\n");
}

#[test]
fn what_is_back_already_needs_no_undo() {
    let world = world();
    world.write("a", "old\n");
    let execution = world.apply(vec![modify("a", "old\n", "new\n"), create("b", "b\n")]);
    fs::write(world.path("a"), "old\n").expect("a save");
    world.undo(&execution);
    assert_eq!(world.read("a"), "old\n");
    assert!(!world.path("b").exists());
}

#[test]
fn there_is_no_undo_of_what_never_was_or_was_rolled_back() {
    let world = world();
    let nobody = ExecutionId::parse("exe_01a1f876923b7eea9c09ed718d4afd1b").expect("an id");
    let error = plan_undo(&world.transactions, std::slice::from_ref(&nobody)).expect_err("none");
    assert!(matches!(error, UndoError::NoRecord(_)), "{error}");
    let executed = world.execute(vec![create("a", "a")]).expect("done");
    let id = executed.execution_id().clone();
    world.roll_back(executed);
    let error = plan_undo(&world.transactions, &[id]).expect_err("rolled back");
    assert!(matches!(error, UndoError::NoRecord(_)), "{error}");
    let failure = world.try_undo(&nobody).expect_err("no record");
    assert!(matches!(failure, Failure::Described(_)), "{failure:?}");
}

/// Found while planning when it is missing, and before anything is touched when it is damaged.
#[test]
fn a_slot_that_is_gone_or_damaged_is_found_before_anything_is_touched() {
    let world = world();
    world.write("a", "old a\n");
    world.write("b", "old b\n");
    let execution = world.apply(vec![modify("a", "old a\n", "new a\n"), delete("b", "old b\n")]);
    let slots = world.path(&format!(".lictor/tx/{execution}/s"));
    let tree = read_tree(&world.root);
    fs::write(slots.join("0001"), "damaged\n").expect("damage");
    let failure = world.try_undo(&execution).expect_err("damaged");
    assert_eq!(failure.left(), "not begun");
    assert!(format!("{failure:?}").contains("was changed since"), "{failure:?}");
    assert_eq!(read_tree(&world.root), tree);
    fs::remove_file(slots.join("0001")).expect("gone");
    let failure = world.try_undo(&execution).expect_err("gone");
    assert!(matches!(failure, Failure::Described(_)), "{failure:?}");
    assert_eq!(read_tree(&world.root), tree);
    assert_eq!(world.folders().len(), 1);
}

#[test]
fn the_history_shows_both_sides_as_long_as_they_are_kept() {
    let world = world();
    world.write("a", "old\n");
    let execution = world.apply(vec![modify("a", "old\n", "new\n"), create("b", "b\n")]);
    let history = History::open(&world.transactions).expect("a history");
    let kept = history.get(&execution).expect("readable").expect("a record");
    let sides: Vec<_> =
        (0..2).map(|index| history.contents(&kept, index).expect("contents")).collect();
    let bytes = |text: &str| Content::Bytes(text.as_bytes().to_vec());
    assert_eq!(sides[0], (bytes("old\n"), bytes("new\n")));
    assert_eq!(sides[1], (Content::Absent, bytes("b\n")));
    fs::write(world.path("b"), "edited\n").expect("a save");
    assert_eq!(history.contents(&kept, 1).expect("contents").1, Content::Gone);
}

#[test]
fn a_directory_that_was_emptied_and_removed_comes_back_with_what_it_held() {
    let world = world();
    world.write("dir/sub/file", "x\n");
    let execution =
        world.apply(vec![delete("dir/sub/file", "x\n"), rmdir("dir/sub"), rmdir("dir")]);
    assert!(!world.path("dir").exists());
    world.undo(&execution);
    assert_eq!(world.read("dir/sub/file"), "x\n");
}
