//! Opening, and what stands in the way of it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lictor_store::rusqlite::Connection;
use lictor_store::{OpenErrorKind, Store, StoreOptions};

use crate::{Scene, TABLES, put};

fn open(path: &Path) -> Result<Store, lictor_store::OpenError> {
    Store::open(path, StoreOptions::default(), TABLES)
}

#[test]
fn a_new_database_is_private() {
    let scene = Scene::new();
    let store = scene.open();
    put(&store, "a").wait().unwrap();
    let mut n = 0;
    for entry in std::fs::read_dir(scene.dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.file_name());
        n += 1;
    }
    assert_eq!(n, 3);
}

#[test]
fn a_file_that_is_no_database_is_told_apart() {
    for content in [b"hello".to_vec(), b"#!/bin/sh\n".repeat(1000)] {
        let scene = Scene::new();
        std::fs::write(scene.file(), &content).unwrap();
        let error = open(&scene.file()).unwrap_err();
        assert!(matches!(error.kind(), OpenErrorKind::NotADatabase), "{error:?}");
        assert_eq!(std::fs::read(scene.file()).unwrap(), content);
    }
}

#[test]
fn a_damaged_database_is_told_apart() {
    let scene = Scene::new();
    let plain = Connection::open(scene.file()).unwrap();
    plain
        .execute_batch("CREATE TABLE schema_version (owner, version); CREATE TABLE t (x)")
        .unwrap();
    drop(plain);
    let mut bytes = std::fs::read(scene.file()).unwrap();
    // The root page of the schema, behind the file's header.
    bytes[100..400].fill(0xa5);
    std::fs::write(scene.file(), bytes).unwrap();
    let error = open(&scene.file()).unwrap_err();
    assert!(matches!(error.kind(), OpenErrorKind::Corrupt(_)), "{error:?}");
}

#[test]
fn a_missing_or_unwritable_directory_is_told_apart() {
    let scene = Scene::new();
    let mut paths = vec![scene.dir.path().join("no/such/dir.db"), scene.dir.path().to_owned()];
    std::fs::write(scene.dir.path().join("file"), "").unwrap();
    paths.push(scene.dir.path().join("file/x.db"));
    if cfg!(target_os = "linux") {
        // Not even root makes files there.
        paths.push("/sys/lictor.db".into());
    }
    for path in paths {
        let error = open(&path).unwrap_err();
        assert!(matches!(error.kind(), OpenErrorKind::NotWritable(_)), "{error:?}");
    }
}

#[test]
fn another_writer_is_waited_for_only_so_long() {
    let scene = Scene::new();
    scene.open().close();
    let other = Connection::open(scene.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let options = StoreOptions::default().busy_timeout(std::time::Duration::from_millis(20));
    let store = Store::open(&scene.file(), options, TABLES).unwrap();
    let error = put(&store, "a").wait().unwrap_err();
    assert!(matches!(error, lictor_store::WriteError::NotCommitted(_)), "{error:?}");
    other.execute_batch("ROLLBACK").unwrap();
    put(&store, "a").wait().unwrap();
}

#[test]
fn settings_are_the_strict_ones() {
    let scene = Scene::new();
    let store = scene.open();
    let pragma = |name: &'static str| {
        store
            .write(move |tx| {
                tx.query_row(&format!("PRAGMA {name}"), (), |row| {
                    row.get::<_, lictor_store::rusqlite::types::Value>(0)
                })
            })
            .wait()
            .unwrap()
    };
    assert_eq!(pragma("journal_mode"), "wal".to_owned().into());
    assert_eq!(pragma("synchronous"), 2.into());
    assert_eq!(pragma("foreign_keys"), 1.into());
    assert_eq!(pragma("trusted_schema"), 0.into());
}
