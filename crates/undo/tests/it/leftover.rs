//! A folder that was made for something goes with the last that is in it, in whichever order things
//! are undone; and nobody's own folder ever does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use lictor_context::ExecutionId;
use lictor_undo::plan_undo;
use proptest::prelude::*;

use crate::choices::check;
use crate::support::{Temp, World, world, world_in_memory};
use crate::tree::{create, mkdir, read_tree};

#[test]
fn a_folder_goes_with_the_last_that_is_in_it() {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in orders {
        let world = world();
        let files = ["out/a/b/0", "out/1", "out/a/2"];
        let done = files.map(|path| world.apply(vec![create(path, "x")]));
        for (n, at) in order.into_iter().enumerate() {
            world.undo(&done[at]);
            let left = order[n + 1..].iter().map(|at| files[*at]);
            let mut folders: BTreeSet<&str> = BTreeSet::new();
            for path in left {
                folders.extend(
                    ["out", "out/a", "out/a/b"].iter().filter(|f| {
                        path.strip_prefix(**f).is_some_and(|rest| rest.starts_with('/'))
                    }),
                );
            }
            let there = read_tree(&world.root);
            let there: BTreeSet<&str> =
                there.keys().map(String::as_str).filter(|path| !files.contains(path)).collect();
            assert_eq!(there, folders, "order {order:?}, after {n}");
        }
        assert_eq!(world.unsettled(), Vec::<String>::new());
    }
}

#[test]
fn each_redo_finds_the_folder_whichever_undo_took_it() {
    for first in [0, 1] {
        let world = world();
        let done = ["out/0", "out/1"].map(|path| world.apply(vec![create(path, "x")]));
        let new = read_tree(&world.root);
        // The maker of the folder first, so that the other one takes it along.
        let undos = [world.undo(&done[0]), world.undo(&done[1])];
        assert!(read_tree(&world.root).is_empty());
        world.undo(&undos[first]);
        world.undo(&undos[1 - first]);
        assert_eq!(read_tree(&world.root), new);
        // By their first names, the other way round.
        world.undo(&done[1]);
        assert!(world.path("out").is_dir());
        world.undo(&done[0]);
        assert!(read_tree(&world.root).is_empty());
        assert_eq!(world.unsettled(), Vec::<String>::new());
    }
}

#[test]
fn what_several_undos_would_do_is_what_they_do_one_by_one() {
    let world = world();
    let files = ["out/a/0", "out/1", "out/a/2"];
    let done = files.map(|path| world.apply(vec![create(path, "x")]));
    let plans = plan_undo(&world.transactions, &done).expect("plans");
    for (execution, planned) in done.iter().zip(plans) {
        let alone =
            plan_undo(&world.transactions, std::slice::from_ref(execution)).expect("a plan");
        let paths = |plan: &lictor_capability::Effects| -> Vec<String> {
            plan.changes.items.iter().map(|item| item.path().to_owned()).collect()
        };
        assert_eq!(paths(&planned), paths(&alone[0]));
        world.undo(execution);
    }
    assert!(read_tree(&world.root).is_empty());
}

#[test]
fn a_folder_with_something_of_a_person_in_it_stays_and_is_no_conflict() {
    let world = world();
    let first = world.apply(vec![create("out/0", "x")]);
    let second = world.apply(vec![create("out/1", "x")]);
    world.write("out/theirs", "mine");
    world.undo(&first);
    world.undo(&second);
    assert_eq!(read_tree(&world.root).keys().collect::<Vec<_>>(), ["out", "out/theirs"]);
}

#[test]
fn a_folder_of_a_person_stays_whoever_else_was_in_it() {
    let world = world();
    fs::create_dir(world.path("out")).expect("a folder");
    let done = ["out/0", "out/1"].map(|path| world.apply(vec![create(path, "x")]));
    for execution in &done {
        world.undo(execution);
    }
    assert!(world.path("out").is_dir(), "it was there before");
}

#[test]
fn a_folder_that_a_person_put_in_the_place_of_ours_stays() {
    let world = world();
    let first = world.apply(vec![create("out/0", "x")]);
    let second = world.apply(vec![create("out/1", "x")]);
    world.undo(&first);
    // Made while ours is there, so that it cannot have the same inode.
    fs::create_dir(world.path("mine")).expect("a folder");
    fs::rename(world.path("out/1"), world.path("mine/1")).expect("moved");
    fs::remove_dir(world.path("out")).expect("ours is gone");
    fs::rename(world.path("mine"), world.path("out")).expect("theirs is in its place");
    world.undo(&second);
    assert!(world.path("out").is_dir(), "a person has made it");
}

#[test]
fn an_empty_folder_that_was_there_before_is_there_again() {
    let world = world();
    let maker = world.apply(vec![create("out/0", "x")]);
    world.write("out/theirs", "mine");
    world.undo(&maker);
    fs::remove_file(world.path("out/theirs")).expect("a person takes it away again");
    let old = read_tree(&world.root);
    assert_eq!(old.keys().collect::<Vec<_>>(), ["out"]);
    let later = world.apply(vec![create("out/1", "x")]);
    world.undo(&later);
    assert_eq!(read_tree(&world.root), old, "an undo restores what its execution had found");
}

#[test]
fn a_folder_that_was_asked_for_and_stands_is_nobodys_to_take() {
    let world = world();
    let made = world.apply(vec![mkdir("out")]);
    let written = world.apply(vec![create("out/1", "x")]);
    world.undo(&written);
    assert!(world.path("out").is_dir(), "whoever asked for it was not undone");
    let undo = world.undo(&made);
    assert!(!world.path("out").exists());
    world.undo(&undo);
    let again = world.apply(vec![create("out/2", "x")]);
    world.undo(&again);
    assert!(world.path("out").is_dir(), "the redo stands");
}

/// The maker was undone before the last one came; what was in the folder then goes in between.
#[test]
fn the_last_takes_it_that_came_after_its_maker_was_undone() {
    let world = world();
    let maker = world.apply(vec![create("out/0", "x")]);
    let between = world.apply(vec![create("out/1", "x")]);
    world.undo(&maker);
    let last = world.apply(vec![create("out/2", "x")]);
    world.undo(&between);
    assert!(world.path("out/2").exists());
    world.undo(&last);
    assert!(read_tree(&world.root).is_empty());
}

#[test]
fn another_process_knows_of_it_as_well() {
    let world = world();
    let done = ["out/0", "out/1"].map(|path| world.apply(vec![create(path, "x")]));
    world.undo(&done[0]);
    World::at(&world.root).undo(&done[1]);
    assert!(read_tree(&world.root).is_empty());
}

/// What is undone and redone next, and of which execution.
#[derive(Debug, Clone)]
struct Turn(prop::sample::Index);

/// Everything in these folders; some of them are a person's.
fn files() -> impl Strategy<Value = Vec<Vec<String>>> {
    let folder = prop::sample::select(vec!["a", "a/b", "a/b/c", "a/d", "e", "e/f", "old", "old/g"]);
    let execution = prop::collection::vec(folder, 1..4);
    prop::collection::vec(execution, 1..7).prop_map(|executions| {
        let name = |(n, folders): (usize, Vec<&str>)| {
            let path = |(m, folder): (usize, &str)| format!("{folder}/{n}.{m}");
            folders.into_iter().enumerate().map(path).collect()
        };
        executions.into_iter().enumerate().map(name).collect()
    })
}

/// Every folder that is there was there before, or something is in it.
fn no_folder_is_left(world: &Temp, old: &BTreeMap<String, crate::tree::Node>) -> bool {
    let tree = read_tree(&world.root);
    tree.keys().filter(|path| world.path(path).is_dir()).all(|folder| {
        let inside = |path: &String| path.starts_with(&format!("{folder}/"));
        old.contains_key(folder) || tree.keys().any(inside)
    })
}

#[test]
fn whatever_is_undone_and_redone_in_whichever_order_no_folder_is_left_behind() {
    let turns = prop::collection::vec(any::<prop::sample::Index>().prop_map(Turn), 0..24);
    check(60, (files(), turns), |(executions, turns)| {
        let world = world_in_memory();
        fs::create_dir(world.path("old")).expect("a person's folder");
        let old = read_tree(&world.root);
        let mut done: Vec<(ExecutionId, Option<ExecutionId>)> = Vec::new();
        for paths in executions {
            done.push((world.apply(paths.iter().map(|path| create(path, path)).collect()), None));
        }
        let full = read_tree(&world.root);
        for Turn(at) in turns {
            let (execution, undo) = at.get(&done).clone();
            let before = read_tree(&world.root);
            let at = at.index(done.len());
            match undo {
                None => {
                    let undone = world.try_undo(&execution);
                    prop_assert!(undone.is_ok(), "{:#?}", undone);
                    done[at].1 = undone.ok();
                }
                // The folder may be gone with another one, and then a redo says so and does nothing.
                Some(undo) => match world.try_undo(&undo) {
                    Ok(_) => done[at].1 = None,
                    Err(_) => prop_assert_eq!(&read_tree(&world.root), &before),
                },
            }
            prop_assert!(no_folder_is_left(&world, &old), "{:#?}", read_tree(&world.root));
        }
        let mut stack: Vec<(usize, ExecutionId)> = Vec::new();
        for (at, (execution, undo)) in done.iter().enumerate() {
            if undo.is_none() {
                let undone = world.try_undo(execution);
                prop_assert!(undone.is_ok(), "{:#?}", undone);
                stack.extend(undone.ok().map(|undo| (at, undo)));
            }
        }
        prop_assert_eq!(&read_tree(&world.root), &old);
        let all = stack.len() == done.len();
        while let Some((_, undo)) = stack.pop() {
            let redone = world.try_undo(&undo);
            prop_assert!(redone.is_ok(), "{:#?}", redone);
        }
        if all {
            prop_assert_eq!(&read_tree(&world.root), &full);
        }
        Ok(())
    });
}
