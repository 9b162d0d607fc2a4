//! Approvals: compare-and-set, across threads and processes' stores.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use lictor_context::{ApprovalId, Digest};
use lictor_governance::{
    Approval, ApprovalState, ApprovalStore, ApprovalStoreError, Approvals, Approvers, Channel,
    GrantTerms, Judged, MemoryApprovalStore,
};
use lictor_state::{SqliteApprovalStore, SqliteApproverStore, SqliteGrantStore};
use lictor_store::Store;

use crate::support::{asking, clock, described, name, open, store};

/// Approvals as a broker makes them, each about another action.
fn asked(n: u32) -> Approval {
    let clock = clock();
    let gate = asking(&clock);
    let approvals = Approvals::new(&gate, Arc::new(MemoryApprovalStore::default()));
    let described = described(n, &clock);
    let decision = gate.decide(&described);
    approvals.request(&described, &decision, []).expect("asked")
}

/// Keeps an approval with the bytes that it was made from.
fn insert(store: &SqliteApprovalStore, approval: &Approval) -> Result<(), ApprovalStoreError> {
    let bytes: Arc<[u8]> = Arc::from(&b"what was judged"[..]);
    let parts = [(approval.action_digest(), Arc::clone(&bytes)), (Digest::of(b"2"), bytes)];
    store.insert(approval, &Judged::from_parts(approval.action_digest(), parts))
}

/// The same approval, refused.
fn refused(approval: &Approval) -> Approval {
    let mut record = serde_json::to_value(approval).expect("JSON");
    record["state"] = "denied".into();
    serde_json::from_value(record).expect("an approval")
}

#[test]
fn an_approval_is_read_back_as_it_was_written() {
    let (store, dir) = store();
    let approvals = SqliteApprovalStore::new(store.clone());
    let approval = asked(1);
    insert(&approvals, &approval).expect("kept");
    let kept = approvals.get(approval.id()).expect("read").expect("known");
    assert_eq!((&kept.approval, kept.revision), (&approval, 1));
    let open_one = approvals.find_open(approval.action_digest()).expect("read");
    assert_eq!(open_one.as_ref(), Some(&kept));
    let unknown = ApprovalId::parse("apr_0").expect("an id");
    assert!(approvals.get(&unknown).expect("read").is_none());
    store.close();
    drop((approvals, store));

    let again = SqliteApprovalStore::new(open(&dir.path().join("lictor.db")));
    assert_eq!(again.get(approval.id()).expect("read"), Some(kept));
}

#[test]
fn what_was_judged_is_kept_as_long_as_the_request_is_open_and_not_longer() {
    let (store, dir) = store();
    let approvals = SqliteApprovalStore::new(store.clone());
    let approval = asked(1);
    insert(&approvals, &approval).expect("kept");
    let judged = approvals.judged(approval.id()).expect("read").expect("kept");
    assert_eq!(judged.parts().count(), 2);
    assert_eq!(judged.action_digest(), approval.action_digest());
    approvals.update(approval.id(), 1, &approval).expect("still open");
    assert_eq!(approvals.judged(approval.id()).expect("read"), Some(judged));
    approvals.update(approval.id(), 2, &refused(&approval)).expect("refused");
    assert_eq!(approvals.judged(approval.id()).expect("read"), None);
    store.close();
    drop((approvals, store));
    for file in std::fs::read_dir(dir.path()).expect("a folder") {
        let path = file.expect("a file").path();
        let bytes = std::fs::read(&path).expect("read");
        let found = bytes.windows(15).any(|window| window == b"what was judged");
        assert!(!found, "{}", path.display());
    }
}

#[test]
fn of_one_digest_one_is_open() {
    let (store, _dir) = store();
    let approvals = SqliteApprovalStore::new(store);
    let (first, second) = (asked(1), asked(1));
    assert_eq!(first.action_digest(), second.action_digest());
    insert(&approvals, &first).expect("kept");
    assert_eq!(insert(&approvals, &second), Err(ApprovalStoreError::Conflict));
    assert_eq!(insert(&approvals, &first), Err(ApprovalStoreError::Conflict));
    insert(&approvals, &asked(2)).expect("another digest");

    approvals.update(first.id(), 1, &refused(&first)).expect("refused");
    assert!(approvals.find_open(first.action_digest()).expect("read").is_none());
    insert(&approvals, &second).expect("the first is settled");
    assert_eq!(approvals.list(true).expect("a list").len(), 2);
    assert_eq!(approvals.list(false).expect("a list").len(), 3);
}

#[test]
fn an_update_needs_the_revision_that_was_seen() {
    let (store, _dir) = store();
    let approvals = SqliteApprovalStore::new(store);
    let approval = asked(1);
    insert(&approvals, &approval).expect("kept");
    for revision in [0, 2, u64::MAX] {
        let update = approvals.update(approval.id(), revision, &approval);
        assert_eq!(update, Err(ApprovalStoreError::Conflict), "{revision}");
    }
    approvals.update(approval.id(), 1, &approval).expect("updated");
    approvals.update(approval.id(), 2, &refused(&approval)).expect("updated");
    let kept = approvals.get(approval.id()).expect("read").expect("known");
    assert_eq!((kept.revision, kept.approval.state()), (3, ApprovalState::Denied));
}

#[test]
fn an_update_is_of_the_approval_that_it_names() {
    let (store, _dir) = store();
    let approvals = SqliteApprovalStore::new(store);
    let (one, other) = (asked(1), asked(2));
    insert(&approvals, &one).expect("kept");
    assert_eq!(approvals.update(one.id(), 1, &other), Err(ApprovalStoreError::Conflict));
    assert_eq!(approvals.update(other.id(), 1, &other), Err(ApprovalStoreError::Conflict));
}

/// 16 threads, each over one of two stores on one file, as two processes would have.
fn race(work: impl Fn(usize, &SqliteApprovalStore) -> bool + Send + Sync + 'static) -> usize {
    let (store, dir) = store();
    let second = open(&dir.path().join("lictor.db"));
    let stores = [SqliteApprovalStore::new(store), SqliteApprovalStore::new(second)];
    let (work, start) = (Arc::new(work), Arc::new(Barrier::new(16)));
    insert(&stores[0], &asked(7)).expect("kept");
    let threads: Vec<_> = (0..16)
        .map(|n| {
            let (work, start, store) = (work.clone(), start.clone(), stores[n % 2].clone());
            thread::spawn(move || {
                start.wait();
                work(n, &store)
            })
        })
        .collect();
    let won = threads.into_iter().map(|thread| thread.join().expect("no panic"));
    won.filter(|won| *won).count()
}

#[test]
fn of_sixteen_updates_of_one_revision_one_wins() {
    for _ in 0..5 {
        let won = race(|_, store| {
            let kept = store.list(true).expect("a list").remove(0);
            match store.update(kept.approval.id(), 1, &kept.approval) {
                Ok(()) => true,
                Err(ApprovalStoreError::Conflict) => false,
                Err(error) => unreachable!("{error}"),
            }
        });
        assert_eq!(won, 1);
    }
}

#[test]
fn of_sixteen_questions_about_one_action_one_is_open() {
    let won = race(|_, store| match insert(store, &asked(1)) {
        Ok(()) => true,
        Err(ApprovalStoreError::Conflict) => false,
        Err(error) => unreachable!("{error}"),
    });
    assert_eq!(won, 1);
}

#[test]
fn sixteen_who_try_again_all_get_their_turn() {
    let won = race(|_, store| {
        loop {
            let kept = store.list(true).expect("a list").remove(0);
            match store.update(kept.approval.id(), kept.revision, &kept.approval) {
                Ok(()) => return true,
                Err(ApprovalStoreError::Conflict) => {}
                Err(error) => unreachable!("{error}"),
            }
        }
    });
    assert_eq!(won, 16);
}

#[test]
fn a_granted_approval_is_spent_once_by_whoever_comes_first() {
    let (store, dir) = store();
    let second = open(&dir.path().join("lictor.db"));
    let clock = clock();
    let gate = asking(&clock);
    let broker = |store| Approvals::new(&gate, Arc::new(SqliteApprovalStore::new(store)));
    let brokers = [broker(store.clone()), broker(second)];

    let approvers = Approvers::new(Arc::new(SqliteApproverStore::new(store)), clock.clone());
    let (_, token) = approvers.bootstrap(name("bob"), Vec::new()).expect("enrolled");
    let described = described(1, &clock);
    let decision = gate.decide(&described);
    let asked = brokers[0].request(&described, &decision, []).expect("asked");
    assert_eq!(brokers[1].request(&described, &decision, []).expect("asked").id(), asked.id());
    let bob = approvers.authenticate(token.expose()).expect("bob");
    let granted = brokers[1].grant(asked.id(), &bob, Channel::Token).expect("granted");
    assert_eq!(granted.state(), ApprovalState::Granted);

    let start = Barrier::new(16);
    let digest = decision.action_digest();
    let spent: usize = thread::scope(|scope| {
        let spend = |n: usize| {
            let (broker, start) = (&brokers[n % 2], &start);
            scope.spawn(move || {
                start.wait();
                broker.spend(digest).expect("the store works").is_some()
            })
        };
        let threads: Vec<_> = (0..16).map(spend).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|won| *won).count()
    });
    assert_eq!(spent, 1);
    assert_eq!(brokers[0].get(asked.id()).expect("kept").state(), ApprovalState::Spent);
}

/// Somebody who agrees in advance agrees to the request as well: of many answers at once one counts,
/// and there is never the one without the other.
#[test]
fn a_grant_and_the_request_that_it_comes_from_are_agreed_to_in_one_step() {
    for agreeing_only in [0, 8] {
        let (store, dir) = store();
        let second = open(&dir.path().join("lictor.db"));
        let clock = clock();
        let gate = asking(&clock);
        let broker = |store: Store| {
            Approvals::new(&gate, Arc::new(SqliteApprovalStore::new(store.clone())))
                .with_grants(Arc::new(SqliteGrantStore::new(store)))
        };
        let brokers = [broker(store.clone()), broker(second)];
        let approvers = Approvers::new(Arc::new(SqliteApproverStore::new(store)), clock.clone());
        let (_, token) = approvers.bootstrap(name("bob"), Vec::new()).expect("enrolled");
        let described = described(1, &clock);
        let decision = gate.decide(&described);
        let asked = brokers[0].request(&described, &decision, []).expect("asked");
        let paths = vec!["notes.txt".to_owned()];
        let terms = GrantTerms { paths, lasts: Duration::from_secs(60), uses: None };

        let start = Barrier::new(16);
        let answers: Vec<Option<bool>> = thread::scope(|scope| {
            let answer = |n: usize| {
                let (broker, start, id, terms) = (&brokers[n % 2], &start, asked.id(), &terms);
                let bob = approvers.authenticate(token.expose()).expect("bob");
                scope.spawn(move || {
                    start.wait();
                    if n < agreeing_only {
                        return broker.grant(id, &bob, Channel::Token).ok().map(|_| false);
                    }
                    broker.grant_in_advance(id, &bob, Channel::Token, terms).ok().map(|_| true)
                })
            };
            let threads: Vec<_> = (0..16).map(answer).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let counted: Vec<bool> = answers.into_iter().flatten().collect();
        assert_eq!(counted.len(), 1, "{counted:?}");
        let granted = brokers[1].get(asked.id()).expect("kept");
        assert_eq!(granted.state(), ApprovalState::Granted);
        assert_eq!(granted.granted_by().len(), 1);
        let grants = brokers[0].grants().expect("a list");
        assert_eq!(grants.len(), usize::from(counted[0]), "{grants:?}");
    }
}
