//! Databases of every older version open, keep their events, and prove them.

use std::path::Path;

use lictor_audit::{AuditLog, AuditOptions, SigningKey, Verdict, migrations};
use lictor_store::rusqlite::Connection;
use lictor_store::{Store, StoreOptions};

use crate::rig::{Rig, check, name};

/// A database of an older version with the rows of a newer one, as far as it has their tables.
pub(crate) fn older(newer: &Path, path: &Path, version: usize) {
    drop(Store::open(path, StoreOptions::default(), &migrations()[..version]).unwrap());
    let old = Connection::open(path).unwrap();
    old.execute("ATTACH ?1 AS newer", [newer.to_str().unwrap()]).unwrap();
    let tables: Vec<String> = old
        .prepare("SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name LIKE 'audit_%'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(tables.len() >= 4, "{tables:?}");
    for table in tables {
        let copy = format!("INSERT INTO main.{table} SELECT * FROM newer.{table}");
        old.execute(&copy, []).unwrap();
    }
}

#[test]
fn a_database_of_each_older_version_opens_keeps_its_events_and_verifies() {
    let rig = Rig::new();
    let log = rig.open();
    rig.fill(&log, 300);
    let before = log.checkpoint(&name("acme")).unwrap();
    let lines = log.query(&name("acme"), &lictor_audit::Filter::default()).unwrap();
    drop(log);
    for version in 1..=migrations().len() {
        let path = rig.path(&format!("version-{version}.db"));
        older(&rig.database(), &path, version);
        let store = Store::open(&path, StoreOptions::default(), migrations()).unwrap();
        let key = SigningKey::load_or_create(&rig.path("audit.key")).unwrap();
        let log = AuditLog::open(store, key, AuditOptions::default()).unwrap();
        check(&log.verify_store(&name("acme")).unwrap(), Verdict::Complete, None);
        assert_eq!(log.checkpoint(&name("acme")).unwrap(), before, "version {version}");
        assert_eq!(log.query(&name("acme"), &lictor_audit::Filter::default()).unwrap(), lines);
        // It goes on, and what an older version did not keep is there from then on.
        rig.fill(&log, 20);
        let found = log.verify_store(&name("acme")).unwrap();
        check(&found, Verdict::Complete, None);
        assert_eq!(found.events, 320);
        for seq in [0, 17, 255, 256, 299, 319] {
            log.prove(&name("acme"), seq).unwrap();
        }
    }
}

#[test]
fn an_older_program_refuses_a_newer_database() {
    let rig = Rig::new();
    drop(rig.open());
    let older = &migrations()[..migrations().len() - 1];
    assert!(Store::open(&rig.database(), StoreOptions::default(), older).is_err());
}
