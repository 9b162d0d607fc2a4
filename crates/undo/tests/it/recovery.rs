//! Recovery: of what was dropped, cut short, torn, copied or written by somebody newer.

use std::fs;
use std::path::{Path, PathBuf};

use lictor_executor::{ExecuteErrorKind, Recovery};
use lictor_lock::Claim;

use crate::support::{Temp, World, world};
use crate::tree::{
    Tree, create, delete, mixed_changes, mixed_tree, model, modify, read_tree, rename, write_tree,
};

/// A workspace whose last transaction nobody settled, as a crash right after it leaves it.
fn unsettled() -> (Temp, Tree, Tree) {
    let world = world();
    let old = mixed_tree();
    write_tree(&world.root, &old);
    let new = model(&old, &mixed_changes());
    drop(world.execute(mixed_changes()).expect("done"));
    assert_eq!(read_tree(&world.root), new);
    (world, old, new)
}

fn journal(world: &World) -> PathBuf {
    let folders = world.folders();
    world.path(&format!(".lictor/tx/{}/journal", folders.last().expect("a transaction")))
}

fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let text = fs::read_to_string(path).expect("a journal");
    fs::write(path, change(text)).expect("an edit");
}

/// The tree as it was, with the transaction sealed and not one operation done: as a crash right
/// after the first barrier leaves it.
fn sealed() -> (Temp, Tree, Tree) {
    let world = world();
    world.write("a", "old a\n");
    world.write("b", "old b\n");
    world.write("c", "old c\n");
    let old = read_tree(&world.root);
    let executed = world
        .execute(vec![
            create("new", "new\n"),
            modify("a", "old a\n", "new a\n"),
            delete("b", "old b\n"),
            rename("c", "d", "old c\n"),
        ])
        .expect("done");
    let new = read_tree(&world.root);
    drop(executed);
    let slots = journal(&world).with_file_name("s");
    fs::rename(world.path("new"), slots.join("0000")).expect("back");
    rustix::fs::renameat_with(
        rustix::fs::CWD,
        world.path("a"),
        rustix::fs::CWD,
        slots.join("0001"),
        rustix::fs::RenameFlags::EXCHANGE,
    )
    .expect("back");
    fs::rename(slots.join("0002"), world.path("b")).expect("back");
    fs::rename(world.path("d"), world.path("c")).expect("back");
    assert_eq!(read_tree(&world.root), old);
    (world, old, new)
}

#[test]
fn what_is_dropped_without_being_settled_is_finished_by_whoever_comes_next() {
    let (world, _, mut new) = unsettled();
    world.apply(vec![create("next", "next\n")]);
    let recovered = world.ledger.recovered.lock().expect("the recovered").clone();
    assert_eq!(recovered.len(), 1);
    assert_eq!(recovered[0].recovery, Recovery::Finished);
    assert!(recovered[0].record.is_some());
    new.insert("next".to_owned(), crate::tree::file(0o644, "next\n"));
    assert_eq!(read_tree(&world.root), new);
    world.undo(&recovered[0].execution_id);
    assert_eq!(world.unsettled(), Vec::<String>::new());
}

#[test]
fn recovering_twice_is_recovering_once() {
    let (world, _, new) = unsettled();
    assert_eq!(world.recover().len(), 1);
    assert!(world.recover().is_empty());
    assert!(World::at(&world.root).recover().is_empty());
    assert_eq!(read_tree(&world.root), new);
}

#[test]
fn of_two_recoveries_at_once_one_does_it() {
    let (world, _, new) = unsettled();
    let root = &world.root;
    let found: usize = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| World::at(root).recover().len()));
        both.into_iter().map(|thread| thread.join().expect("a recovery")).sum()
    });
    assert_eq!(found, 1);
    assert_eq!(read_tree(root), new);
}

#[test]
fn a_line_that_was_cut_short_counts_as_not_written_and_swallows_no_other() {
    let (world, old, _) = unsettled();
    edit(&journal(&world), |text| text + "\n{\"done\":tr");
    let text = fs::read_to_string(journal(&world)).expect("a journal");
    assert_eq!(world.recover()[0].recovery, Recovery::Finished);
    let after = fs::read_to_string(journal(&world)).expect("a journal");
    assert!(after.starts_with(&text) && after.ends_with("\n{\"done\":true}\n"), "{after}");
    assert!(world.recover().is_empty(), "the line is read");
    let id = world.recover();
    assert!(id.is_empty());
    let folders = world.folders();
    world.undo(&lictor_context::ExecutionId::parse(&folders[0]).expect("an id"));
    assert_eq!(read_tree(&world.root), old);
}

#[test]
fn a_journal_without_its_commit_line_was_never_begun() {
    for cut in [0, 1, 40, 2000] {
        let (world, old, _) = sealed();
        edit(&journal(&world), |text| {
            let sealed = text.find("{\"commit\"").expect("a commit line");
            text[..if cut == 2000 { sealed } else { cut }].to_owned()
        });
        let recovered = world.recover();
        assert_eq!(recovered[0].recovery, Recovery::Discarded);
        assert_eq!(read_tree(&world.root), old);
        assert_eq!(world.folders(), Vec::<String>::new());
    }
}

#[test]
fn a_journal_whose_seal_does_not_fit_was_never_begun() {
    let (world, old, _) = sealed();
    edit(&journal(&world), |text| text.replacen("\"new\"", "\"wen\"", 1));
    assert_eq!(world.recover()[0].recovery, Recovery::Discarded);
    assert_eq!(read_tree(&world.root), old);
}

#[test]
fn a_sealed_journal_is_finished_when_all_that_was_staged_is_whole() {
    let (world, _, new) = sealed();
    assert_eq!(world.recover()[0].recovery, Recovery::Finished);
    assert_eq!(read_tree(&world.root), new);
}

/// A power cut within the first barrier: the journal has reached the disk, the bytes have not.
#[test]
fn what_was_staged_and_is_not_whole_is_never_published() {
    for damage in [
        |slots: &Path| fs::write(slots.join("0001"), "").expect("empty"),
        |slots: &Path| fs::write(slots.join("0000"), "torn").expect("torn"),
        |slots: &Path| fs::remove_file(slots.join("0000")).expect("lost"),
        |slots: &Path| fs::remove_file(slots.join("0001")).expect("lost"),
    ] {
        let (world, old, _) = sealed();
        damage(&journal(&world).with_file_name("s"));
        let recovered = world.recover();
        assert_eq!(recovered[0].recovery, Recovery::Discarded, "{:?}", recovered[0].stuck);
        assert_eq!(read_tree(&world.root), old);
        assert_eq!(world.folders(), Vec::<String>::new());
    }
}

#[test]
fn a_person_who_edits_before_the_recovery_is_never_overwritten() {
    // What was done already stays; what they made of it is theirs.
    let (world, _, mut new) = unsettled();
    fs::write(world.path("a/modify.txt"), "theirs\n").expect("a save");
    fs::remove_file(world.path("new.txt")).expect("a deletion");
    assert_eq!(world.recover()[0].recovery, Recovery::Finished);
    new.insert("a/modify.txt".to_owned(), crate::tree::file(0o644, "theirs\n"));
    new.remove("new.txt");
    assert_eq!(read_tree(&world.root), new);

    // What was not done yet cannot be done any more, so everything goes back.
    let (world, mut old, _) = sealed();
    fs::write(world.path("a"), "theirs\n").expect("a save");
    assert_eq!(world.recover()[0].recovery, Recovery::PutBack);
    old.insert("a".to_owned(), crate::tree::file(0o644, "theirs\n"));
    assert_eq!(read_tree(&world.root), old);
}

/// Whatever a person does to what is still to be done: theirs stays, and the rest goes back.
#[test]
fn an_edit_of_what_is_still_to_be_done_takes_the_rest_back() {
    for (path, replaces) in
        [("new", false), ("d", false), ("b", false), ("b", true), ("c", false), ("c", true)]
    {
        let (world, mut old, _) = sealed();
        if replaces {
            fs::write(world.path("theirs"), "theirs\n").expect("a save");
            fs::rename(world.path("theirs"), world.path(path)).expect("a save");
        } else {
            fs::write(world.path(path), "theirs\n").expect("a save");
        }
        old.insert(path.to_owned(), crate::tree::file(0o644, "theirs\n"));
        let recovered = world.recover();
        let (told, stuck) = (recovered[0].recovery, &recovered[0].stuck);
        // The very file that was to move is gone, and nothing else was done: there is nothing to
        // put back.
        let gone = path == "c" && replaces;
        let expected = if gone { Recovery::Discarded } else { Recovery::PutBack };
        assert_eq!(told, expected, "{path} {replaces}: {stuck:?}");
        assert_eq!(read_tree(&world.root), old, "{path} {replaces}");
        assert_eq!(world.folders(), Vec::<String>::new(), "{path} {replaces}");
    }
}

/// Two files that have each other's modes: a mode alone tells nothing.
#[test]
fn a_mode_that_happens_to_be_right_is_not_taken_for_done() {
    let world = world();
    world.write("a", "a\n");
    world.write("b", "b\n");
    world.chmod("b", 0o600);
    let changes = vec![
        rename("b", "c", "b\n"),
        rename("a", "b", "a\n"),
        crate::tree::chmod("b", 0o644, 0o600),
    ];
    let new = model(&read_tree(&world.root), &changes);
    drop(world.execute(changes).expect("done"));
    assert_eq!(read_tree(&world.root), new);
    world.chmod("b", 0o644);
    fs::rename(world.path("b"), world.path("a")).expect("back");
    fs::rename(world.path("c"), world.path("b")).expect("back");
    assert_eq!(world.recover()[0].recovery, Recovery::Finished);
    assert_eq!(read_tree(&world.root), new);
}

#[test]
fn a_mode_is_changed_of_the_very_file_that_was_judged() {
    let world = world();
    world.write("a", "a\n");
    drop(world.execute(vec![crate::tree::chmod("a", 0o644, 0o600)]).expect("done"));
    world.write("theirs", "theirs\n");
    fs::rename(world.path("theirs"), world.path("a")).expect("a save");
    let edited = read_tree(&world.root);
    assert_eq!(world.recover()[0].recovery, Recovery::PutBack);
    assert_eq!(read_tree(&world.root), edited);
}

/// A crash between an exchange and the look at what came out: it was a person's save.
#[test]
fn a_save_that_was_taken_and_never_looked_at_is_given_back() {
    let (world, mut old, _) = sealed();
    let slots = journal(&world).with_file_name("s");
    fs::remove_file(world.path("a")).expect("a save by renaming over");
    fs::write(world.path("a"), "theirs\n").expect("a save by renaming over");
    let (a, slot) = (world.path("a"), slots.join("0001"));
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(rustix::fs::CWD, &a, rustix::fs::CWD, &slot, exchange)
        .expect("what the crash cut short");
    assert_eq!(world.read("a"), "new a\n");
    let recovered = world.recover();
    assert_eq!(recovered[0].recovery, Recovery::PutBack, "{:?}", recovered[0].stuck);
    old.insert("a".to_owned(), crate::tree::file(0o644, "theirs\n"));
    assert_eq!(read_tree(&world.root), old);

    let (world, mut old, _) = sealed();
    let slots = journal(&world).with_file_name("s");
    fs::write(world.path("b"), "theirs\n").expect("a save");
    fs::rename(world.path("b"), slots.join("0002")).expect("what the crash cut short");
    let recovered = world.recover();
    assert_eq!(recovered[0].recovery, Recovery::PutBack, "{:?}", recovered[0].stuck);
    old.insert("b".to_owned(), crate::tree::file(0o644, "theirs\n"));
    assert_eq!(read_tree(&world.root), old);
}

/// And when there is a newer save by then, that one stays, and the older is kept where it is.
#[test]
fn a_save_that_was_taken_does_not_come_back_over_a_newer_one() {
    let (world, _, _) = sealed();
    let slot = journal(&world).with_file_name("s").join("0001");
    let save = |text: &str| {
        world.write("saving", text);
        fs::rename(world.path("saving"), world.path("a")).expect("a save by renaming over");
    };
    save("theirs\n");
    let (cwd, exchange) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
    rustix::fs::renameat_with(cwd, world.path("a"), cwd, &slot, exchange)
        .expect("what the crash cut short");
    save("newer\n");
    let recovered = world.recover();
    assert_eq!(recovered[0].recovery, Recovery::Incomplete, "{recovered:?}");
    assert_eq!(recovered[0].stuck[0].path, "a");
    assert_eq!(world.read("a"), "newer\n");
    assert_eq!(fs::read_to_string(slot).expect("a slot"), "theirs\n");
}

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.expect("cp").success());
}

#[test]
fn an_open_transaction_in_a_copied_workspace_is_refused_and_touches_nothing() {
    let (world, _, new) = unsettled();
    let other = world.dir.path().join("copy");
    copy(&world.root, &other);
    let copied = World::at(&other);
    let error = copied.try_recover().expect_err("it belongs to another folder");
    assert!(matches!(error.kind(), ExecuteErrorKind::Recover(_)), "{error}");
    assert!(error.to_string().contains("belongs to another folder"), "{error}");
    assert!(copied.try_apply(vec![create("x", "x")]).is_err());
    assert_eq!(read_tree(&other), new);
    assert_eq!(world.recover()[0].recovery, Recovery::Finished);
}

#[test]
fn a_settled_transaction_in_a_copied_workspace_can_be_undone() {
    let world = world();
    world.write("a", "old\n");
    let execution = world.apply(vec![modify("a", "old\n", "new\n")]);
    let other = world.dir.path().join("copy");
    copy(&world.root, &other);
    World::at(&other).undo(&execution);
    assert_eq!(fs::read_to_string(other.join("a")).expect("a file"), "old\n");
    assert_eq!(world.read("a"), "new\n");
}

#[test]
fn a_journal_of_a_newer_program_is_refused_and_touches_nothing() {
    let (world, _, new) = unsettled();
    edit(&journal(&world), |text| {
        let text = text.replacen("{\"v\":1,", "{\"v\":2,", 1);
        let at = text.find("{\"commit\"").expect("a commit line");
        let commit = lictor_context::Digest::of(&text.as_bytes()[..at]);
        format!("{}{{\"commit\":\"{commit}\"}}\n", &text[..at])
    });
    let error = world.try_recover().expect_err("it is newer");
    assert!(error.to_string().contains("format 2"), "{error}");
    assert_eq!(read_tree(&world.root), new);
}

#[test]
fn an_end_that_is_cut_short_is_none() {
    let (world, _, new) = unsettled();
    world.recover();
    edit(&journal(&world), |text| text.replace("{\"done\":true}\n", "{\"done\":tru"));
    assert_eq!(world.recover()[0].recovery, Recovery::Finished);
    assert_eq!(read_tree(&world.root), new);
}

/// What is closed is passed over by its last line: a recovery costs what is open, not what is kept.
#[test]
fn a_journal_that_is_closed_is_not_read_by_a_recovery() {
    let world = world();
    let execution = world.apply(vec![create("a", "a\n")]);
    edit(&journal(&world), |text| format!("{}\n{{\"done\":true}}\n", "x".repeat(text.len())));
    assert!(world.recover().is_empty());
    assert_eq!(world.folders(), [execution.to_string()], "and it is not swept either");
}

#[test]
fn slots_that_are_gone_under_a_journal_are_an_error_and_not_a_clean_slate() {
    let (world, _, new) = unsettled();
    fs::remove_dir_all(journal(&world).with_file_name("s")).expect("gone");
    let error = world.try_recover().expect_err("the slots are gone");
    assert!(error.to_string().contains("is gone"), "{error}");
    assert_eq!(read_tree(&world.root), new);
}

#[test]
fn a_removal_that_was_cut_short_is_finished() {
    let world = world();
    world.write(".lictor/tx/.gone-exe_x/s/0000", "old secrets\n");
    world.write(".lictor/tx/.gone-exe_x/journal", "");
    world.recover();
    assert_eq!(world.folders(), Vec::<String>::new());
}

#[test]
fn whoever_lost_the_lock_before_publishing_touches_nothing() {
    let world = world();
    world.write("a", "old\n");
    let lock = world.lock.path().to_owned();
    world.meanwhile(move || fs::remove_file(lock).expect("by force"));
    let failure =
        world.try_apply(vec![modify("a", "old\n", "new\n")]).expect_err("the lock is lost");
    assert_eq!(failure.left(), "incomplete", "{}", failure.why());
    assert_eq!(world.read("a"), "old\n");
    let text = fs::read_to_string(journal(&world)).expect("a journal");
    assert!(!text.contains("abort"), "it is not for the loser to say");
    assert_eq!(world.recover()[0].recovery, Recovery::Finished);
    assert_eq!(world.read("a"), "new\n");
}

#[test]
fn whoever_lost_the_lock_before_settling_leaves_that_to_a_recovery() {
    let world = world();
    let executed = world.execute(vec![create("a", "a\n")]).expect("done");
    fs::remove_file(world.path(".lictor/lock")).expect("by force");
    world.commit(executed).expect("the ledger has it, and it stands");
    let text = fs::read_to_string(journal(&world)).expect("a journal");
    assert!(!text.contains("done\":true"), "{text}");
    assert_eq!(world.recover()[0].recovery, Recovery::Finished);
}

/// Whoever lost the lock neither goes on nor puts back: somebody else is settling it already.
#[test]
fn whoever_lost_the_lock_writes_nothing_any_more() {
    let world = world();
    world.write("a", "old\n");
    let executed = world.execute(vec![modify("a", "old\n", "new\n")]).expect("done");
    let before = fs::read_to_string(journal(&world)).expect("a journal");
    fs::remove_file(world.path(".lictor/lock")).expect("by force");
    let lease = world.lock.try_acquire(Claim::new("other", "exe_1")).expect("the lock");
    let report = world.roll_back(executed);
    assert!(!report.is_complete(), "{report:?}");
    assert_eq!(world.read("a"), "new\n");
    assert_eq!(fs::read_to_string(journal(&world)).expect("a journal"), before);
    drop(lease);
    assert_eq!(world.recover()[0].recovery, Recovery::Finished);
}

/// The bug that a power cut found: a journal that is closed before the ledger has its execution is
/// never looked at again.
#[test]
fn what_a_recovery_settles_is_found_again_until_the_ledger_has_it() {
    for (checked, recovery, word) in
        [(false, Recovery::Finished, "Applied"), (true, Recovery::PutBack, "RolledBack")]
    {
        let temp = world();
        let world = if checked { World::checked(&temp.root, true) } else { World::at(&temp.root) };
        world.write("a", "old\n");
        let executed = world.execute(vec![modify("a", "old\n", "new\n")]).expect("done");
        let execution = executed.execution_id().to_string();
        drop(executed); // a process that dies
        if checked {
            // Its checks had not been noted.
            let journal = world.path(".lictor/tx").join(&execution).join("journal");
            let text = fs::read_to_string(&journal).expect("a journal");
            fs::write(&journal, text.replace("{\"verified\":true}", "")).expect("a journal");
        }
        *world.ledger.refuses.lock().expect("the switch") = true;
        for _ in 0..2 {
            world.try_recover().expect_err("the ledger does not take it");
            assert_eq!(world.recorded(&execution), None);
        }
        *world.ledger.refuses.lock().expect("the switch") = false;
        let recovered = world.recover();
        assert_eq!(recovered.len(), 1, "{recovered:?}");
        assert_eq!(recovered[0].recovery, recovery);
        assert!(recovered[0].record.is_some(), "it owes its events");
        assert_eq!(world.recorded(&execution).as_deref(), Some(word));
        assert!(world.recover().is_empty(), "and then it is closed");
    }
}

/// The same for what is put back without a crash: its folder stays until the failure is on record.
#[test]
fn what_is_put_back_and_not_recorded_is_found_by_the_next_recovery() {
    let world = world();
    world.write("a", "old\n");
    let executed = world.execute(vec![modify("a", "old\n", "new\n")]).expect("done");
    let execution = executed.execution_id().to_string();
    *world.ledger.refuses.lock().expect("the switch") = true;
    world.commit(executed).expect_err("the ledger does not take it");
    assert_eq!(world.read("a"), "old\n");
    *world.ledger.refuses.lock().expect("the switch") = false;
    let next = world.apply(vec![create("b", "b\n")]);
    assert_eq!(world.recorded(&execution).as_deref(), Some("RolledBack"));
    assert_eq!(world.folders(), [next.to_string()]);
}

/// `one_writer`: a recovery whose lock was taken from it settles nothing and closes nothing.
#[test]
fn a_recovery_that_lost_the_lock_touches_nothing() {
    use lictor_executor::ChangeApplier as _;
    let (world, old, _) = sealed();
    let lease = world.lock.try_acquire(Claim::new("ann", "exe_1")).expect("a lease");
    let recovered = world.transactions.recover(&lease).expect("a recovery");
    assert_eq!(recovered[0].recovery, Recovery::Finished);
    let before = fs::read(journal(&world)).expect("a journal");
    fs::remove_file(world.lock.path()).expect("by force");
    world.transactions.close(&lease, &recovered).expect_err("the lock is lost");
    assert_eq!(fs::read(journal(&world)).expect("a journal"), before);
    drop(lease);

    let (world, _, _) = sealed();
    let lease = world.lock.try_acquire(Claim::new("ann", "exe_1")).expect("a lease");
    fs::remove_file(world.lock.path()).expect("by force");
    world.transactions.recover(&lease).expect_err("the lock is lost");
    assert_eq!(read_tree(&world.root), old);
    drop(lease);
}

/// What goes wrong before anything was begun leaves nothing, and says so.
#[test]
fn a_path_that_is_not_what_was_judged_stops_it_before_it_begins() {
    for (path, text) in [("modified", "theirs\n"), ("target", "theirs\n"), ("new", "theirs\n")] {
        let world = world();
        world.write("modified", "old\n");
        world.write("renamed", "old\n");
        let theirs = world.path(path);
        world.meanwhile(move || fs::write(theirs, text).expect("a save"));
        let failure = world
            .try_apply(vec![
                modify("modified", "old\n", "new\n"),
                rename("renamed", "target", "old\n"),
                create("new", "new\n"),
            ])
            .expect_err("it is another");
        assert_eq!(failure.left(), "not begun", "{path}: {}", failure.why());
        assert_eq!(failure.conflicts()[0].path, path);
        assert_eq!(world.read(path), text);
    }
}

/// How long it takes is printed, not asserted: `--release -- --nocapture`.
#[test]
fn a_transaction_of_ten_thousand_operations_is_recovered() {
    const N: usize = 10_000;
    let world = crate::support::world_in_memory();
    let name = |n: usize| format!("dir-{:02}/file-{n}", n % 50);
    (0..50).for_each(|n| fs::create_dir(world.path(&format!("dir-{n:02}"))).expect("made"));
    let changes = (0..N).map(|n| create(&name(n), format!("{n}\n"))).collect();
    drop(world.execute(changes).expect("done"));
    let slots = journal(&world).with_file_name("s");
    for n in N / 2..N {
        fs::rename(world.path(&name(n)), slots.join(format!("{n:04}"))).expect("back");
    }
    let began = std::time::Instant::now();
    let recovered = world.recover();
    eprintln!("a recovery of {N} operations, half of them to be done: {:?}", began.elapsed());
    assert_eq!(recovered[0].recovery, Recovery::Finished);
    (0..N).for_each(|n| assert_eq!(world.read(&name(n)), format!("{n}\n")));
}
