//! What could not be taken back, or not be done in full, is refused before it is done: a directory
//! that only grows, a mode that is given only in part.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use lictor_capability::Change;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::support::{World, world};
use crate::tree::{chmod, create, mkdir, modify, path, read_tree};

const ROOT: &str = "LICTOR_TEST_LASTING";
const NOBODY: u32 = 65534;

/// Says so aloud when it cannot be done here.
fn append_only(at: &Path, on: bool) -> bool {
    let dir = fs::File::open(at).expect("the directory");
    let set = ioctl_getflags(&dir).and_then(|mut flags| {
        flags.set(IFlags::APPEND, on);
        ioctl_setflags(&dir, flags)
    });
    if let Err(error) = set {
        eprintln!("SKIPPED: a directory cannot be made append-only here: {error}");
    }
    set.is_ok()
}

#[test]
fn nothing_is_put_where_it_could_never_be_taken_back() {
    let world = world();
    world.write("logs/old", "old\n");
    world.write("other", "other\n");
    if !append_only(&world.path("logs"), true) {
        return;
    }
    let before = read_tree(&world.root);
    let link = Change::Symlink { path: path("logs/link"), target: "old".to_owned() };
    for put in [create("logs/new", "x"), create("logs/deep/new", "x"), mkdir("logs/dir"), link] {
        let set = vec![modify("other", "other\n", "else\n"), put];
        let failure = world.try_apply(set).expect_err("it could not be taken back");
        assert!(failure.why().contains("append-only"), "{}", failure.why());
        assert_eq!(failure.left(), "not begun");
        assert_eq!(read_tree(&world.root), before);
    }
    assert!(world.folders().is_empty());
    // Writing into what is there replaces it, which the directory does not let happen either.
    world.try_apply(vec![modify("logs/old", "old\n", "new\n")]).expect_err("nothing leaves it");
    assert_eq!(read_tree(&world.root), before);
    assert!(append_only(&world.path("logs"), false));
    let execution = world.apply(vec![create("logs/new", "x")]);
    world.undo(&execution);
    assert_eq!(read_tree(&world.root), before);
}

/// Not a test of its own: what the next one runs as another user.
#[test]
fn a_step_as_somebody_outside_the_group() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let root = Path::new(&root);
    let before = read_tree(root);
    let world = World::at(root);
    let set = vec![chmod("program", 0o755, 0o2755), create("new", "x")];
    let failure = world.try_apply(set).expect_err("the bit is dropped in silence");
    assert!(failure.why().contains("could only be given 0755"), "{}", failure.why());
    assert_eq!(failure.left(), "rolled back");
    assert_eq!(read_tree(root), before);
    assert!(world.unsettled().is_empty());
    fs::write(root.join(".lictor/passed"), "").expect("a sign");
}

/// Only members of a file's group may make programs run as the group.
#[test]
fn a_mode_that_is_given_in_part_is_not_called_given() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can become somebody else");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("ws");
    fs::create_dir_all(root.join(".lictor")).expect("a workspace");
    fs::write(root.join("program"), "x").expect("a file");
    fs::set_permissions(root.join("program"), fs::Permissions::from_mode(0o755)).expect("a mode");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    for path in [root.clone(), root.join(".lictor")] {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("another owner");
    }
    chown(root.join("program"), Some(NOBODY), Some(0)).expect("another owner");
    let program = dir.path().join("it");
    fs::copy(std::env::current_exe().expect("this program"), &program).expect("a copy");
    let output = Command::new(program)
        .args(["--exact", "lasting::a_step_as_somebody_outside_the_group", "--test-threads=1"])
        .env(ROOT, &root)
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .expect("a child");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(root.join(".lictor/passed").exists(), "{said}");
}
