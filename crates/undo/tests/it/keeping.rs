//! `undo_never_clobbers`, where the undo goes on all the same: keeping both, and merging.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use proptest::prelude::*;

use crate::choices::{Choice, check, choices};
use crate::properties::{apply, edit};
use crate::support::{Temp, world, world_in_memory};
use crate::tree::{Node, Tree, chmod, create, delete, modify, read_tree, rename, rmdir};

fn save(world: &Temp, path: &str, text: &str) {
    fs::write(world.path(path), text).expect("a save");
}

fn texts(world: &Temp) -> Vec<(String, String)> {
    let files = read_tree(&world.root).into_iter().filter_map(|(path, node)| match node {
        Node::File { bytes, .. } => Some((path, String::from_utf8(bytes).expect("text"))),
        Node::Directory { .. } | Node::Link { .. } => None,
    });
    files.collect()
}

#[track_caller]
fn holds(world: &Temp, expected: &[(&str, &str)]) {
    let own = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
    let mut expected: Vec<_> = expected.iter().map(own).collect();
    expected.sort();
    assert_eq!(texts(world), expected);
}

#[test]
fn theirs_stays_and_the_old_content_goes_beside_it() {
    let world = world();
    world.write("a", "old a\n");
    world.write("b", "old b\n");
    world.chmod("a", 0o600);
    let inode = fs::metadata(world.path("a")).expect("a file").ino();
    let execution = world.apply(vec![
        modify("a", "old a\n", "new a\n"),
        modify("b", "old b\n", "new b\n"),
        create("c", "new c\n"),
    ]);
    save(&world, "a", "theirs\n");
    let edited = read_tree(&world.root);
    let undo = world.undo_or(&execution, "keep_both");
    let beside = format!("a.lictor-{execution}");
    holds(&world, &[("a", "theirs\n"), (&beside, "old a\n"), ("b", "old b\n")]);
    let metadata = fs::metadata(world.path(&beside)).expect("the old one");
    assert_eq!((metadata.ino(), metadata.mode() & 0o7777), (inode, 0o600), "the very inode");
    // It is an execution like any other: its undo is the redo, and that can be undone again.
    let redo = world.undo(&undo);
    assert_eq!(read_tree(&world.root), edited);
    world.undo(&redo);
    holds(&world, &[("a", "theirs\n"), (&beside, "old a\n"), ("b", "old b\n")]);
}

#[test]
fn what_goes_beside_never_replaces_anything() {
    let world = world();
    world.write("a", "old\n");
    let execution = world.apply(vec![modify("a", "old\n", "new\n")]);
    save(&world, "a", "theirs\n");
    let taken = format!("a.lictor-{execution}");
    save(&world, &taken, "a name that is taken\n");
    world.undo_or(&execution, "keep_both");
    let beside = format!("{taken}-2");
    holds(&world, &[("a", "theirs\n"), (&taken, "a name that is taken\n"), (&beside, "old\n")]);
}

#[test]
fn each_kind_of_change_has_its_way_beside() {
    let world = world();
    for name in ["gone", "moved", "edited", "deleted", "d/in", "e/in"] {
        world.write(name, format!("{name}\n"));
    }
    world.write("mode", "mode\n");
    let execution = world.apply(vec![
        delete("gone", "gone\n"),
        rename("moved", "there", "moved\n"),
        modify("edited", "edited\n", "new\n"),
        modify("deleted", "deleted\n", "new\n"),
        delete("d/in", "d/in\n"),
        rmdir("d"),
        delete("e/in", "e/in\n"),
        chmod("mode", 0o644, 0o755),
        create("made", "made\n"),
    ]);
    save(&world, "gone", "theirs, again\n");
    save(&world, "moved", "theirs, in the old place\n");
    fs::remove_file(world.path("edited")).expect("a deletion");
    fs::create_dir(world.path("edited")).expect("a directory");
    fs::remove_file(world.path("deleted")).expect("a deletion");
    save(&world, "d", "theirs, a file where a directory was\n");
    fs::remove_dir(world.path("e")).expect("a deletion");
    world.chmod("mode", 0o700);
    save(&world, "made", "theirs, edited\n");
    let edited = read_tree(&world.root);
    let undo = world.undo_or(&execution, "keep_both");
    let beside = |name: &str| format!("{name}.lictor-{execution}");
    holds(
        &world,
        &[
            ("gone", "theirs, again\n"),
            (&beside("gone"), "gone\n"),
            ("moved", "theirs, in the old place\n"),
            (&beside("moved"), "moved\n"),
            (&beside("edited"), "edited\n"),
            (&beside("deleted"), "deleted\n"),
            ("d", "theirs, a file where a directory was\n"),
            (&format!("{}/in", beside("d")), "d/in\n"),
            (&beside("in"), "e/in\n"),
            ("mode", "mode\n"),
            ("made", "theirs, edited\n"),
        ],
    );
    assert!(world.path("edited").is_dir());
    assert_eq!(fs::metadata(world.path("mode")).expect("a file").mode() & 0o7777, 0o700);
    world.undo(&undo);
    assert_eq!(read_tree(&world.root), edited);
}

const OLD: &str = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";

#[test]
fn a_clean_merge_keeps_their_lines_and_takes_ours_back() {
    let world = world();
    world.write("a", OLD);
    let execution = world.apply(vec![modify("a", OLD, OLD.replace('2', "two")), create("b", "b")]);
    save(&world, "a", &OLD.replace('2', "two").replace('8', "eight"));
    let edited = read_tree(&world.root);
    let undo = world.undo_or(&execution, "merge");
    holds(&world, &[("a", &OLD.replace('8', "eight"))]);
    world.undo(&undo);
    assert_eq!(read_tree(&world.root), edited);
    // And the redo merges as well, when somebody has gone on in between.
    let undo = world.undo_or(&execution, "merge");
    save(&world, "a", &OLD.replace('8', "eight").replace('5', "five"));
    world.undo_or(&undo, "merge");
    let all = OLD.replace('2', "two").replace('8', "eight").replace('5', "five");
    holds(&world, &[("a", &all), ("b", "b")]);
}

#[test]
fn what_does_not_merge_is_a_conflict_and_nothing_is_done() {
    let check = |old: &[u8], new: &[u8], theirs: &[u8]| {
        let world = world();
        world.write("a", old);
        world.write("b", OLD);
        let execution =
            world.apply(vec![modify("a", old, new), modify("b", OLD, OLD.replace('2', "two"))]);
        fs::write(world.path("a"), theirs).expect("a save");
        save(&world, "b", &OLD.replace('2', "two").replace('8', "eight"));
        let edited = read_tree(&world.root);
        let failure = world.try_undo_or(&execution, "merge").expect_err("a conflict");
        let paths: Vec<_> = failure.conflicts().into_iter().map(|one| one.path).collect();
        assert_eq!((failure.left(), paths), ("not begun", vec!["a".to_owned()]));
        assert_eq!(read_tree(&world.root), edited, "nothing is changed anywhere");
    };
    check(b"1\n2\n3\n", b"1\ntwo\n3\n", b"1\nzwei\n3\n");
    check(b"\0\n1\n2\n3\n4\n5\n", b"\0\none\n2\n3\n4\n5\n", b"\0\none\n2\n3\n4\nfive\n");
    check(b"\xff\n2\n3\n4\n5\n", b"\xff\ntwo\n3\n4\n5\n", b"\xff\ntwo\n3\n4\nfive\n");
}

fn same_content(one: &Node, other: &Node) -> bool {
    match (one, other) {
        (Node::File { bytes: one, .. }, Node::File { bytes: other, .. }) => one == other,
        _ => one == other,
    }
}

/// The files of a tree.
fn lines(world: &Tree) -> Vec<(&String, &Vec<u8>)> {
    let files = world.iter().filter_map(|(path, node)| match node {
        Node::File { bytes, .. } => Some((path, bytes)),
        Node::Directory { .. } | Node::Link { .. } => None,
    });
    files.collect()
}

/// Whatever the execution was and whatever people did since: theirs stays where it is, byte for
/// byte; what nobody changed is as it was before; and the undo of it all is exact.
#[test]
fn keeping_both_loses_no_byte_and_restores_the_rest() {
    let edits = prop::collection::vec(any::<Choice>(), 0..9);
    let (kept, plain) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    check(600, (choices(10), choices(10), edits), |(first, second, edits)| {
        let world = world_in_memory();
        apply(&world, &first)?;
        let Some((execution, old, new)) = apply(&world, &second)? else { return Ok(()) };
        for choice in &edits {
            edit(&world, *choice);
        }
        let edited = read_tree(&world.root);
        let refused = world.try_undo(&execution).is_err();
        let done = if refused {
            kept.set(kept.get() + 1);
            world.try_undo_or(&execution, "keep_both")
        } else {
            plain.set(plain.get() + 1);
            return Ok(());
        };
        let undo = match done {
            Ok(undo) => undo,
            Err(failure) => {
                return Err(TestCaseError::fail(format!("{failure:#?} {:?}", failure.conflicts())));
            }
        };
        let after = read_tree(&world.root);
        for (path, bytes) in lines(&edited) {
            if edited.get(path) != new.get(path) {
                prop_assert_eq!(after.get(path), edited.get(path), "theirs at {}", path);
            }
            let ours =
                new.values().any(|node| matches!(node, Node::File { bytes: b, .. } if b == bytes));
            let somewhere = lines(&after).iter().any(|(_, there)| there == &bytes);
            prop_assert!(ours || somewhere, "{} is lost", path);
        }
        for (path, was) in &old {
            let untouched = edited.get(path) == new.get(path);
            if !untouched || Some(was) == new.get(path) {
                continue;
            }
            // What was only renamed, and that somebody has changed or deleted there, is nowhere.
            let moved = new.iter().any(|(to, node)| {
                old.get(to) != Some(node) && edited.get(to) != Some(node) && same_content(node, was)
            });
            if moved {
                continue;
            }
            let beside = after.iter().any(|(at, node)| at.contains(".lictor-") && node == was);
            prop_assert!(after.get(path) == Some(was) || beside, "{} is not restored", path);
        }
        if !world.folders().contains(&undo.to_string()) {
            // There was nothing left to put back, so there is nothing to redo.
            prop_assert_eq!(after, edited);
            return Ok(());
        }
        if let Err(failure) = world.try_undo(&undo) {
            return Err(TestCaseError::fail(format!("{failure:#?} {:?}", failure.conflicts())));
        }
        prop_assert_eq!(read_tree(&world.root), edited, "the redo is exact");
        prop_assert_eq!(world.unsettled(), Vec::<String>::new());
        Ok(())
    });
    eprintln!("{} kept both, {} had no conflict", kept.get(), plain.get());
    assert!(kept.get() > 20);
}

/// Each edits lines of its own, some way apart: the merge is clean, and it is their edit of what
/// was there before. On the same lines it is a conflict, or the same edit.
#[test]
fn a_merge_loses_no_line_of_theirs() {
    let edits = prop::collection::vec((0..24_usize, 0..4_u8), 0..5);
    let (merged, refused) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    check(300, (edits.clone(), edits), |(ours, theirs)| {
        let old: Vec<String> = (0..24).map(|n| format!("line {n}")).collect();
        let change = |text: &[String], edits: &[(usize, u8)], who: &str| -> Vec<String> {
            let mut text = text.to_vec();
            for (at, what) in edits {
                let Some(line) = text.get_mut(*at) else { continue };
                match what {
                    0 => line.clear(),
                    1 => line.push_str(&format!("\n{who} {at} more")),
                    _ => *line = format!("{who} {at} {what}"),
                }
            }
            text
        };
        let text = |lines: &[String]| {
            let kept: Vec<&str> =
                lines.iter().map(String::as_str).filter(|l| !l.is_empty()).collect();
            format!("{}\n", kept.join("\n"))
        };
        let new = change(&old, &ours, "ours");
        let now = change(&new, &theirs, "theirs");
        let wanted = change(&old, &theirs, "theirs");
        if text(&new) == text(&old) || text(&now) == text(&new) {
            return Ok(());
        }
        let world = world_in_memory();
        world.write("a", text(&old));
        let execution = world.apply(vec![modify("a", text(&old), text(&new))]);
        save(&world, "a", &text(&now));
        let apart = ours.iter().all(|(a, _)| theirs.iter().all(|(b, _)| a.abs_diff(*b) > 2));
        match world.try_undo_or(&execution, "merge") {
            Ok(undo) => {
                merged.set(merged.get() + 1);
                let found = world.read("a");
                if apart {
                    prop_assert_eq!(&found, &text(&wanted));
                }
                for line in text(&now).lines().filter(|line| line.starts_with("theirs")) {
                    prop_assert!(found.lines().any(|there| there == line), "{} is lost", line);
                }
                world.undo(&undo);
                prop_assert_eq!(world.read("a"), text(&now));
            }
            Err(failure) => {
                refused.set(refused.get() + 1);
                prop_assert!(!apart, "{:#?}", failure);
                prop_assert_eq!(failure.left(), "not begun");
                prop_assert_eq!(world.read("a"), text(&now));
            }
        }
        Ok(())
    });
    eprintln!("{} merged, {} refused", merged.get(), refused.get());
    assert!(merged.get() > 20 && refused.get() > 5);
}
