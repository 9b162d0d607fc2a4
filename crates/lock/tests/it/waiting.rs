//! Waiting for a lock, and not getting it.

use std::sync::mpsc;
use std::time::Duration;

use lictor_lock::{AcquireErrorKind, CancelFlag, Status};

use crate::{Scene, claim};

const LONG: Duration = Duration::from_secs(600);

#[test]
fn a_timeout_says_who_holds_the_lock() {
    let scene = Scene::new();
    let lease = scene.lock.try_acquire(claim("one").plan("p")).unwrap();
    let mut told = Vec::new();
    let error = scene
        .lock
        .acquire(claim("two"), Duration::from_millis(20), &CancelFlag::new(), &mut |holder| {
            told.push(holder.clone())
        })
        .unwrap_err();
    assert_eq!(error.holder(), Some(lease.holder()));
    assert_eq!(told, [lease.holder().clone()]);
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert!(text.contains("`one`") && text.contains("`tester`"), "{text}");
}

#[test]
fn a_waiter_gets_the_lock_when_it_is_free() {
    let scene = Scene::new();
    let lease = scene.lock.try_acquire(claim("one")).unwrap();
    let (waiting, is_waiting) = mpsc::channel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            scene
                .lock
                .acquire(claim("two"), LONG, &CancelFlag::new(), &mut |_| {
                    waiting.send(()).unwrap();
                })
                .unwrap()
        });
        is_waiting.recv().unwrap();
        lease.release().unwrap();
        assert_eq!(waiter.join().unwrap().token(), 2);
    });
}

#[test]
fn a_cancelled_waiter_leaves_nothing() {
    let scene = Scene::new();
    let lease = scene.lock.try_acquire(claim("one")).unwrap();
    let before = std::fs::read(scene.file()).unwrap();
    let cancel = CancelFlag::new();
    let (waiting, is_waiting) = mpsc::channel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            scene.lock.acquire(claim("two"), LONG, &cancel, &mut |_| {
                waiting.send(()).unwrap();
            })
        });
        is_waiting.recv().unwrap();
        cancel.cancel();
        let error = waiter.join().unwrap().unwrap_err();
        assert!(matches!(error.kind(), AcquireErrorKind::Cancelled));
    });
    assert_eq!(std::fs::read(scene.file()).unwrap(), before);
    assert_eq!(std::fs::read_dir(scene.dir.path()).unwrap().count(), 1);
    lease.release().unwrap();
    assert_eq!(scene.lock.try_acquire(claim("three")).unwrap().token(), 2);
}

#[test]
fn a_wait_cancelled_beforehand_takes_nothing() {
    let scene = Scene::new();
    let cancel = CancelFlag::new();
    cancel.cancel();
    let error = scene.lock.acquire(claim("one"), LONG, &cancel, &mut |_| {}).unwrap_err();
    assert!(matches!(error.kind(), AcquireErrorKind::Cancelled));
    assert_eq!(scene.lock.status().unwrap(), Status::Free { last: None });
}

#[test]
fn looking_does_not_get_in_the_way() {
    let scene = Scene::new();
    std::thread::scope(|scope| {
        let looker = scope.spawn(|| {
            for _ in 0..2000 {
                scene.lock.status().unwrap();
            }
        });
        while !looker.is_finished() {
            let lease =
                scene.lock.acquire(claim("one"), LONG, &CancelFlag::new(), &mut |_| {}).unwrap();
            lease.release().unwrap();
        }
    });
}
