//! Reads.

use lictor_store::rusqlite::{self, ErrorCode};
use lictor_store::{ReadError, Store, StoreOptions};

use crate::{Held, Scene, TABLES, all_names, names, put};

#[test]
fn a_reader_sees_committed_writes_only() {
    let scene = Scene::new();
    let store = scene.open();
    put(&store, "a").wait().unwrap();
    let (inside, is_inside) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let write = store.write(move |tx| {
        tx.execute("INSERT INTO item (name) VALUES ('b')", ())?;
        inside.send(()).unwrap();
        released.recv().unwrap_or_default();
        Ok::<_, rusqlite::Error>(())
    });
    is_inside.recv().unwrap();
    // The writer is in the middle of it, and does not keep us waiting.
    assert_eq!(names(&store), ["a"]);
    drop(release);
    write.wait().unwrap();
    assert_eq!(names(&store), ["a", "b"]);
}

#[test]
fn a_read_is_one_snapshot() {
    let scene = Scene::new();
    let store = scene.open();
    put(&store, "a").wait().unwrap();
    let (first, second) = store
        .read(|db| {
            let first = all_names(db)?;
            put(&store, "b").wait().unwrap();
            // Another read inside is a newer one.
            assert_eq!(names(&store), ["a", "b"]);
            Ok::<_, rusqlite::Error>((first, all_names(db)?))
        })
        .unwrap();
    assert_eq!(first, second);
    assert_eq!(names(&store), ["a", "b"]);
}

#[test]
fn a_reader_cannot_write() {
    let scene = Scene::new();
    for store in [scene.open(), Store::in_memory(StoreOptions::default(), TABLES).unwrap()] {
        let error =
            store.read(|db| db.execute("INSERT INTO item (name) VALUES ('x')", ())).unwrap_err();
        assert!(
            matches!(&error, ReadError::Query(e) if e.sqlite_error_code() == Some(ErrorCode::ReadOnly)),
            "{error:?}"
        );
        assert!(names(&store).is_empty());
    }
}

#[test]
fn a_query_that_panics_spoils_nothing() {
    let scene = Scene::new();
    let store = scene.open();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store
            .read(|_| -> rusqlite::Result<()> { std::panic::resume_unwind(Box::new("on purpose")) })
    }));
    assert!(panicked.is_err());
    put(&store, "a").wait().unwrap();
    assert_eq!(names(&store), ["a"]);
}

#[test]
fn many_read_while_one_writes() {
    let scene = Scene::new();
    for store in [scene.open(), Store::in_memory(StoreOptions::default(), TABLES).unwrap()] {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut seen = 0;
                    while seen < 100 {
                        let now = names(&store).len();
                        assert!(now >= seen);
                        seen = now;
                    }
                });
            }
            for i in 0..100 {
                put(&store, format!("n{i}")).wait().unwrap();
            }
        });
    }
}

#[test]
fn databases_in_memory_are_apart() {
    let one = Store::in_memory(StoreOptions::default(), TABLES).unwrap();
    let two = Store::in_memory(StoreOptions::default(), TABLES).unwrap();
    let held = Held::new(&one);
    let write = put(&one, "a");
    held.release();
    write.wait().unwrap();
    assert_eq!(names(&one), ["a"]);
    assert!(names(&two).is_empty());
    assert_eq!(one.path().to_str(), Some(":memory:"));
}
