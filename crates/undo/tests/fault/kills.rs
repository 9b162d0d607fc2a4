//! `all_or_nothing` under `kill -9` at every point: of applying, of undoing, of redoing, and of the
//! recovery itself.

use lictor_executor::Recovery;

use crate::child::{Case, Step, count, count_lacking};

/// Kills a step at every point; what is there afterwards is the old tree or the new one.
#[track_caller]
fn survives(step: Step) {
    survives_lacking(step, "");
}

/// The same on a file system without some calls.
#[track_caller]
fn survives_lacking(step: Step, lacks: &'static str) {
    let points = count_lacking(step, lacks);
    eprintln!("{step:?}, lacking {lacks:?}: {} fault points", points.len());
    let mut ends = [0; 3];
    for (n, name) in (1..).zip(&points).skip(step.skipped(lacks)) {
        let context = format!("{step:?}, lacking {lacks:?}, killed at {n} ({name})");
        let case = Case::lacking(step, lacks);
        let answer = case.run(&format!("kill@{n}"));
        assert_eq!(answer, None, "{context}: it lived");
        for one in case.recovers(&context) {
            let end = match one.recovery {
                Recovery::Discarded => 0,
                Recovery::PutBack | Recovery::Incomplete => 1,
                Recovery::Finished => 2,
            };
            ends[end] += 1;
        }
    }
    let [discarded, put_back, finished] = ends;
    eprintln!("{step:?}: {discarded} discarded, {put_back} put back, {finished} finished");
    assert!(points.len() > 50, "the points are there");
    match step {
        // Noted as verified or not: that is one line, and the barrier behind it.
        Step::ApplyChecked => assert!(finished <= 3 && put_back > 100, "it was never looked at"),
        Step::ApplyRefused => assert_eq!(finished, 0, "it was looked at and refused"),
        Step::Apply
        | Step::ApplyStaged
        | Step::ApplyLazy
        | Step::CheckedLazy
        | Step::NextLazy
        | Step::Undo
        | Step::Redo
        | Step::UndoLazy
        | Step::Recover
        | Step::Purge
        | Step::Small
        | Step::Random
        | Step::UndoRandom => {
            assert!(put_back == 0 && finished > 100, "what is decided is done");
        }
    }
}

#[test]
fn an_apply_that_is_killed_anywhere_is_whole_or_not_at_all() {
    survives(Step::Apply);
}

#[test]
fn an_apply_that_is_still_to_be_checked_goes_back_until_it_was() {
    survives(Step::ApplyChecked);
}

#[test]
fn a_rollback_that_is_killed_anywhere_is_finished() {
    survives(Step::ApplyRefused);
}

/// What was staged for a check is gone with the next recovery, and nothing of it was visible.
#[test]
fn a_staged_check_that_is_killed_anywhere_leaves_nothing() {
    survives(Step::ApplyStaged);
}

/// A process that dies takes nothing from the disk: what was acknowledged early is there or done
/// by the recovery.
#[test]
fn a_lazy_apply_that_is_killed_anywhere_is_whole_or_not_at_all() {
    survives(Step::ApplyLazy);
}

#[test]
fn an_undo_that_is_killed_anywhere_is_whole_or_not_at_all() {
    survives(Step::Undo);
}

#[test]
fn a_redo_that_is_killed_anywhere_is_whole_or_not_at_all() {
    survives(Step::Redo);
}

const NO_EXCHANGE: &str = "exchange";
const NO_FLAGS: &str = "exchange,no_replace";
const NOTHING: &str = "exchange,no_replace,link";

#[test]
fn without_an_exchange_every_step_that_is_killed_anywhere_is_whole_or_not_at_all() {
    for step in [Step::Apply, Step::Undo] {
        survives_lacking(step, NO_EXCHANGE);
    }
}

#[test]
fn by_links_an_apply_that_is_killed_anywhere_is_whole_or_not_at_all() {
    survives_lacking(Step::Apply, NO_FLAGS);
}

#[test]
fn by_links_a_rollback_that_is_killed_anywhere_is_finished() {
    survives_lacking(Step::ApplyRefused, NO_FLAGS);
}

#[test]
fn by_links_an_undo_or_redo_that_is_killed_anywhere_is_whole_or_not_at_all() {
    for step in [Step::Undo, Step::Redo] {
        survives_lacking(step, NO_FLAGS);
    }
}

#[test]
fn by_looking_every_step_that_is_killed_anywhere_is_whole_or_not_at_all() {
    for step in [Step::Apply, Step::ApplyRefused, Step::Undo, Step::Redo] {
        survives_lacking(step, NOTHING);
    }
}

#[test]
fn by_links_a_recovery_that_is_killed_anywhere_is_finished_by_the_next() {
    recoveries_survive(NO_FLAGS);
}

/// After the crash, and before anybody recovers, somebody has moved a directory away: what lies in
/// it is not called back, nor done, until it is there again.
#[test]
fn a_crash_whose_directory_is_moved_away_is_settled_when_it_is_back() {
    for (step, lacks) in
        [(Step::Apply, ""), (Step::ApplyRefused, ""), (Step::ApplyRefused, NO_FLAGS)]
    {
        let mut waited = 0;
        let points = count_lacking(step, lacks);
        for (n, name) in (1..).zip(&points).skip(step.skipped(lacks)).step_by(2) {
            let dir = ["a", "b", "k", "m", "r"][n % 5];
            let context = format!("{step:?}, killed at {n} ({name}), `{dir}` away");
            let case = Case::lacking(step, lacks);
            case.run(&format!("kill@{n}"));
            let (there, aside) = (case.root().join(dir), case.dir.path().join("aside"));
            std::fs::rename(&there, &aside).expect("out of the way");
            let told = case.run_step(Step::Recover, "none@0").expect("it lives");
            waited += usize::from(told.contains("Incomplete"));
            std::fs::rename(&aside, &there).expect("back");
            case.recovers(&format!("{context}: {told}"));
        }
        eprintln!("{step:?}: {waited} waited for the directory");
        assert!(waited > 10, "it matters");
    }
}

/// A step is killed, then the recovery at each of its own points, then another one recovers.
#[test]
fn a_recovery_that_is_killed_anywhere_is_finished_by_the_next() {
    recoveries_survive("");
}

#[track_caller]
fn recoveries_survive(lacks: &'static str) {
    let mut pairs = 0;
    for step in Step::CHANGING {
        let points = count_lacking(step, lacks);
        let n = points.len();
        for first in [n / 2, n * 2 / 3, n * 9 / 10] {
            let case = Case::lacking(step, lacks);
            case.run(&format!("kill@{first}"));
            case.points();
            let whole = case.run_step(Step::Recover, "none@0");
            assert!(whole.is_some(), "{step:?} killed at {first}: a recovery that lives");
            let of_recovery = case.points().len();
            for second in (1..=of_recovery).step_by(4) {
                let context = format!("{step:?}, killed at {first}, recovery killed at {second}");
                let case = Case::lacking(step, lacks);
                case.run(&format!("kill@{first}"));
                assert_eq!(case.run_step(Step::Recover, &format!("kill@{second}")), None);
                case.recovers(&context);
                pairs += 1;
            }
        }
    }
    eprintln!("{pairs} pairs of crashes");
}

/// The barriers stand where the protocol wants them, and there are no others.
#[test]
fn every_end_is_noted_behind_its_barrier() {
    let effects = ["put.before", "take.before", "swap.before", "chmod.before"];
    let effect = |name: &String| effects.contains(&name.as_str());
    let barriers = |points: &[String]| -> Vec<usize> {
        points.iter().enumerate().filter(|(_, name)| *name == "barrier").map(|(n, _)| n).collect()
    };
    for step in [Step::Apply, Step::Undo, Step::Redo] {
        let points = count(step);
        let first = points.iter().position(effect).expect("an effect");
        let last = points.iter().rposition(effect).expect("an effect");
        let written = points.iter().rposition(|name| name == "journal.write").expect("a journal");
        let found = barriers(&points);
        assert_eq!(found.len(), 2, "{step:?}");
        assert!(written < found[0] && found[0] < first && last < found[1], "{step:?}: {found:?}");
        let synced = points.iter().filter(|name| *name == "journal.sync").count();
        assert_eq!(synced, 0, "{step:?}: `done` does not wait for the disk");
    }
    // Put back: `abort`, the reverse, a barrier, `aborted`.
    let points = count(Step::ApplyRefused);
    let found = barriers(&points);
    let synced: Vec<usize> = (0..points.len()).filter(|n| points[*n] == "journal.sync").collect();
    let last = points.iter().rposition(effect).expect("an effect");
    // Not one before it: the second barrier is that of what stands.
    assert_eq!((found.len(), synced.len()), (2, 2));
    assert!(found[0] < synced[0] && synced[0] < last && last < found[1] && found[1] < synced[1]);
    // Verified before its barrier, which makes that line durable as well: no flush of its own.
    let points = count(Step::ApplyChecked);
    let found = barriers(&points);
    let verified = points.iter().position(|name| name == "journal.append").expect("a note");
    let last = points.iter().rposition(effect).expect("an effect");
    assert_eq!((found.len(), points.iter().any(|name| name == "journal.sync")), (2, false));
    assert!(found[0] < last && last < verified && verified < found[1], "{found:?}");
    // Acknowledged early, it passes no such barrier: the line has to be durable by itself.
    let points = count(Step::CheckedLazy);
    let synced = points.iter().position(|name| name == "journal.sync").expect("a note");
    let last = points.iter().rposition(effect).expect("an effect");
    assert_eq!(barriers(&points).len(), 1);
    assert!(last < synced, "{points:?}");
    // Finished by a recovery: the rest, a barrier, `done`.
    let case = Case::new(Step::Apply);
    case.run(&format!("kill@{}", count(Step::Apply).len() * 2 / 3));
    case.points();
    case.run_step(Step::Recover, "none@0").expect("a recovery");
    let points = case.points();
    let last = points.iter().rposition(effect).expect("an effect");
    let found = barriers(&points);
    let synced = points.iter().rposition(|name| name == "journal.sync").expect("an end");
    assert_eq!(found.len(), 1);
    assert!(last < found[0] && found[0] < synced);
}
