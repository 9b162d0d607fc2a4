//! `all_or_nothing`: what an apply makes of a workspace, and what it never touches.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use crate::support::{Failure, World, world};
use crate::tree::{
    chmod, create, delete, link, mixed_changes, mixed_tree, model, modify, read_tree, rename,
    rmdir, write_tree,
};
use lictor_capability::ConflictReason;

#[test]
fn a_mixed_change_set_makes_exactly_the_models_tree() {
    let world = world();
    let old = mixed_tree();
    write_tree(&world.root, &old);
    let changes = mixed_changes();
    assert!(changes.len() >= 40);
    let new = model(&old, &changes);
    world.apply(changes);
    assert_eq!(read_tree(&world.root), new);
    assert_eq!(world.unsettled(), Vec::<String>::new());
}

#[test]
fn a_failed_check_puts_the_old_tree_back() {
    let world = world();
    let old = mixed_tree();
    write_tree(&world.root, &old);
    let failure = World::checked(&world.root, false).try_apply(mixed_changes());
    assert_eq!(failure.expect_err("refused").left(), "rolled back");
    assert_eq!(read_tree(&world.root), old);
    assert_eq!(world.folders(), Vec::<String>::new());
}

#[test]
fn a_ledger_that_does_not_record_it_puts_the_old_tree_back() {
    let world = world();
    let old = mixed_tree();
    write_tree(&world.root, &old);
    *world.ledger.refuses.lock().expect("the switch") = true;
    let failure = world.try_apply(mixed_changes()).expect_err("not recorded");
    assert!(matches!(failure, Failure::Commit(_)), "{failure:?}");
    assert_eq!(failure.left(), "rolled back");
    assert_eq!(read_tree(&world.root), old);
}

#[test]
fn a_rollback_on_demand_puts_the_old_tree_back() {
    let world = world();
    let old = mixed_tree();
    write_tree(&world.root, &old);
    let executed = world.execute(mixed_changes()).expect("done");
    let report = world.roll_back(executed);
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(read_tree(&world.root), old);
}

/// A save that comes between the judgement and the exchange: found before anything is touched.
#[test]
fn a_path_that_changed_since_it_was_judged_is_a_conflict_and_nothing_is_done() {
    let world = world();
    world.write("a", "old\n");
    let failure = world
        .try_apply(vec![create("new", "new\n"), modify("a", "other\n", "new\n")])
        .expect_err("a conflict");
    assert_eq!(failure.left(), "not begun");
    assert_eq!(failure.conflicts()[0].reason, ConflictReason::ContentDiffers);
    assert_eq!(world.read("a"), "old\n");
    assert!(!world.path("new").exists());
}

#[test]
fn a_replaced_file_keeps_its_extended_attributes_and_undo_brings_the_very_inode_back() {
    let world = world();
    world.write("a", "old\n");
    world.chmod("a", 0o640);
    fs::hard_link(world.path("a"), world.path("b")).expect("a link");
    let noted = rustix::fs::setxattr(
        world.path("a"),
        "user.note",
        b"mine",
        rustix::fs::XattrFlags::empty(),
    );
    let before = fs::metadata(world.path("a")).expect("metadata");
    let execution = world.apply(vec![modify("a", "old\n", "new\n")]);
    let between = fs::metadata(world.path("a")).expect("metadata");
    assert_ne!(between.ino(), before.ino());
    assert_eq!(between.mode(), before.mode());
    assert_eq!(world.read("b"), "old\n", "another name of the old file is none of ours");
    let note = || {
        let mut value = [0_u8; 16];
        let read = rustix::fs::getxattr(world.path("a"), "user.note", &mut value[..]);
        read.map(|n| value[..n].to_vec())
    };
    if noted.is_ok() {
        assert_eq!(note().as_deref(), Ok(&b"mine"[..]));
    } else {
        eprintln!("skipped: this file system has no extended attributes");
    }
    world.undo(&execution);
    let after = fs::metadata(world.path("a")).expect("metadata");
    assert_eq!(after.ino(), before.ino());
    assert_eq!(after.nlink(), 2);
    assert_eq!((after.mtime(), after.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
    if noted.is_ok() {
        assert_eq!(note().as_deref(), Ok(&b"mine"[..]));
    }
}

/// The handle is opened, the path is free, and then it is not: found before anything is touched.
#[test]
fn a_path_that_is_taken_or_changed_between_judgement_and_change_is_a_conflict() {
    for (path, reason) in [("new", ConflictReason::Exists), ("a", ConflictReason::ContentDiffers)] {
        let world = world();
        world.write("a", "old\n");
        let at = world.path(path);
        world.meanwhile(move || fs::write(at, "theirs\n").expect("a save"));
        let failure = world
            .try_apply(vec![modify("a", "old\n", "new\n"), create("new", "new\n")])
            .expect_err("a conflict");
        assert_eq!(failure.left(), "not begun", "{}", failure.why());
        assert_eq!(failure.conflicts()[0].reason, reason);
        assert_eq!(world.read(path), "theirs\n");
        assert_eq!(world.folders(), Vec::<String>::new());
    }
}

#[test]
fn a_symlinked_folder_of_transactions_is_refused() {
    for name in [".lictor/tx", ".lictor"] {
        let world = world();
        world.write("a", "old\n");
        let outside = world.dir.path().join("outside");
        fs::create_dir(&outside).expect("a directory");
        if name == ".lictor" {
            fs::remove_dir_all(world.path(".lictor")).expect("gone");
        }
        symlink(&outside, world.path(name)).expect("a link");
        let failure = world.try_apply(vec![modify("a", "old\n", "new\n")]).expect_err("refused");
        assert_eq!(failure.left(), "not begun", "{failure:?}");
        assert_eq!(world.read("a"), "old\n");
        let inside = fs::read_dir(&outside).expect("a directory");
        let planted: Vec<_> = inside.map(|entry| entry.expect("an entry").file_name()).collect();
        assert!(planted.iter().all(|name| name == "lock"), "{planted:?}");
    }
}

#[test]
fn what_slots_hold_is_private_and_ignored_by_git() {
    let world = world();
    world.write("secret", "old\n");
    world.apply(vec![delete("secret", "old\n")]);
    let mode = |at: &str| fs::metadata(world.path(at)).expect("metadata").mode() & 0o777;
    assert_eq!(mode(".lictor/tx"), 0o700);
    assert_eq!(world.read(".lictor/tx/.gitignore"), "*\n");
    fs::write(world.path(".lictor/tx/.gitignore"), "").expect("cut short by a crash");
    world.apply(vec![create("a", "a")]);
    assert_eq!(world.read(".lictor/tx/.gitignore"), "*\n");
}

/// The names of a chain may meet in any order.
#[test]
fn a_rename_over_a_name_that_becomes_free_in_the_same_set_is_done() {
    let world = world();
    world.write("a", "a\n");
    world.write("b", "b\n");
    world.write("f", "f\n");
    let execution = world.apply(vec![
        rename("b", "c", "b\n"),
        rename("a", "b", "a\n"),
        create("a", "new\n"),
        rename("f", "f/f", "f\n"),
    ]);
    let all = ["a", "b", "c", "f/f"].map(|at| world.read(at));
    assert_eq!(all, ["new\n", "a\n", "b\n", "f\n"]);
    world.undo(&execution);
    let all = ["a", "b", "f"].map(|at| world.read(at));
    assert_eq!(all, ["a\n", "b\n", "f\n"]);
    assert!(!world.path("c").exists());
}

/// After a crash the modes tell nothing: the two files have each other's.
#[test]
fn a_chain_of_renames_with_modes_is_exact() {
    let world = world();
    world.write("a", "a\n");
    world.write("b", "b\n");
    world.chmod("b", 0o600);
    let execution = world.apply(vec![
        rename("b", "c", "b\n"),
        rename("a", "b", "a\n"),
        chmod("b", 0o644, 0o600),
        chmod("c", 0o600, 0o644),
        link("d", "b"),
    ]);
    let mode = |at: &str| fs::metadata(world.path(at)).expect("metadata").mode() & 0o777;
    assert_eq!((mode("b"), mode("c")), (0o600, 0o644));
    world.undo(&execution);
    assert_eq!((mode("a"), mode("b")), (0o644, 0o600));
}

/// A directory that a person fills while it is being removed stays, and so does everything else.
#[test]
fn a_directory_that_is_not_empty_is_not_removed() {
    let world = world();
    fs::create_dir(world.path("dir")).expect("a directory");
    world.write("dir/theirs", "theirs\n");
    world.write("a", "a\n");
    let failure =
        world.try_apply(vec![delete("a", "a\n"), rmdir("dir")]).expect_err("it is not empty");
    assert_eq!(failure.left(), "not begun");
    assert_eq!(world.read("a"), "a\n");
    assert_eq!(world.read("dir/theirs"), "theirs\n");
}

/// What could not be put back is said and kept, and nothing is built on it until somebody has put
/// it right.
#[test]
fn a_rollback_that_meets_a_save_says_so_keeps_both_and_stops_new_work() {
    let world = world();
    world.write("a", "old\n");
    let executed = world.execute(vec![modify("a", "old\n", "new\n")]).expect("done");
    world.write("a", "theirs\n");
    let report = world.roll_back(executed);
    assert_eq!(report.stuck.len(), 1, "{report:?}");
    assert_eq!(report.stuck[0].path, "a");
    assert!(report.stuck[0].reason.contains("not what the author saw"), "{report:?}");
    assert_eq!(world.read("a"), "theirs\n", "nobody's save is overwritten");
    let refused = world.try_apply(vec![create("b", "b\n")]).expect_err("it is stuck");
    assert_eq!(refused.left(), "not begun");
    let kept = world.unsettled();
    assert_eq!(kept.len(), 1, "what could not be put back is kept: {kept:?}");
    for part in ["`a`", kept[0].as_str(), "lictor recover"] {
        assert!(refused.why().contains(part), "{part} in {}", refused.why());
    }
    let slot = world.path(&format!(".lictor/tx/{}/s/0000", kept[0]));
    assert_eq!(fs::read_to_string(slot).expect("the old file"), "old\n");
    // Somebody keeps their text elsewhere, and the old one comes back.
    fs::rename(world.path("a"), world.path("a.mine")).expect("kept");
    world.write("a", "old\n");
    world.apply(vec![create("b", "b\n")]);
    assert_eq!(world.unsettled(), Vec::<String>::new());
    assert_eq!((world.read("a"), world.read("a.mine")), ("old\n".into(), "theirs\n".into()));
}

/// Staged in a private folder, a new thing still gets what its directory hands on.
#[test]
fn new_things_inherit_group_and_default_access_list_as_the_kernel_would_have_it() {
    use std::os::unix::fs::MetadataExt as _;
    let world = world();
    fs::create_dir(world.path("shared")).expect("a directory");
    // Root may give any group; anybody else their own, and then there is less to see.
    let group = if rustix::process::geteuid().is_root() {
        4711
    } else {
        rustix::process::getegid().as_raw()
    };
    std::os::unix::fs::chown(world.path("shared"), None, Some(group)).expect("a group");
    world.chmod("shared", 0o2775);
    // user::rwx, user:4712:rwx, group::r-x, mask::rwx, other::---
    let entry = |tag: u16, bits: u16, id: u32| {
        [&tag.to_le_bytes()[..], &bits.to_le_bytes()[..], &id.to_le_bytes()[..]].concat()
    };
    let none = u32::MAX;
    let list = [
        2_u32.to_le_bytes().to_vec(),
        entry(1, 7, none),
        entry(2, 7, 4712),
        entry(4, 5, none),
        entry(16, 7, none),
        entry(32, 0, none),
    ]
    .concat();
    let flags = rustix::fs::XattrFlags::empty();
    let set = |path: &str| {
        rustix::fs::setxattr(world.path(path), "system.posix_acl_default", &list, flags)
    };
    let lists = set("shared").is_ok();
    if !lists {
        eprintln!("skipped: access lists, which this file system does not have");
    }
    world.apply(vec![create("shared/file", "ours\n"), create("shared/new/deep/file", "ours\n")]);
    fs::write(world.path("shared/by-the-kernel"), "theirs\n").expect("a file");
    fs::create_dir(world.path("shared/dir-by-the-kernel")).expect("a directory");
    for path in ["shared/file", "shared/new", "shared/new/deep", "shared/new/deep/file"] {
        let of = |path: &str| fs::symlink_metadata(world.path(path)).expect("it is there");
        assert_eq!(of(path).gid(), group, "{path}");
        let dir = of(path).is_dir();
        assert_eq!(of(path).mode() & 0o2000 != 0, dir, "{path}: {:o}", of(path).mode());
        let twin = if dir { "shared/dir-by-the-kernel" } else { "shared/by-the-kernel" };
        assert_eq!(of(twin).gid(), group);
        for name in ["system.posix_acl_access", "system.posix_acl_default"] {
            let read = |path: &str| {
                let mut value = vec![0; 4096];
                let n = rustix::fs::getxattr(world.path(path), name, value.as_mut_slice());
                // Who is named, without what the mode says of each.
                n.ok().map(|n| {
                    value[4..n].chunks(8).map(|e| (e[0], e[4..].to_vec())).collect::<Vec<_>>()
                })
            };
            assert_eq!(read(path), read(twin), "{name} of {path}");
            assert!(!lists || !dir || read(path).is_some(), "{name} of {path}");
        }
    }
}
