//! Workflow runs as rows.

use lictor_context::RunId;
use lictor_state::{RunRow, Runs, StateError};
use lictor_store::{Store, WriteError};
use serde_json::{Value, json};

use crate::support::{open, store};

fn row(id: &str, revision: u64, status: &str, created_at: i64, record: Value) -> RunRow {
    let id = RunId::parse(id).expect("an id");
    RunRow { id, revision, status: status.to_owned(), created_at, record }
}

fn put(store: &Store, row: RunRow) -> Result<(), WriteError<StateError>> {
    store.write(move |tx| Runs::put_in(tx, &row)).wait()
}

#[test]
fn runs_are_replaced_listed_newest_first_and_kept() {
    let (store, dir) = store();
    put(&store, row("wfr_1", 1, "running", 1, json!({ "n": 1 }))).expect("written");
    put(&store, row("wfr_2", 1, "running", 2, json!({ "n": 2 }))).expect("written");
    let done = json!({ "n": 1, "done": true });
    put(&store, row("wfr_1", 2, "succeeded", 1, done)).expect("written");
    store.close();
    drop(store);
    let runs = Runs::new(open(&dir.path().join("lictor.db")));
    let first = RunId::parse("wfr_1").expect("an id");
    assert_eq!(runs.get(&first).expect("read"), Some(json!({ "n": 1, "done": true })));
    assert_eq!(runs.list(9).expect("a list"), [json!({ "n": 2 }), json!({ "n": 1, "done": true })]);
    assert_eq!(runs.list(1).expect("a list"), [json!({ "n": 2 })]);
    let unknown = RunId::parse("wfr_3").expect("an id");
    assert_eq!(runs.get(&unknown).expect("read"), None);
}

#[test]
fn a_run_is_replaced_by_its_next_revision_only() {
    let (store, _dir) = store();
    for (revision, stored) in [(0, 0), (2, 0), (1, 1), (1, 1), (3, 1), (2, 2), (2, 2)] {
        let before = Runs::new(store.clone()).list(1).expect("a list");
        match put(&store, row("wfr_1", revision, "running", 1, json!(revision))) {
            Ok(()) => assert_eq!(revision, stored),
            Err(WriteError::Job(StateError::Stale { found })) => {
                assert_eq!(found, stored, "{revision}");
                assert_eq!(Runs::new(store.clone()).list(1).expect("a list"), before);
            }
            Err(error) => unreachable!("{error}"),
        }
    }
}
