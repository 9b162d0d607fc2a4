//! Durability costs two barriers, however much is changed.

use std::fs;
use std::process::{Command, Stdio};

use crate::support::World;
use crate::tree::{create, modify};

const ROOT: &str = "LICTOR_TEST_FLUSHES";

/// Not a test of its own: what the other one runs under strace.
#[test]
fn a_step_of_the_other_test() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let root = std::path::Path::new(&root);
    let wanted = fs::read_to_string(root.join(".lictor/wanted")).expect("a wish");
    let (what, n) = wanted.split_once(' ').expect("a wish");
    let world = match what {
        "lazily" => World::lazy(root),
        "checked" => World::checked(root, true),
        "checked-lazily" => World::checked_lazily(root),
        _ => World::at(root),
    };
    if what == "undo" {
        world.undo(&lictor_context::ExecutionId::parse(n).expect("an id"));
        return;
    }
    let files = 0..n.parse::<u32>().expect("a number");
    world.apply(
        files
            .flat_map(|i| {
                let old = format!("dir-{}/old-{i}", i % 10);
                let new = format!("dir-{}/new-{i}", i % 10);
                [modify(&old, "old\n", "new\n"), create(&new, "new\n")]
            })
            .collect(),
    );
}

/// The flushing calls that one step makes.
fn flushes(world: &World, wish: &str) -> Vec<String> {
    fs::write(world.path(".lictor/wanted"), wish).expect("a wish");
    let log = world.path(".lictor/strace");
    let status = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=fsync,fdatasync,syncfs,sync,msync,sync_file_range", "-o"])
        .arg(&log)
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "flushes::a_step_of_the_other_test", "--test-threads=1"])
        .env(ROOT, &world.root)
        .stdout(Stdio::null())
        .status()
        .expect("strace");
    assert!(status.success());
    let log = fs::read_to_string(log).expect("a log");
    let calls = log.lines().filter(|line| line.contains("sync"));
    calls
        .map(|line| line.split_once(' ').map_or(line, |(_, call)| call).trim().to_owned())
        .collect()
}

#[test]
fn the_number_of_flushes_does_not_grow_with_the_number_of_files() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: strace is not installed");
        return;
    }
    for n in [1, 10, 100] {
        let world = crate::support::world();
        for i in 0..n {
            world.write(&format!("dir-{}/old-{i}", i % 10), "old\n");
        }
        let apply = flushes(&world, &format!("apply {n}"));
        assert_eq!(apply.len(), 2, "apply of {n}: {apply:?}");
        assert!(apply.iter().all(|call| call.starts_with("syncfs(")), "{apply:?}");
        let execution = &world.folders()[0];
        let undo = flushes(&world, &format!("undo {execution}"));
        assert_eq!(undo.len(), 2, "undo of {n}: {undo:?}");
        assert_eq!(world.read("dir-0/old-0"), "old\n");
    }
}

/// That it was checked is durable by the second barrier; where none comes, by a flush of its own.
#[test]
fn a_change_that_is_checked_costs_no_flush_more() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: strace is not installed");
        return;
    }
    for (wish, expected) in
        [("checked 1", ["syncfs(", "syncfs("]), ("checked-lazily 1", ["syncfs(", "fdatasync("])]
    {
        let world = crate::support::world();
        world.write("dir-0/old-0", "old\n");
        let calls = flushes(&world, wish);
        let fits = calls.iter().zip(expected).all(|(call, expected)| call.starts_with(expected));
        assert!(calls.len() == expected.len() && fits, "{wish}: {calls:?}");
        assert_eq!(world.read("dir-0/old-0"), "new\n");
    }
}

/// Lazily it is one; the journal stays open until the barrier of a later change, and a recovery of
/// it, or one after a power cut, finds the change in place.
#[test]
fn a_lazy_change_costs_one_flush_and_is_closed_behind_the_next() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: strace is not installed");
        return;
    }
    for n in [1, 100] {
        let world = crate::support::world();
        for i in 0..n {
            world.write(&format!("dir-{}/old-{i}", i % 10), "old\n");
        }
        let apply = flushes(&world, &format!("lazily {n}"));
        assert_eq!(apply.len(), 1, "apply of {n}: {apply:?}");
        assert_eq!(world.unsettled(), world.folders(), "nothing says that it is durable");
        assert_eq!(world.recover()[0].recovery, lictor_executor::Recovery::Finished);
        assert_eq!(world.read("dir-0/old-0"), "new\n");
    }
    let temp = crate::support::world();
    let world = World::lazy(&temp.root);
    let first = world.apply(vec![create("a", "a\n")]);
    assert_eq!(world.unsettled(), [first.to_string()]);
    let second = world.apply(vec![create("b", "b\n")]);
    assert_eq!(world.unsettled(), [second.to_string()], "the first is behind a barrier now");
    world.undo(&first);
    assert!(!world.path("a").exists());
}

/// Each call of the command is a process of its own, and none may leave records open for ever.
#[test]
fn what_one_process_acknowledged_early_the_next_one_closes() {
    let temp = crate::support::world();
    let first = World::lazy(&temp.root).apply(vec![create("a", "a\n")]);
    let second = World::lazy(&temp.root).apply(vec![create("b", "b\n")]);
    assert_eq!(temp.unsettled(), [second.to_string()]);
    let third = World::at(&temp.root).apply(vec![create("c", "c\n")]);
    assert_eq!(temp.unsettled(), Vec::<String>::new());
    let mut all = [first, second, third].map(|id| id.to_string());
    all.sort();
    assert_eq!(temp.folders(), all);
    assert!(!temp.path(".lictor/tx/.behind").exists());
}
