//! A lock file that is not as we left it.

use lictor_lock::{AcquireErrorKind, Predecessor};

use crate::{Scene, claim};

/// The token after the file became `content(old)`, and the predecessor.
#[track_caller]
fn after(content: impl FnOnce(Vec<u8>) -> Vec<u8>) -> (u64, Option<Predecessor>) {
    let scene = Scene::new();
    for _ in 0..7 {
        scene.lock.try_acquire(claim("one")).unwrap().release().unwrap();
    }
    let old = std::fs::read(scene.file()).unwrap();
    std::fs::write(scene.file(), content(old)).unwrap();
    let lease = scene.lock.try_acquire(claim("two")).unwrap();
    lease.check().unwrap();
    let result = (lease.token(), lease.predecessor().cloned());
    lease.release().unwrap();
    let next = scene.lock.try_acquire(claim("three")).unwrap();
    assert_eq!(next.token(), result.0 + 1);
    assert!(matches!(next.predecessor(), Some(Predecessor::Clean(_))));
    result
}

#[test]
fn a_damaged_file_is_no_deadlock_and_tokens_grow() {
    assert_eq!(after(|_| Vec::new()), (1, Some(Predecessor::Unknown)));
    assert_eq!(after(|_| vec![0xff; 9000]), (1, Some(Predecessor::Unknown)));
    assert_eq!(after(|_| b"{}\n".to_vec()), (1, Some(Predecessor::Unknown)));
    // Both headers gone, the text still there.
    let (token, predecessor) = after(|mut old| {
        old[0] = b'?';
        old[4096] = b'?';
        old
    });
    assert_eq!((token, predecessor), (8, Some(Predecessor::Unknown)));
    // The file cut anywhere in the second slot: the first one stands.
    for cut in [4096, 4097, 5000, 8000] {
        let (token, _) = after(|mut old| {
            old.truncate(cut);
            old
        });
        assert_eq!(token, 8);
    }
}

#[test]
fn a_torn_slot_hands_out_no_token_twice() {
    for slot in 0..2 {
        for torn in [0, 13, 40, 60, 200] {
            let (token, predecessor) = after(|mut old| {
                old[slot * 4096 + torn] ^= 0x55;
                old
            });
            assert_eq!(token, 8);
            assert!(predecessor.unwrap().holder().is_some());
        }
    }
}

#[test]
fn a_link_or_a_directory_at_the_path_is_refused() {
    let scene = Scene::new();
    let target = scene.dir.path().join("target");
    std::fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, scene.file()).unwrap();
    let error = scene.lock.try_acquire(claim("one")).unwrap_err();
    assert!(matches!(error.kind(), AcquireErrorKind::Io(_)));
    assert_eq!(std::fs::read(&target).unwrap(), b"precious");

    std::fs::remove_file(scene.file()).unwrap();
    std::fs::create_dir(scene.file()).unwrap();
    assert!(scene.lock.try_acquire(claim("one")).is_err());
}

#[test]
fn a_missing_directory_is_an_error_and_nothing_is_made() {
    let scene = Scene::new();
    let lock = lictor_lock::WorkspaceLock::new(scene.dir.path().join("no/lock"));
    let error = lock.try_acquire(claim("one")).unwrap_err();
    assert!(matches!(error.kind(), AcquireErrorKind::Io(_)));
    assert!(!scene.dir.path().join("no").exists());
}
