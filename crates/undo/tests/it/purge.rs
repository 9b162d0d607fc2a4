//! Purging: what the limits do not keep goes, and nothing else; what went refuses its undo before
//! anything is touched; nothing of a person dies.

use std::collections::HashMap;
use std::fs;
use std::io::{Seek as _, Write as _};
use std::time::Duration;

use lictor_context::{Clock as _, ExecutionId, SystemClock};
use lictor_lock::Claim;
use lictor_undo::{Purged, Retention};
use proptest::prelude::*;

use crate::choices::{check, choices};
use crate::properties::apply;
use crate::support::{Temp, World, world, world_in_memory};
use crate::tree::{create, delete, modify, read_tree, rmdir};

const NOTHING: Retention = Retention { age: None, count: Some(0), bytes: None };

pub(crate) fn purge(world: &World, retention: &Retention) -> Purged {
    let now = SystemClock.now();
    let recorded = |id: &ExecutionId| {
        world.recorded(id.as_str()).is_none().then(|| "it is not in the ledger".to_owned())
    };
    let lease = world.lock.try_acquire(Claim::new("test", "purge")).expect("the lock");
    let plan = world.transactions.plan_purge(retention, now, usize::MAX, &recorded);
    let purged = world.transactions.purge(&lease, plan.expect("a plan")).expect("a purge");
    lease.release().expect("released");
    purged
}

fn has_record(world: &World, execution: &ExecutionId) -> bool {
    world.folders().iter().any(|name| name == execution.as_str())
}

#[track_caller]
fn refuses_untouched(world: &World, execution: &ExecutionId) {
    let before = read_tree(&world.root);
    let failure = world.try_undo(execution).expect_err("its record was purged");
    assert!(failure.why().contains("its record was purged"), "{}", failure.why());
    assert_eq!(read_tree(&world.root), before);
}

fn three(world: &Temp) -> Vec<ExecutionId> {
    ["a", "b", "c"].map(|name| world.apply(vec![create(name, name)])).to_vec()
}

#[test]
fn the_oldest_go_by_count_and_refuse_their_undo() {
    let world = world();
    let all = three(&world);
    let purged = purge(&world, &Retention { count: Some(1), ..Retention::default() });
    assert_eq!(purged.purged, all[..2]);
    assert_eq!(world.folders(), [all[2].to_string()]);
    refuses_untouched(&world, &all[0]);
    world.undo(&all[2]);
}

#[test]
fn no_limit_keeps_everything_and_an_age_only_what_is_young() {
    let world = world();
    let all = three(&world);
    assert_eq!(purge(&world, &Retention::default()), Purged::default());
    let young = Retention { age: Some(Duration::from_secs(3_600)), ..Retention::default() };
    assert_eq!(purge(&world, &young), Purged::default());
    let none = Retention { age: Some(Duration::ZERO), ..Retention::default() };
    assert_eq!(purge(&world, &none).purged, all);
}

#[test]
fn bytes_are_counted_from_the_newest_and_told() {
    let world = world();
    let all = three(&world);
    let sizes: Vec<u64> = all
        .iter()
        .map(|id| world.transactions.stored_of(id).expect("a size").expect("a record"))
        .collect();
    let stored = world.transactions.stored().expect("sizes");
    assert_eq!((stored.records, stored.bytes), (3, sizes.iter().sum()));
    assert_eq!(stored.oldest.as_ref(), all.first());
    let two = Retention { bytes: Some(sizes[1] + sizes[2]), ..Retention::default() };
    let purged = purge(&world, &two);
    assert_eq!((purged.purged, purged.bytes), (all[..1].to_vec(), sizes[0]));
}

#[test]
fn what_an_undo_needs_stays_as_long_as_the_undo() {
    let world = world();
    world.write("f", "old\n");
    let first = world.apply(vec![modify("f", "old\n", "new\n")]);
    let other = world.apply(vec![create("g", "g\n")]);
    let undo = world.undo(&first);
    // The undo's slots are those of the first: one family, and the younger one.
    let purged = purge(&world, &Retention { count: Some(2), ..Retention::default() });
    assert_eq!(purged.purged, [other]);
    let redo = world.undo(&undo);
    assert_eq!(world.read("f"), "new\n");
    world.undo(&redo);
    assert_eq!(world.read("f"), "old\n");
}

#[test]
fn what_was_written_through_an_old_handle_is_kept_and_told() {
    let world = world();
    world.write("f", "old\n");
    let mut late = fs::OpenOptions::new().write(true).open(world.path("f")).expect("a handle");
    let execution = world.apply(vec![modify("f", "old\n", "new\n")]);
    late.seek(std::io::SeekFrom::End(0)).expect("its end");
    late.write_all(b"mine\n").expect("a late write");
    let purged = purge(&world, &NOTHING);
    assert!(purged.purged.is_empty());
    assert_eq!(purged.kept.len(), 1);
    assert!(purged.kept[0].reason.contains("s/0000"), "{:?}", purged.kept);
    let slot = world.path(&format!(".lictor/tx/{execution}/s/0000"));
    assert_eq!(fs::read_to_string(slot).expect("the slot"), "old\nmine\n");
}

#[test]
fn what_somebody_put_into_a_folder_that_was_set_aside_is_kept() {
    let world = world();
    world.write("d/x", "x\n");
    let execution = world.apply(vec![delete("d/x", "x\n"), rmdir("d")]);
    let slots = world.path(&format!(".lictor/tx/{execution}/s"));
    let dir = fs::read_dir(slots).expect("slots").map(|entry| entry.expect("a slot").path());
    let dir = dir.into_iter().find(|path| path.is_dir()).expect("the directory");
    fs::write(dir.join("theirs"), "theirs\n").expect("a late file");
    assert_eq!(purge(&world, &NOTHING).kept.len(), 1);
    assert_eq!(fs::read_to_string(dir.join("theirs")).expect("theirs"), "theirs\n");
}

#[test]
fn what_is_not_settled_stays_and_a_damaged_record_stops_the_purge() {
    let world = world();
    let all = three(&world);
    drop(world.execute(vec![create("open", "open\n")]).expect("done"));
    let lease = world.lock.try_acquire(Claim::new("test", "purge")).expect("the lock");
    let plan = world.transactions.plan_purge(&NOTHING, SystemClock.now(), 99, &|_| None);
    let outcome = plan.expect("a plan").outcome();
    assert_eq!((outcome.purged.len(), outcome.kept.len()), (3, 1));
    let journal = world.path(&format!(".lictor/tx/{}/journal", all[0]));
    let text = fs::read_to_string(&journal).expect("a journal");
    fs::remove_dir_all(journal.with_file_name("s")).expect("a loss");
    let plan = world.transactions.plan_purge(&NOTHING, SystemClock.now(), 99, &|_| None);
    assert!(plan.expect_err("damaged").to_string().contains(all[0].as_str()));
    assert_eq!(fs::read_to_string(&journal).expect("a journal"), text);
    drop(lease);
}

/// Random executions, undos and redos, somebody writing late, and a purge by random limits: what
/// is left undoes exactly, what went refuses, and nothing of a person dies.
#[test]
fn what_a_purge_leaves_undoes_exactly_and_nothing_of_a_person_dies() {
    let sets = prop::collection::vec((choices(8), 0_u8..4), 1..7);
    let (went, stayed, spared) =
        (std::cell::Cell::new(0), std::cell::Cell::new(0), std::cell::Cell::new(0));
    check(150, (sets, 0_u64..6, any::<u16>()), |(sets, count, late)| {
        let world = world_in_memory();
        // What stands, the newest last: whoever undoes it gets the tree before it.
        let mut stack = Vec::new();
        let mut stands = HashMap::new();
        for (set, then) in &sets {
            let Some((execution, old, new)) = apply(&world, set)? else { continue };
            let mut last = execution;
            // Undone and redone so many times.
            for _ in 0..(*then / 2) {
                let undo = world.undo(&last);
                prop_assert_eq!(&read_tree(&world.root), &old);
                last = world.undo(&undo);
                prop_assert_eq!(&read_tree(&world.root), &new);
            }
            stands.insert(last.clone(), old);
            stack.push(last);
        }
        // Somebody writes late into one of the slots.
        let slots: Vec<_> = world
            .folders()
            .iter()
            .filter_map(|name| fs::read_dir(world.path(&format!(".lictor/tx/{name}/s"))).ok())
            .flat_map(|dir| dir.map(|entry| entry.expect("a slot").path()))
            .filter(|path| path.is_file() && !path.is_symlink())
            .collect();
        let theirs =
            (late % 2 == 0 && !slots.is_empty()).then(|| &slots[usize::from(late) % slots.len()]);
        if let Some(slot) = theirs {
            fs::remove_file(slot).expect("a slot");
            fs::write(slot, "a late write that nobody knows\n").expect("a late write");
        }
        let before = read_tree(&world.root);
        let purged = purge(&world, &Retention { count: Some(count), ..Retention::default() });
        prop_assert_eq!(&read_tree(&world.root), &before, "a purge touches no file of anybody");
        went.set(went.get() + purged.purged.len());
        spared.set(spared.get() + purged.kept.len());
        if let Some(slot) = theirs {
            let text = fs::read_to_string(slot).expect("what somebody wrote");
            prop_assert_eq!(text, "a late write that nobody knows\n");
        }
        for execution in &purged.purged {
            prop_assert!(!has_record(&world, execution));
            refuses_untouched(&world, execution);
        }
        prop_assert_eq!(world.unsettled(), Vec::<String>::new(), "nothing half gone lies about");
        while let Some(execution) = stack.pop() {
            if !has_record(&world, &execution) {
                break;
            }
            match world.try_undo(&execution) {
                Ok(_) => {
                    stayed.set(stayed.get() + 1);
                    prop_assert_eq!(Some(&read_tree(&world.root)), stands.get(&execution));
                }
                // Only what somebody wrote into is refused.
                Err(failure) => {
                    prop_assert!(theirs.is_some(), "{:#?}", failure);
                    break;
                }
            }
        }
        Ok(())
    });
    let (went, stayed, spared) = (went.get(), stayed.get(), spared.get());
    eprintln!("{went} went, {stayed} stayed and were undone, {spared} were spared");
    assert!(went > 50 && stayed > 50 && spared > 5);
}
