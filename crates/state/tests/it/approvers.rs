//! Approvers: one of a name, whatever its letter case, and one first.

use std::sync::{Arc, Barrier};
use std::thread;

use lictor_context::Digest;
use lictor_governance::{ApproverRecord, ApproverStore, ApproverStoreError, Approvers};
use lictor_state::SqliteApproverStore;

use crate::support::{at, clock, name, open, store};

fn approver(text: &str) -> ApproverRecord {
    ApproverRecord {
        name: name(text),
        token_digest: Digest::of(text.as_bytes()),
        roles: vec![name("ops")],
        added_by: None,
        added_at: at(1),
        revoked_at: None,
    }
}

#[test]
fn names_are_unique_whatever_their_letter_case() {
    let (store, _dir) = store();
    let approvers = SqliteApproverStore::new(store);
    approvers.insert(&approver("Bob"), false).expect("kept");
    for same in ["Bob", "bob", "BOB", "bOb"] {
        let insert = approvers.insert(&approver(same), false);
        assert_eq!(insert, Err(ApproverStoreError::Exists), "{same}");
    }
    approvers.insert(&approver("ann"), false).expect("kept");
    let all = approvers.list().expect("a list");
    assert_eq!(all, [approver("ann"), approver("Bob")], "by name");
}

#[test]
fn only_the_first_is_first() {
    let (store, _dir) = store();
    let approvers = SqliteApproverStore::new(store);
    approvers.insert(&approver("ann"), true).expect("the first");
    assert_eq!(approvers.insert(&approver("bob"), true), Err(ApproverStoreError::Exists));
    approvers.revoke(&name("ann"), at(2)).expect("struck off");
    assert_eq!(approvers.insert(&approver("bob"), true), Err(ApproverStoreError::Exists));
    assert_eq!(approvers.insert(&approver("ann"), false), Err(ApproverStoreError::Exists));
}

#[test]
fn a_revocation_keeps_its_first_moment() {
    let (store, dir) = store();
    let approvers = SqliteApproverStore::new(store.clone());
    approvers.insert(&approver("Ann"), true).expect("kept");
    approvers.revoke(&name("ann"), at(5)).expect("struck off");
    approvers.revoke(&name("ANN"), at(9)).expect("without effect");
    assert_eq!(approvers.revoke(&name("bob"), at(9)), Err(ApproverStoreError::Unknown));
    store.close();
    drop((approvers, store));
    let again = SqliteApproverStore::new(open(&dir.path().join("lictor.db")));
    let expected = ApproverRecord { revoked_at: Some(at(5)), ..approver("Ann") };
    assert_eq!(again.list().expect("a list"), [expected]);
}

#[test]
fn of_sixteen_who_are_first_one_is() {
    let (store, dir) = store();
    let second = open(&dir.path().join("lictor.db"));
    let stores = [SqliteApproverStore::new(store), SqliteApproverStore::new(second)];
    let start = Barrier::new(16);
    let first: usize = thread::scope(|scope| {
        let enrol = |n: usize| {
            let (store, start) = (&stores[n % 2], &start);
            scope.spawn(move || {
                start.wait();
                match store.insert(&approver(&format!("user{n}")), true) {
                    Ok(()) => true,
                    Err(ApproverStoreError::Exists) => false,
                    Err(error) => unreachable!("{error}"),
                }
            })
        };
        let threads: Vec<_> = (0..16).map(enrol).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .filter(|won| *won)
            .count()
    });
    assert_eq!(first, 1);
    assert_eq!(stores[1].list().expect("a list").len(), 1);
}

#[test]
fn tokens_are_not_kept() {
    let (store, dir) = store();
    let kept = Arc::new(SqliteApproverStore::new(store.clone()));
    let approvers = Approvers::new(kept, clock());
    let (_, token) = approvers.bootstrap(name("bob"), Vec::new()).expect("enrolled");
    assert_eq!(approvers.authenticate(token.expose()).expect("bob").name(), &name("bob"));
    store.close();
    drop((approvers, store));
    for entry in std::fs::read_dir(dir.path()).expect("a directory") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("bytes");
        let token = token.expose().as_bytes();
        assert!(!bytes.windows(token.len()).any(|window| window == token));
    }
}
