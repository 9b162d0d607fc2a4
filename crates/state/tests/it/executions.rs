//! The index of executions.

use lictor_capability::UndoScope;
use lictor_context::{Digest, SessionId};
use lictor_executor::{ExecutionRecord, ExecutionStatus};
use lictor_state::{ExecutionFilter, Executions, StateError, migrations};
use lictor_store::{Store, StoreOptions};

use crate::support::{at, execution_id, file, of_run, open, put, record, store};

fn ids(executions: &Executions, filter: &ExecutionFilter) -> Vec<String> {
    let found = executions.list(filter).expect("a list");
    found.into_iter().map(|one| one.record.execution_id.to_string()).collect()
}

/// Which stand, which are undone and by whom.
#[track_caller]
fn check(store: &Store, expected: &[(&str, Option<&str>)]) {
    let executions = Executions::new(store.clone());
    for (id, undone_by) in expected {
        let stored = executions.get(&execution_id(id)).expect("read").expect("known");
        let found = stored.undone_by.as_ref().map(|id| id.as_str());
        assert_eq!(found, *undone_by, "{id} is undone by");
        let undone = stored.record.status == ExecutionStatus::Undone;
        assert_eq!(undone, undone_by.is_some(), "{id} is {:?}", stored.record.status);
    }
}

#[test]
fn a_database_of_an_older_version_opens_and_finds_its_executions() {
    for n_steps in [10, 11] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lictor.db");
        let older = &migrations()[..n_steps];
        let store = Store::open(&path, StoreOptions::default(), older).expect("an older store");
        put(&store, &record("exe_1", 1, &[]));
        let of_a_run = of_run(record("exe_2", 2, &[]), "wfr_1");
        put(&store, &of_a_run);
        drop(store);
        let executions = Executions::new(open(&path));
        let none = ExecutionFilter::default;
        let of_it = ExecutionFilter { session: Some(of_a_run.session_id.clone()), ..none() };
        assert_eq!(ids(&executions, &of_it), ["exe_2", "exe_1"]);
        let other = SessionId::parse("ses_nobody").expect("an id");
        let of_other = ExecutionFilter { session: Some(other), ..none() };
        assert!(ids(&executions, &of_other).is_empty());
        let of_its_run = ExecutionFilter { run: of_a_run.run_id.clone(), ..none() };
        assert_eq!(ids(&executions, &of_its_run), ["exe_2"]);
        // What is newer than this program knows is refused, as ever.
        assert!(Store::open(&path, StoreOptions::default(), older).is_err());
    }
}

/// Each of them is written with each execution. What `EXPLAIN QUERY PLAN` says of the queries reads
/// these and no others.
#[test]
fn executions_have_no_index_that_no_query_reads() {
    let (store, _dir) = store();
    let found = store.read(|conn| {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'execution' \
                   AND sql IS NOT NULL ORDER BY name";
        let mut statement = conn.prepare(sql)?;
        let names = statement.query_map([], |row| row.get(0))?;
        names.collect::<Result<Vec<String>, lictor_store::rusqlite::Error>>()
    });
    let found = found.expect("the schema");
    assert_eq!(found, ["execution_key", "execution_sealed", "execution_time"]);
}

#[test]
fn an_execution_is_read_back_as_it_was_written() {
    let (store, _dir) = store();
    let mut written = of_run(record("exe_1", 1, &["exe_0"]), "wfr_1");
    written.idempotency_key = Some(Digest::of(b"key"));
    written.error = Some("it failed".to_owned());
    written.files.push(file("b", Some("c")));
    for status in [
        ExecutionStatus::Applied,
        ExecutionStatus::RolledBack,
        ExecutionStatus::Undone,
        ExecutionStatus::Incomplete,
    ] {
        written.status = status;
        put(&store, &written);
        let executions = Executions::new(store.clone());
        let stored = executions.get(&written.execution_id).expect("read").expect("known");
        assert_eq!((stored.record, stored.undone_by), (written.clone(), None));
    }
    assert!(Executions::new(store).get(&execution_id("exe_2")).expect("read").is_none());
}

#[test]
fn what_is_written_again_is_replaced() {
    let (store, _dir) = store();
    put(&store, &record("exe_1", 1, &[]));
    let mut again = record("exe_1", 1, &[]);
    again.status = ExecutionStatus::RolledBack;
    put(&store, &again);
    let all = Executions::new(store.clone()).list(&ExecutionFilter::default()).expect("a list");
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].record, again);
    let id = again.execution_id;
    let known = store.write(move |tx| Executions::status_in(tx, &id)).wait();
    assert_eq!(known.expect("read"), Some(ExecutionStatus::RolledBack));
    let id = execution_id("exe_2");
    let known = store.write(move |tx| Executions::status_in(tx, &id)).wait();
    assert_eq!(known.expect("read"), None);
}

/// A command begins under the key of its intent, and its changes land under it by another execution: as
/// long as they have not, nobody is answered that the intent is fulfilled.
#[test]
fn what_lets_its_key_go_answers_for_nothing_any_more() {
    let (store, _dir) = store();
    let key = Digest::of(b"an intent");
    let mut command = record("exe_1", 1, &[]);
    (command.idempotency_key, command.status) = (Some(key), ExecutionStatus::Incomplete);
    put(&store, &command);
    let executions = Executions::new(store.clone());
    let found = || executions.find_key(key, at(0)).expect("read");
    let doubted = || executions.find_in_doubt(key).expect("read");
    assert_eq!((found(), doubted()), (None, Some(execution_id("exe_1"))));
    (command.idempotency_key, command.status) = (None, ExecutionStatus::Applied);
    put(&store, &command);
    assert_eq!((found(), doubted()), (None, None));
    let mut landing = record("exe_2", 2, &[]);
    landing.idempotency_key = Some(key);
    put(&store, &landing);
    assert_eq!(found(), Some(landing));
}

#[test]
fn a_transaction_that_fails_keeps_nothing() {
    let (store, _dir) = store();
    let failed = store.write(|tx| {
        Executions::put_in(tx, &record("exe_1", 1, &[]))?;
        Err::<(), _>(StateError::Unavailable("on a whim".to_owned()))
    });
    failed.wait().expect_err("failed");
    assert!(ids(&Executions::new(store), &ExecutionFilter::default()).is_empty());
}

#[test]
fn filters_choose() {
    let (store, _dir) = store();
    let all: [ExecutionRecord; 6] = [
        record("exe_1", 1, &[]),
        of_run(record("exe_2", 2, &[]), "wfr_1"),
        ExecutionRecord {
            session_id: SessionId::parse("ses_2").expect("an id"),
            files: vec![file("src/deep/b.rs", Some("lib/b.rs")), file("docs", None)],
            ..record("exe_3", 3, &[])
        },
        ExecutionRecord { status: ExecutionStatus::RolledBack, ..record("exe_4", 4, &[]) },
        // What it did lies elsewhere.
        ExecutionRecord {
            files: Vec::new(),
            undo: UndoScope::None,
            ..of_run(record("exe_5", 5, &[]), "wfr_1")
        },
        record("exe_6", 6, &["exe_1"]),
    ];
    for record in &all {
        put(&store, record);
    }
    let executions = Executions::new(store);
    let check = |filter: ExecutionFilter, expected: &[&str]| {
        assert_eq!(ids(&executions, &filter), expected, "{filter:?}");
    };
    let none = ExecutionFilter::default;
    let path = |path: &str| ExecutionFilter { path: Some(path.to_owned()), ..none() };
    check(none(), &["exe_6", "exe_5", "exe_4", "exe_3", "exe_2", "exe_1"]);
    check(ExecutionFilter { limit: Some(2), ..none() }, &["exe_6", "exe_5"]);
    check(ExecutionFilter { limit: Some(0), ..none() }, &[]);
    check(ExecutionFilter { session: SessionId::parse("ses_2").ok(), ..none() }, &["exe_3"]);
    check(ExecutionFilter { run: all[1].run_id.clone(), ..none() }, &["exe_5", "exe_2"]);
    check(path("src/a.rs"), &["exe_6", "exe_4", "exe_2", "exe_1"]);
    check(path("src"), &["exe_6", "exe_4", "exe_3", "exe_2", "exe_1"]);
    check(path("src/deep"), &["exe_3"]);
    check(path("lib"), &["exe_3"]);
    check(path("docs"), &["exe_3"]);
    check(path("doc"), &[]);
    check(path("src/a"), &[]);
    check(ExecutionFilter { undoable: true, ..none() }, &["exe_5", "exe_3", "exe_2"]);
    check(ExecutionFilter { undos: true, ..none() }, &["exe_6"]);
    let both = ExecutionFilter { limit: Some(1), undoable: true, ..path("src/a.rs") };
    check(both, &["exe_2"]);
}

#[test]
fn what_changed_nothing_is_passed_over_unless_people_were_asked_about_it() {
    let (store, _dir) = store();
    let nothing = |id: &str, n: i64, asked: bool| ExecutionRecord {
        files: Vec::new(),
        requires_approval: asked,
        ..record(id, n, &[])
    };
    for record in [nothing("exe_1", 1, false), nothing("exe_2", 2, true), record("exe_3", 3, &[])] {
        put(&store, &record);
    }
    let executions = Executions::new(store);
    let changing = ExecutionFilter { changing: true, ..ExecutionFilter::default() };
    assert_eq!(ids(&executions, &changing), ["exe_3", "exe_2"]);
    assert_eq!(ids(&executions, &ExecutionFilter::default()), ["exe_3", "exe_2", "exe_1"]);
}

#[test]
fn of_one_moment_the_greater_id_is_the_newer() {
    let (store, _dir) = store();
    for id in ["exe_b", "exe_c", "exe_a"] {
        put(&store, &record(id, 1, &[]));
    }
    let newest_first = ids(&Executions::new(store), &ExecutionFilter::default());
    assert_eq!(newest_first, ["exe_c", "exe_b", "exe_a"]);
}

#[test]
fn undo_and_redo_turn_one_another_over() {
    let (store, _dir) = store();
    put(&store, &record("exe_a", 1, &[]));
    put(&store, &record("exe_b", 1, &[]));
    check(&store, &[("exe_a", None), ("exe_b", None)]);
    put(&store, &record("exe_u1", 2, &["exe_a", "exe_b"]));
    check(&store, &[("exe_a", Some("exe_u1")), ("exe_b", Some("exe_u1")), ("exe_u1", None)]);
    put(&store, &record("exe_u2", 3, &["exe_u1"]));
    check(&store, &[("exe_a", None), ("exe_b", None), ("exe_u1", Some("exe_u2"))]);
    put(&store, &record("exe_u3", 4, &["exe_u2"]));
    check(
        &store,
        &[
            ("exe_a", Some("exe_u1")),
            ("exe_b", Some("exe_u1")),
            ("exe_u1", None),
            ("exe_u2", Some("exe_u3")),
            ("exe_u3", None),
        ],
    );
    put(&store, &record("exe_u4", 5, &["exe_u3"]));
    check(&store, &[("exe_a", None), ("exe_u1", Some("exe_u2")), ("exe_u2", None)]);
}

#[test]
fn a_long_chain_of_undos_ends_where_it_should() {
    let (store, _dir) = store();
    put(&store, &record("exe_0", 0, &[]));
    for n in 1..=100 {
        put(&store, &record(&format!("exe_{n}"), n, &[&format!("exe_{}", n - 1)]));
    }
    check(&store, &[("exe_100", None), ("exe_99", Some("exe_100")), ("exe_98", None)]);
    check(&store, &[("exe_0", None), ("exe_1", Some("exe_2"))]);
}

#[test]
fn an_undo_that_failed_undoes_nothing() {
    let (store, _dir) = store();
    put(&store, &record("exe_a", 1, &[]));
    for status in [ExecutionStatus::RolledBack, ExecutionStatus::Incomplete] {
        put(&store, &ExecutionRecord { status, ..record("exe_u", 2, &["exe_a"]) });
        check(&store, &[("exe_a", None)]);
    }
}

#[test]
fn what_a_recovery_says_late_or_twice_changes_nothing() {
    let (store, _dir) = store();
    let (done, undo) = (record("exe_a", 1, &[]), record("exe_u", 2, &["exe_a"]));
    put(&store, &done);
    put(&store, &undo);
    put(&store, &done);
    check(&store, &[("exe_a", Some("exe_u"))]);
    put(&store, &undo);
    check(&store, &[("exe_a", Some("exe_u")), ("exe_u", None)]);
    put(&store, &record("exe_r", 3, &["exe_u"]));
    put(&store, &record("exe_r", 3, &["exe_u"]));
    check(&store, &[("exe_a", None), ("exe_u", Some("exe_r"))]);
    // Of the undo that was taken back as well.
    put(&store, &undo);
    put(&store, &done);
    check(&store, &[("exe_a", None), ("exe_u", Some("exe_r")), ("exe_r", None)]);
}

/// Two undos at once: the one that found everything back already has not undone it.
#[test]
fn an_undo_that_came_second_and_changed_nothing_does_not_count() {
    let (store, _dir) = store();
    let nothing = |id: &str, second| {
        let mut undo = record(id, second, &["exe_a"]);
        undo.files.clear();
        undo
    };
    put(&store, &record("exe_a", 1, &[]));
    put(&store, &record("exe_u", 2, &["exe_a"]));
    put(&store, &nothing("exe_v", 3));
    check(&store, &[("exe_a", Some("exe_u")), ("exe_u", None), ("exe_v", None)]);
    // The other way round the one that did something counts.
    put(&store, &record("exe_b", 4, &[]));
    let undo_b = |mut undo: ExecutionRecord| {
        undo.undo_of = record("exe_x", 1, &["exe_b"]).undo_of;
        undo
    };
    put(&store, &undo_b(nothing("exe_w", 5)));
    check(&store, &[("exe_b", Some("exe_w"))]);
    put(&store, &undo_b(record("exe_z", 6, &[])));
    check(&store, &[("exe_b", Some("exe_z"))]);
}

/// What an undo is not about is passed over: what changed nothing, and nothing else.
#[test]
fn what_changed_nothing_is_not_to_be_undone() {
    let (store, _dir) = store();
    let mut nothing = record("exe_n", 2, &[]);
    nothing.files.clear();
    let mut elsewhere = record("exe_e", 3, &[]);
    elsewhere.files.clear();
    elsewhere.undo = UndoScope::None;
    put(&store, &record("exe_a", 1, &[]));
    put(&store, &nothing);
    put(&store, &elsewhere);
    let executions = Executions::new(store.clone());
    let undoable = ExecutionFilter { undoable: true, ..ExecutionFilter::default() };
    assert_eq!(ids(&executions, &undoable), ["exe_e", "exe_a"]);
    assert_eq!(ids(&executions, &ExecutionFilter::default()), ["exe_e", "exe_n", "exe_a"]);
}

#[test]
fn a_key_finds_the_newest_that_stands_and_is_not_old() {
    let (store, _dir) = store();
    let executions = Executions::new(store.clone());
    let key = Digest::of(b"key");
    let keyed =
        |id, second| ExecutionRecord { idempotency_key: Some(key), ..record(id, second, &[]) };
    let found = |since| {
        let found = executions.find_key(key, at(since)).expect("read");
        found.map(|record| record.execution_id.to_string())
    };
    assert_eq!(found(0), None);
    put(&store, &keyed("exe_1", 10));
    put(&store, &record("exe_x", 11, &[]));
    put(&store, &ExecutionRecord { status: ExecutionStatus::RolledBack, ..keyed("exe_2", 12) });
    put(&store, &ExecutionRecord { status: ExecutionStatus::Incomplete, ..keyed("exe_3", 13) });
    assert_eq!(found(0).as_deref(), Some("exe_1"), "those that failed may be tried again");
    assert_eq!(found(10).as_deref(), Some("exe_1"));
    assert_eq!(found(11), None, "too old");

    put(&store, &record("exe_u", 14, &["exe_1"]));
    assert_eq!(found(0), None, "undone: asking again is a new wish");
    put(&store, &record("exe_r", 15, &["exe_u"]));
    assert_eq!(found(0).as_deref(), Some("exe_1"), "redone");
    put(&store, &keyed("exe_4", 16));
    assert_eq!(found(0).as_deref(), Some("exe_4"));
    let other = executions.find_key(Digest::of(b"other"), at(0)).expect("read");
    assert!(other.is_none());
}

#[test]
fn what_was_written_is_there_after_reopening() {
    let (store, dir) = store();
    put(&store, &record("exe_a", 1, &[]));
    put(&store, &record("exe_u", 2, &["exe_a"]));
    store.close();
    drop(store);
    let store = open(&dir.path().join("lictor.db"));
    check(&store, &[("exe_a", Some("exe_u")), ("exe_u", None)]);
    let all = ids(&Executions::new(store), &ExecutionFilter::default());
    assert_eq!(all, ["exe_u", "exe_a"]);
}

#[test]
fn a_damaged_record_is_an_error_and_no_panic() {
    let (store, _dir) = store();
    put(&store, &record("exe_a", 1, &[]));
    let damage = store.write(|tx| {
        tx.execute("UPDATE execution SET record = '{\"half\": '", []).map_err(StateError::from)
    });
    assert_eq!(damage.wait().expect("written"), 1);
    let read = Executions::new(store).get(&execution_id("exe_a"));
    assert!(matches!(read, Err(StateError::Record(_))), "{read:?}");
}
