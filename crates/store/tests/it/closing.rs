//! The end of a store.

use lictor_store::{ReadError, WriteError, rusqlite};

use crate::{Held, Scene, names, put};

#[test]
fn what_is_queued_is_done_before_closing() {
    for explicit in [true, false] {
        let scene = Scene::new();
        let store = scene.open();
        let held = Held::new(&store);
        let writes: Vec<_> = (0..20).map(|i| put(&store, format!("n{i}"))).collect();
        // Whoever closes, or drops the last clone, waits for the writer: so not this thread, which
        // has to let the writer go.
        let closer = std::thread::spawn(move || {
            if explicit {
                store.close();
            }
            drop(store);
        });
        held.release();
        closer.join().unwrap();
        for write in writes {
            write.wait().unwrap();
        }
        assert_eq!(names(&scene.open()).len(), 20);
    }
}

#[test]
fn a_closed_store_refuses() {
    let scene = Scene::new();
    let store = scene.open();
    put(&store, "a").wait().unwrap();
    names(&store);
    let clone = store.clone();
    store.close();
    store.close();
    assert!(matches!(put(&clone, "b").wait(), Err(WriteError::Closed)));
    let read = clone.read(|_| Ok::<_, rusqlite::Error>(()));
    assert!(matches!(read, Err(ReadError::Closed)));
    assert_eq!(names(&scene.open()), ["a"]);
}

#[test]
fn a_job_may_own_the_last_clone() {
    let scene = Scene::new();
    let store = scene.open();
    let held = Held::new(&store);
    let clone = store.clone();
    let write = store.write(move |tx| {
        tx.execute("INSERT INTO item (name) VALUES ('a')", ())?;
        drop(clone);
        Ok::<_, rusqlite::Error>(())
    });
    drop(store);
    held.release();
    write.wait().unwrap();
    assert_eq!(names(&scene.open()), ["a"]);
}

#[test]
fn a_large_log_is_folded_and_nothing_is_lost() {
    let scene = Scene::new();
    for round in 0..3 {
        let store = scene.open();
        assert_eq!(names(&store).len(), round * 60);
        for i in 0..60 {
            put(&store, format!("{round}-{i}-{}", "x".repeat(9000))).wait().unwrap();
        }
        store.close();
        let log = scene.dir.path().join("test.db-wal");
        assert!(std::fs::metadata(log).map_or(0, |log| log.len()) <= 256 * 1024);
    }
}
