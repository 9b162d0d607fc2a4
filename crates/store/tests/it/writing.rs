//! Writes and the commits that they share.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use lictor_store::rusqlite::{self, ErrorCode};
use lictor_store::{Durability, PendingWrite, Store, StoreOptions, WriteError};

use crate::{Held, Scene, TABLES, Write, names, put};

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn what_is_queued_together_is_committed_together() {
    let scene = Scene::new();
    let store = scene.open();
    let held = Held::new(&store);
    let writes: Vec<_> = (0..50).map(|i| put(&store, format!("n{i}"))).collect();
    held.release();
    for write in writes {
        write.wait().unwrap();
    }
    let stats = store.stats();
    assert_eq!((stats.commits, stats.jobs, stats.largest_batch), (2, 51, 50));
    assert_eq!(names(&store).len(), 50);
}

#[test]
fn a_batch_has_a_bound() {
    let scene = Scene::new();
    let options = StoreOptions::default().max_batch(10).durability(Durability::Normal);
    let store = Store::open(&scene.file(), options, TABLES).unwrap();
    let held = Held::new(&store);
    let writes: Vec<_> = (0..25).map(|i| put(&store, format!("n{i}"))).collect();
    held.release();
    for write in writes {
        write.wait().unwrap();
    }
    assert_eq!(store.stats().commits, 4);
    assert_eq!(store.stats().largest_batch, 10);
}

#[test]
fn many_threads_each_get_their_own_answer() {
    let scene = Scene::new();
    let store = scene.open();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = store.clone();
            scope.spawn(move || {
                for i in 0..50 {
                    let write: PendingWrite<_, rusqlite::Error> = store.write(move |tx| {
                        tx.execute(
                            "INSERT INTO item (name) VALUES (?1)",
                            [format!("{thread}-{i}")],
                        )?;
                        Ok((thread, i))
                    });
                    assert_eq!(write.wait().unwrap(), (thread, i));
                }
            });
        }
    });
    assert_eq!(names(&store).len(), 400);
}

/// Runs `bad` between two good jobs, in one batch and alone; its neighbours must be unharmed.
#[track_caller]
fn check_neighbours(bad: fn(&Store) -> Write, expect: fn(&WriteError<rusqlite::Error>) -> bool) {
    for together in [true, false] {
        let scene = Scene::new();
        let store = scene.open();
        let held = together.then(|| Held::new(&store));
        let (before, bad, after) = (put(&store, "a"), bad(&store), put(&store, "b"));
        if let Some(held) = held {
            held.release();
        }
        before.wait().unwrap();
        let error = bad.wait().unwrap_err();
        assert!(expect(&error), "{error:?}");
        after.wait().unwrap();
        assert_eq!(names(&store), ["a", "b"]);
    }
}

#[test]
fn a_job_that_fails_is_undone_alone() {
    check_neighbours(
        |store| {
            store.write(|tx| {
                tx.execute("INSERT INTO item (name) VALUES ('half')", ())?;
                tx.execute("INSERT INTO item (name) VALUES ('half')", ())?;
                Ok(())
            })
        },
        |error| matches!(error, WriteError::Job(e) if e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)),
    );
}

#[test]
fn a_job_that_breaks_a_foreign_key_is_undone_alone() {
    check_neighbours(
        |store| {
            store.write(|tx| {
                tx.execute("INSERT INTO item (name) VALUES ('half')", ())?;
                tx.execute("INSERT INTO strict VALUES (999)", ())?;
                Ok(())
            })
        },
        |error| matches!(error, WriteError::Job(_)),
    );
}

#[test]
fn a_job_that_panics_is_undone_alone() {
    check_neighbours(
        |store| {
            store.write(|tx| {
                tx.execute("INSERT INTO item (name) VALUES ('half')", ())?;
                std::panic::resume_unwind(Box::new("on purpose"));
            })
        },
        |error| matches!(error, WriteError::Panicked),
    );
}

#[test]
fn a_job_cannot_commit_for_its_neighbours() {
    for sql in ["COMMIT", "ROLLBACK"] {
        let scene = Scene::new();
        let store = scene.open();
        let held = Held::new(&store);
        let before = put(&store, "a");
        let bad: Write = store.write(move |tx| {
            tx.execute("INSERT INTO item (name) VALUES ('half')", ())?;
            tx.execute_batch(sql)
        });
        let after = put(&store, "b");
        held.release();
        assert!(matches!(before.wait(), Err(WriteError::NotCommitted(_))));
        assert!(bad.wait().is_err());
        after.wait().unwrap();
        assert_eq!(names(&store), ["b"]);
    }
}

#[test]
fn a_failed_commit_fails_every_job_of_the_batch() {
    let scene = Scene::new();
    let store = scene.open();
    let held = Held::new(&store);
    let a = put(&store, "a");
    let bad: Write = store.write(|tx| tx.execute("INSERT INTO late VALUES (999)", ()).map(|_| ()));
    let b = put(&store, "b");
    held.release();
    for write in [a, bad, b] {
        match write.wait() {
            Err(WriteError::NotCommitted(error)) => assert!(!error.in_doubt()),
            other => panic!("{other:?}"),
        }
    }
    assert!(names(&store).is_empty());
    put(&store, "c").wait().unwrap();
    assert_eq!(names(&store), ["c"]);
}

#[test]
fn a_write_can_be_awaited() {
    let scene = Scene::new();
    let store = scene.open();
    let row: i64 = block_on(async {
        put(&store, "a").await.unwrap();
        store
            .write(|tx| tx.query_row("SELECT count(*) FROM item", (), |row| row.get(0)))
            .await
            .unwrap()
    });
    assert_eq!(row, 1);
}

#[test]
fn dropping_a_write_does_not_call_it_off() {
    let scene = Scene::new();
    let store = scene.open();
    let held = Held::new(&store);
    drop(put(&store, "a"));
    let mut polled = put(&store, "b");
    let first = std::pin::Pin::new(&mut polled).poll(&mut Context::from_waker(Waker::noop()));
    assert!(first.is_pending());
    drop(polled);
    held.release();
    put(&store, "c").wait().unwrap();
    assert_eq!(names(&store), ["a", "b", "c"]);
}

#[test]
fn an_answer_that_panics_when_dropped_does_not_end_the_writer() {
    struct Grenade;
    impl Drop for Grenade {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }
    let scene = Scene::new();
    let store = scene.open();
    let held = Held::new(&store);
    let write: PendingWrite<Grenade, rusqlite::Error> = store.write(|_| Ok(Grenade));
    drop(write);
    held.release();
    put(&store, "a").wait().unwrap();
    assert_eq!(names(&store), ["a"]);
}
