//! `one_writer` between processes.

use lictor_lock::{AcquireErrorKind, Predecessor, Status};

use crate::child::Other;
use crate::{Scene, claim};

#[test]
fn two_processes_exclude_each_other() {
    let scene = Scene::new();
    let mut other = Other::start("hold", &scene.file());
    assert_eq!(other.hear().as_deref(), Some("1"));

    let error = scene.lock.try_acquire(claim("mine")).unwrap_err();
    assert!(matches!(error.kind(), AcquireErrorKind::Busy { .. }));
    let holder = error.holder().unwrap();
    assert_eq!(holder.execution, "child-exec");
    assert_eq!(holder.plan.as_deref(), Some("child-plan"));
    assert_eq!(holder.pid, other.process.id());
    assert_eq!(scene.lock.status().unwrap(), Status::Held { holder: Some(holder.clone()) });

    other.finish();
    let lease = scene.lock.try_acquire(claim("mine")).unwrap();
    assert_eq!(lease.token(), 2);
    assert!(
        matches!(lease.predecessor(), Some(Predecessor::Clean(h)) if h.execution == "child-exec")
    );
}

#[test]
fn a_killed_holder_frees_the_lock_and_is_named() {
    let scene = Scene::new();
    let mut other = Other::start("hold", &scene.file());
    other.hear().unwrap();
    let pid = other.process.id();
    other.kill();

    match scene.lock.status().unwrap() {
        Status::Free { last: Some(last) } => assert!(!last.released),
        other => panic!("{other:?}"),
    }
    let lease = scene.lock.try_acquire(claim("mine")).unwrap();
    assert_eq!(lease.token(), 2);
    match lease.predecessor() {
        Some(Predecessor::Crashed(holder)) => {
            assert_eq!(holder.pid, pid);
            assert_eq!(holder.execution, "child-exec");
            assert!(cfg!(not(target_os = "linux")) || holder.process_start.is_some());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_dropped_lease_counts_as_crashed() {
    let scene = Scene::new();
    let mut other = Other::start("drop", &scene.file());
    other.hear().unwrap();
    other.finish();
    let lease = scene.lock.try_acquire(claim("mine")).unwrap();
    assert!(lease.predecessor().unwrap().needs_recovery());
}

#[test]
fn tokens_of_many_processes_are_distinct_and_dense() {
    let scene = Scene::new();
    let mut others: Vec<_> = (0..4).map(|_| Other::start("many", &scene.file())).collect();
    let mut tokens = Vec::new();
    for other in &mut others {
        while let Some(said) = other.hear() {
            tokens.push(said.parse::<u64>().unwrap());
        }
    }
    for other in others {
        other.finish();
    }
    tokens.sort_unstable();
    assert_eq!(tokens, (1..=100).collect::<Vec<_>>());
}
