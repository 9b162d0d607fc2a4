//! Changing N files of 4 KiB: ours, and what others do who keep less of a promise.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::ours::Ours;
use crate::tally::{Device, Tally, tell};

/// 4 KiB, another one each round.
fn text(round: usize) -> String {
    let mut text = format!("line {round:06} of the text\n").repeat(160);
    text.truncate(4096);
    text
}

/// Rounds for so many files.
fn rounds(n: usize) -> usize {
    (120 / n).clamp(9, 60)
}

pub(crate) fn one_write(folder: &Path) {
    let device = Device::of(folder);
    let ours = Ours::at(&folder.join("ws"));
    fs::create_dir(folder.join("bare")).unwrap();
    let (mut write, mut bare) = (Tally::default(), Tally::default());
    for round in 0..200 {
        let text = text(round);
        bare.time(&device, || {
            let mut file = File::create_new(folder.join(format!("bare/f{round}"))).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.sync_all().unwrap();
        });
        write.time(&device, || ours.write(&format!("f{round}"), &text));
    }
    write.tell("write/ours");
    bare.tell("write/bare");
    tell_flushes("write/flushes", &write);
    println!(
        "fs.write of a new file: {:.3} ms, {} device flushes; bare with one fsync {:.3} ms; ratio {:.2}",
        write.median(),
        write.flushes(),
        bare.median(),
        write.median() / bare.median()
    );
}

pub(crate) fn against_others(folder: &Path) {
    let device = Device::of(folder);
    let git = GitTree::with_files(&folder.join("git"), 10_000);
    println!(
        "{:>5} {:>8} {:>8} {:>8} {:>9} {:>9} {:>8} | apply to plain, to fsync each, to git; undo to apply | flushes of apply, undo, redo, each",
        "N", "apply", "undo", "redo", "plain", "each", "git"
    );
    let only = std::env::var("LICTOR_BENCH_FILES").ok().and_then(|n| n.parse::<usize>().ok());
    for n in only.map_or_else(|| vec![1, 10, 100, 1000], |n| vec![n]) {
        let root = folder.join(format!("ws{n}"));
        let (plain, each) = (folder.join(format!("plain{n}")), folder.join(format!("each{n}")));
        for tree in [&root, &plain, &each] {
            grow(tree, n, &text(0));
        }
        let ours = Ours::at(&root);
        let mut tallies: [Tally; 6] = Default::default();
        let [apply, undo, redo, plainly, singly, snapshot] = &mut tallies;
        for round in 1..=rounds(n) {
            let new = text(round);
            plainly.time(&device, || overwrite(&plain, n, &new));
            let document = Ours::document(n, &text(round - 1), &new);
            let applied = apply.time(&device, || ours.apply(&document));
            let undone = undo.time(&device, || ours.undo(&applied));
            redo.time(&device, || ours.undo(&undone));
        }
        // These free inodes, which makes everybody's new files slow for a while; so they are last.
        for round in 1..=rounds(n).min(15) {
            let new = text(round);
            singly.time(&device, || replace_each(&each, n, &new, round));
            git.modify(n, &new);
            snapshot.time(&device, || git.commit());
        }
        assert_eq!(fs::read_to_string(root.join(Ours::path(0))).unwrap(), text(rounds(n)));
        let [apply, undo, redo, plainly, singly, snapshot] = &tallies;
        let names = ["apply", "undo", "redo", "plain", "each", "git"];
        for (name, tally) in names.iter().zip(&tallies) {
            tally.tell(&format!("files/{n}/{name}"));
        }
        tell_flushes(&format!("files/{n}/flushes"), apply);
        println!(
            "{n:>5} {:>8.3} {:>8.3} {:>8.3} {:>9.3} {:>9.3} {:>8.1} | {:.2} {:.2} {:.3} {:.2} | {} {} {} {}",
            apply.median(),
            undo.median(),
            redo.median(),
            plainly.median(),
            singly.median(),
            snapshot.median(),
            apply.median() / plainly.median(),
            apply.median() / singly.median(),
            apply.median() / snapshot.median(),
            undo.median() / apply.median(),
            apply.flushes(),
            undo.flushes(),
            redo.flushes(),
            singly.flushes(),
        );
    }
}

/// The same change, in trees of different size.
pub(crate) fn against_tree_size(folder: &Path) {
    let device = Device::of(folder);
    let sizes = [1_000, 10_000, 100_000];
    let mut trees: Vec<(Ours, Tally)> = sizes
        .iter()
        .map(|size| {
            let root = folder.join(format!("ws{size}"));
            grow(&root, 10, &text(0));
            fill(&root.join("rest"), *size, "x\n");
            (Ours::at(&root), Tally::default())
        })
        .collect();
    for round in 1..=60 {
        let document = Ours::document(10, &text(round - 1), &text(round));
        for (ours, tally) in &mut trees {
            tally.time(&device, || ours.apply(&document));
        }
    }
    for (size, (_, tally)) in sizes.iter().zip(&trees) {
        tally.tell(&format!("tree/{size}"));
    }
    let medians: Vec<f64> = trees.iter().map(|(_, tally)| tally.median()).collect();
    for (size, median) in sizes.iter().zip(&medians) {
        let ratio = median / medians.first().unwrap();
        println!("apply of 10 files in a tree of {size:>6}: {median:.3} ms, ratio {ratio:.2}");
    }
}

fn tell_flushes(name: &str, tally: &Tally) {
    let flushes = tally.flushes() as f64;
    tell(name, flushes, (flushes, flushes), "");
}

fn grow(root: &Path, n: usize, text: &str) {
    for i in 0..n {
        let file = root.join(Ours::path(i));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
}

/// So many files, a hundred to a directory.
fn fill(root: &Path, n: usize, text: &str) {
    for i in 0..n {
        let dir = root.join(format!("{}", i / 100));
        if i % 100 == 0 {
            fs::create_dir_all(&dir).unwrap();
        }
        fs::write(dir.join(format!("g{i}")), text).unwrap();
    }
}

/// What most programs do: neither whole, nor durable, nor reversible.
fn overwrite(root: &Path, n: usize, text: &str) {
    for i in 0..n {
        fs::write(root.join(Ours::path(i)), text).unwrap();
    }
}

/// What careful programs do: each file is whole and durable, the set is not whole, nothing is
/// reversible.
fn replace_each(root: &Path, n: usize, text: &str, round: usize) {
    for i in 0..n {
        let path = root.join(Ours::path(i));
        let dir = path.parent().unwrap();
        let temporary = dir.join(format!(".r{round}t{i}"));
        let mut file = File::create_new(&temporary).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.sync_all().unwrap();
        fs::rename(&temporary, &path).unwrap();
        File::open(dir).unwrap().sync_all().unwrap();
    }
}

/// What agents do: a commit as a snapshot. Reversible; neither whole nor durable.
struct GitTree {
    root: PathBuf,
}

impl GitTree {
    fn with_files(root: &Path, n: usize) -> Self {
        grow(root, 1000, &text(0));
        fill(&root.join("rest"), n.saturating_sub(1000), &text(0));
        let tree = Self { root: root.to_owned() };
        tree.git(&["init", "-q"]);
        tree.git(&["config", "gc.auto", "0"]);
        tree.git(&["config", "maintenance.auto", "false"]);
        tree.commit();
        tree
    }

    fn modify(&self, n: usize, text: &str) {
        // Another content for each, and for each N: git keeps what it has already.
        for i in 0..n {
            fs::write(self.root.join(Ours::path(i)), format!("{n} {i}\n{text}")).unwrap();
        }
    }

    fn commit(&self) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "a snapshot"]);
    }

    fn git(&self, arguments: &[&str]) {
        let status = Command::new("git")
            .args(["-c", "user.name=bench", "-c", "user.email=bench@example.invalid"])
            .args(["-c", "commit.gpgsign=false"])
            .args(arguments)
            .current_dir(&self.root)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdout(Stdio::null())
            .status()
            .expect("git");
        assert!(status.success());
    }
}
