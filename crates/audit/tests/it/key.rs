//! The key file.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use lictor_audit::{KeyErrorKind, PublicKey, SigningKey};

#[test]
fn a_key_is_made_once_and_is_its_owners_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.key");
    let first = SigningKey::load_or_create(&path).unwrap();
    let second = SigningKey::load_or_create(&path).unwrap();
    assert_eq!(first.public(), second.public());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let public = std::fs::read_to_string(folder.path().join("audit.key.pub")).unwrap();
    assert_eq!(PublicKey::parse(public.trim_end()).unwrap(), *first.public());
    assert_eq!(folder.path().read_dir().unwrap().count(), 2, "nothing temporary stays");
    assert!(!format!("{first:?}").contains("seed"));
}

#[test]
fn many_starts_at_once_make_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.key");
    let keys: Vec<_> = std::thread::scope(|scope| {
        let start = || SigningKey::load_or_create(&path).unwrap().public().clone();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
}

#[test]
fn a_key_that_is_open_damaged_or_replaced_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.key");
    SigningKey::load_or_create(&path).unwrap();
    let refused = || SigningKey::load_or_create(&path).unwrap_err();

    std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(refused().kind(), KeyErrorKind::Permissions));
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    rewrite(&path, &[9; 32]);
    assert!(matches!(refused().kind(), KeyErrorKind::Replaced));
    rewrite(&path, &[9; 31]);
    assert!(matches!(refused().kind(), KeyErrorKind::Damaged));
}

#[expect(clippy::disallowed_methods, reason = "this is who tampers with it")]
fn rewrite(path: &std::path::Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_verifier_key_that_was_mistyped_is_refused() {
    let text = SigningKey::from_seed(&[3; 32]).public().to_string();
    assert!(PublicKey::parse(&text).is_ok());
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
        assert!(PublicKey::parse(std::str::from_utf8(&bytes).unwrap()).is_err(), "{at}");
    }
}
