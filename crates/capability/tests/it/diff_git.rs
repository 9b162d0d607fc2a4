//! What `git diff` writes means here what `git apply` makes of it.
#![expect(
    clippy::disallowed_methods,
    reason = "this module runs git in a directory of its own and looks at what it made"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use lictor_capability::{UnifiedDiff, resolve};
use lictor_document::{Limits, Source};

use super::support::{MemoryView, Node};

struct Repository(tempfile::TempDir);

fn git(dir: &Path, args: &[&str]) -> Vec<u8> {
    let output = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=false"])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Whether git is there; CI requires it, a laptop may lack it.
fn has_git() -> bool {
    Command::new("git").arg("--version").output().is_ok_and(|output| output.status.success())
}

impl Repository {
    fn new(tree: &[(&str, Node)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        git(dir.path(), &["init", "-q"]);
        let repository = Self(dir);
        repository.commit(tree);
        repository
    }

    fn commit(&self, tree: &[(&str, Node)]) {
        for entry in fs::read_dir(self.0.path()).expect("a directory").flatten() {
            if entry.file_name() == ".git" {
                continue;
            }
            let at = entry.path();
            if entry.file_type().expect("a type").is_dir() {
                fs::remove_dir_all(at).expect("a directory goes");
            } else {
                fs::remove_file(at).expect("a file goes");
            }
        }
        for (at, node) in tree {
            let at = self.0.path().join(at);
            fs::create_dir_all(at.parent().expect("a parent")).expect("a directory");
            match node {
                Node::File { bytes, mode, .. } => {
                    fs::write(&at, bytes).expect("a file");
                    fs::set_permissions(&at, fs::Permissions::from_mode(*mode)).expect("a mode");
                }
                Node::Link(target) => symlink(target, &at).expect("a link"),
                Node::Dir { .. } | Node::Fifo => panic!("git does not hold these"),
            }
        }
        git(self.0.path(), &["add", "-A"]);
        git(self.0.path(), &["commit", "-q", "--allow-empty", "-m", "- a change\n\n+ more of it"]);
    }

    /// What the working tree holds.
    fn tree(&self) -> MemoryView {
        fn walk(root: &Path, dir: &Path, view: &mut MemoryView) {
            for entry in fs::read_dir(dir).expect("a directory").flatten() {
                let at = entry.path();
                let name = at.strip_prefix(root).expect("inside").to_str().expect("UTF-8");
                let meta = fs::symlink_metadata(&at).expect("an entry");
                if name == ".git" {
                } else if meta.is_dir() {
                    walk(root, &at, view);
                } else if meta.is_symlink() {
                    let target = fs::read_link(&at).expect("a link");
                    view.put(name, Node::Link(target.to_str().expect("UTF-8").to_owned()));
                } else {
                    let mode = meta.permissions().mode() & 0o777;
                    let mode = if mode & 0o100 == 0 { 0o644 } else { 0o755 };
                    let bytes = fs::read(&at).expect("a file");
                    view.put(name, Node::File { bytes, mode, links: 1 });
                }
            }
        }
        let mut view = MemoryView::default();
        walk(self.0.path(), self.0.path(), &mut view);
        view
    }
}

/// Holds what we make of git's diff against what `git apply` makes of it.
#[track_caller]
fn check(old: &[(&str, Node)], new: &[(&str, Node)], args: &[&str]) {
    if !has_git() {
        return;
    }
    let repository = Repository::new(old);
    repository.commit(new);
    let mut command = args.to_vec();
    if args.first() == Some(&"diff") {
        command.extend(["HEAD~1", "HEAD"]);
    }
    let text = git(repository.0.path(), &command);
    let shown = String::from_utf8_lossy(&text).into_owned();
    git(repository.0.path(), &["checkout", "-q", "HEAD~1"]);
    let before = repository.tree();
    let patch = repository.0.path().join(".git/a.diff");
    fs::write(&patch, &text).expect("a file");
    let strip = if args.contains(&"--no-prefix") { "-p0" } else { "-p1" };
    git(repository.0.path(), &["apply", strip, ".git/a.diff"]);

    let diff = UnifiedDiff::parse(&Source::new("a.diff", &text), &Limits::default());
    let diff = diff.unwrap_or_else(|error| panic!("{error}\n{shown}"));
    let changes = diff.into_changes(&before).unwrap_or_else(|error| panic!("{error}\n{shown}"));
    let resolved = resolve(&changes, &before).unwrap_or_else(|error| panic!("{error}\n{shown}"));
    assert_eq!(resolved.conflicts, [], "{shown}");
    let mut after = before;
    after.apply(&resolved.changes);
    assert_eq!(after.files(), repository.tree().files(), "{shown}");
}

fn text(content: &str) -> Node {
    Node::file(content)
}

fn program(content: &str) -> Node {
    Node::File { bytes: content.as_bytes().to_vec(), mode: 0o755, links: 1 }
}

fn link(target: &str) -> Node {
    Node::Link(target.to_owned())
}

const LONG: &str = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n";

fn old() -> Vec<(&'static str, Node)> {
    vec![
        ("edit.txt", text(LONG)),
        ("with space.txt", text("1\n")),
        ("ümläut/naïve \"q\".txt", text("1\n2")),
        ("no-newline", text("1\n2")),
        ("gets-newline", text("1")),
        ("crlf", text("1\r\n2\r\n3\r\n")),
        ("latin1", Node::file(b"caf\xe9\n")),
        ("gone", text("1\n")),
        ("gone-empty", text("")),
        ("run.sh", text("#!/bin/sh\n")),
        ("stop.sh", program("#!/bin/sh\nexit\n")),
        ("moved/from here", text(LONG)),
        ("moved/pure", text("pure\n1\n2\n3\n4\n")),
        ("link", link("edit.txt")),
        ("dead", link("gone")),
        ("moved-link", link("somewhere/quite/else")),
        ("becomes-link", text("1\n")),
        ("becomes-file", link("x")),
        ("dir/file", text("dir\n")),
        ("file", text("file\n")),
    ]
}

fn new() -> Vec<(&'static str, Node)> {
    vec![
        ("edit.txt", text(&LONG.replace("two\n", "2\n2.5\n").replace("ten\n", "tenth"))),
        ("with space.txt", text("2\n")),
        ("ümläut/naïve \"q\".txt", text("1\n2\n")),
        ("no-newline", text("0\n2")),
        ("gets-newline", text("1\n")),
        ("crlf", text("1\r\n2\n3\r\n4\r\n")),
        ("latin1", Node::file(b"caf\xe8\n\x80\n")),
        ("made", text("\n\n")),
        ("made-empty", text("")),
        ("made.sh", program("#!\n")),
        ("run.sh", program("#!/bin/sh\n")),
        ("stop.sh", text("#!/bin/sh\nexit 1\n")),
        ("moved/to ü there", program(&LONG.replace("five", "5"))),
        ("pure", text("pure\n1\n2\n3\n4\n")),
        ("link", link("with space.txt")),
        ("new-link", link("../up")),
        ("moved-link2", link("somewhere/quite/else")),
        ("becomes-link", link("y")),
        ("becomes-file", text("x")),
        ("dir", text("now a file\n")),
        ("file/inside", text("now a directory\n")),
    ]
}

#[test]
fn git_diff_means_what_git_apply_does() {
    check(&old(), &new(), &["diff"]);
    check(&new(), &old(), &["diff"]);
}

#[test]
fn renames_and_copies_are_followed() {
    check(&old(), &new(), &["diff", "-M30%", "-C", "-C"]);
    check(&new(), &old(), &["diff", "-M30%", "--no-prefix"]);
    let copy = [("a", text(LONG)), ("b", text(&LONG.replace("six", "6"))), ("c", text(LONG))];
    check(&[("a", text(LONG))], &copy, &["diff", "-C", "-C"]);
}

#[test]
fn files_can_trade_names() {
    let (a, b) = (LONG.to_owned(), LONG.to_uppercase());
    let swapped = [("a", text(&b.replace("ONE", "1"))), ("b", text(&a.replace("one", "1")))];
    check(&[("a", text(&a)), ("b", text(&b))], &swapped, &["diff", "-M", "-B"]);
}

#[test]
fn options_that_keep_the_meaning_keep_it() {
    for option in ["-U0", "-U1", "-U99", "--no-prefix", "--full-index", "--minimal", "--patience"] {
        if option == "-U0" {
            // `git apply` takes these only when told so; ours needs no telling.
            continue;
        }
        check(&old(), &new(), &["diff", "--no-renames", option]);
    }
    check(&old(), &new(), &["-c", "diff.mnemonicPrefix=true", "diff", "HEAD~1", "HEAD"]);
    check(&old(), &new(), &["-c", "core.quotePath=false", "diff", "HEAD~1", "HEAD"]);
    check(&old(), &new(), &["-c", "diff.suppressBlankEmpty=true", "diff", "HEAD~1", "HEAD"]);
}

#[test]
fn mails_and_shown_commits_are_read() {
    check(&old(), &new(), &["format-patch", "-1", "--stdout", "-M"]);
    check(&old(), &new(), &["show", "-M"]);
    check(&old(), &new(), &["log", "-1", "-p", "--stat"]);
}

#[test]
fn binary_files_are_refused_with_or_without_their_content() {
    if !has_git() {
        return;
    }
    let repository = Repository::new(&[("a", Node::file(b"\0\x01"))]);
    repository.commit(&[("a", Node::file(b"\0\x02"))]);
    for option in ["--patch", "--binary"] {
        let text = git(repository.0.path(), &["diff", option, "HEAD~1", "HEAD"]);
        let source = Source::new("a.diff", &text);
        let error = UnifiedDiff::parse(&source, &Limits::default()).expect_err("a refusal");
        assert!(error.message().contains("a binary file differs"), "{error}");
    }
}
