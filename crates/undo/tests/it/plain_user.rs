//! Everything works for somebody who is not root and whom modes keep out.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::World;
use crate::tree::{mixed_changes, mixed_tree, model, read_tree, write_tree};

const ROOT: &str = "LICTOR_TEST_PLAIN_USER";
const UMASK: &str = "LICTOR_TEST_UMASK";
const NOBODY: u32 = 65534;

/// Not a test of its own: what the other one runs as another user.
#[test]
fn a_step_of_the_other_test() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let root = Path::new(&root);
    assert!(!rustix::process::geteuid().is_root());
    let old = mixed_tree();
    // Not `write_tree` at once: it could not write into its own read-only directories.
    let open: crate::tree::Tree = old
        .iter()
        .map(|(path, node)| match node {
            crate::tree::Node::Directory { .. } => {
                (path.clone(), crate::tree::Node::Directory { mode: 0o755 })
            }
            other => (path.clone(), other.clone()),
        })
        .collect();
    write_tree(root, &open);
    for (path, node) in &old {
        if let crate::tree::Node::Directory { mode } = node {
            let mode = fs::Permissions::from_mode(*mode);
            fs::set_permissions(root.join(path), mode).expect("a mode");
        }
    }
    assert_eq!(read_tree(root), old);
    let new = model(&old, &mixed_changes());
    let world = World::at(root);
    let mut execution = world.apply(mixed_changes());
    assert_eq!(read_tree(root), new);
    for _ in 0..2 {
        execution = world.undo(&execution);
        assert_eq!(read_tree(root), old);
        execution = world.undo(&execution);
        assert_eq!(read_tree(root), new);
    }
    let failure = World::checked(root, false).try_undo(&execution);
    assert_eq!(failure.expect_err("refused").left(), "rolled back");
    assert_eq!(read_tree(root), new);
    fs::write(root.join(".lictor/passed"), "").expect("a sign");
}

/// Not a test of its own: what the next one runs with another umask.
#[test]
fn a_step_with_another_umask() {
    let Some(root) = std::env::var_os(UMASK) else { return };
    let root = Path::new(&root);
    let wide = |at: &str| lictor_capability::Change::Mkdir {
        path: crate::tree::path(at),
        mode: Some(crate::tree::mode(0o777)),
    };
    let plain = crate::tree::mkdir("plain");
    World::at(root).apply(vec![crate::tree::create("dir/file", "x"), wide("wide"), plain]);
    let mode =
        |at: &str| fs::metadata(root.join(at)).expect("metadata").permissions().mode() & 0o7777;
    assert_eq!((mode("dir"), mode("dir/file")), (0o755, 0o644));
    assert_eq!((mode("wide"), mode("plain")), (0o777, 0o755));
    assert_eq!(mode(".lictor/tx"), 0o700);
    fs::write(root.join(".lictor/passed"), "").expect("a sign");
}

/// In a process of its own: a umask is the whole process's.
#[test]
fn the_processs_umask_has_no_say_in_modes() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = Command::new("sh")
        .args(["-c", "umask 077 && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "plain_user::a_step_with_another_umask", "--test-threads=1"])
        .env(UMASK, dir.path())
        .output()
        .expect("a child");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(dir.path().join(".lictor/passed").exists(), "{said}");
}

#[test]
fn a_plain_user_with_read_only_directories_applies_and_undoes_everything() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("ws");
    fs::create_dir_all(root.join(".lictor")).expect("a workspace");
    // Where nobody but its owner may go, another user cannot start it.
    let program = dir.path().join("it");
    fs::copy(std::env::current_exe().expect("this program"), &program).expect("a copy");
    let mut command = Command::new(program);
    command
        .args(["--exact", "plain_user::a_step_of_the_other_test", "--test-threads=1"])
        .env(ROOT, &root)
        .current_dir("/");
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        for path in [root.clone(), root.join(".lictor")] {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("another owner");
        }
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().expect("a child");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(root.join(".lictor/passed").exists(), "{said}");
}
