//! `undo_never_clobbers`: what a person has changed since is reported, and nothing at all is done.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use lictor_capability::ConflictReason;
use lictor_context::Digest;

use crate::support::{Temp, world};
use crate::tree::{
    chmod, create, delete, mixed_changes, mixed_tree, mkdir, modify, read_tree, rename, write_tree,
};

/// Undoes a mixed change set after a person's edit, which has to be a conflict at `path`.
#[track_caller]
fn check(edit: impl FnOnce(&Temp), path: &str, reason: ConflictReason) {
    let world = world();
    write_tree(&world.root, &mixed_tree());
    let execution = world.apply(mixed_changes());
    edit(&world);
    let edited = read_tree(&world.root);
    let failure = world.try_undo(&execution).expect_err("a conflict");
    assert_eq!(failure.left(), "not begun");
    let conflicts = failure.conflicts();
    assert!(conflicts.iter().any(|one| one.path == path && one.reason == reason), "{conflicts:#?}");
    assert_eq!(read_tree(&world.root), edited, "nothing is changed anywhere");
    assert_eq!(world.unsettled(), Vec::<String>::new());
    assert_eq!(world.folders().len(), 1, "nothing is left of the attempt");
}

fn put(path: &'static str, bytes: &'static str) -> impl FnOnce(&Temp) {
    move |world| fs::write(world.path(path), bytes).expect("a save")
}

#[test]
fn an_edit_of_any_kind_of_change_is_a_conflict() {
    use ConflictReason as Reason;
    check(put("a/modify.txt", "theirs\n"), "a/modify.txt", Reason::ContentDiffers);
    check(put("new.txt", "theirs\n"), "new.txt", Reason::ContentDiffers);
    check(put("r/4", "theirs\n"), "r/4", Reason::ContentDiffers);
    check(put("r/edited", "theirs\n"), "r/edited", Reason::ContentDiffers);
    check(put("a/delete.txt", "theirs\n"), "a/delete.txt", Reason::Exists);
    check(put("r/plain", "theirs\n"), "r/plain", Reason::ContentDiffers);
    check(put("k/file/theirs", "theirs\n"), "k/file/theirs", Reason::NotEmpty);
    check(|world| world.chmod("m/file", 0o444), "m/file", Reason::ModeDiffers);
    check(|world| world.chmod("m/dir", 0o711), "m/dir", Reason::ModeDiffers);
    let gone = |path: &'static str| {
        move |world: &Temp| fs::remove_file(world.path(path)).expect("a deletion")
    };
    check(gone("a/modify.txt"), "a/modify.txt", Reason::Missing);
    check(gone("r/moded"), "r/moded", Reason::Missing);
    let relinked = |world: &Temp| {
        fs::remove_file(world.path("link")).expect("a deletion");
        symlink("theirs", world.path("link")).expect("a link");
    };
    check(relinked, "link", Reason::ContentDiffers);
    let directory = |world: &Temp| {
        fs::remove_file(world.path("new.txt")).expect("a deletion");
        fs::create_dir(world.path("new.txt")).expect("a directory");
    };
    check(directory, "new.txt", Reason::KindDiffers);
    let no_parent = |world: &Temp| fs::remove_dir(world.path("rm")).expect("it is empty");
    check(no_parent, "rm/empty", Reason::ParentNotADirectory);
}

#[test]
fn a_conflict_names_all_three_digests() {
    let world = world();
    world.write("a", "old\n");
    let execution = world.apply(vec![modify("a", "old\n", "new\n")]);
    fs::write(world.path("a"), "theirs\n").expect("a save");
    let conflicts = world.try_undo(&execution).expect_err("a conflict").conflicts();
    let of = |text: &str| Some(Digest::of(text.as_bytes()).to_string());
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].path, "a");
    assert_eq!(conflicts[0].restores, of("old\n"));
    assert_eq!(conflicts[0].expected, of("new\n"));
    assert_eq!(conflicts[0].found, of("theirs\n"));
}

/// A save that comes after the undo was judged is found by the exchange itself.
#[test]
fn a_save_in_the_last_moment_is_given_back() {
    let world = world();
    for name in ["a", "b", "c"] {
        world.write(name, "old\n");
    }
    let executed = world
        .execute(vec![
            modify("a", "old\n", "new\n"),
            delete("b", "old\n"),
            rename("c", "d", "old\n"),
            create("e", "new\n"),
            mkdir("f"),
            create("g", "g\n"),
            chmod("g", 0o644, 0o600),
        ])
        .expect("done");
    fs::write(world.path("a"), "theirs\n").expect("a save");
    world.write("f/theirs", "theirs\n");
    let report = world.roll_back(executed);
    assert!(!report.is_complete());
    let stuck: Vec<_> = report.stuck.iter().map(|stuck| stuck.path.as_str()).collect();
    assert_eq!(stuck, ["a"]);
    assert_eq!(world.read("a"), "theirs\n");
    assert_eq!(world.read("f/theirs"), "theirs\n");
    assert_eq!((world.read("b"), world.read("c")), ("old\n".to_owned(), "old\n".to_owned()));
    assert!(!world.path("e").exists() && !world.path("d").exists());
}

/// Makes something that is no file, directory or link.
fn special(path: &Path, what: &str) {
    fs::remove_file(path).expect("a deletion");
    if what == "socket" {
        drop(UnixListener::bind(path).expect("a socket"));
    } else {
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).expect("a pipe");
    }
}

/// Nobody reads from the pipe or answers at the socket: opening either as a file would hang or fail.
#[test]
fn a_pipe_or_a_socket_in_the_place_of_a_file_is_a_conflict_and_never_waited_for() {
    let changes = || {
        [
            modify("a", "old\n", "new\n"),
            delete("a", "old\n"),
            rename("a", "b", "old\n"),
            chmod("a", 0o644, 0o600),
        ]
    };
    for what in ["pipe", "socket"] {
        for change in changes() {
            for meanwhile in [false, true] {
                let world = world();
                world.write("a", "old\n");
                let path = world.path("a");
                if meanwhile {
                    world.meanwhile(move || special(&path, what));
                } else {
                    special(&path, what);
                }
                let failure = world.try_apply(vec![change.clone()]).expect_err("a conflict");
                assert_eq!(failure.left(), "not begun", "{what}: {change:?}: {}", failure.why());
                let kind = fs::symlink_metadata(world.path("a")).expect("still there").file_type();
                assert!(kind.is_fifo() || kind.is_socket(), "{what}: {change:?}");
                assert!(!world.path("b").exists());
                assert_eq!(world.unsettled(), Vec::<String>::new());
            }
        }
        // In the place of what an undo would take away.
        let world = world();
        let execution = world.apply(vec![create("a", "new\n")]);
        special(&world.path("a"), what);
        let failure = world.try_undo(&execution).expect_err("a conflict");
        assert_eq!(failure.left(), "not begun", "{what}: {}", failure.why());
        assert!(fs::symlink_metadata(world.path("a")).is_ok());
    }
}
