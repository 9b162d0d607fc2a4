//! `undo_never_clobbers`, `inside_means_inside`: people save files while changes are applied; nobody's save is lost, and nothing lands outside.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lictor_capability::Change;
use lictor_executor::Recovery;

use crate::support::{World, world_in_memory};
use crate::tree::{create, delete, modify};

/// How many times; `LICTOR_RACES` raises it.
fn rounds() -> usize {
    let wanted = std::env::var("LICTOR_RACES").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(2000)
}

/// `LICTOR_TEST_SEED`, else one of its own; printed, so that a run can be tried again.
fn seed() -> u64 {
    let given = std::env::var("LICTOR_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let own = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time");
    // The generator stands still at 0.
    let seed = given.unwrap_or_else(|| own.as_secs() ^ u64::from(own.subsec_nanos()) << 32).max(1);
    eprintln!("LICTOR_TEST_SEED={seed}");
    seed
}

fn next(mut random: u64) -> u64 {
    random ^= random << 13;
    random ^= random >> 7;
    random ^ random << 17
}

/// In each round one save meets one change of the same file. The change was judged before the
/// save, so the save has to stand at the path in the end; or, when it was written through a handle
/// that was open before, lie in the slot with the file that it went to.
#[track_caller]
fn no_save_is_lost(
    save: impl Fn(&Path, &str) + Send + Sync,
    change: impl Fn(&str, usize) -> Change,
) -> usize {
    let world = world_in_memory();
    world.write("file", "not saved yet\n");
    let file = world.path("file");
    let rounds = rounds();
    let meet = Barrier::new(2);
    let spin = AtomicUsize::new(0);
    let (mut before, mut after, mut refused, mut aside) = (0, 0, 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..rounds {
                meet.wait();
                for _ in 0..spin.load(Ordering::SeqCst) {
                    std::hint::spin_loop();
                }
                save(&file, &format!("save {round}\n"));
                meet.wait();
            }
        });
        let mut random = seed();
        let mut window = 200_000_u64;
        for round in 0..rounds {
            if !file.exists() {
                fs::write(&file, "again\n").expect("a file");
            }
            let seen = fs::read_to_string(&file).expect("the file");
            random = next(random);
            let wait = random % window;
            spin.store(usize::try_from(wait).expect("small"), Ordering::SeqCst);
            meet.wait();
            let outcome = world.try_apply(vec![change(&seen, round)]);
            meet.wait();
            let now = fs::read_to_string(&file).unwrap_or_default();
            let saved = format!("save {round}\n");
            match &outcome {
                Ok(_) if now == saved => after += 1,
                Ok(execution) => {
                    let slot = world.path(&format!(".lictor/tx/{execution}/s/0000"));
                    let kept = fs::read_to_string(slot).expect("the slot");
                    assert_eq!(kept, saved, "round {round}: the save is lost; the file: {now}");
                    aside += 1;
                }
                Err(failure) => {
                    assert_eq!(now, saved, "round {round}: the save is lost: {failure:?}");
                    if failure.left() == "not begun" { before += 1 } else { refused += 1 }
                }
            }
            // Keeps most saves within the time that an apply takes.
            window =
                if now == saved && outcome.is_ok() { window * 9 / 10 } else { window * 11 / 10 };
            window = window.max(1000);
            if let Ok(execution) = outcome {
                fs::remove_dir_all(world.path(&format!(".lictor/tx/{execution}"))).expect("gone");
            }
        }
    });
    eprintln!(
        "{rounds} saves: {before} found before anything was touched, {refused} given back, \
         {after} came afterwards, {aside} kept in a slot"
    );
    assert!(before > 0 && after > 0, "there was a race");
    aside
}

fn by_renaming(file: &Path, text: &str) {
    let temporary = file.with_extension("tmp");
    fs::write(&temporary, text).expect("a save");
    fs::rename(temporary, file).expect("a save");
}

fn in_place(file: &Path, text: &str) {
    fs::write(file, text).expect("a save");
}

#[test]
fn no_save_by_renaming_over_is_lost_to_a_change() {
    let aside = no_save_is_lost(by_renaming, |seen, round| {
        modify("file", seen, format!("change {round}\n"))
    });
    assert_eq!(aside, 0, "a save that comes whole stands at its path");
}

#[test]
fn no_save_in_place_is_lost_to_a_change() {
    no_save_is_lost(in_place, |seen, round| modify("file", seen, format!("change {round}\n")));
}

#[test]
fn no_save_by_renaming_over_is_lost_to_a_deletion() {
    let aside = no_save_is_lost(by_renaming, |seen, _| delete("file", seen));
    assert_eq!(aside, 0, "a save that comes whole stands at its path");
}

#[test]
fn no_save_in_place_is_lost_to_a_deletion() {
    no_save_is_lost(in_place, |seen, _| delete("file", seen));
}

/// Stops the other thread also when this one fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Somebody swaps a directory for a link that leads outside, over and over. Nothing lands outside,
/// and what is in the directory in the end is what was reported, to the last file: neither was
/// anything said to be rolled back that came back with the directory, nor applied that did not.
#[test]
fn what_was_reported_stands_while_a_parent_is_swapped_for_a_link() {
    let world = world_in_memory();
    let outside = world.dir.path().join("outside");
    fs::create_dir(&outside).expect("a directory");
    fs::write(outside.join("file"), "outside\n").expect("a file");
    world.write("dir/file", "0\n");
    let (dir, aside) = (world.path("dir"), world.path("aside"));
    let rounds = rounds().div_ceil(if std::env::var_os("LICTOR_RACES").is_some() { 1 } else { 5 });
    let stop = AtomicBool::new(false);
    let mut told = Told::default();
    std::thread::scope(|scope| {
        let stopped = StopOnDrop(&stop);
        let swapper = scope.spawn(|| {
            let mut random = seed();
            while !stop.load(Ordering::SeqCst) {
                // It has to be there long enough for a change to get at it.
                random = next(random);
                for _ in 0..random % 8_000 {
                    std::hint::spin_loop();
                }
                if fs::rename(&dir, &aside).is_err() {
                    return;
                }
                symlink(&outside, &dir).expect("a link");
                fs::remove_file(&dir).expect("the link goes");
                while fs::rename(&aside, &dir).is_err() {
                    std::thread::yield_now();
                }
            }
        });
        for round in 0..rounds {
            let seen = fs::read_to_string(world.path("dir/file"));
            let seen = seen.or_else(|_| fs::read_to_string(world.path("aside/file")));
            let Ok(seen) = seen else { continue };
            told.begin(&world, round, &seen);
        }
        drop(stopped);
        swapper.join().expect("the swapper");
    });
    let stuck: Vec<_> = world.recover().into_iter().filter(|one| !one.is_settled()).collect();
    assert!(stuck.is_empty(), "{stuck:?}");
    told.count_recovered(&world);
    eprintln!(
        "{rounds} rounds: {} applied, {} found before anything was touched, {} put back, {} of \
         them later",
        told.applied.len(),
        told.not_begun,
        told.rolled_back + told.incomplete,
        told.incomplete,
    );
    assert_eq!(names(&outside), ["file"]);
    assert_eq!(fs::read_to_string(outside.join("file")).expect("a file"), "outside\n");
    let mut expected: Vec<String> = told.applied.iter().map(|n| format!("new-{n}")).collect();
    expected.push("file".to_owned());
    let found = names(&dir);
    let came_back: Vec<_> = found.iter().filter(|name| !expected.contains(name)).collect();
    let lost: Vec<_> = expected.iter().filter(|name| !found.contains(name)).collect();
    assert!(came_back.is_empty() && lost.is_empty(), "came back: {came_back:?}, lost: {lost:?}");
    let last = told.applied.iter().max().map_or("0\n".to_owned(), |n| format!("{n}\n"));
    assert_eq!(fs::read_to_string(dir.join("file")).expect("a file"), last);
    let put_back = told.rolled_back + told.incomplete;
    assert!(!told.applied.is_empty() && put_back > 0, "there was a race");
}

/// What was told of the rounds.
#[derive(Default)]
struct Told {
    applied: Vec<usize>,
    not_begun: usize,
    rolled_back: usize,
    incomplete: usize,
    /// What was not settled at once, by execution.
    open: HashMap<String, usize>,
}

impl Told {
    fn begin(&mut self, world: &World, round: usize, seen: &str) {
        let changes = vec![
            create(&format!("dir/new-{round}"), "new\n"),
            modify("dir/file", seen, format!("{round}\n")),
        ];
        match world.try_apply(changes) {
            Ok(execution) => {
                self.applied.push(round);
                // Thousands of records would make every recovery slow.
                fs::remove_dir_all(world.path(".lictor/tx").join(execution.as_str()))
                    .expect("gone");
            }
            Err(failure) => match failure.left() {
                "not begun" => self.not_begun += 1,
                "rolled back" => self.rolled_back += 1,
                _ => {
                    self.incomplete += 1;
                    let open = world.unsettled().pop().expect("its folder");
                    self.open.insert(open, round);
                    world.recover();
                }
            },
        }
        self.count_recovered(world);
    }

    /// What a recovery has brought to its end is applied.
    fn count_recovered(&mut self, world: &World) {
        for one in world.ledger.recovered.lock().expect("the recovered").drain(..) {
            if one.is_settled()
                && let Some(round) = self.open.remove(one.execution_id.as_str())
                && one.recovery == Recovery::Finished
            {
                self.applied.push(round);
            }
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a text"))
        .collect();
    names.sort();
    names
}
