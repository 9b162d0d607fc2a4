//! `one_writer`: what a lease says and does.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lictor_lock::{CancelFlag, Lease, LostLeaseKind, Predecessor, Status};

use crate::{Scene, claim};

#[test]
fn two_threads_exclude_each_other() {
    let scene = Scene::new();
    let inside = AtomicBool::new(false);
    let taken = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let lease = scene
                        .lock
                        .acquire(
                            claim("thread"),
                            Duration::from_secs(60),
                            &CancelFlag::new(),
                            &mut |_| {},
                        )
                        .unwrap();
                    assert!(!inside.swap(true, Ordering::SeqCst));
                    std::thread::yield_now();
                    assert!(inside.swap(false, Ordering::SeqCst));
                    taken.fetch_max(lease.token(), Ordering::SeqCst);
                    lease.release().unwrap();
                }
            });
        }
    });
    assert_eq!(taken.into_inner(), 200);
}

#[test]
fn the_first_lease_has_no_predecessor_and_the_second_a_clean_one() {
    let scene = Scene::new();
    assert_eq!(scene.lock.status().unwrap(), Status::Free { last: None });
    let first = scene.lock.try_acquire(claim("one")).unwrap();
    assert_eq!(first.token(), 1);
    assert_eq!(first.predecessor(), None);
    first.release().unwrap();
    let second = scene.lock.try_acquire(claim("two")).unwrap();
    assert_eq!(second.token(), 2);
    assert!(matches!(second.predecessor(), Some(Predecessor::Clean(h)) if h.execution == "one"));
    assert!(!second.predecessor().unwrap().needs_recovery());
}

#[test]
fn the_lock_file_is_private() {
    let scene = Scene::new();
    let lease = scene.lock.try_acquire(claim("one")).unwrap();
    let mode = std::fs::metadata(scene.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    lease.release().unwrap();
}

#[test]
fn the_execution_can_change_and_the_token_stays() {
    let scene = Scene::new();
    let mut lease = scene.lock.try_acquire(claim("one")).unwrap();
    for i in 0..5 {
        lease.set_execution(format!("e{i}"), Some("p".into())).unwrap();
        lease.check().unwrap();
    }
    assert_eq!(lease.token(), 1);
    match scene.lock.status().unwrap() {
        Status::Held { holder: Some(holder) } => assert_eq!(holder.execution, "e4"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_floor_keeps_tokens_growing_when_the_file_is_lost() {
    let scene = Scene::new();
    scene.lock.try_acquire(claim("one")).unwrap().release().unwrap();
    std::fs::remove_file(scene.file()).unwrap();
    let lease = scene.lock.try_acquire(claim("two").token_floor(41)).unwrap();
    assert_eq!(lease.token(), 42);
}

#[track_caller]
fn check_lost(harm: impl FnOnce(&Scene), expect: fn(&LostLeaseKind) -> bool) {
    let scene = Scene::new();
    let lease: Lease = scene.lock.try_acquire(claim("one")).unwrap();
    lease.check().unwrap();
    harm(&scene);
    let lost = lease.check().unwrap_err();
    assert!(expect(lost.kind()), "{lost:?}");
    assert_eq!(lost.token(), 1);
    assert!(lease.release().is_err());
}

#[test]
fn a_lost_lease_is_noticed() {
    check_lost(
        |scene| std::fs::remove_file(scene.file()).unwrap(),
        |kind| matches!(kind, LostLeaseKind::Removed),
    );
    check_lost(
        |scene| {
            let copy = scene.dir.path().join("copy");
            std::fs::copy(scene.file(), &copy).unwrap();
            std::fs::rename(copy, scene.file()).unwrap();
        },
        |kind| matches!(kind, LostLeaseKind::Replaced),
    );
    check_lost(
        |scene| std::fs::write(scene.file(), "").unwrap(),
        |kind| matches!(kind, LostLeaseKind::OtherToken { found: None }),
    );
    check_lost(
        |scene| {
            scene.lock.break_lock(Some("one"), true).unwrap();
        },
        |kind| matches!(kind, LostLeaseKind::Replaced),
    );
}
