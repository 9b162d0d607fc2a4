//! What looking at a workspace promises, with real files.
#![expect(clippy::expect_used, reason = "a test may fail loudly")]
#![expect(clippy::disallowed_methods, reason = "the tests make the files that they look at")]

use std::fs;
use std::os::unix::fs::symlink;

use lictor_capability::{EntryKind, ViewErrorKind, WorkspaceView};
use lictor_context::{Digest, WorkspacePath};
use lictor_workspace::{RestrictedView, Workspace};

fn path(text: &str) -> WorkspacePath {
    WorkspacePath::parse(text).expect(text)
}

fn fixture() -> (tempfile::TempDir, Workspace) {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let root = dir.path().join("ws");
    fs::create_dir_all(root.join("a/b")).expect("mkdir");
    fs::write(root.join("a/b/file"), "hello").expect("write");
    fs::write(dir.path().join("outside"), "canary").expect("write");
    symlink("../outside", root.join("link")).expect("symlink");
    symlink("..", root.join("up")).expect("symlink");
    symlink("b", root.join("a/inner")).expect("symlink");
    let workspace = Workspace::open(root).expect("open");
    (dir, workspace)
}

#[test]
fn a_link_is_never_followed_at_any_depth() {
    let (_dir, ws) = fixture();
    assert_eq!(ws.entry(&path("link")).unwrap().unwrap().kind, EntryKind::Symlink);
    assert_eq!(ws.digest(&path("link")).unwrap(), Digest::of(b"../outside"), "of the target text");
    assert!(ws.read(&path("link"), 100).is_err());
    for through in ["up/outside", "a/inner/file"] {
        let error = ws.entry(&path(through)).expect_err(through);
        assert!(matches!(error.kind(), ViewErrorKind::ThroughSymlink { .. }), "{error}");
        assert!(ws.read(&path(through), 100).is_err());
        assert!(ws.list(Some(&path(through))).is_err());
    }
    let error = ws.entry(&path("a/inner/file")).expect_err("through a link");
    assert!(error.to_string().contains("`a/inner`"), "{error}");
}

#[test]
fn absence_is_no_error_and_a_file_is_no_directory() {
    let (_dir, ws) = fixture();
    assert_eq!(ws.entry(&path("nope")).unwrap(), None);
    assert_eq!(ws.entry(&path("no/such/dir")).unwrap(), None);
    let error = ws.entry(&path("a/b/file/x")).expect_err("below a file");
    assert!(matches!(error.kind(), ViewErrorKind::NotADirectory), "{error}");
}

#[test]
fn a_fifo_is_never_waited_on() {
    let (dir, ws) = fixture();
    let fifo = dir.path().join("ws/pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert_eq!(ws.entry(&path("pipe")).unwrap().unwrap().kind, EntryKind::Special);
    assert!(ws.digest(&path("pipe")).is_err());
    assert!(ws.read(&path("pipe"), 100).is_err());
}

#[test]
fn reading_is_bounded() {
    let (_dir, ws) = fixture();
    assert_eq!(ws.read(&path("a/b/file"), 5).unwrap(), b"hello");
    let error = ws.read(&path("a/b/file"), 4).expect_err("five bytes");
    assert!(matches!(error.kind(), ViewErrorKind::TooLarge { size: 5, limit: 4 }), "{error}");
}

#[test]
fn a_listing_is_sorted_and_names_kinds() {
    let (_dir, ws) = fixture();
    let names: Vec<_> = ws.list(None).unwrap().into_iter().map(|l| (l.name, l.kind)).collect();
    let expected = [
        ("a".to_owned(), EntryKind::Directory),
        ("link".to_owned(), EntryKind::Symlink),
        ("up".to_owned(), EntryKind::Symlink),
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_restricted_view_shows_only_what_was_declared() {
    let (_dir, ws) = fixture();
    let reads = [path("a/b")];
    let view = RestrictedView::new(&ws, &reads, false);
    assert_eq!(view.read(&path("a/b/file"), 100).unwrap(), b"hello");
    for hidden in ["a", "link", "a/bb"] {
        let error = view.entry(&path(hidden)).expect_err(hidden);
        assert!(matches!(error.kind(), ViewErrorKind::Undeclared));
    }
    assert!(view.list(None).is_err());
}

#[test]
fn a_directory_that_is_swapped_for_a_link_never_leads_outside() {
    let (dir, ws) = fixture();
    let root = dir.path().join("ws");
    fs::create_dir(dir.path().join("evil")).unwrap();
    fs::write(dir.path().join("evil/file"), "canary").unwrap();
    fs::create_dir(root.join("swap")).unwrap();
    fs::write(root.join("swap/file"), "inside").unwrap();
    symlink("../evil", root.join("swap2")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let cwd = rustix::fs::CWD;
            let (one, two) = (root.join("swap"), root.join("swap2"));
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(cwd, &one, cwd, &two, flags).expect("exchange");
            }
        });
        let mut inside = 0;
        for _ in 0..20_000 {
            if let Ok(bytes) = ws.read(&path("swap/file"), 100) {
                assert_eq!(bytes, b"inside");
                inside += 1;
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        swapper.join().expect("swapper");
        assert!(inside > 0, "the real directory was seen at least once");
    });
}
