//! Trees: what a workspace holds, the model of what changes make of it, and a mixed example.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use lictor_capability::{Body, Change, FileMode};
use lictor_context::{Digest, WorkspacePath};

/// What stands at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    File { mode: u32, bytes: Vec<u8> },
    Directory { mode: u32 },
    Link { target: String },
}

/// Everything beneath a root but Lictor's own state.
pub(crate) type Tree = BTreeMap<String, Node>;

pub(crate) fn file(mode: u32, bytes: impl AsRef<[u8]>) -> Node {
    Node::File { mode, bytes: bytes.as_ref().to_vec() }
}

pub(crate) fn read_tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    read_into(root, "", &mut tree);
    tree
}

fn read_into(dir: &Path, prefix: &str, tree: &mut Tree) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        if prefix.is_empty() && name == ".lictor" {
            continue;
        }
        let path = format!("{prefix}{name}");
        let metadata = fs::symlink_metadata(entry.path()).expect("metadata");
        let mode = metadata.mode() & 0o7777;
        let node = if metadata.is_symlink() {
            let target = fs::read_link(entry.path()).expect("a link");
            Node::Link { target: target.to_str().expect("a target in UTF-8").to_owned() }
        } else if metadata.is_dir() {
            read_into(&entry.path(), &format!("{path}/"), tree);
            Node::Directory { mode }
        } else {
            file(mode, fs::read(entry.path()).expect("a file"))
        };
        tree.insert(path, node);
    }
}

pub(crate) fn write_tree(root: &Path, tree: &Tree) {
    for (path, node) in tree {
        let path = root.join(path);
        let mode = match node {
            Node::Directory { mode } => {
                fs::create_dir(&path).expect("a directory");
                *mode
            }
            Node::File { mode, bytes } => {
                fs::write(&path, bytes).expect("a file");
                *mode
            }
            Node::Link { target } => {
                symlink(target, &path).expect("a link");
                continue;
            }
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    }
}

/// What the changes make of a tree, by the simplest means. Every operation but a change of
/// something that was renamed in the same set names a path as it was before.
pub(crate) fn model(old: &Tree, changes: &[Change]) -> Tree {
    let mut new = old.clone();
    let mut arriving: Tree = Tree::new();
    for change in changes {
        match change {
            Change::Delete { path, .. } | Change::Rmdir { path } => {
                new.remove(path.as_str()).expect("something to remove");
            }
            Change::Rename { path, to, .. } => {
                let node = new.remove(path.as_str()).expect("something to rename");
                arriving.insert(to.to_string(), node);
            }
            Change::Create { path, content, mode } => {
                let mode = mode.unwrap_or(FileMode::FILE).bits();
                arriving.insert(path.to_string(), file(mode, content.bytes()));
            }
            Change::Mkdir { path, mode } => {
                let mode = mode.unwrap_or(FileMode::DIRECTORY).bits();
                arriving.insert(path.to_string(), Node::Directory { mode });
            }
            Change::Symlink { path, target } => {
                arriving.insert(path.to_string(), Node::Link { target: target.clone() });
            }
            Change::Modify { .. } | Change::Chmod { .. } => {}
        }
    }
    for (path, node) in arriving {
        let parsed = WorkspacePath::parse(&path).expect("a path");
        for parent in parsed.ancestors() {
            new.entry(parent.to_string()).or_insert(Node::Directory { mode: 0o755 });
        }
        new.insert(path, node);
    }
    for change in changes {
        match change {
            Change::Modify { path, content, mode: wanted, .. } => {
                let Some(Node::File { mode, bytes }) = new.get_mut(path.as_str()) else {
                    panic!("no file at {path}");
                };
                *bytes = content.bytes().to_vec();
                *mode = wanted.map_or(*mode, FileMode::bits);
            }
            Change::Chmod { path, mode: wanted, .. } => match new.get_mut(path.as_str()) {
                Some(Node::File { mode, .. } | Node::Directory { mode }) => *mode = wanted.bits(),
                _ => panic!("nothing with a mode at {path}"),
            },
            _ => {}
        }
    }
    new
}

pub(crate) fn path(text: &str) -> WorkspacePath {
    WorkspacePath::parse(text).expect("a path")
}

pub(crate) fn mode(bits: u32) -> FileMode {
    FileMode::from_bits(bits)
}

pub(crate) fn create(at: &str, bytes: impl AsRef<[u8]>) -> Change {
    Change::Create { path: path(at), content: Body::new(bytes.as_ref()), mode: None }
}

pub(crate) fn modify(at: &str, before: impl AsRef<[u8]>, after: impl AsRef<[u8]>) -> Change {
    Change::Modify {
        path: path(at),
        before: Digest::of(before.as_ref()),
        content: Body::new(after.as_ref()),
        mode: None,
    }
}

pub(crate) fn delete(at: &str, before: impl AsRef<[u8]>) -> Change {
    Change::Delete { path: path(at), before: Digest::of(before.as_ref()) }
}

pub(crate) fn rename(from: &str, to: &str, before: impl AsRef<[u8]>) -> Change {
    Change::Rename { path: path(from), to: path(to), before: Digest::of(before.as_ref()) }
}

pub(crate) fn chmod(at: &str, before: u32, after: u32) -> Change {
    Change::Chmod { path: path(at), before_mode: mode(before), mode: mode(after) }
}

pub(crate) fn mkdir(at: &str) -> Change {
    Change::Mkdir { path: path(at), mode: None }
}

pub(crate) fn rmdir(at: &str) -> Change {
    Change::Rmdir { path: path(at) }
}

pub(crate) fn link(at: &str, target: &str) -> Change {
    Change::Symlink { path: path(at), target: target.to_owned() }
}

/// With every kind of thing that a change set can touch.
pub(crate) fn mixed_tree() -> Tree {
    let mut tree = Tree::new();
    for dir in ["a", "b", "h", "k", "k/dir", "m", "m/dir", "r", "rm", "rm/empty", "rm/full", "s"] {
        tree.insert(dir.to_owned(), Node::Directory { mode: 0o755 });
    }
    tree.insert("m/tight".to_owned(), Node::Directory { mode: 0o555 });
    tree.insert("rm/sealed".to_owned(), Node::Directory { mode: 0o555 });
    let binary: Vec<u8> = (0..=255).collect();
    let files: &[(&str, u32, &[u8])] = &[
        ("a/delete.txt", 0o644, b"delete me\n"),
        ("a/modify.txt", 0o644, b"old\n"),
        ("a/read-only.txt", 0o444, b"old and read-only\n"),
        ("a/script.sh", 0o644, b"#!/bin/sh\n"),
        ("a/to-empty.txt", 0o640, b"full\n"),
        ("b/binary", 0o600, &binary),
        ("h/one", 0o644, b"two names\n"),
        ("k/again", 0o644, b"first\n"),
        ("k/dir/inside", 0o644, b"inside\n"),
        ("k/file", 0o755, b"becomes a directory\n"),
        ("k/self", 0o644, b"moves into its own place\n"),
        ("m/file", 0o644, b"mode\n"),
        ("m/tight/goes", 0o644, b"goes\n"),
        ("r/1", 0o644, b"one\n"),
        ("r/2", 0o755, b"two\n"),
        ("r/3", 0o600, b"three\n"),
        ("r/edit", 0o644, b"rename and edit\n"),
        ("r/mode", 0o644, b"rename and chmod\n"),
        ("r/plain", 0o644, b"only rename\n"),
        ("rm/full/x", 0o644, b"x\n"),
        ("s/a", 0o644, b"a\n"),
        ("s/b", 0o755, b"b\n"),
        ("untouched", 0o644, b"nobody touches this\n"),
    ];
    for (path, mode, bytes) in files {
        tree.insert((*path).to_owned(), file(*mode, bytes));
    }
    tree.insert("a/link".to_owned(), Node::Link { target: "modify.txt".to_owned() });
    tree.insert("a/link-goes".to_owned(), Node::Link { target: "../nowhere".to_owned() });
    tree
}

/// Touches all that [`mixed_tree`] has, by every operation.
pub(crate) fn mixed_changes() -> Vec<Change> {
    let binary: Vec<u8> = (0..=255).collect();
    let reversed: Vec<u8> = (0..=255).rev().collect();
    vec![
        create("new.txt", "new\n"),
        create("n/e/s/t/ed.txt", "nested\n"),
        create("n/e/empty", ""),
        create("b/new-binary", [0, 159, 146, 150, 255]),
        Change::Create {
            path: path("n/run.sh"),
            content: Body::new(&b"#!/bin/sh\n"[..]),
            mode: Some(mode(0o755)),
        },
        modify("a/modify.txt", "old\n", "new\n"),
        modify("a/read-only.txt", "old and read-only\n", "new and read-only\n"),
        Change::Modify {
            path: path("a/script.sh"),
            before: Digest::of(b"#!/bin/sh\n"),
            content: Body::new(&b"#!/bin/sh\nexit 0\n"[..]),
            mode: Some(mode(0o755)),
        },
        modify("a/to-empty.txt", "full\n", ""),
        modify("b/binary", binary, reversed),
        modify("h/one", "two names\n", "one name\n"),
        delete("a/delete.txt", "delete me\n"),
        delete("a/link-goes", "../nowhere"),
        rename("r/1", "r/2", "one\n"),
        rename("r/2", "r/3", "two\n"),
        rename("r/3", "r/4", "three\n"),
        rename("r/edit", "r/edited", "rename and edit\n"),
        modify("r/edited", "rename and edit\n", "renamed and edited\n"),
        rename("r/mode", "r/moded", "rename and chmod\n"),
        chmod("r/moded", 0o644, 0o600),
        rename("r/plain", "n/plain", "only rename\n"),
        rename("s/a", "s/b", "a\n"),
        rename("s/b", "s/a", "b\n"),
        chmod("m/file", 0o644, 0o600),
        chmod("m/dir", 0o755, 0o700),
        chmod("m/tight", 0o555, 0o755),
        create("m/tight/comes", "comes\n"),
        delete("m/tight/goes", "goes\n"),
        mkdir("made/empty"),
        Change::Mkdir { path: path("made/sealed"), mode: Some(mode(0o555)) },
        create("made/sealed/inside", "inside\n"),
        rmdir("rm/empty"),
        rmdir("rm/sealed"),
        delete("rm/full/x", "x\n"),
        rmdir("rm/full"),
        link("link", "a/modify.txt"),
        delete("k/file", "becomes a directory\n"),
        mkdir("k/file"),
        create("k/file/inside", "inside\n"),
        delete("k/dir/inside", "inside\n"),
        rmdir("k/dir"),
        create("k/dir", "becomes a file\n"),
        rename("k/self", "k/self/inner", "moves into its own place\n"),
        delete("k/again", "first\n"),
        create("k/again", "second\n"),
    ]
}
