//! `status_never_overstates`: what lies in a directory that somebody has moved away is not called
//! back, because it comes back with the directory. What somebody took out of the very directory is
//! theirs, and blocks nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use lictor_capability::Change;
use lictor_executor::Recovery;

use crate::support::{Temp, World, world};
use crate::tree::{chmod, create, delete, mkdir, modify, read_tree, rename};

/// How somebody gets a directory out of the way.
#[derive(Debug, Clone, Copy)]
enum Away {
    /// Nothing is there any more.
    Nothing,
    /// A link to another directory.
    Link,
    /// Another directory, with a file of the same name and content as was there before.
    Another,
}

const WAYS: [Away; 3] = [Away::Nothing, Away::Link, Away::Another];

impl Away {
    fn moves(self, world: &World) {
        fs::rename(world.path("dir"), world.path("aside")).expect("out of the way");
        match self {
            Self::Nothing => {}
            Self::Link => {
                world.write("elsewhere/file", "old\n");
                symlink("elsewhere", world.path("dir")).expect("a link");
            }
            Self::Another => world.write("dir/file", "old\n"),
        }
    }

    fn moves_back(self, world: &World) {
        match self {
            Self::Nothing => {}
            Self::Link => {
                fs::remove_file(world.path("dir")).expect("the link goes");
                fs::remove_dir_all(world.path("elsewhere")).expect("gone");
            }
            Self::Another => fs::remove_dir_all(world.path("dir")).expect("gone"),
        }
        fs::rename(world.path("aside"), world.path("dir")).expect("back");
    }
}

fn a_world() -> Temp {
    let world = world();
    world.write("dir/file", "old\n");
    world.write("other", "other\n");
    world
}

/// Each kind of change that could be lost sight of, alone: nothing else tells how far it came.
fn changes() -> Vec<(&'static str, Vec<Change>)> {
    vec![
        ("create", vec![create("dir/new", "new\n")]),
        ("modify", vec![modify("dir/file", "old\n", "new\n")]),
        ("delete", vec![delete("dir/file", "old\n")]),
        ("chmod", vec![chmod("dir/file", 0o644, 0o600)]),
        ("arrives", vec![rename("other", "dir/moved", "other\n")]),
        ("leaves", vec![rename("dir/file", "moved", "old\n")]),
        ("within", vec![rename("dir/file", "dir/moved", "old\n")]),
        ("tree", vec![mkdir("dir/sub"), create("dir/sub/new", "new\n")]),
    ]
}

#[test]
fn nothing_is_rolled_back_that_comes_back_with_its_directory() {
    for away in WAYS {
        for (what, changes) in changes() {
            let world = a_world();
            let old = read_tree(&world.root);
            let executed = world.execute(changes).expect("done");
            away.moves(&world);
            let report = world.roll_back(executed);
            assert!(!report.is_complete(), "{what} {away:?}: {report:?}");
            let again = world.recover();
            assert_eq!(again[0].recovery, Recovery::Incomplete, "{what} {away:?}");
            away.moves_back(&world);
            let recovered = world.recover();
            assert_eq!(recovered[0].recovery, Recovery::PutBack, "{what} {away:?}: {recovered:?}");
            assert_eq!(read_tree(&world.root), old, "{what} {away:?}");
            assert_eq!(world.folders(), Vec::<String>::new(), "{what} {away:?}");
        }
    }
}

/// A crash behind it, and then the directory goes: nobody can say that it was never done.
#[test]
fn nothing_is_discarded_whose_directory_was_moved_away() {
    for away in WAYS {
        for (what, changes) in changes() {
            let world = a_world();
            let old = read_tree(&world.root);
            drop(world.execute(changes).expect("done"));
            let new = read_tree(&world.root);
            away.moves(&world);
            let told = world.recover()[0].recovery;
            away.moves_back(&world);
            let later = world.recover();
            let last = later.first().map_or(told, |one| one.recovery);
            match last {
                Recovery::Finished => assert_eq!(read_tree(&world.root), new, "{what} {away:?}"),
                Recovery::PutBack => assert_eq!(read_tree(&world.root), old, "{what} {away:?}"),
                other => panic!("{what} {away:?}: {other:?} {later:?}"),
            }
            assert_eq!(world.unsettled(), Vec::<String>::new(), "{what} {away:?}");
        }
    }
}

/// A power cut in the first barrier may have taken the slot's name: then nothing was ever done, and
/// without the directory that looks like something that was.
#[test]
fn what_was_perhaps_never_done_is_not_called_done_while_its_directory_is_away() {
    let world = a_world();
    let old = read_tree(&world.root);
    drop(world.execute(vec![create("dir/new", "new\n")]).expect("done"));
    fs::remove_file(world.path("dir/new")).expect("neither in its slot nor at its path");
    Away::Nothing.moves(&world);
    assert_eq!(world.recover()[0].recovery, Recovery::Incomplete);
    Away::Nothing.moves_back(&world);
    assert_eq!(world.recover()[0].recovery, Recovery::Discarded);
    assert_eq!(read_tree(&world.root), old);
}

#[test]
fn new_work_waits_until_the_directory_is_back() {
    let world = a_world();
    let executed = world.execute(vec![create("dir/new", "new\n")]).expect("done");
    Away::Nothing.moves(&world);
    let report = world.roll_back(executed);
    assert_eq!(report.stuck[0].path, "dir/new");
    assert!(report.stuck[0].reason.contains("moved away"), "{}", report.stuck[0].reason);
    let failure = world.try_apply(vec![create("x", "x\n")]).expect_err("something is stuck");
    assert_eq!(failure.left(), "not begun", "{}", failure.why());
    Away::Nothing.moves_back(&world);
    world.apply(vec![create("x", "x\n")]);
    assert!(!world.path("dir/new").exists());
}

#[test]
fn what_somebody_took_out_of_the_very_directory_blocks_nothing() {
    type Act = fn(&World);
    let acts: [(&str, Act); 4] = [
        ("a file", |world| fs::remove_file(world.path("dir/new")).expect("gone")),
        ("a file that was renamed", |world| {
            fs::rename(world.path("dir/new"), world.path("theirs")).expect("renamed");
        }),
        ("a file that was saved over", |world| {
            world.write("dir/saving", "theirs\n");
            fs::rename(world.path("dir/saving"), world.path("dir/new")).expect("a save");
        }),
        ("a new directory with all in it", |world| {
            fs::remove_dir_all(world.path("dir/sub")).expect("gone");
        }),
    ];
    for (what, act) in acts {
        let changes =
            || vec![create("dir/new", "new\n"), mkdir("dir/sub"), create("dir/sub/deep", "new\n")];
        let world = a_world();
        let executed = world.execute(changes()).expect("done");
        act(&world);
        let report = world.roll_back(executed);
        let saved = what.contains("saved");
        assert_eq!(report.is_complete(), !saved, "{what}: {report:?}");

        let world = a_world();
        drop(world.execute(changes()).expect("done"));
        act(&world);
        assert_eq!(world.recover()[0].recovery, Recovery::Finished, "{what}");
    }
}

/// Somebody puts another directory in the place of the one that was judged, the same to look at.
#[test]
fn nothing_is_published_into_another_directory_than_was_looked_at() {
    for (what, changes) in changes().into_iter().filter(|(what, _)| *what != "chmod") {
        let world = a_world();
        drop(world.execute(changes).expect("done"));
        let new = read_tree(&world.root);
        let open = world.unsettled().pop().expect("its folder");
        put_back_by_hand(&world, &open, what);
        let old = read_tree(&world.root);
        Away::Another.moves(&world);
        let told = world.recover()[0].recovery;
        assert_ne!(told, Recovery::Finished, "{what}");
        Away::Another.moves_back(&world);
        // What could not be told before is found to be done or not, and finished from there.
        let later = world.recover().first().map_or(told, |one| one.recovery);
        let tree = if later == Recovery::Finished { new } else { old };
        assert_ne!(later, Recovery::Incomplete, "{what}");
        assert_eq!(read_tree(&world.root), tree, "{what}");
    }
}

/// As a crash right behind the first barrier leaves it.
fn put_back_by_hand(world: &World, execution: &str, what: &str) {
    let slot = |n: usize| world.path(&format!(".lictor/tx/{execution}/s/{n:04}"));
    let moves: &[(&str, usize)] = match what {
        "create" => &[("dir/new", 0)],
        "tree" => &[("dir/sub/new", 1), ("dir/sub", 0)],
        "modify" => {
            let exchange = rustix::fs::RenameFlags::EXCHANGE;
            let cwd = rustix::fs::CWD;
            rustix::fs::renameat_with(cwd, world.path("dir/file"), cwd, slot(0), exchange)
                .expect("back");
            &[]
        }
        "delete" => {
            fs::rename(slot(0), world.path("dir/file")).expect("back");
            &[]
        }
        renamed => {
            let (from, to) = match renamed {
                "arrives" => ("other", "dir/moved"),
                "leaves" => ("dir/file", "moved"),
                _ => ("dir/file", "dir/moved"),
            };
            fs::rename(world.path(to), world.path(from)).expect("back");
            &[]
        }
    };
    for (path, n) in moves {
        fs::rename(world.path(path), slot(*n)).expect("back");
    }
}

/// An earlier version did not note the directories: what it left is settled as far as it can be.
#[test]
fn a_journal_without_directories_is_settled_where_the_directory_is_there() {
    let sealed_before = |world: &World| {
        let open = world.unsettled().pop().expect("its folder");
        let journal: PathBuf = world.path(".lictor/tx").join(open).join("journal");
        let text = fs::read_to_string(&journal).expect("a journal");
        let at = text.find("{\"commit\"").expect("a commit line");
        let lines = text[..at].lines().map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let line = line.as_object_mut().expect("an object");
            assert!(line.contains_key("v") || line.remove("to_dir").is_some(), "{line:?}");
            line.remove("from_dir");
            format!("{}\n", serde_json::to_string(line).expect("JSON"))
        });
        let text: String = lines.collect();
        let commit = lictor_context::Digest::of(text.as_bytes());
        let text = format!("{text}{{\"commit\":\"{commit}\"}}\n{{\"abort\":true}}\n");
        fs::write(journal, text).expect("a journal");
    };
    let world = a_world();
    let old = read_tree(&world.root);
    drop(world.execute(vec![create("dir/new", "new\n")]).expect("done"));
    sealed_before(&world);
    Away::Nothing.moves(&world);
    assert_eq!(world.recover()[0].recovery, Recovery::Incomplete);
    Away::Nothing.moves_back(&world);
    assert_eq!(world.recover()[0].recovery, Recovery::PutBack);
    assert_eq!(read_tree(&world.root), old);

    drop(world.execute(vec![create("dir/new", "new\n")]).expect("done"));
    sealed_before(&world);
    fs::remove_file(world.path("dir/new")).expect("gone");
    assert_eq!(world.recover()[0].recovery, Recovery::PutBack);
}
