//! What jobs that share a commit leave to be done once, right before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lictor_store::rusqlite::{self, Transaction};
use lictor_store::{Gathered, PendingWrite, Store, WriteError};

use crate::{Held, Scene, Write, names, put};

/// Counts the jobs that came by, and writes once how many they were.
#[derive(Default)]
struct Tally {
    jobs: u64,
    ending: Ending,
    committed: Arc<AtomicU64>,
}

#[derive(Default, Clone, Copy)]
enum Ending {
    #[default]
    Whole,
    Fails,
    Panics,
    Commits,
}

impl Gathered for Tally {
    fn before_commit(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        match self.ending {
            Ending::Whole => {}
            Ending::Fails => return Err(rusqlite::Error::InvalidQuery),
            Ending::Panics => panic!("a mistake"),
            // It is none: the writer lets no commit through but its own.
            Ending::Commits => return transaction.execute_batch("COMMIT").or(Ok(())),
        }
        let name = format!("{} jobs", self.jobs);
        transaction.execute("INSERT INTO item (name) VALUES (?1)", [name])?;
        Ok(())
    }

    fn committed(&mut self) {
        self.committed.fetch_add(self.jobs, Ordering::SeqCst);
    }
}

/// A job that writes its name and comes by; it answers whether it shared its commit.
fn come_by(
    store: &Store,
    name: String,
    (ending, committed): (Ending, &Arc<AtomicU64>),
    keep: bool,
) -> PendingWrite<bool, rusqlite::Error> {
    let (own, committed) = (store.clone(), Arc::clone(committed));
    store.write(move |tx| {
        tx.execute("INSERT INTO item (name) VALUES (?1)", [name])?;
        let make = || Tally { ending, committed, ..Tally::default() };
        let shares = own.gather(tx, make, |tally| tally.jobs += 1).is_some();
        if keep { Ok(shares) } else { Err(rusqlite::Error::InvalidQuery) }
    })
}

fn batch(store: &Store, ending: Ending) -> (Vec<Result<bool, bool>>, u64) {
    let committed = Arc::default();
    let held = Held::new(store);
    let writes: Vec<_> =
        (0..5).map(|n| come_by(store, format!("n{n}"), (ending, &committed), n != 3)).collect();
    held.release();
    let settled = |write: PendingWrite<bool, _>| {
        write.wait().map_err(|error| matches!(error, WriteError::NotCommitted(_)))
    };
    let settled = writes.into_iter().map(settled).collect();
    (settled, committed.load(Ordering::SeqCst))
}

#[test]
fn what_jobs_gather_is_done_once_before_their_commit() {
    let scene = Scene::new();
    let store = scene.open();
    let (answers, committed) = batch(&store, Ending::Whole);
    assert_eq!(answers, [Ok(true), Ok(true), Ok(true), Err(false), Ok(true)]);
    // The one that was undone came by as well; what it wrote is gone.
    assert_eq!(names(&store), ["n0", "n1", "n2", "n4", "5 jobs"]);
    assert_eq!(committed, 5);
}

#[test]
fn a_job_that_shares_with_nobody_gathers_nothing() {
    let scene = Scene::new();
    let store = scene.open();
    let committed = Arc::default();
    let alone = come_by(&store, "alone".to_owned(), (Ending::Fails, &committed), true);
    assert!(!alone.wait().unwrap());
    // Another store's transaction is none of this one's.
    let (other_scene, own) = (Scene::new(), store.clone());
    let other = other_scene.open();
    let held = Held::new(&other);
    let looks = move |tx: &Transaction<'_>| own.gather(tx, Tally::default, |_| ()).is_some();
    let strange = other.write(move |tx| Ok::<_, rusqlite::Error>(looks(tx)));
    let beside = put(&other, "beside");
    held.release();
    assert!(!strange.wait().unwrap());
    beside.wait().unwrap();
    assert_eq!(names(&store), ["alone"]);
}

#[test]
fn what_fails_before_the_commit_fails_every_job() {
    for ending in [Ending::Fails, Ending::Panics, Ending::Commits] {
        let scene = Scene::new();
        let store = scene.open();
        let (answers, committed) = batch(&store, ending);
        // The one that refused says so itself.
        assert_eq!(answers, [Err(true), Err(true), Err(true), Err(false), Err(true)]);
        assert_eq!((names(&store), committed), (Vec::new(), 0));
        // Nothing of it is left for those who come later.
        let later: Vec<Write> = (0..3).map(|n| put(&store, format!("later {n}"))).collect();
        later.into_iter().for_each(|write| write.wait().unwrap());
        assert_eq!(names(&store).len(), 3);
    }
}

#[test]
fn a_job_that_wants_to_be_alone_shares_with_nobody() {
    let scene = Scene::new();
    let store = scene.open();
    let committed = Arc::default();
    let held = Held::new(&store);
    let mut writes = Vec::new();
    let mut alone = Vec::new();
    for n in 0..4 {
        writes.push(put(&store, format!("before {n}")));
        writes.push(put(&store, format!("and {n}")));
        let own = store.clone();
        alone.push(store.write_alone(move |tx| {
            tx.execute("INSERT INTO item (name) VALUES (?1)", [format!("alone {n}")])?;
            let shares = own.gather(tx, Tally::default, |_| ()).is_some();
            if n == 2 { Err(rusqlite::Error::InvalidQuery) } else { Ok(shares) }
        }));
    }
    let last = come_by(&store, "last".to_owned(), (Ending::Whole, &committed), true);
    held.release();
    writes.into_iter().for_each(|write| write.wait().unwrap());
    let alone: Vec<_> = alone.into_iter().map(|write| write.wait().ok()).collect();
    assert_eq!(alone, [Some(false), Some(false), None, Some(false)]);
    assert!(!last.wait().unwrap());
    // Held, four times two of them, three of those alone that were kept, and the last.
    assert_eq!((store.stats().commits, store.stats().jobs), (9, 13));
    assert_eq!(names(&store).len(), 12);
}
