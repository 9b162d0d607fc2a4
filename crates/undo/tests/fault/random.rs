//! `all_or_nothing` for random change sets on random trees: a kill, or a call that fails, at a random
//! point of applying or of taking back, against the model.
//!
//! `LICTOR_CASES` sets how many, `LICTOR_SEED` where they begin; a failure prints its own seed.

use std::cell::Cell;

use proptest::prelude::*;

use crate::child::{Case, Step};
use crate::choices::{check, choices};
use crate::errors::is_true;

const FAULTS: [&str; 5] = ["kill", "EIO", "ENOSPC", "EROFS", "EACCES"];

#[test]
fn a_random_change_set_that_is_cut_anywhere_is_whole_or_not_at_all() {
    let (cut, ended) = (Cell::new(0), Cell::new(0));
    let sets = (choices(14), choices(14));
    let fault = (prop::sample::select(&FAULTS[..]), any::<bool>(), any::<prop::sample::Index>());
    check(80, (sets, fault), |((first, second), (fault, undo, at))| {
        let step = if undo { Step::UndoRandom } else { Step::Random };
        // Once to its end, to know how many points there are.
        let Some(whole) = Case::random(step, &first, &second) else { return Ok(()) };
        assert_eq!(whole.run("none@0").as_deref(), Some("ok"));
        let points = whole.points();
        whole.recovers("to its end");
        let n = at.index(points.len());
        let context = format!("{step:?}, {fault} at {} ({})", n + 1, points[n]);
        let case = Case::random(step, &first, &second).expect("the same again");
        match case.run(&format!("{fault}@{}", n + 1)) {
            Some(answer) => {
                assert_ne!(fault, "kill", "{context}: it lived");
                is_true(&case, &answer, &context);
                ended.set(ended.get() + 1);
            }
            None => {
                assert_eq!(fault, "kill", "{context}: it died");
                case.recovers(&context);
                cut.set(cut.get() + 1);
            }
        }
        Ok(())
    });
    eprintln!("{} were killed, {} had a call that failed", cut.get(), ended.get());
    assert!(cut.get() > 0 && ended.get() > 0);
}
