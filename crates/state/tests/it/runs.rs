//! Workflow runs as rows.

use lictor_context::{RunId, Timestamp};
use lictor_state::{ClaimedRow, KeptRun, LeaseRow, RunRow, Runs, StateError};
use lictor_store::{Store, WriteError};
use serde_json::{Value, json};

use crate::support::{open, store};

fn row(id: &str, revision: u64, status: &str, created_at: i64, record: Value) -> RunRow {
    let id = RunId::parse(id).expect("an id");
    let (place, status) = ("p".to_owned(), status.to_owned());
    let record = record.to_string();
    RunRow { id, place, revision, status, created_at, record, sealed: None, over_at: None }
}

fn lease(owner: &str, token: u64, until: i64) -> LeaseRow {
    LeaseRow { owner: owner.to_owned(), token, until }
}

fn put(store: &Store, row: RunRow) -> Result<(), WriteError<StateError>> {
    store.write(move |tx| Runs::save_in(tx, &row, &lease("a", 1, 9), false)).wait().map(|_| ())
}

fn claim(store: &Store, owner: &'static str, now: i64, gone: &'static str) -> ClaimedRow {
    let id = RunId::parse("wfr_1").expect("an id");
    let claimed = store
        .write(move |tx| Runs::claim_in(tx, ("p", &id), owner, now, now + 10, |it| it == gone));
    claimed.wait().expect("asked")
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

#[test]
fn a_run_is_driven_by_one_at_a_time_and_the_earlier_one_is_fenced() {
    let (store, _dir) = store();
    assert_eq!(claim(&store, "a", 0, ""), ClaimedRow::Missing);
    put(&store, row("wfr_1", 1, "running", 1, json!(1))).expect("written");
    // Until 9 it is a's; then, or when a is gone, it is anybody's.
    assert_eq!(claim(&store, "b", 8, ""), ClaimedRow::Held { by: "a".to_owned() });
    let ClaimedRow::Had { lease: again, .. } = claim(&store, "a", 8, "") else { unreachable!() };
    assert_eq!((again.token, again.until), (2, 18));
    let ClaimedRow::Had { lease: taken, run } = claim(&store, "b", 8, "a") else { unreachable!() };
    assert_eq!((taken.token, run.record.as_str()), (3, "1"));
    let late = put(&store, row("wfr_1", 2, "running", 1, json!(2)));
    assert!(matches!(late, Err(WriteError::Job(StateError::Fenced))), "{late:?}");

    // It is given back with the save that brings the run to rest, and the next token is higher.
    let rest = row("wfr_1", 2, "paused", 1, json!(2));
    store.write(move |tx| Runs::save_in(tx, &rest, &taken, true)).wait().expect("saved");
    let ClaimedRow::Had { lease: next, .. } = claim(&store, "c", 0, "") else { unreachable!() };
    assert_eq!(next.token, 4);
}

#[test]
fn a_wish_reaches_whoever_drives_the_run_once() {
    let (store, _dir) = store();
    put(&store, row("wfr_1", 1, "running", 1, json!(1))).expect("written");
    let id = RunId::parse("wfr_1").expect("an id");
    for wish in ["x", "y"] {
        let id = id.clone();
        let asked = store
            .write(move |tx| Runs::ask_in(tx, &id, |earlier| earlier.unwrap_or_default() + wish));
        asked.wait().expect("asked");
    }
    let renew = || {
        let id = id.clone();
        store.write(move |tx| Runs::renew_in(tx, &id, &lease("a", 1, 20))).wait().expect("renewed")
    };
    assert_eq!(renew(), Some("xy".to_owned()));
    assert_eq!(renew(), None);
}

#[test]
fn orphans_are_what_nobody_alive_drives_the_oldest_first() {
    let (store, _dir) = store();
    for (id, created_at) in [("wfr_1", 3), ("wfr_2", 2), ("wfr_3", 1)] {
        put(&store, row(id, 1, "running", created_at, json!(1))).expect("written");
    }
    let new = row("wfr_4", 1, "pending", 0, json!(1));
    store.write(move |tx| Runs::create_in(tx, &new)).wait().expect("created");
    let done = row("wfr_3", 2, "completed", 1, json!(1));
    store.write(move |tx| Runs::save_in(tx, &done, &lease("a", 1, 9), true)).wait().expect("saved");
    let orphans = |now, gone: &str| -> Vec<String> {
        let found =
            Runs::new(store.clone()).orphans("p", &["pending", "running"], now, 9, |it| it == gone);
        found.expect("a list").iter().map(ToString::to_string).collect()
    };
    assert_eq!(orphans(8, ""), ["wfr_4"]);
    assert_eq!(orphans(9, ""), ["wfr_4", "wfr_2", "wfr_1"]);
    assert_eq!(orphans(0, "a"), ["wfr_4", "wfr_2", "wfr_1"]);
}

#[test]
fn what_is_sealed_is_kept_beside_the_record_until_its_time_is_over() {
    let (store, _dir) = store();
    let sealed = |id, over_at| RunRow {
        sealed: Some(b"ciphertext".to_vec()),
        over_at,
        ..row(id, 1, "running", 1, json!({ "n": 1 }))
    };
    put(&store, sealed("wfr_1", Some(5))).expect("written");
    put(&store, sealed("wfr_2", Some(50))).expect("written");
    put(&store, sealed("wfr_3", None)).expect("written");
    let runs = Runs::new(store.clone());
    let kept = |id| runs.get_kept(&RunId::parse(id).expect("an id")).expect("read").expect("there");
    let before = Timestamp::from_micros(50);
    assert!(runs.forgettable(before).expect("read"));
    let forgotten = store.write(move |tx| Runs::forget_in(tx, before)).wait();
    assert_eq!(forgotten.expect("forgotten"), 1);
    assert!(!runs.forgettable(before).expect("read"));
    // That there was something stays: what is left is never taken for the whole.
    assert_eq!(kept("wfr_1").sealed.as_deref(), Some(b"".as_slice()));
    assert_eq!(kept("wfr_2").sealed.as_deref(), Some(b"ciphertext".as_slice()));
    assert_eq!(kept("wfr_3").sealed.as_deref(), Some(b"ciphertext".as_slice()));
}

#[test]
fn records_of_an_older_version_are_looked_at_once() {
    let (store, _dir) = store();
    for id in ["wfr_1", "wfr_2"] {
        put(&store, row(id, 1, "running", 1, json!("secret"))).expect("written");
    }
    let runs = Runs::new(store.clone());
    assert!(runs.unlooked(9).expect("a list").is_empty());
    store
        .write(|tx| Ok::<_, StateError>(tx.execute("UPDATE run SET looked = 0", [])?))
        .wait()
        .expect("written");
    let old = runs.unlooked(9).expect("a list");
    let ids: Vec<&str> = old.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!((ids, old[0].1.as_str()), (vec!["wfr_1", "wfr_2"], "\"secret\""));
    // Of one that was saved meanwhile nothing is replaced.
    put(&store, row("wfr_2", 2, "running", 1, json!("newer"))).expect("written");
    let sealed = |id| RunRow { sealed: Some(vec![1]), ..row(id, 1, "running", 1, json!(null)) };
    let (one, late) = (sealed("wfr_1"), sealed("wfr_2"));
    let looked = store.write(move |tx| {
        Runs::look_in(tx, &one.id, Some(&one))?;
        Runs::look_in(tx, &late.id, Some(&late))
    });
    looked.wait().expect("looked");
    assert!(runs.unlooked(9).expect("a list").is_empty());
    let second = runs.get_kept(&RunId::parse("wfr_2").expect("an id")).expect("read");
    assert_eq!(second.expect("there"), KeptRun { record: "\"newer\"".to_owned(), sealed: None });
    let first = runs.get_kept(&RunId::parse("wfr_1").expect("an id")).expect("read");
    assert_eq!(first.expect("there"), KeptRun { record: "null".to_owned(), sealed: Some(vec![1]) });
}
