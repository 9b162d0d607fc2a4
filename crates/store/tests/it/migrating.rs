//! Migrations.

use lictor_store::rusqlite::{self, Connection};
use lictor_store::{Migration, OpenErrorKind, Store, StoreOptions};

use crate::Scene;

const fn step(owner: &'static str, version: u32, sql: &'static str) -> Migration {
    Migration { owner, version, sql }
}

const ONE: Migration = step("a", 1, "CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (7);");
const TWO: Migration = step("a", 2, "ALTER TABLE a ADD COLUMN y INTEGER; UPDATE a SET y = x + 1;");
const OTHER: Migration = step("b", 1, "CREATE TABLE b (z TEXT)");

fn open(scene: &Scene, migrations: &[Migration]) -> Result<Store, OpenErrorKind> {
    Store::open(&scene.file(), StoreOptions::default(), migrations).map_err(|error| {
        assert_eq!(error.path(), scene.file());
        // Kinds are borrowed from the error; a copy of what the tests look at is enough.
        match error.kind() {
            OpenErrorKind::Newer { owner, found, known } => {
                OpenErrorKind::Newer { owner: owner.clone(), found: *found, known: *known }
            }
            OpenErrorKind::Misnumbered { owner, expected, found } => OpenErrorKind::Misnumbered {
                owner: owner.clone(),
                expected: *expected,
                found: *found,
            },
            OpenErrorKind::Migration { owner, version, .. } => OpenErrorKind::Migration {
                owner: owner.clone(),
                version: *version,
                source: rusqlite::Error::InvalidQuery,
            },
            other => panic!("{other:?}"),
        }
    })
}

fn versions(scene: &Scene) -> Vec<(String, u32)> {
    Connection::open(scene.file())
        .unwrap()
        .prepare("SELECT owner, version FROM schema_version ORDER BY owner, version")
        .unwrap()
        .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn version_list(list: &[(&str, u32)]) -> Vec<(String, u32)> {
    list.iter().map(|(owner, v)| ((*owner).to_owned(), *v)).collect()
}

#[test]
fn an_older_database_is_brought_forward() {
    let scene = Scene::new();
    open(&scene, &[ONE]).unwrap().close();
    let store = open(&scene, &[ONE, OTHER, TWO]).unwrap();
    let row = store
        .read(|db| db.query_row("SELECT x, y FROM a", (), |row| Ok((row.get(0)?, row.get(1)?))))
        .unwrap();
    assert_eq!(row, (7, 8));
    store.close();
    assert_eq!(versions(&scene), version_list(&[("a", 1), ("a", 2), ("b", 1)]));
    // Again: nothing to do.
    open(&scene, &[ONE, OTHER, TWO]).unwrap().close();
}

#[test]
fn a_newer_database_is_refused() {
    let scene = Scene::new();
    open(&scene, &[ONE, TWO]).unwrap().close();
    let kind = open(&scene, &[ONE]).unwrap_err();
    assert!(matches!(&kind, OpenErrorKind::Newer { owner, found: 2, known: 1 } if owner == "a"));
    let text = kind.to_string();
    assert!(text.contains("`a`") && text.contains('2') && text.contains('1'), "{text}");
    // An owner that is not asked for is nobody's business.
    open(&scene, &[OTHER]).unwrap().close();
}

#[test]
fn a_migration_that_fails_leaves_the_old_version() {
    for sql in [
        "CREATE TABLE c (x INTEGER); INSERT INTO nowhere VALUES (1);",
        "CREATE TABLE c (x INTEGER); COMMIT; INSERT INTO nowhere VALUES (1);",
        "CREATE TABLE c (x INTEGER); COMMIT;",
        "CREATE TABLE c (x INTEGER); ROLLBACK;",
    ] {
        let scene = Scene::new();
        open(&scene, &[ONE]).unwrap().close();
        let kind = open(&scene, &[ONE, OTHER, TWO, step("a", 3, sql)]).unwrap_err();
        assert!(
            matches!(&kind, OpenErrorKind::Migration { owner, version: 3, .. } if owner == "a")
        );
        assert_eq!(versions(&scene), version_list(&[("a", 1)]), "{sql}");
        let db = Connection::open(scene.file()).unwrap();
        for table in ["b", "c"] {
            let query = format!("SELECT * FROM {table}");
            assert!(db.prepare(&query).is_err(), "{table} is there after {sql}");
        }
        drop(db);
        open(&scene, &[ONE, OTHER, TWO]).unwrap().close();
    }
}

#[test]
fn versions_without_order_are_refused() {
    for (migrations, wanted, given) in
        [(vec![TWO], 1, 2), (vec![ONE, ONE], 2, 1), (vec![ONE, OTHER, step("a", 3, "")], 2, 3)]
    {
        let scene = Scene::new();
        match open(&scene, &migrations).unwrap_err() {
            OpenErrorKind::Misnumbered { expected, found, .. } => {
                assert_eq!((expected, found), (wanted, given))
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn threads_that_open_at_once_migrate_once() {
    for _ in 0..5 {
        let scene = Scene::new();
        let barrier = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    let store = open(&scene, &[ONE, TWO, OTHER]).unwrap();
                    let n: i64 = store
                        .read(|db| db.query_row("SELECT count(*) FROM a", (), |row| row.get(0)))
                        .unwrap();
                    assert_eq!(n, 1);
                });
            }
        });
        assert_eq!(versions(&scene).len(), 3);
    }
}
