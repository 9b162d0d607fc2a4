//! What somebody who died leaves to others: a lock, and a transaction half-way.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use lictor_lock::{CancelFlag, Claim, WorkspaceLock};

use crate::ours::{Ours, open, two_threads};
use crate::tally::{Device, Tally, tell};

const HOLD: &str = "child-that-holds";
const APPLY: &str = "child-that-applies";
const OPERATIONS: usize = 10_000;

/// Does what a child of this bench is for; whether it is one.
pub(crate) fn is_child(what: &str, folder: &Path) -> bool {
    match what {
        HOLD => hold(folder),
        APPLY => drop(Ours::at(folder).apply(&Ours::document(OPERATIONS, "old\n", "new\n"))),
        _ => return false,
    }
    true
}

fn child(what: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([what.as_ref(), folder.as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn hold(folder: &Path) {
    let lock = WorkspaceLock::new(folder.join("lock"));
    let _lease = lock.try_acquire(Claim::new("one who dies", "exe_1")).unwrap();
    println!("held");
    // Until killed, or until the bench is gone.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// From `kill -9` to the lock.
pub(crate) fn lock_of_the_dead(folder: &Path) {
    let device = Device::of(folder);
    let lock = WorkspaceLock::new(folder.join("lock"));
    let mut taken = Tally::default();
    for _ in 0..50 {
        let mut holder = child(HOLD, folder);
        let mut word = [0; 5];
        holder.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
        let (waits, waiting) = mpsc::channel();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let claim = Claim::new("one who waits", "exe_2");
                let mut told = |_: &_| waits.send(()).unwrap();
                let minute = Duration::from_secs(60);
                lock.acquire(claim, minute, &CancelFlag::new(), &mut told).unwrap()
            });
            waiting.recv().unwrap();
            let lease = taken.time(&device, || {
                holder.kill().unwrap();
                waiter.join().unwrap()
            });
            lease.release().unwrap();
        });
        holder.wait().unwrap();
    }
    taken.tell("lock");
    println!(
        "a dead holder's lock is had after {:.2} ms, at most {:.2}",
        taken.median(),
        taken.most()
    );
}

/// A process dies in the middle of ten thousand operations; the next one settles that.
pub(crate) fn ten_thousand(folder: &Path) {
    let mut taken = Vec::new();
    for turn in 0..3 {
        let root = folder.join(format!("ws{turn}"));
        for n in 0..OPERATIONS {
            let file = root.join(Ours::path(n));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "old\n").unwrap();
        }
        let mut applying = child(APPLY, &root);
        // Changes are made in the order of the document.
        let middle = root.join(Ours::path(OPERATIONS / 2));
        while fs::read_to_string(&middle).unwrap() == "old\n" {
            assert!(applying.try_wait().unwrap().is_none(), "it ended before it began");
            std::thread::yield_now();
        }
        applying.kill().unwrap();
        applying.wait().unwrap();
        let old = || {
            let texts =
                (0..OPERATIONS).map(|n| fs::read_to_string(root.join(Ours::path(n))).unwrap());
            texts.filter(|text| text == "old\n").count()
        };
        let left = old();
        let began = Instant::now();
        let runtime = two_threads().block_on(open(&root));
        let elapsed = began.elapsed().as_secs_f64();
        assert_eq!(runtime.recovered().len(), 1);
        assert_eq!(old(), 0, "it was decided, so it was finished");
        taken.push((elapsed, left));
    }
    let mut times: Vec<f64> = taken.iter().map(|(elapsed, _)| elapsed * 1000.0).collect();
    times.sort_by(f64::total_cmp);
    if let [least, median, most] = times.as_slice() {
        tell("recovery", *median, (*least, *most), "ms");
    }
    for (elapsed, left) in taken {
        println!("recovery of {OPERATIONS} operations, {left} of them to be done: {elapsed:.2} s");
    }
}
