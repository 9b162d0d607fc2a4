//! Taking a lock away.

use std::sync::Mutex;
use std::time::Duration;

use lictor_lock::{BreakErrorKind, Broken, CancelFlag, Predecessor, Status};

use crate::{Scene, claim};

#[test]
fn a_free_lock_needs_no_breaking() {
    let scene = Scene::new();
    assert_eq!(scene.lock.break_lock(None, true).unwrap(), Broken::Nothing);
    assert!(!scene.file().exists());
    scene.lock.try_acquire(claim("one")).unwrap().release().unwrap();
    assert_eq!(scene.lock.break_lock(Some("one"), false).unwrap(), Broken::Nothing);
}

#[test]
fn what_a_dead_holder_left_is_settled_but_not_forgotten() {
    let scene = Scene::new();
    drop(scene.lock.try_acquire(claim("one")).unwrap());
    let error = scene.lock.break_lock(Some("other"), true).unwrap_err();
    assert!(matches!(error.kind(), BreakErrorKind::OtherExecution { .. }));
    match scene.lock.break_lock(Some("one"), false).unwrap() {
        Broken::Stale(holder) => assert_eq!(holder.execution, "one"),
        other => panic!("{other:?}"),
    }
    assert_eq!(scene.lock.break_lock(Some("one"), false).unwrap(), Broken::Nothing);
    let lease = scene.lock.try_acquire(claim("two")).unwrap();
    assert_eq!(lease.token(), 2);
    assert!(matches!(lease.predecessor(), Some(Predecessor::Broken(h)) if h.execution == "one"));
}

#[test]
fn a_living_holder_is_broken_only_by_force_and_by_name() {
    let scene = Scene::new();
    let lease = scene.lock.try_acquire(claim("one")).unwrap();

    let error = scene.lock.break_lock(Some("one"), false).unwrap_err();
    assert!(matches!(error.kind(), BreakErrorKind::Held { .. }));
    for wrong in [Some("two"), None] {
        let error = scene.lock.break_lock(wrong, true).unwrap_err();
        assert!(matches!(error.kind(), BreakErrorKind::OtherExecution { .. }));
    }
    lease.check().unwrap();

    let broken = scene.lock.break_lock(Some("one"), true).unwrap();
    assert_eq!(broken, Broken::Forced(Some(lease.holder().clone())));
    assert!(lease.check().is_err());

    let next = scene.lock.try_acquire(claim("two")).unwrap();
    assert_eq!(next.token(), 3);
    assert!(matches!(next.predecessor(), Some(Predecessor::Broken(h)) if h.execution == "one"));
    // The old holder's end changes nothing for the new one.
    assert!(lease.release().is_err());
    next.check().unwrap();
    assert!(scene.lock.try_acquire(claim("three")).is_err());
    next.release().unwrap();
    assert_eq!(std::fs::read_dir(scene.dir.path()).unwrap().count(), 1);
}

#[test]
fn no_token_is_handed_out_twice_while_locks_are_broken() {
    let scene = Scene::new();
    let tokens = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let lease = scene
                            .lock
                            .acquire(
                                claim("one"),
                                Duration::from_secs(60),
                                &CancelFlag::new(),
                                &mut |_| {},
                            )
                            .unwrap();
                        tokens.lock().unwrap().push(lease.token());
                        std::thread::yield_now();
                        // Broken or not.
                        drop(lease.release());
                    }
                })
            })
            .collect();
        let mut n_broken = 0;
        while !workers.iter().all(|worker| worker.is_finished()) {
            if let Status::Held { .. } = scene.lock.status().unwrap()
                && let Ok(Broken::Forced(_)) = scene.lock.break_lock(Some("one"), true)
            {
                n_broken += 1;
            }
        }
        assert!(n_broken > 0);
    });
    let mut tokens = tokens.into_inner().unwrap();
    assert_eq!(tokens.len(), 800);
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 800);
}
