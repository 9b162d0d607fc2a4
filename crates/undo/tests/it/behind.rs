//! Changes that were acknowledged early, and whose `done` a power cut took: the lines of the ones before
//! are written behind the barrier of the next one, and may be lost while that is half published.

use std::fs;

use lictor_capability::Change;
use lictor_context::ExecutionId;
use lictor_executor::Recovery;

use crate::support::{World, world};
use crate::tree::{chmod, create, delete, mode, modify, path, read_tree, rename};

/// The power takes what was not flushed of a journal.
fn loses_its_end(world: &World, execution: &ExecutionId) {
    let journal = world.path(&format!(".lictor/tx/{execution}/journal"));
    let text = fs::read_to_string(&journal).expect("a journal");
    fs::write(journal, text.replace("\n{\"done\":true}\n", "")).expect("a shorter one");
}

/// Both are open: the earlier one lost its end, and nobody has settled the later one.
#[track_caller]
fn both_finish(world: &World, first: &ExecutionId) {
    loses_its_end(world, first);
    let tree = read_tree(&world.root);
    let recovered = world.recover();
    assert_eq!(recovered.len(), 2);
    for one in &recovered {
        assert_eq!(one.recovery, Recovery::Finished, "{one:?}");
        assert!(one.stuck.is_empty(), "{:?}", one.stuck);
    }
    assert_eq!(read_tree(&world.root), tree);
    assert!(world.recover().is_empty());
}

/// What came later has gone over the paths of the earlier one; it is finished all the same, and its
/// record is whole.
#[test]
fn a_lazy_change_is_finished_whatever_the_next_has_made_of_its_paths() {
    let all =
        || vec![create("new", "new\n"), modify("f", "old\n", "one\n"), chmod("m", 0o644, 0o600)];
    let next = [
        vec![delete("new", "new\n")],
        vec![rename("new", "moved", "new\n"), delete("f", "one\n")],
        vec![modify("f", "one\n", "two\n"), chmod("m", 0o600, 0o640)],
        vec![chmod("m", 0o600, 0o640)],
        vec![rename("new", "moved", "new\n")],
    ];
    for (n, next) in next.into_iter().enumerate() {
        for only in [all(), vec![create("new", "new\n")], vec![chmod("m", 0o644, 0o600)]] {
            let temp = world();
            temp.write("f", "old\n");
            temp.write("m", "m\n");
            let world = World::lazy(&temp.root);
            let old = read_tree(&temp.root);
            let first = world.apply(only);
            let fits = world.execute(next.clone());
            let Ok(executed) = fits else { continue };
            let middle = executed.execution_id().clone();
            drop(executed);
            both_finish(&world, &first);
            // Taken back one after the other, everything is as it was.
            world.undo(&middle);
            world.undo(&first);
            assert_eq!(read_tree(&temp.root), old, "case {n}");
        }
    }
}

/// An undo puts things back where the earlier one had them: both go forward, one after the other.
#[test]
fn a_lazy_undo_is_finished_behind_what_it_takes_back() {
    let temp = world();
    temp.write("f", "old\n");
    temp.write("m", "m\n");
    temp.write("gone", "gone\n");
    let world = World::lazy(&temp.root);
    let old = read_tree(&temp.root);
    let first = world.apply(vec![
        create("new", "new\n"),
        modify("f", "old\n", "one\n"),
        chmod("m", 0o644, 0o600),
        delete("gone", "gone\n"),
    ]);
    let new = read_tree(&temp.root);
    let mut last = first;
    for turn in 0..4 {
        let next = world.undo(&last);
        loses_its_end(&world, &last);
        let recovered = world.recover();
        assert_eq!(recovered.len(), 2, "{recovered:?}");
        assert!(recovered.iter().all(|one| one.stuck.is_empty()), "{recovered:?}");
        assert_eq!(read_tree(&temp.root), if turn % 2 == 0 { old.clone() } else { new.clone() });
        last = next;
    }
}

/// A later one that had not begun proves nothing: the earlier one may not be on the disk yet.
#[test]
fn a_lazy_change_that_never_reached_the_disk_is_done_when_the_next_had_not_begun() {
    let temp = world();
    temp.write("f", "old\n");
    let world = World::lazy(&temp.root);
    let first = world.apply(vec![modify("f", "old\n", "one\n"), create("new", "new\n")]);
    let next = world.execute(vec![create("other", "x")]).expect("it is published");
    let later = next.execution_id().clone();
    drop(next);
    loses_its_end(&world, &first);
    let slot =
        |execution: &ExecutionId, n: u32| world.path(&format!(".lictor/tx/{execution}/s/{n:04}"));
    // Of the first, the swap did not get there; of the later one, nothing did.
    rustix::fs::renameat_with(
        rustix::fs::CWD,
        world.path("f"),
        rustix::fs::CWD,
        slot(&first, 0),
        rustix::fs::RenameFlags::EXCHANGE,
    )
    .expect("back");
    fs::rename(world.path("other"), slot(&later, 0)).expect("back");
    let recovered = world.recover();
    assert!(recovered.iter().all(|one| one.recovery == Recovery::Finished), "{recovered:?}");
    assert_eq!((world.read("f"), world.read("other")), ("one\n".to_owned(), "x".to_owned()));
}

/// A half-done undo may have set aside what the earlier one had moved, and opened a directory that it
/// had closed: whoever took that for the earlier one's own work would find nothing there to finish.
#[test]
fn a_lazy_change_is_finished_as_it_is_when_its_undo_is_half_published() {
    let temp = world();
    temp.write("left", "left\n");
    temp.write("right", "right\n");
    temp.write("old", "old\n");
    temp.write("locked/in", "in\n");
    temp.chmod("locked", 0o755);
    let world = World::lazy(&temp.root);
    let before = read_tree(&temp.root);
    let first = world.apply(vec![
        rename("left", "right", "left\n"),
        rename("right", "left", "right\n"),
        rename("old", "lib/older", "old\n"),
        chmod("locked", 0o755, 0o500),
    ]);
    let after = read_tree(&temp.root);
    let undo = world.undo(&first);
    loses_its_end(&world, &first);
    // All that leaves its path has left it, and nothing has arrived.
    for (n, path) in [(0, "left"), (1, "right"), (2, "old")] {
        let slot = world.path(&format!(".lictor/tx/{undo}/s/{n:04}"));
        fs::rename(world.path(path), slot).expect("back in its slot");
    }
    temp.chmod("locked", 0o700);
    let recovered = world.recover();
    assert_eq!(recovered.len(), 2, "{recovered:?}");
    for one in &recovered {
        assert_eq!(one.recovery, Recovery::Finished, "{one:?}");
        assert!(one.stuck.is_empty(), "{:?}", one.stuck);
    }
    assert_eq!(read_tree(&temp.root), before);
    world.undo(&undo);
    assert_eq!(read_tree(&temp.root), after);
}

/// A mode that the earlier one itself gives on its way proves nothing of the later one.
#[test]
fn a_lazy_change_is_done_when_only_a_mode_of_its_own_is_there() {
    let temp = world();
    temp.write("f", "old\n");
    let world = World::lazy(&temp.root);
    let closed = Change::Mkdir { path: path("d"), mode: Some(mode(0o500)) };
    let first = world.apply(vec![closed, modify("f", "old\n", "one\n")]);
    let next = world.execute(vec![chmod("d", 0o500, 0o700)]).expect("it is published");
    drop(next);
    loses_its_end(&world, &first);
    // The directory is there as it was staged; what changed in place is not.
    let slots = world.path(&format!(".lictor/tx/{first}/s"));
    let holds_old = |slot: &std::path::PathBuf| fs::read(slot).is_ok_and(|found| found == b"old\n");
    let mut all = fs::read_dir(slots).expect("slots").map(|slot| slot.expect("a slot").path());
    let slot = all.find(holds_old).expect("what was set aside");
    let (cwd, exchange) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
    rustix::fs::renameat_with(cwd, world.path("f"), cwd, slot, exchange).expect("back");
    let recovered = world.recover();
    assert!(recovered.iter().all(|one| one.recovery == Recovery::Finished), "{recovered:?}");
    assert!(recovered.iter().all(|one| one.stuck.is_empty()), "{recovered:?}");
    assert_eq!(world.read("f"), "one\n");
}
