//! Changes that were acknowledged early, and lost their `done` to a power cut while the next one was
//! half published: whatever that has made of their paths, both come out right.

use std::fs;

use lictor_context::ExecutionId;
use lictor_executor::Recovery;

use crate::child::{Case, Step};
use crate::support::World;
use crate::tree::read_tree;

/// Every way in which a change can come behind another one, each acknowledged early.
const WAYS: [(&str, &[Step]); 3] = [
    ("another change", &[Step::ApplyLazy, Step::NextLazy]),
    ("its undo", &[Step::ApplyLazy, Step::UndoLazy]),
    ("the redo of an undo", &[Step::ApplyLazy, Step::UndoLazy, Step::UndoLazy]),
];

/// A workspace in which all steps but the last one were done.
fn prepared(steps: &[Step], lacks: &'static str) -> (Case, Step, ExecutionId) {
    let case = Case::lacking(Step::ApplyLazy, lacks);
    let (last, before) = steps.split_last().expect("a step");
    for step in before {
        assert_eq!(case.run_step(*step, "none@0").as_deref(), Some("ok"), "{step:?}");
    }
    case.points();
    let id = fs::read_to_string(case.dir.path().join("execution")).expect("an id");
    (case, *last, ExecutionId::parse(&id).expect("an id"))
}

/// The power takes the line that says that a change is done, which was not flushed.
fn loses_its_end(world: &World, execution: &ExecutionId) {
    let journal = world.path(&format!(".lictor/tx/{execution}/journal"));
    let text = fs::read_to_string(&journal).expect("a journal");
    fs::write(journal, text.replace("\n{\"done\":true}\n", "")).expect("a shorter one");
}

#[track_caller]
fn both_come_out_right(lacks: &'static str) {
    for (way, steps) in WAYS {
        let (case, last, _) = prepared(steps, lacks);
        let old = read_tree(&case.root());
        assert_eq!(case.run_step(last, "none@0").as_deref(), Some("ok"), "{way}");
        let points = case.points();
        let new = read_tree(&case.root());
        assert_ne!(old, new, "{way}");
        let barrier = points.iter().position(|name| name == "barrier1.after").expect("a barrier");
        let mut both = 0;
        for (n, name) in (1..).zip(&points).skip(barrier) {
            let context = format!("{way}, lacking {lacks:?}, killed at {n} ({name})");
            let (case, last, earlier) = prepared(steps, lacks);
            assert_eq!(case.run_step(last, &format!("kill@{n}")), None, "{context}: it lived");
            let world = World::at(&case.root());
            loses_its_end(&world, &earlier);
            let recovered = world.recover();
            let told: Vec<_> = recovered.iter().map(|one| (one.recovery, &one.stuck)).collect();
            for (recovery, stuck) in &told {
                assert_eq!(*recovery, Recovery::Finished, "{context}: {told:?}");
                assert!(stuck.is_empty(), "{context}: {told:?}");
            }
            both += usize::from(told.len() == 2);
            assert_eq!(recovered.first().map(|one| &one.execution_id), Some(&earlier), "{context}");
            assert!(read_tree(&case.root()) == new, "{context}: {told:?}");
            assert!(world.recover().is_empty(), "{context}: a second recovery finds something");
            // And the record of the earlier one is whole.
            let id = recovered.last().map(|one| one.execution_id.clone()).expect("one");
            if id != earlier {
                let back = world.undo(&id);
                assert!(read_tree(&case.root()) == old, "{context}: not taken back");
                world.undo(&back);
            }
        }
        eprintln!("{way}, lacking {lacks:?}: {both} of {} points", points.len());
        assert!(both > 30, "{way}: the later one was begun");
    }
}

#[test]
fn a_lazy_change_whose_line_is_lost_comes_out_right_wherever_the_next_one_is_cut() {
    both_come_out_right("");
}

#[test]
fn without_an_exchange_a_lazy_change_whose_line_is_lost_comes_out_right() {
    both_come_out_right("exchange");
}

#[test]
fn by_links_a_lazy_change_whose_line_is_lost_comes_out_right() {
    both_come_out_right("exchange,no_replace");
}

#[test]
fn by_looking_a_lazy_change_whose_line_is_lost_comes_out_right() {
    both_come_out_right("exchange,no_replace,link");
}
